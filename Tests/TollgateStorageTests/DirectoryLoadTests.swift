import Foundation
import Testing
import TollgateCore

@testable import TollgateStorage

@Suite struct DirectoryLoadTests {
    /// 100,000 users of 1,000 organizations with a key each; TOLLGATE_LOAD_COUNT for another count.
    @Test func everyUserAndKeyIsLoadedOnce() throws {
        let wanted =
            ProcessInfo.processInfo.environment["TOLLGATE_LOAD_COUNT"].flatMap { Int($0) }
            ?? 100_000
        let folder = TestFolder()
        var random = SeededRandom.printed("load")
        try Self.fill(folder, wanted, &random)
        let clock = ContinuousClock()
        var store: DirectoryStore?
        let opened = try clock.measure { store = try folder.store() }
        let loaded = try #require(store)
        var organizations = 0
        var users = 0
        var keys = Set<APIKeyID>(minimumCapacity: wanted)
        let took = try clock.measure {
            try loaded.load { record in
                switch record {
                case .organization: organizations += 1
                case .user: users += 1
                case .key(let key, _): keys.insert(key.id)
                default: break
                }
            }
        }
        print("\(wanted) users and keys: opened in \(opened), loaded in \(took)")
        #expect(organizations == (wanted + 99) / 100)
        #expect(users == wanted && keys.count == wanted)
    }

    /// An image is made of what decisions need, and of nothing else.
    @Test func tenantsComeBeforeWhatIsTheirs() throws {
        let folder = TestFolder()
        let store = try folder.store()
        var random = SeededRandom(seed: 8)
        let pepper = try Sample.pepper()
        var expected: [DirectoryRecord] = []
        // "a" and "a b" begin alike, and a user of one has the name of the other.
        for (name, isPersonal) in [("a", true), ("a b", false), ("b", true)] {
            let tenant = store.acting(for: try OrganizationID(name))
            let record = try store.createOrganization(
                tenant.organization, name: name, personal: isPersonal, by: Sample.change())
            let plan =
                name == "b"
                ? nil
                : try tenant.subscribe(
                    to: PlanName("pro_tier"), status: .active, anchor: Sample.time(0), zone: "UTC",
                    by: Sample.change())
            let own = try ["rpm", "tokens"].map {
                try tenant.setOverride(
                    LimitName($0), user: nil, units: 5, expires: nil, by: Sample.change())
            }
            expected.append(.organization(record, plan, own))
            for text in ["a", "a b", "c"] {
                let user = try tenant.createUser(
                    UserID(text), name: text, role: text == "c" ? nil : .admin,
                    by: Sample.change())
                let held = try tenant.setOverride(
                    LimitName("rpm"), user: user.id, units: 7, expires: Sample.time(9),
                    by: Sample.change())
                expected.append(.user(user, isPersonal: isPersonal, [held]))
                let keys = try (0..<2).map { _ in
                    let made = try Sample.key(&random, pepper: pepper)
                    return try tenant.createKey(
                        made.id, user: user.id, environment: "live", digest: made.digest,
                        scope: KeyScope(name: "k"), creator: "root", by: Sample.change())
                }.sorted { $0.id.description < $1.id.description }
                expected += keys.map { .key($0, isPersonal: isPersonal) }
            }
        }
        let revoked = try store.acting(for: OrganizationID("x")).revokeAll(
            tokensExpire: Sample.time(9), personal: true, by: Sample.change())
        #expect(!revoked.isKnown && revoked.record.isPersonal)
        expected.append(.revocation(revoked.record))
        expected.append(
            .signingKey(try store.addSigningKey(SigningKeyID("k"), by: Sample.change())))
        var found: [DirectoryRecord] = []
        try store.load { found.append($0) }
        #expect(found == expected)
    }

    @Test(arguments: [
        "INSERT INTO users VALUES('ghost', 'u', 'U', 'active', NULL, 0)",
        "INSERT INTO overrides VALUES('acme', 'ghost', 'rpm', 1, NULL, 0)",
        "INSERT INTO subscriptions VALUES('z', 'p', 'active', 0, 'UTC', 0, NULL, NULL, NULL)",
        "UPDATE api_keys SET user = 'ghost'",
    ])
    func aRowThatBelongsToNobodyIsDamage(_ sql: String) throws {
        let bench = try DirectoryStoreTests.Bench()
        _ = try bench.key()
        try bench.store.load { _ in }
        try bench.store.database.execute("PRAGMA foreign_keys=0")
        try bench.store.database.execute(sql)
        let failed = try #require(fault { try bench.store.load { _ in } })
        #expect(failed.kind == .damaged && failed.exitCode == 74)
        if sql.contains("'ghost', 'rpm'") { return }
        #expect(fault { try bench.store.checkAll() }?.kind == .damaged)
    }

    /// An index that lacks a row hides a key from whoever lists it; a start may not see that.
    @Test func allIsCheckedOnDemand() throws {
        let bench = try DirectoryStoreTests.Bench()
        _ = try bench.key()
        try bench.store.checkAll()
        let definition = try bench.store.database.text(
            "SELECT sql FROM sqlite_schema WHERE name = 'api_keys_organization'")
        try bench.store.database.execute(
            """
            PRAGMA writable_schema=1;
            UPDATE sqlite_schema SET sql = 'CREATE INDEX api_keys_organization ON
              api_keys(organization, id) WHERE name = ''none'''
              WHERE name = 'api_keys_organization';
            PRAGMA writable_schema=RESET;
            REINDEX api_keys_organization;
            PRAGMA writable_schema=1;
            UPDATE sqlite_schema SET sql = '\(try #require(definition))'
              WHERE name = 'api_keys_organization';
            PRAGMA writable_schema=RESET;
            """)
        let found = try #require(fault { try bench.store.checkAll() })
        #expect(found.kind == .damaged && found.words.contains("do not fit together"))
    }

    private static func fill(
        _ folder: TestFolder, _ wanted: Int, _ random: inout SeededRandom
    ) throws {
        let store = try folder.store()
        try store.database.execute("PRAGMA synchronous=OFF")
        let digest = try Sample.key(&random, pepper: Sample.pepper()).digest
        var source = random
        for start in stride(from: 0, to: wanted, by: 10_000) {
            try store.database.execute("BEGIN")
            for number in start..<min(start + 10_000, wanted) {
                try add(store, number, digest, &source)
            }
            try store.database.execute("COMMIT")
        }
    }

    private static func add(
        _ store: DirectoryStore, _ number: Int, _ digest: KeptDigest,
        _ random: inout SeededRandom
    ) throws {
        let tenant = store.acting(for: try OrganizationID("organization-\(number / 100)"))
        if number % 100 == 0 {
            _ = try store.createOrganization(tenant.organization, name: "O", by: Sample.change())
        }
        let user = try UserID("user-\(number)")
        _ = try tenant.createUser(user, name: "U", role: .member, by: Sample.change())
        let id = try APIKey.make(environment: "live", random: random.source()).id
        _ = try tenant.createKey(
            id, user: user, environment: "live", digest: digest, scope: KeyScope(name: "k"),
            creator: "root", by: Sample.change())
    }
}
