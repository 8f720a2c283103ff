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
                case .key(let key): keys.insert(key.id)
                default: break
                }
            }
        }
        print("\(wanted) users and keys: opened in \(opened), loaded in \(took)")
        #expect(organizations == (wanted + 99) / 100)
        #expect(users == wanted && keys.count == wanted)
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
