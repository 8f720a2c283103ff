import Foundation
import Testing
import TollgateCore

@testable import TollgateStorage

@Suite struct DirectoryStoreTests {
    /// A store with one organization and its user `ada`.
    final class Bench {
        let folder = TestFolder()
        let store: DirectoryStore
        let tenant: TenantDirectory
        let user: UserID
        let pepper: APIKeyPepper
        var random = SeededRandom(seed: 3)

        init() throws {
            store = try folder.store()
            tenant = store.acting(for: try Sample.organization())
            user = try UserID("ada")
            pepper = try Sample.pepper()
            _ = try store.createOrganization(
                tenant.organization, name: "Acme", by: Sample.change())
            _ = try tenant.createUser(user, name: "Ada", role: .owner, by: Sample.change())
        }

        func key(expires: WallTime? = nil, of user: UserID? = nil) throws -> APIKeyRecord {
            let made = try Sample.key(&random, pepper: pepper)
            return try tenant.createKey(
                made.id, user: user ?? self.user, environment: "live", digest: made.digest,
                scope: KeyScope(name: "k", expires: expires), creator: "root",
                by: Sample.change())
        }

        func digest() throws -> KeptDigest { try Sample.key(&random, pepper: pepper).digest }
    }

    @Test func aRotatedKeyKeepsItsIdentityAndTheOldSecretEndsExactlyThen() throws {
        let bench = try Bench()
        let key = try bench.key(expires: Sample.time(50_000))
        let second = try bench.digest()
        let rotated = try bench.tenant.rotateKey(
            key.id, to: second, overlapMilliseconds: 10_000, by: Sample.change(1_000))
        var expected = key
        expected.previous = key.current
        expected.previousUntil = Sample.time(11_000)
        expected.current = second
        #expect(rotated == expected)
        #expect(try bench.tenant.key(key.id) == expected)
        // Not beyond the key's own end.
        let third = try bench.tenant.rotateKey(
            key.id, to: bench.digest(), overlapMilliseconds: 60_000, by: Sample.change(2_000))
        #expect(third.previous == second && third.previousUntil == Sample.time(50_000))
        let fourth = try bench.tenant.rotateKey(
            key.id, to: bench.digest(), overlapMilliseconds: 0, by: Sample.change(3_000))
        #expect(fourth.previous == nil && fourth.previousUntil == nil)
        // Expired, or revoked, it is not rotated.
        #expect(
            refusal {
                _ = try bench.tenant.rotateKey(
                    key.id, to: second, overlapMilliseconds: 0, by: Sample.change(50_001))
            } == .conflict("the key has expired"))
        let revoked = try bench.tenant.revokeKey(key.id, by: Sample.change(4_000))
        #expect(revoked.revoked == Sample.time(4_000))
        #expect(
            try bench.tenant.revokeKey(key.id, by: Sample.change(5_000)).revoked
                == Sample.time(4_000))
        #expect(
            refusal {
                _ = try bench.tenant.rotateKey(
                    key.id, to: second, overlapMilliseconds: 0, by: Sample.change(6_000))
            } == .conflict("the key is revoked"))
    }

    @Test func badInputIsNamedAndChangesNothing() throws {
        let bench = try Bench()
        let tenant = bench.tenant
        let before = try CrashTests.content(bench.store)
        for text in ["", String(repeating: "x", count: 129), "a\nb", "a\0", "\u{7f}", "\u{85}"] {
            #expect(refusal { _ = try OrganizationID(text) } != nil, "\(text)")
            #expect(refusal { _ = try UserID(text) } != nil)
            #expect(
                refusal {
                    _ = try tenant.renameUser(bench.user, text, by: Sample.change())
                } != nil)
            #expect(
                refusal {
                    _ = try tenant.revokeToken(
                        jti: text, expires: Sample.time(1), by: Sample.change())
                } != nil)
        }
        let key = try Sample.key(&bench.random, pepper: bench.pepper)
        let scopes = [
            KeyScope(name: ""), KeyScope(name: "k", permissions: ["a", ""]),
            KeyScope(name: "k", addresses: ["10.0.0.0/8\n"]),
            KeyScope(name: "k", permissions: [String](repeating: "p", count: 65)),
            KeyScope(name: "k", rate: KeyRate(units: 0, seconds: 1)),
            KeyScope(name: "k", rate: KeyRate(units: 1, seconds: 0)),
            KeyScope(name: "k", rate: KeyRate(units: 1, seconds: 61)),
            KeyScope(name: "k", addresses: ["192.0.2.0/33"]),
            KeyScope(name: "k", rate: KeyRate(units: .max, seconds: 1)),
        ]
        for scope in scopes {
            let error = refusal {
                _ = try tenant.createKey(
                    key.id, user: bench.user, environment: "live", digest: key.digest,
                    scope: scope, creator: "x", by: Sample.change())
            }
            guard case .invalid = error else {
                Issue.record("\(scope): \(String(describing: error))")
                continue
            }
        }
        for limit in [0, -1, 1_001, .max] {
            #expect(refusal { _ = try tenant.users(limit: limit) } != nil)
        }
        #expect(
            refusal {
                _ = try tenant.setOverride(
                    LimitName("l"), user: nil, units: 1 << 63, expires: nil, by: Sample.change())
            } != nil)
        #expect(refusal { _ = try tenant.overrides(after: "junk") } != nil)
        #expect(
            refusal {
                _ = try tenant.setSubscriptionStatus(.active, by: Sample.change())
            } == .notFound)
        #expect(try CrashTests.content(bench.store) == before)
    }

    @Test(arguments: ["", "Live", "9a", "seventh", "a-b", "é"])
    func aKeyIsOfAnEnvironmentThatItsTextCanName(_ environment: String) throws {
        let bench = try Bench()
        let key = try Sample.key(&bench.random, pepper: bench.pepper)
        let error = refusal {
            _ = try bench.tenant.createKey(
                key.id, user: bench.user, environment: environment, digest: key.digest,
                scope: KeyScope(name: "k"), creator: "x", by: Sample.change())
        }
        guard case .invalid("environment", _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try bench.tenant.keys().items.isEmpty)
    }

    @Test func aScheduledPlanComesWhenItsTimeDoes() throws {
        let bench = try Bench()
        _ = try bench.tenant.subscribe(
            to: PlanName("pro_tier"), status: .trialing, anchor: Sample.time(0), zone: "UTC",
            by: Sample.change())
        let pending = PendingPlan(
            plan: try PlanName("free_tier"), mode: .prorate, at: Sample.time(100))
        let scheduled = try bench.tenant.schedulePlan(pending, by: Sample.change(1))
        #expect(scheduled.pending == pending && scheduled.plan.text == "pro_tier")
        #expect(try bench.store.applyDuePlans(by: Sample.change(99)).isEmpty)
        let applied = try bench.store.applyDuePlans(by: Sample.change(100))
        let found = try bench.tenant.subscription()
        #expect(found.plan.text == "free_tier" && found.pending == nil)
        #expect(applied == [AppliedPlan(subscription: found, mode: .prorate)])
        #expect(
            refusal {
                _ = try bench.tenant.schedulePlan(pending, by: Sample.change(100))
            } != nil)
    }

    @Test func aSigningKeyIsRetiredOnlyWhenItsTokensAreOver() throws {
        let bench = try Bench()
        let store = bench.store
        let one = try SigningKeyID("one")
        let two = try SigningKeyID("two")
        #expect(try store.addSigningKey(one, by: Sample.change()).state == .verifying)
        _ = try store.promoteSigningKey(one, by: Sample.change(1))
        func retire(_ id: SigningKeyID, at: Int64) -> DirectoryError? {
            refusal {
                _ = try store.retireSigningKey(
                    id, longestLifeMilliseconds: 600, by: Sample.change(at))
            }
        }
        #expect(retire(one, at: 9_999) == .conflict("one signs: promote another first"))
        _ = try store.addSigningKey(two, by: Sample.change(2))
        _ = try store.promoteSigningKey(two, by: Sample.change(1_000))
        #expect(try store.signingKey(one).state == .retiring)
        guard case .conflict = retire(one, at: 1_599) else {
            Issue.record("retired while its tokens live")
            return
        }
        #expect(retire(one, at: 1_600) == nil)
        #expect(try store.signingKeys().items.map(\.state) == [.retired, .signing])
        #expect(refusal { _ = try store.promoteSigningKey(one, by: Sample.change(3)) } != nil)
        #expect(refusal { _ = try store.addSigningKey(one, by: Sample.change(3)) } == .exists)
    }

    @Test func theLogSaysWhoDidWhatOnceForEachChange() throws {
        let bench = try Bench()
        let by = Change(uid: 77, pid: 123, at: Sample.time(9))
        _ = try bench.tenant.setUserStatus(bench.user, .suspended, by: by)
        // The same again changes nothing, and is not a change.
        _ = try bench.tenant.setUserStatus(bench.user, .suspended, by: by)
        let log = try bench.tenant.adminLog().items
        #expect(log.map(\.action) == ["user.suspend", "user.create", "org.create"])
        let entry = try #require(log.first)
        #expect(entry.change == by && entry.subject == "ada")
        #expect(entry.before == #"{"name":"Ada","status":"active","role":"owner"}"#)
        #expect(entry.after == #"{"name":"Ada","status":"suspended","role":"owner"}"#)
        #expect(try bench.store.adminLog(limit: 2).items.count == 2)
    }

    @Test func manyChangesTogetherAreAllOrNone() throws {
        let bench = try Bench()
        let before = try CrashTests.content(bench.store)
        let error = refusal {
            try bench.store.together { () throws(DirectoryError) in
                _ = try bench.tenant.createUser(
                    UserID("bob"), name: "b", role: nil, by: Sample.change())
                throw .conflict("no")
            }
        }
        #expect(error == .conflict("no"))
        #expect(try CrashTests.content(bench.store) == before)
        try bench.store.together { () throws(DirectoryError) in
            _ = try bench.tenant.createUser(
                UserID("bob"), name: "b", role: nil, by: Sample.change())
            // A part that is refused takes nothing else with it.
            do throws(DirectoryError) {
                _ = try bench.tenant.createUser(
                    UserID("ada"), name: "b", role: nil, by: Sample.change())
            } catch {
                #expect(error == .exists)
            }
        }
        #expect(try bench.tenant.users().items.map(\.id.text) == ["ada", "bob"])
    }

    @Test func usesAreNotedAndNeverGoBack() throws {
        let bench = try Bench()
        let key = try bench.key()
        for at in [5, 9, 7] as [Int64] {
            try bench.store.noteUses([
                KeyUse(
                    organization: bench.tenant.organization, id: key.id, at: Sample.time(at)),
                KeyUse(organization: OrganizationID("other"), id: key.id, at: Sample.time(99)),
            ])
        }
        #expect(try bench.tenant.key(key.id).lastUsed == Sample.time(9))
    }

    /// RELIABILITY K1: who has the files has no secret.
    @Test func noSecretStandsInTheFiles() throws {
        let bench = try Bench()
        var secrets: [[UInt8]] = [Sample.pepperBytes]
        for _ in 0..<20 {
            let made = try Sample.key(&bench.random, pepper: bench.pepper)
            _ = try bench.tenant.createKey(
                made.id, user: bench.user, environment: "live", digest: made.digest,
                scope: KeyScope(name: "k"), creator: "c", by: Sample.change())
            let next = try APIKey.make(
                environment: "live", id: made.id, random: bench.random.source()
            ).text.withBytes(Array.init)
            let digest = try #require(
                next.withUnsafeBytes { APIKey($0).map { bench.pepper.digest(of: $0) } })
            _ = try bench.tenant.rotateKey(
                made.id, to: KeptDigest(digest: digest, pepper: 3), overlapMilliseconds: 9,
                by: Sample.change(1))
            // The 32 characters of the secret; the id is public.
            for text in [made.text, next] { secrets.append(Array(text[24..<56])) }
        }
        let refresh = try RefreshTests.Bench(seed: 20)
        for at in 1..<20 { try refresh.rotate(at: Int64(at)) }
        for text in refresh.texts { secrets.append(Array(text[4..<47])) }
        for folder in [bench.folder, refresh.folder] {
            var found = 0
            for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
                let bytes = try Data(fileBytes(folder.path + "/" + name))
                for secret in secrets where bytes.range(of: Data(secret)) != nil {
                    Issue.record("a secret stands in \(name)")
                }
                if bytes.range(of: Data("Acme".utf8)) != nil { found += 1 }
            }
            #expect(found > 0, "the search finds nothing at all")
        }
    }
}
