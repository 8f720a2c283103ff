import Testing
import TollgateCore

@testable import TollgatePolicy

@Suite struct PolicySinkTests {
    private func loaded(_ alerts: String) throws -> LoadedPolicy {
        try PolicyDirectory().load(
            Array(
                smallPolicy(
                    "audit: {path: /b}\nalerts: {path: /a, \(alerts)}",
                    plan: "{quotas: {monthly: {scope: organization, limit: 5, period: month}}}"
                ).utf8))
    }

    @Test func sinksAreReadWithTheirDefaults() throws {
        let sinks = try #require(
            try loaded(
                """
                spool_max: 50, source: eu-1, retry: {first: 100ms, longest: 2s}, sinks: {
                  ops: {kind: webhook, url: "https://h.example/x?y=1", secret_file: /k,
                    timeout: 2s},
                  chat: {kind: slack, url_file: /u, severity_min: critical},
                  page: {kind: command, command: [/bin/page, --now]}, lines: {kind: log}}
                """
            ).alerts?.sinks)
        #expect(sinks.spoolMax == 50 && sinks.source == "eu-1")
        #expect(sinks.firstMilliseconds == 100 && sinks.longestMilliseconds == 2_000)
        #expect(sinks.sinks.map(\.name) == ["ops", "chat", "page", "lines"])
        let ways: [AlertSink.Way] = [
            .webhook(.init(url: "https://h.example/x?y=1", secretFile: "/k")),
            .webhook(.init(urlFile: "/u", isSlack: true)), .command(["/bin/page", "--now"]), .log,
        ]
        #expect(sinks.sinks.map(\.way) == ways)
        #expect(sinks.sinks.map(\.severityMin) == [.info, .critical, .info, .info])
        #expect(sinks.sinks.map(\.timeoutMilliseconds) == [2_000, 10_000, 10_000, 10_000])
        #expect(try loaded("rules: {}").alerts?.sinks == AlertSinks())
    }

    @Test(arguments: [
        ("sinks: {a: {}}", #""kind" is missing"#),
        ("sinks: {a: {kind: mail}}", #"kind "mail" is unknown"#),
        ("sinks: {A: {kind: log}}", "a sink's name is 1 to 32 small letters"),
        ("sinks: {a: {kind: log, url: x}}", "a sink of kind log has no url"),
        ("sinks: {a: {kind: webhook}}", "give url, or url_file"),
        (#"sinks: {a: {kind: webhook, url: "https://a", url_file: /b}}"#, "give url, or url_file"),
        ("sinks: {a: {kind: webhook, url: ftp://a}}", "url begins with https://"),
        (#"sinks: {a: {kind: webhook, url: "https://u:p@a/"}}"#, "without a name or password"),
        (#"sinks: {a: {kind: webhook, url: "https://a/ b"}}"#, "url begins with https://"),
        (#"sinks: {a: {kind: webhook, url: "https://"}}"#, "url begins with https://"),
        ("sinks: {a: {kind: slack}}", "url_file is missing"),
        ("sinks: {a: {kind: command}}", #""command" is missing"#),
        ("sinks: {a: {kind: command, command: []}}", "command is an empty list"),
        ("sinks: {a: {kind: command, command: [page]}}", "the whole path of a program"),
        ("sinks: {a: {kind: log, timeout: 2m}}", "timeout is 100ms to 60s"),
        ("sinks: {a: {kind: log, severity_min: dire}}", #"severity_min "dire" is unknown"#),
        ("spool_max: 9", "spool_max"),
        ("source: a b", "source is 1 to 128 printable"),
        ("retry: {first: 2s, longest: 1s}", "longest is not less than first"),
        ("retry: {last: 2s}", "unknown key"),
    ])
    func aSinkThatCannotBeIsRefused(_ alerts: String, _ words: String) throws {
        let error = #expect(throws: PolicyErrors.self) { _ = try loaded(alerts) }
        #expect(error.map { "\($0)".contains(words) } == true, "\(String(describing: error))")
    }
}
