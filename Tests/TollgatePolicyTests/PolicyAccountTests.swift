import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// The settings of accounts: the directory, roles, and the tokens that the daemon issues.
@Suite struct PolicyAccountTests {
    private static let directory = "directory: {path: /d, peppers: [{generation: 1, file: k}]}"

    private func load(_ lines: String...) throws -> LoadedPolicy {
        let text = smallPolicy(lines.joined(separator: "\n"))
        return try PolicyDirectory().load(Array(text.utf8))
    }

    @Test func withoutADirectoryThereIsNone() throws {
        let loaded = try load()
        #expect(loaded.directory == nil && loaded.definition.tokens == nil)
        #expect(loaded.daemon.roles == RoleSettings() && loaded.daemon.roles.check == nil)
        #expect(try loaded.peppers(credentials: nil).isEmpty)
    }

    @Test func aDirectoryArrivesAsItIsWrittenAndItsNewestPepperLast() throws {
        let settings = try #require(
            try load(
                """
                directory:
                  path: /var/lib/tollgate
                  signing_keys: keys/signing
                  peppers:
                    - {generation: 4294967295, credential: new.pepper}
                    - {generation: 1, file: keys/pepper.key}
                    - {generation: 7, file: /etc/pepper}
                """
            ).directory)
        #expect(settings.path == "/var/lib/tollgate")
        #expect(settings.signingKeysPath == "/var/lib/tollgate/keys/signing")
        #expect(settings.peppers.map(\.generation) == [1, 7, 4_294_967_295])
        #expect(
            settings.peppers.map(\.source) == [
                .file("keys/pepper.key"), .file("/etc/pepper"), .credential("new.pepper"),
            ])
        #expect(settings.peppers.map(\.line) == [12, 13, 11])
    }

    @Test func signingKeysStandInTheDirectoryUnlessSaidOtherwise() throws {
        #expect(try load(Self.directory).directory?.signingKeysPath == "/d/signing")
        let elsewhere = Self.directory.replacing("{path", with: "{signing_keys: /s/k, path")
        #expect(try load(elsewhere).directory?.signingKeysPath == "/s/k")
        let named = Self.directory.replacing("{path", with: "{signing_keys: ..., path")
        #expect(try load(named).directory?.signingKeysPath == "/d/...")
    }

    /// What is compared to say that a restart is needed.
    @Test func aDirectoryThatMovedInTheFileIsTheSame() throws {
        let here = try #require(try load(Self.directory).directory)
        #expect(try load("", "", Self.directory).directory == here)
        for (old, new) in [
            ("path: /d", "path: /e"), ("generation: 1", "generation: 2"), ("file: k", "file: j"),
            ("file: k", "credential: k"), ("{path", "{signing_keys: s, path"),
        ] {
            #expect(try load(Self.directory.replacing(old, with: new)).directory != here, "\(new)")
        }
    }

    static let longest = "/" + String(repeating: "d/", count: 199) + "d"
    static let unfit = #"without "." or "..", in at most 400 bytes"#
    static let path = "path begins with / and names a directory, " + unfit
    static let folder = "signing_keys names a directory, from / or from path, " + unfit

    static let tooMany = (1...65).map { "{generation: \($0), file: k\($0)}" }.joined(
        separator: ", ")

    static let directoryFaults: [(String, [String])] = [
        ("{}", [#"7:12: "path" is missing"#]),
        ("on", [#"7:12: directory is a mapping (name: value), not "on""#]),
        (
            "{path: /d, pepers: []}",
            [
                #"7:12: "peppers" is missing"#,
                #"7:23: unknown key "pepers" in directory (did you mean "peppers"?)"#,
            ]
        ),
        ("{path: ~, peppers: [{generation: 1, file: k}]}", ["7:19: path is a text, not nothing"]),
        ("{path: d, peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: /, peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: /d/../e, peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: /d/., peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: \"/d\\0e\", peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: \"/d\\n\", peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        ("{path: \(longest)d, peppers: [{generation: 1, file: k}]}", ["7:19: \(path)"]),
        (
            "{path: /\(String(repeating: "d", count: 256)), peppers: [{generation: 1, file: k}]}",
            ["7:19: \(path)"]
        ),
        (
            "{path: /d, signing_keys: ../s, peppers: [{generation: 1, file: k}]}",
            ["7:37: \(folder)"]
        ),
        ("{path: /d, signing_keys: /, peppers: [{generation: 1, file: k}]}", ["7:37: \(folder)"]),
        (
            "{path: /d, signing_keys: [s], peppers: [{generation: 1, file: k}]}",
            ["7:37: signing_keys is a text, not a list"]
        ),
        (
            "{path: /d, peppers: []}",
            ["7:32: peppers is an empty list: a directory has at least one"]
        ),
        ("{path: /d, peppers: {file: k}}", ["7:32: peppers is a list, not a mapping"]),
        (
            "{path: /d, peppers: [\(tooMany)]}",
            ["7:32: peppers are at most 64"]
        ),
        ("{path: /d, peppers: [k]}", [#"7:33: a pepper is a mapping (name: value), not "k""#]),
        ("{path: /d, peppers: [{file: k}]}", [#"7:33: "generation" is missing"#]),
        ("{path: /d, peppers: [{generation: 1}]}", ["7:33: a pepper has file or credential"]),
        (
            "{path: /d, peppers: [{generation: 0, file: k}]}",
            ["7:46: generation is between 1 and 4294967295"]
        ),
        (
            "{path: /d, peppers: [{generation: 4294967296, file: k}]}",
            ["7:46: generation is between 1 and 4294967295"]
        ),
        (
            "{path: /d, peppers: [{generation: one, file: k}]}",
            [#"7:46: generation is a whole number written in digits, not "one""#]
        ),
        (
            "{path: /d, peppers: [{generation: 1, file: k}, {generation: 1, file: l}]}",
            ["7:72: two peppers have generation 1"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, file: k}, {generation: 2, file: k}]}",
            ["7:81: the pepper of generation 1 is that already: a new generation is a new secret"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, file: k, credential: c}]}",
            ["7:70: a pepper has file or credential, not both"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, file: ~}]}", ["7:55: file is a text, not nothing"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, credential: a/b}]}",
            ["7:61: credential is a name of the service manager's, not a path"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, credential: ..}]}",
            ["7:61: credential is a name of the service manager's, not a path"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, credential: \"a\\0\"}]}",
            ["7:61: credential is a name of the service manager's, not a path"]
        ),
        (
            "{path: /d, peppers: [{generation: 1, secret: q83v}]}",
            [
                "7:33: a pepper has file or credential",
                #"7:49: "secret": peppers stand in files, not in policies; use file"#,
            ]
        ),
    ]

    @Test(arguments: directoryFaults)
    func aFaultOfTheDirectoryIsNamedWithItsPlace(text: String, faults: [String]) throws {
        let found = try PolicyDirectory().faults(smallPolicy("directory: " + text))
        #expect(found == faults.map { "p.yaml:" + $0 })
    }

    @Test func theLongestPathLoads() throws {
        #expect(Self.longest.utf8.count == 400)
        let text = Self.directory.replacing("/d", with: Self.longest)
        #expect(try load(text).directory?.path == Self.longest)
    }

    // MARK: roles

    @Test func rolesArriveAsTheyAreWritten() throws {
        let roles = try load(
            """
            daemon:
              roles:
                check: {users: [www-data, 0, "33"], groups: [4294967294]}
                issue: {groups: ['DOMAIN\\web users']}
                admin: {users: [], groups: ["on"]}
                observe: {users: [prometheus]}
            """
        ).daemon.roles
        #expect(roles.check?.users == [.name("www-data"), .number(0), .name("33")])
        #expect(roles.check?.groups == [.number(4_294_967_294)])
        #expect(roles.issue.users.isEmpty && roles.issue.groups == [.name("DOMAIN\\web users")])
        #expect(roles.admin.users.isEmpty && roles.admin.groups == [.name("on")])
        #expect(roles.observe.users == [.name("prometheus")] && roles.observe.groups.isEmpty)
        let none = try load("daemon: {roles: {issue: {}, admin: }}").daemon.roles
        #expect(none == RoleSettings())
    }

    static let roleFaults: [(String, [String])] = [
        (
            "{chek: {}}", [#"7:18: unknown key "chek" in roles (did you mean "check"?)"#]
        ),
        ("[check]", ["7:17: roles is a mapping (name: value), not a list"]),
        ("{admin: ops}", [#"7:25: admin is a mapping (name: value), not "ops""#]),
        (
            "{admin: {user: [ops]}}",
            [#"7:26: unknown key "user" in admin (did you mean "users"?)"#]
        ),
        ("{admin: {users: ops}}", [#"7:33: users is a list, not "ops""#]),
        (
            "{check: {}}",
            ["7:25: check names nobody: leave it out for whoever may open the data socket"]
        ),
        (
            "{check: {users: [], groups: []}}",
            ["7:25: check names nobody: leave it out for whoever may open the data socket"]
        ),
        (
            "{issue: {users: [no]}}",
            [#"7:34: an element of users is a text: write "no" in quotes if it is meant"#]
        ),
        ("{issue: {users: [~]}}", ["7:34: an element of users is a text, not nothing"]),
        (
            "{issue: {users: [4294967295]}}",
            ["7:34: an element of users is between 0 and 4294967294"]
        ),
        (
            "{issue: {groups: [007]}}",
            [
                #"7:35: an element of groups is a whole number without leading zeros, not "007""#
            ]
        ),
        (
            "{issue: {groups: [\"a:b\"]}}",
            ["7:35: an element of groups is a name of at most 256 bytes, or a number"]
        ),
        (
            "{issue: {groups: [\"a\\n\"]}}",
            ["7:35: an element of groups is a name of at most 256 bytes, or a number"]
        ),
        (
            "{issue: {groups: [\(String(repeating: "a", count: 257))]}}",
            ["7:35: an element of groups is a name of at most 256 bytes, or a number"]
        ),
        ("{admin: {users: [a, 5, a]}}", [#"7:40: "a" stands twice"#]),
        ("{admin: {users: [5, 5]}}", [#"7:37: "5" stands twice"#]),
        (
            "{admin: {users: [\((0...256).map(String.init).joined(separator: ", "))]}}",
            ["7:33: users are at most 256"]
        ),
    ]

    @Test(arguments: roleFaults)
    func aFaultOfRolesIsNamedWithItsPlace(text: String, faults: [String]) throws {
        let found = try PolicyDirectory().faults(smallPolicy("daemon: {roles: \(text)}"))
        #expect(found == faults.map { "p.yaml:" + $0 })
    }

    @Test func whatIsKeptHowLongIsRead() throws {
        let directory = try PolicyDirectory()
        func settings(_ more: String) throws -> DirectorySettings {
            let text =
                "directory: {path: /d, peppers: [{generation: 1, file: k}]\(more)}"
            return try #require(directory.load(Array(smallPolicy(text).utf8)).directory)
        }
        let usual = try settings("")
        #expect(usual.logRetentionMilliseconds == 365 * 86_400_000)
        #expect(usual.spentRetentionMilliseconds == 30 * 86_400_000)
        #expect(usual.sessionsPerUserMax == 100)
        let other = try settings(
            ", log_retention: 7d, spent_retention: 24h, sessions_per_user_max: 2")
        #expect(other.logRetentionMilliseconds == 7 * 86_400_000)
        #expect(other.spentRetentionMilliseconds == 86_400_000)
        #expect(other.sessionsPerUserMax == 2 && other != usual)
    }

    @Test(arguments: [
        ("log_retention: 23h", "log_retention is 1d to 3650d"),
        ("spent_retention: 3651d", "spent_retention is 1d to 3650d"),
        ("sessions_per_user_max: 0", "sessions_per_user_max is between 1 and 1000"),
    ])
    func whatIsKeptHowLongHasItsBounds(setting: String, fault: String) throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(
            smallPolicy(
                "directory: {path: /d, peppers: [{generation: 1, file: k}], \(setting)}"))
        #expect(faults.count == 1 && faults.first?.contains(fault) == true, "\(faults)")
    }
}
