import Testing
import TollgateCore

@testable import TollgatePolicy

@Suite struct PolicyAlertTests {
    private static let plan =
        "{quotas: {monthly: {scope: organization, limit: 5, period: month}}}"

    private func loaded(_ alerts: String) throws -> LoadedPolicy {
        let directory = try PolicyDirectory()
        let text = "audit: {path: /b}\n" + alerts
        return try directory.load(
            Array(smallPolicy(text, plan: Self.plan).utf8))
    }

    @Test func withoutRulesTheStandardOnesHold() throws {
        let read = try #require(try loaded("alerts: {path: /a}").alerts)
        #expect(read.path == "/a" && read.rules.rules == AlertRules.standard)
        #expect(try loaded("credential_bytes_max: 8192").alerts == nil)
    }

    @Test func aRuleIsChangedTurnedOffOrAdded() throws {
        let read = try loaded(
            """
            alerts:
              path: /a
              rules:
                quota_threshold: {percents: [50, 150], hysteresis: 0}
                quota_exhausted_early: {before: 20}
                quota_forecast: {after: 30, quotas: [monthly]}
                invalid_credentials_source: {count: 7, window: 1m}
                sudden_rise: {enabled: false, factor: 9}
                costly_operation: {cost_min: 3}
                mine: {kind: invalid_credentials, scope: key, count: 2}
            """
        ).alerts
        let rules = try #require(read).rules.rules
        func rule(_ name: String) throws -> AlertRule {
            try #require(rules.first { $0.name == name })
        }
        #expect(rules.count == AlertRules.standard.count + 1)
        #expect(try rule("quota_threshold").percents == [50, 150])
        #expect(try rule("quota_threshold").hysteresisPercent == 0)
        #expect(try rule("quota_exhausted_early").periodPercent == 20)
        #expect(try rule("quota_forecast").periodPercent == 30)
        #expect(try rule("quota_forecast").quotas == ["monthly"])
        #expect(try rule("invalid_credentials_source").count == 7)
        #expect(try rule("invalid_credentials_source").windowMilliseconds == 60_000)
        #expect(try rule("invalid_credentials_source").scope == .source)
        #expect(try !rule("sudden_rise").isEnabled && rule("sudden_rise").factor == 9)
        #expect(try rule("costly_operation").costMin == 3)
        #expect(try rule("mine").scope == .key && rule("mine").kind == .invalidCredentials)
    }

    @Test(arguments: [
        ("{}", #""path" is missing"#),
        ("{path: /b/}", "alerts and audit each have a directory of their own"),
        ("{path: /a, rules: {x: {}}}", #""kind" is missing"#),
        ("{path: /a, rules: {x: {kind: quota}}}", #"kind "quota" is unknown"#),
        ("{path: /a, rules: {refresh_reuse: {kind: refresh_reuse}}}", "is a standard one"),
        (
            "{path: /a, rules: {key_networks: {window: 1m}}}",
            "a rule of kind key_networks has no window; it has: kind, enabled, count"
        ),
        ("{path: /a, rules: {quota_threshold: {percents: [90, 80]}}}", "percents ascend"),
        ("{path: /a, rules: {quota_threshold: {percents: []}}}", "percents is an empty list"),
        ("{path: /a, rules: {quota_threshold: {quotas: [monthy]}}}", "did you mean \"monthly\""),
        ("{path: /a, rules: {quota_threshold: {plans: [nope]}}}", "no plan \"nope\""),
        ("{path: /a, rules: {key_networks: {count: 65}}}", "count is between 2 and 64"),
        ("{path: /a, rules: {sudden_rise: {factor: 1}}}", "factor is between 2 and 1000"),
    ])
    func aFaultOfAlertsIsExplained(text: String, fault: String) throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(
            smallPolicy(
                "audit: {path: /b}\nalerts: " + text,
                plan: Self.plan))
        #expect(faults.count == 1)
        #expect(faults.first?.contains(fault) == true)
    }

    @Test func alertsNeedTheAuditLog() throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(smallPolicy("alerts: {path: /a}", plan: "{}"))
        #expect(faults.count == 1 && faults[0].contains("alerts without audit"))
    }
}
