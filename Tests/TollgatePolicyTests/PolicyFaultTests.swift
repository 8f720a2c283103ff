import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// What a policy with faults is answered with: exactly `file:line:column: what is wrong`, every
/// fault in the order of the file.
@Suite struct PolicyFaultTests {
    /// A line that follows the small policy, and all that is said of it.
    static let settings: [(String, [String])] = [
        // keys
        ("metres: [x]", [#"7:1: unknown key "metres" in the policy (did you mean "meters"?)"#]),
        (
            "DAEMON: {}",
            [
                #"7:1: unknown key "DAEMON" in the policy; known: version, daemon, directory, time_zone, meters, plans, operations, address_limits, invalid_credentials, issuers, tokens, reveal_credential_failures, …"#
            ]
        ),
        ("<<: {time_zone: UTC}", [#"7:1: unknown key "<<" in the policy"#]),
        ("version: 1", [#"7:1: "version" stands twice"#]),
        ("\"version\": 1", [#"7:1: "version" stands twice"#]),
        ("[a]: 1", ["7:1: a key is a word, not a list"]),
        (
            "daemon: {thread: 1}",
            [#"7:10: unknown key "thread" in daemon (did you mean "threads"?)"#]
        ),
        ("daemon: [threads]", ["7:9: daemon is a mapping (name: value), not a list"]),
        ("daemon: on", [#"7:9: daemon is a mapping (name: value), not "on""#]),
        // whole numbers
        (
            "daemon: {threads: many}",
            [#"7:19: threads is a whole number written in digits, not "many""#]
        ),
        ("daemon: {threads: 0}", ["7:19: threads is between 1 and 64"]),
        (
            "daemon: {threads: 1_0}",
            [#"7:19: threads is a whole number written in digits, not "1_0" (did you mean 10?)"#]
        ),
        ("daemon: {connections_max: 1,000}", [#"7:29: unknown key "000" in daemon"#]),
        (
            "daemon: {connections_max: \"100\"}",
            [
                #"7:27: connections_max is a whole number written in digits, not "100" (did you mean 100?)"#
            ]
        ),
        (
            "daemon: {threads: 04}",
            [#"7:19: threads is a whole number without leading zeros, not "04""#]
        ),
        (
            "daemon: {threads: 0o4}",
            [#"7:19: threads is a whole number written in digits, not "0o4""#]
        ),
        (
            "daemon: {threads: 0x4}",
            [#"7:19: threads is a whole number written in digits, not "0x4""#]
        ),
        (
            "daemon: {threads: 4.0}",
            [#"7:19: threads is a whole number written in digits, not "4.0""#]
        ),
        (
            "daemon: {threads: 1e1}",
            [#"7:19: threads is a whole number written in digits, not "1e1""#]
        ),
        (
            "daemon: {threads: +4}",
            [#"7:19: threads is a whole number written in digits, not "+4""#]
        ),
        (
            "daemon: {threads: -4}",
            [#"7:19: threads is a whole number written in digits, not "-4""#]
        ),
        ("daemon: {threads: }", ["7:19: threads is a whole number written in digits, not nothing"]),
        (
            "daemon: {threads: [4]}",
            ["7:19: threads is a whole number written in digits, not a list"]
        ),
        ("daemon: {threads: 99999999999999999999999}", ["7:19: threads is between 1 and 64"]),
        (
            "daemon: {frame_bytes_max: 64KiB}",
            [#"7:27: frame_bytes_max is a whole number written in digits, not "64KiB""#]
        ),
        ("daemon: {frame_bytes_max: 65537}", ["7:27: frame_bytes_max is between 1024 and 65536"]),
        ("credential_bytes_max: 63", ["7:23: credential_bytes_max is between 64 and 8192"]),
        // truth values
        (
            "reveal_credential_failures: yes",
            [#"7:29: reveal_credential_failures is true or false, not "yes""#]
        ),
        (
            "reveal_credential_failures: True",
            [#"7:29: reveal_credential_failures is true or false, not "True""#]
        ),
        (
            "reveal_credential_failures: \"true\"",
            [#"7:29: reveal_credential_failures is true or false, not "true""#]
        ),
        (
            "reveal_credential_failures: 1",
            [#"7:29: reveal_credential_failures is true or false, not "1""#]
        ),
        // texts
        ("time_zone: no", [#"7:12: time_zone is a text: write "no" in quotes if it is meant"#]),
        ("time_zone: ~", ["7:12: time_zone is a text, not nothing"]),
        ("time_zone: ''", [#"7:12: time_zone is a text, not """#]),
        ("time_zone: {a: b}", ["7:12: time_zone is a text, not a mapping"]),
        (
            "daemon: {log_level: loud}",
            [#"7:21: log_level "loud" is unknown; known: error, warning, info, debug"#]
        ),
        (
            "daemon: {log_level: inof}",
            [#"7:21: log_level "inof" is unknown (did you mean "info"?)"#]
        ),
        ("daemon: {log_format: off}", [#"7:22: log_format "off" is unknown; known: text, json"#]),
        // modes and paths
        (
            "daemon: {data_socket: {mode: 660}}",
            [#"7:30: mode is four octal digits without execute bits, such as "0660", not "660""#]
        ),
        (
            "daemon: {data_socket: {mode: \"0770\"}}",
            [#"7:30: mode is four octal digits without execute bits, such as "0660", not "0770""#]
        ),
        (
            "daemon: {data_socket: {mode: \"0889\"}}",
            [#"7:30: mode is four octal digits without execute bits, such as "0660", not "0889""#]
        ),
        (
            "daemon: {data_socket: {path: run/t.sock}}",
            ["7:30: path begins with / and has at most 107 bytes"]
        ),
        (
            "daemon: {data_socket: {path: /t, group: on}, admin_socket: {path: /t}}",
            [
                #"7:41: group is a text: write "on" in quotes if it is meant"#,
                "7:60: data_socket and admin_socket have the same path",
            ]
        ),
        // durations
        (
            "invalid_credentials: {limit: 5, window: 5}",
            [
                #"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "5" (did you mean 5s?)"#
            ]
        ),
        (
            "invalid_credentials: {limit: 5, window: 5M}",
            [
                #"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "5M" (did you mean 5m?)"#
            ]
        ),
        (
            "invalid_credentials: {limit: 5, window: 5min}",
            [#"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "5min""#]
        ),
        (
            "invalid_credentials: {limit: 5, window: 1.5s}",
            [#"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "1.5s""#]
        ),
        (
            "invalid_credentials: {limit: 5, window: -5s}",
            [#"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "-5s""#]
        ),
        (
            "invalid_credentials: {limit: 5, window: 5 s}",
            [#"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "5 s""#]
        ),
        (
            "invalid_credentials: {limit: 5, window: s}",
            [#"7:41: window is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "s""#]
        ),
        ("invalid_credentials: {limit: 5, window: 0s}", ["7:41: window is at least 1ms"]),
        (
            "invalid_credentials: {limit: 5, window: 32d}",
            ["7:41: a window lasts 1ms to 31d; for longer periods use a quota"]
        ),
        (
            "invalid_credentials: {limit: 5, window: 99999999999999999d}",
            ["7:41: window is out of range"]
        ),
        (
            "invalid_credentials: {limit: 5, window: 9999999999999999999999d}",
            ["7:41: window is out of range"]
        ),
        (
            "invalid_credentials: {limit: 0}",
            [
                #"7:22: "window" is missing"#, "7:30: limit is between 1 and 1000000000",
            ]
        ),
        // limits
        ("address_limits: {a: {limit: 5}}", [#"7:18: "window" is missing"#]),
        (
            "address_limits: {a b: {limit: 5, window: 1s}}",
            ["7:18: a name of limits is 1 to 128 bytes without spaces or controls"]
        ),
        (
            "address_limits: {a: {scope: user, limit: 5, window: 1s}}",
            [
                #"7:22: unknown key "scope" in limit a; known: meter, limit, window, mode, sub_buckets, classes, shadow"#
            ]
        ),
        (
            "address_limits: {a: {limit: 5, window: 1s, sub_buckets: 121}}",
            ["7:57: sub_buckets is between 1 and 120"]
        ),
        (
            "address_limits: {a: {limit: 5, window: 1s, mode: strickt}}",
            [#"7:50: mode "strickt" is unknown (did you mean "strict"?)"#]
        ),
        (
            "address_limits: {a: {limit: 5, window: 1s, classes: []}}",
            ["7:53: classes is an empty list: leave it out to count all operations"]
        ),
        (
            "address_limits: {invalid_credentials: {limit: 5, window: 1s}}\ninvalid_credentials: {limit: 5, window: 1s}",
            [#"7:18: address limits: "invalid_credentials" is the name of another limit"#]
        ),
        // structure
        (
            "a: &x 1",
            [
                #"7:1: unknown key "a" in the policy"#,
                "7:4: anchors and tags are not used in policies",
            ]
        ),
        (
            "a: !!int 1",
            [
                #"7:1: unknown key "a" in the policy"#,
                "7:4: anchors and tags are not used in policies",
            ]
        ),
        ("time_zone: *x", ["7:12: aliases are not used in policies"]),
        ("---\nversion: 1", ["7:1: a second document: a policy is one"]),
        ("...\n...\n", []),
        (
            "\ttime_zone: UTC",
            ["7:1: found character that cannot start any token: indent with spaces, not tabs"]
        ),
        (
            "daemon:\n\tthreads: 1",
            ["8:1: found character that cannot start any token: indent with spaces, not tabs"]
        ),
        ("a: [", ["8:1: did not find expected node content"]),
        ("a: b: c", ["7:5: mapping values are not allowed in this context"]),
        (" a: b", ["7:2: did not find expected key"]),
    ]

    @Test(arguments: settings)
    func aFaultIsNamedExactlyWithItsPlace(extra: String, faults: [String]) throws {
        let directory = try PolicyDirectory()
        // Where only the beginning is written here, what is known follows.
        let found = directory.faults(smallPolicy(extra))
        let expected = faults.map { "p.yaml:" + $0 }
        #expect(found.count == expected.count, "\(found)")
        for (a, b) in zip(found, expected) {
            #expect(a == b || (a.hasPrefix(b + "; known: ")), "\(a) instead of \(b)")
        }
    }

    @Test func manyFaultsAreNamedAtOnceInTheOrderOfTheFile() throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(
            """
            version: 2
            metres: [calls]
            time_zone: Nowhere
            plans:
              pro: {permissions: 5, permissions: 6}
              no: {}
              team:
                quotas: {a: {limit: x, scope: us, period: dya}}
                rate_limits: {b: {limit: 1, limit: 2, scope: user, window: 1}}
            operations: {chat: {routes: [a], charges: {tokens: {}}}}
            issuers: {i: {isuer: x, keys: []}}
            """)
        let places = found.map { $0.split(separator: ":")[1...2].joined(separator: ":") }
        #expect(
            places == [
                "1:10", "2:1", "3:12", "5:22", "5:25", "6:3", "8:25", "8:35", "8:47", "9:33",
                "9:64",
                "10:30", "10:44", "11:11", "11:15",
            ], "\(found)")
    }

    @Test func faultsBeyondTheCeilingAreNotListed() throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(
            smallPolicy((0..<500).map { "key\($0): 1" }.joined(separator: "\n")))
        #expect(faults.count == PolicyErrors.errorsMax)
    }

    /// Found by fuzzing: what a file says is shown on one line, without control characters, and cut
    /// where it is long, so that it cannot forge lines of a log or fill it.
    @Test func textsOfTheFileCannotBreakTheLine() throws {
        let directory = try PolicyDirectory()
        let route = #"operations: {a: {routes: ["GET /a\tb\n2026 ERROR\u001b[0m c"]}}"#
        let text = "version: 1\nplans: {}\n"
        #expect(
            directory.faults(text + route) == [
                "p.yaml:3:27: a route is a method, a space and a path: POST /v1/files/{id}"
            ])
        let plan = #"issuers: {"x\ny": {issuer: i, default_plan: "a\r\nb\u0085", keys: [{}]}}"#
        for fault in directory.faults(text + plan)
            + directory.faults(
                text + "meters: [\"" + String(repeating: "\\n", count: 5_000) + "\"]\n"
                    + "operations: {a: {routes: [\"GET /" + String(repeating: "\\t", count: 5_000)
                    + "\"]}}")
        {
            #expect(fault.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x85 })
            #expect(fault.unicodeScalars.count < 700, "\(fault)")
        }
        let cut = directory.faults(
            text + "operations: {a: {routes: [\"GET /a\\tb\"]}}")
        #expect(cut.count == 1 && cut[0].contains("route \"GET /a\u{fffd}b\""), "\(cut)")
    }
}
