import Testing
import TollgateCore

@testable import TollgateStorage

/// Secrets of keys under newer peppers, and how many there are under which.
@Suite struct KeySecretTests {
    @Test func aSecretMovesToANewerPepperUnlessItWasChanged() throws {
        let bench = try DirectoryStoreTests.Bench()
        let key = try bench.key()
        let newer = KeptDigest(digest: try bench.digest().digest, pepper: 4)
        let log = try bench.store.adminLog().items.count
        // Of another secret, of an older generation, of the same one, of another tenant.
        let other = try bench.digest().digest
        let stranger = bench.store.acting(for: try OrganizationID("other"))
        for (tenant, from, to) in [
            (bench.tenant, other, newer),
            (bench.tenant, key.current.digest, KeptDigest(digest: newer.digest, pepper: 2)),
            (bench.tenant, key.current.digest, KeptDigest(digest: newer.digest, pepper: 3)),
            (stranger, key.current.digest, newer),
        ] {
            #expect(try !tenant.rehashKey(key.id, from: from, to: to))
            #expect(try bench.tenant.key(key.id) == key)
        }
        #expect(try bench.tenant.rehashKey(key.id, from: key.current.digest, to: newer))
        var expected = key
        expected.current = newer
        #expect(try bench.tenant.key(key.id) == expected)
        #expect(try !bench.tenant.rehashKey(key.id, from: key.current.digest, to: newer))
        #expect(try bench.store.adminLog().items.count == log)
    }

    @Test func keysAreCountedUnderEveryPepperThatTheyNeed() throws {
        let bench = try DirectoryStoreTests.Bench()
        #expect(try bench.store.counts(at: Sample.time(0)).peppers.isEmpty)
        let keys = try (0..<4).map { _ in try bench.key() }
        // One rotated within the generation, one to the next; one revoked.
        for (key, pepper) in zip(keys, [3, 4] as [UInt32]) {
            _ = try bench.tenant.rotateKey(
                key.id, to: KeptDigest(digest: bench.digest().digest, pepper: pepper),
                overlapMilliseconds: 1_000, by: Sample.change(1))
        }
        _ = try bench.tenant.revokeKey(keys[3].id, by: Sample.change(1))
        let during = try bench.store.counts(at: Sample.time(1_000))
        #expect(during.peppers.elementsEqual([(3, 3), (4, 1)], by: ==))
        let after = try bench.store.counts(at: Sample.time(1_001))
        #expect(after.peppers.elementsEqual([(3, 2), (4, 1)], by: ==))
        #expect(after.keys == 4 && after.users == 1 && after.organizations == 1)
        #expect(after.sessions == 0 && after.revocations == 0)
        _ = try bench.store.acting(for: OrganizationID("x")).revokeAll(
            tokensExpire: Sample.time(9), by: Sample.change())
        let token = try RefreshToken.make(random: bench.random.source())
        func logIn() throws {
            _ = try bench.tenant.logIn(
                bench.user, session: Sample.session(&bench.random), token: token.hash,
                expires: Sample.time(99), idleMilliseconds: 9, by: Sample.change())
        }
        try logIn()
        #expect(throws: DirectoryError.exists) { try logIn() }
        let all = try bench.store.counts(at: Sample.time(0))
        #expect(all.sessions == 1 && all.revocations == 1)
    }

    @Test func whoIsRevokedLosesItsKeysTooAndKeepsTheInstantsOfThoseBefore() throws {
        let bench = try DirectoryStoreTests.Bench()
        let eve = try bench.tenant.createUser(
            UserID("eve"), name: "eve", role: .member, by: Sample.change())
        let keys = [try bench.key(), try bench.key(), try bench.key(of: eve.id)]
        _ = try bench.tenant.revokeKey(keys[0].id, by: Sample.change(1))
        func revoked() throws -> [WallTime?] {
            try keys.map { try bench.tenant.key($0.id).revoked }
        }
        _ = try bench.tenant.revokeUser(
            bench.user, tokensExpire: Sample.time(9), by: Sample.change(2))
        #expect(try revoked() == [Sample.time(1), Sample.time(2), nil])
        _ = try bench.tenant.revokeAll(tokensExpire: Sample.time(9), by: Sample.change(3))
        #expect(try revoked() == [Sample.time(1), Sample.time(2), Sample.time(3)])
    }

    /// Of two tenants of one name the directory knows one at most: what is asked of the other is
    /// not done to it.
    @Test func whoIsAskedForIsRevokedAndNotANamesake() throws {
        let bench = try DirectoryStoreTests.Bench()
        let key = try bench.key()
        let lone = try bench.tenant.revokeUser(
            bench.user, tokensExpire: Sample.time(9), personal: true, by: Sample.change(1))
        #expect(lone.record.isPersonal && !lone.isKnown)
        let all = try bench.tenant.revokeAll(
            tokensExpire: Sample.time(9), personal: true, by: Sample.change(1))
        #expect(all.record.isPersonal && !all.isKnown)
        let token = try bench.tenant.revokeToken(
            jti: "j", expires: Sample.time(9), personal: true, by: Sample.change(1))
        #expect(token.record.isPersonal && !token.isKnown)
        #expect(try bench.tenant.key(key.id).revoked == nil)
        let said = try bench.tenant.revokeUser(
            bench.user, tokensExpire: Sample.time(9), personal: false, by: Sample.change(2))
        #expect(!said.record.isPersonal && said.isKnown)
        #expect(try bench.tenant.key(key.id).revoked == Sample.time(2))
    }

    /// The texts of the log are the same: no digest stands there.
    @Test func aRotationIsLoggedThoughNoOldSecretGoesOn() throws {
        let bench = try DirectoryStoreTests.Bench()
        let key = try bench.key()
        _ = try bench.tenant.rotateKey(
            key.id, to: bench.digest(), overlapMilliseconds: 0, by: Sample.change(1))
        #expect(try bench.tenant.adminLog().items.first?.action == "key.rotate")
    }

    @Test func idsAreToldApartByTheirBytes() throws {
        let bench = try DirectoryStoreTests.Bench()
        // "é" as one scalar and as two, which Swift's strings hold to be equal.
        let spellings = try ["\u{e9}", "e\u{301}"].map { try OrganizationID($0) }
        #expect(spellings[0].text == spellings[1].text)
        #expect(spellings[0] != spellings[1] && Set(spellings).count == 2)
        for id in spellings {
            _ = try bench.store.createOrganization(id, name: "n", by: Sample.change())
        }
        #expect(try bench.store.organizations().items.count == 3)
    }
}
