import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Tokens of the daemon, plans out of the directory, and what overrides may set.
@Suite struct PolicyTokenTests {
    private static let directory = "directory: {path: /d, peppers: [{generation: 1, file: k}]}"
    private static let key = "{algorithm: HS256, file: keys/main.key}"

    private func load(_ lines: String...) throws -> PolicyDefinition {
        let text = smallPolicy(lines.joined(separator: "\n"))
        return try PolicyDirectory().load(Array(text.utf8)).definition
    }

    @Test func tokensHaveTheDefaultsOfTheReference() throws {
        let terms = try #require(try load(Self.directory, "tokens: {issuer: x}").tokens)
        #expect(
            terms
                == TokenTerms(
                    issuer: "x", audience: nil, accessSeconds: 600, refreshSeconds: 7_776_000,
                    refreshIdleSeconds: 1_209_600, refreshGraceSeconds: 10, leewaySeconds: 0,
                    planSource: .directory))
    }

    @Test func tokensArriveAsTheyAreWritten() throws {
        let text = """
            tokens:
              issuer: https://t.example
              audience: https://api.example
              access_lifetime: 24h
              refresh_lifetime: 3650d
              refresh_idle_lifetime: 3650d
              refresh_grace: 1m
              leeway: 60s
              plan_source: directory_first
            """
        let terms = try load(Self.directory, text).tokens
        #expect(
            terms
                == TokenTerms(
                    issuer: "https://t.example", audience: "https://api.example",
                    accessSeconds: 86_400, refreshSeconds: 315_360_000,
                    refreshIdleSeconds: 315_360_000, refreshGraceSeconds: 60, leewaySeconds: 60,
                    planSource: .directoryFirst))
        let least = "access_lifetime: 1s, refresh_lifetime: 2s, refresh_grace: 1s"
        let short = try #require(try load(Self.directory, "tokens: {issuer: x, \(least)}").tokens)
        #expect(short.accessSeconds == 1 && short.refreshSeconds == 2)
        #expect(short.refreshIdleSeconds == 2 && short.refreshGraceSeconds == 1)
    }

    static let faults: [(String, [String])] = [
        ("{}", [#"8:9: "issuer" is missing"#]),
        (
            "{isuer: x}",
            [
                #"8:9: "issuer" is missing"#,
                #"8:10: unknown key "isuer" in tokens (did you mean "issuer"?)"#,
            ]
        ),
        ("{issuer: ''}", [#"8:18: issuer is a text, not """#]),
        (
            "{issuer: \(String(repeating: "x", count: 1_025))}",
            ["8:18: issuer has at most 1024 bytes"]
        ),
        (
            "{issuer: x, audience: \(String(repeating: "x", count: 1_025))}",
            ["8:31: audience has at most 1024 bytes"]
        ),
        ("{issuer: x, audience: ~}", ["8:31: audience is a text, not nothing"]),
        ("{issuer: x, audience: [a]}", ["8:31: audience is a text, not a list"]),
        (
            "{issuer: x, access_lifetime: 0s}", ["8:38: access_lifetime is at least 1ms"]
        ),
        (
            "{issuer: x, access_lifetime: 999ms}",
            ["8:38: access_lifetime is in whole seconds, 1s to 86400s"]
        ),
        (
            "{issuer: x, access_lifetime: 1500ms}",
            ["8:38: access_lifetime is in whole seconds, 1s to 86400s"]
        ),
        (
            "{issuer: x, access_lifetime: 86401s}",
            ["8:38: access_lifetime is in whole seconds, 1s to 86400s"]
        ),
        (
            "{issuer: x, access_lifetime: 10}",
            [
                #"8:38: access_lifetime is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "10" (did you mean 10s?)"#
            ]
        ),
        (
            "{issuer: x, refresh_lifetime: 3651d}",
            ["8:39: refresh_lifetime is in whole seconds, 1s to 315360000s"]
        ),
        (
            "{issuer: x, refresh_idle_lifetime: 91d}",
            ["8:44: refresh_idle_lifetime is at most refresh_lifetime, 7776000s"]
        ),
        (
            "{issuer: x, refresh_lifetime: 1h, refresh_idle_lifetime: 3601s}",
            ["8:66: refresh_idle_lifetime is at most refresh_lifetime, 3600s"]
        ),
        (
            "{issuer: x, refresh_lifetime: 10m}",
            ["8:39: refresh tokens live longer than access tokens, which live 600s"]
        ),
        (
            "{issuer: x, access_lifetime: 1h, refresh_idle_lifetime: 1h}",
            ["8:65: refresh tokens live longer than access tokens, which live 3600s"]
        ),
        (
            "{issuer: x, refresh_grace: 61s}",
            ["8:36: refresh_grace is in whole seconds, 1s to 60s"]
        ),
        ("{issuer: x, refresh_grace: 0s}", ["8:36: refresh_grace is at least 1ms"]),
        ("{issuer: x, leeway: 61s}", ["8:29: leeway is in whole seconds, at most 60s"]),
        (
            "{issuer: x, plan_source: directory-first}",
            [#"8:34: plan_source "directory-first" is unknown (did you mean "directory_first"?)"#]
        ),
        (
            "{issuer: i}\nissuers: {j: {issuer: i, keys: [\(key)]}}",
            [#"8:18: issuer j has that "iss": tokens of the daemon need one of their own"#]
        ),
        (
            "{issuer: x}\nissuers: {tollgate: {issuer: i, keys: [\(key)]}}",
            [#"9:11: with tokens, "tollgate" is the daemon itself: choose another name"#]
        ),
        ("", [#"8:8: "issuer" is missing"#]),
    ]

    @Test(arguments: faults)
    func aFaultOfTokensIsNamedWithItsPlace(text: String, faults: [String]) throws {
        let policy = smallPolicy(Self.directory + "\ntokens: " + text)
        let found = try PolicyDirectory().faults(policy)
        #expect(found == faults.map { "p.yaml:" + $0 })
    }

    /// The daemon's own is one of the 1,024 that a policy may have.
    @Test func withTokensThereIsRoomForOneIssuerLess() throws {
        let text = (0..<1_024).map { "  i\($0): {issuer: i\($0), keys: [\(Self.key)]}" }
        let issuers = "issuers:\n" + text.joined(separator: "\n")
        #expect(try load(issuers).issuers.count == 1_024)
        let found = try PolicyDirectory().faults(
            smallPolicy(Self.directory + "\ntokens: {issuer: x}\n" + issuers))
        #expect(found == ["p.yaml:8:9: with tokens, issuers are at most 1023"])
    }

    @Test func whatNeedsADirectoryIsRefusedWithoutOne() throws {
        for (text, fault) in [
            (
                "tokens: {issuer: x}",
                "7:9: tokens without directory: it keeps the sessions of users"
            ),
            (
                "issuers: {i: {issuer: x, keys: [\(Self.key)], plan_source: directory}}",
                #"7:88: plan_source "directory" without directory"#
            ),
            (
                "issuers: {i: {issuer: x, keys: [\(Self.key)], plan_source: directory_first}}",
                #"7:88: plan_source "directory_first" without directory"#
            ),
            (
                "issuers: {i: {issuer: x, keys: [\(Self.key)], unknown_organizations: refuse}}",
                "7:98: without directory, every organization is unknown"
            ),
        ] {
            #expect(try PolicyDirectory().faults(smallPolicy(text)) == ["p.yaml:" + fault])
        }
        // Said, but the same as without.
        let issuer = try load(
            "issuers: {i: {issuer: x, keys: [\(Self.key)], plan_source: claims,"
                + " unknown_organizations: claims}}"
        ).issuers[0]
        #expect(issuer.planSource == .claims && issuer.unknownOrganizations == .claims)
    }

    @Test(arguments: [
        ("", PlanSource.claims, UnknownOrganizations.claims),
        (", plan_source: claims", .claims, .claims),
        (", plan_source: directory", .directory, .refuse),
        (", plan_source: directory_first", .directoryFirst, .refuse),
        (", unknown_organizations: refuse", .claims, .refuse),
        (", plan_source: directory, unknown_organizations: claims", .directory, .claims),
        (", plan_source: directory_first, unknown_organizations: claims", .directoryFirst, .claims),
    ])
    func unknownOrganizationsAreRefusedUnlessThePlanIsOfTheClaims(
        text: String, source: PlanSource, unknown: UnknownOrganizations
    ) throws {
        let issuer = try load(
            Self.directory, "issuers: {i: {issuer: x, keys: [\(Self.key)]\(text)}}"
        ).issuers[0]
        #expect(issuer.planSource == source && issuer.unknownOrganizations == unknown)
    }

    @Test func otherWordsForThemAreRefused() throws {
        let issuer = "issuers: {i: {issuer: x, keys: [\(Self.key)], "
        for (text, fault) in [
            (
                "plan_source: token}}",
                #"8:88: plan_source "token" is unknown; known: claims, directory, directory_first"#
            ),
            (
                "unknown_organizations: yes}}",
                #"8:98: unknown_organizations "yes" is unknown; known: claims, refuse"#
            ),
        ] {
            let found = try PolicyDirectory().faults(
                smallPolicy(Self.directory + "\n" + issuer + text))
            #expect(found == ["p.yaml:" + fault])
        }
    }

    // MARK: limits

    @Test func anOverrideMayBeBoundedAboveTheLimit() throws {
        func most(_ limit: String) throws -> UInt64? {
            let plan = "{rate_limits: {l: {scope: user, window: 1s, \(limit)}}}"
            return try PolicyDirectory().load(Array(smallPolicy(plan: plan).utf8))
                .definition.plans[0].rateLimits[0].overrideMax
        }
        #expect(try most("limit: 5") == nil)
        #expect(try most("limit: 5, override_max: 5") == 5)
        #expect(try most("limit: 5, override_max: 50000") == 50_000)
    }

    @Test(arguments: [
        (
            "{rate_limits: {l: {scope: user, window: 1s, limit: 5, override_max: 4}}}",
            "6:76: override_max is between 5 and 9223372036854775807"
        ),
        (
            "{rate_limits: {l: {scope: user, window: 1s, limit: 5, override_max: 9223372036854775808}}}",
            "6:76: override_max is between 5 and 9223372036854775807"
        ),
        (
            "{rate_limits: {l: {scope: user, window: 1s, limit: 5, override_max: many}}}",
            #"6:76: override_max is a whole number written in digits, not "many""#
        ),
        (
            "{quotas: {q: {scope: user, period: day, limit: 5, override_max: 9}}}",
            #"6:58: unknown key "override_max" in quota q; known: scope, meter, limit, period, time_zone, soft, overage_max, rollover_max, member_min, member_max, credits, shadow"#
        ),
        (
            "{rate_limits: {credential_rate: {scope: user, window: 1s, limit: 5}}}",
            #"6:23: "credential_rate" is the name of API keys' own rate limits: choose another"#
        ),
        (
            "{quotas: {credential_rate: {scope: user, period: day, limit: 5}}}",
            #"6:18: "credential_rate" is the name of API keys' own rate limits: choose another"#
        ),
        (
            "{}\naddress_limits: {credential_rate: {window: 1s, limit: 5}}",
            #"7:18: "credential_rate" is the name of API keys' own rate limits: choose another"#
        ),
        (
            "{}\naddress_limits: {a: {window: 1s, limit: 5, override_max: 9}}",
            #"7:44: unknown key "override_max" in limit a; known: meter, limit, window, mode, sub_buckets, classes, shadow"#
        ),
    ])
    func aLimitThatOverridesCannotHaveIsRefused(plan: String, fault: String) throws {
        #expect(try PolicyDirectory().faults(smallPolicy(plan: plan)) == ["p.yaml:" + fault])
    }
}
