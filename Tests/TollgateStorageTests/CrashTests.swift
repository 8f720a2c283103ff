import CSQLite
import Foundation
import Testing
import TollgateCore

@testable import TollgateStorage

/// RELIABILITY D2, D6, D12, R4: a change that is cut short is wholly there or wholly absent.
@Suite(.serialized) struct CrashTests {
    /// One of each kind of change, and what it makes of the directory.
    struct Work {
        var name: String
        var run: (DirectoryStore, Fixture) throws -> Void
    }

    /// What the changes need to be there, the same in every copy.
    struct Fixture {
        let pepper: APIKeyPepper
        let key: (id: APIKeyID, text: [UInt8], digest: KeptDigest)
        let other: (id: APIKeyID, text: [UInt8], digest: KeptDigest)
        let token: (text: [UInt8], hash: RefreshTokenHash)
        let session: SessionID
        let salt: [UInt8]

        init() throws {
            var random = SeededRandom(seed: 77)
            pepper = try Sample.pepper()
            key = try Sample.key(&random, pepper: pepper)
            other = try Sample.key(&random, pepper: pepper)
            let made = try RefreshToken.make(random: random.source())
            token = (made.text.withBytes(Array.init), made.hash)
            session = try Sample.session(&random)
            salt = random.bytes(32)
        }

        func make(_ folder: TestFolder) throws {
            let store = try folder.store()
            let tenant = store.acting(for: try Sample.organization())
            _ = try store.createOrganization(tenant.organization, name: "A", by: Sample.change())
            for user in ["ada", "bob"] {
                _ = try tenant.createUser(
                    UserID(user), name: user, role: .member, by: Sample.change())
            }
            _ = try tenant.subscribe(
                to: PlanName("pro_tier"), status: .active, anchor: Sample.time(0), zone: "UTC",
                by: Sample.change())
            _ = try tenant.createKey(
                key.id, user: UserID("ada"), environment: "live", digest: key.digest,
                scope: KeyScope(name: "k"), creator: "ada", by: Sample.change())
            _ = try tenant.logIn(
                UserID("ada"), session: session, token: token.hash, expires: Sample.time(9_999_999),
                idleMilliseconds: 99_999, by: Sample.change())
            _ = try store.addSigningKey(SigningKeyID("k1"), by: Sample.change())
        }

        func refresh(_ store: DirectoryStore, at: Int64 = 5) throws -> RefreshOutcome {
            try token.text.withUnsafeBytes {
                try store.acting(for: Sample.organization()).refresh(
                    $0, salt: salt, pepper: pepper,
                    terms: RefreshTerms(
                        graceMilliseconds: 10_000, accessTokensExpire: Sample.time(99)),
                    by: Sample.change(at))
            }
        }
    }

    static func tenant(_ store: DirectoryStore) throws -> TenantDirectory {
        store.acting(for: try Sample.organization())
    }

    static func works() throws -> [Work] { try tenantWorks() + credentialWorks() }

    /// Everything in the file, in one text.
    static func content(
        _ store: DirectoryStore, without left: Set<String> = []
    ) throws -> String {
        var all = ""
        for table in [
            "organizations", "users", "subscriptions", "overrides", "api_keys", "refresh_families",
            "refresh_tokens", "revocations", "signing_keys", "admin_log",
        ] where !left.contains(table) {
            let columns = try store.database.rows(
                "SELECT name FROM pragma_table_info('\(table)')", []
            ) { row in "quote(\(row.text(0)))" }
            all += try store.database.rows(
                "SELECT \(columns.joined(separator: "||','||")) FROM \(table) ORDER BY 1", []
            ) { row in table + ":" + row.text(0) }.joined(separator: "\n")
        }
        return all
    }

    @Test func aProcessKilledAtAnyStepLeavesAllOrNothing() throws {
        let fixture = try Fixture()
        let start = TestFolder()
        try fixture.make(start)
        var steps: Set<DirectoryStep> = []
        for work in try Self.works() {
            let folder = try start.copied()
            let store = try folder.store()
            let before = try Self.content(store)
            var copies: [(DirectoryStep, TestFolder)] = []
            store.atStep = { step in
                do { copies.append((step, try folder.copied())) } catch {
                    Issue.record("\(error)")
                }
            }
            try work.run(store, fixture)
            let after = try Self.content(store)
            #expect(before != after)
            for (step, copy) in copies {
                steps.insert(step)
                let found = try Self.content(copy.store())
                // The second half of "reuse" begins where the first ended.
                if work.name != "reuse" {
                    #expect(found == (step == .committed ? after : before), "\(work.name) \(step)")
                }
            }
            copies = []
        }
        #expect(steps == Set(DirectoryStep.allCases))
    }

    /// At each write, truncation and removal that SQLite asks of the kernel.
    @Test func aProcessKilledAtAnyWriteLeavesAllOrNothing() throws {
        let fixture = try Fixture()
        let start = TestFolder()
        try fixture.make(start)
        var cuts = 0
        for work in try Self.works() {
            let folder = try start.copied()
            let store = try folder.store()
            let before = try Self.content(store)
            var copies: [TestFolder] = []
            try KernelCalls.watching {
                copies.append(try folder.copied())
                return 0
            } during: {
                try work.run(store, fixture)
            }
            let after = try Self.content(store)
            #expect(copies.count >= 4, "\(work.name): \(copies.count) calls")
            var isDone = false
            for (index, copy) in copies.enumerated() {
                cuts += 1
                let opened = try copy.store()
                // RELIABILITY D12: no key, user, session or number of one who is not there.
                try opened.checkAll()
                try opened.load { _ in }
                let found = try Self.content(opened)
                if work.name == "reuse" { continue }
                #expect(found == before || found == after, "\(work.name), call \(index)")
                #expect(!isDone || found == after, "\(work.name), call \(index): undone again")
                isDone = found == after
            }
        }
        print("killed at \(cuts) calls")
        #expect(cuts > 150)
    }

    /// RELIABILITY R4, the crash between "old spent" and "new issued".
    @Test func afterACrashInARefreshExactlyOneTokenWorks() throws {
        let fixture = try Fixture()
        let start = TestFolder()
        try fixture.make(start)
        let folder = try start.copied()
        let store = try folder.store()
        var copies: [TestFolder] = []
        try KernelCalls.watching {
            copies.append(try folder.copied())
            return 0
        } during: {
            _ = try fixture.refresh(store)
        }
        for copy in copies {
            let opened = try copy.store()
            let usable = try opened.database.text(
                "SELECT count(*) FROM refresh_tokens WHERE spent IS NULL")
            #expect(usable == "1")
            // The client that had no reply asks again, and is served.
            guard case .renewed = try fixture.refresh(opened, at: 6) else {
                Issue.record("the honest client is locked out")
                continue
            }
        }
    }

    @Test(arguments: [ENOSPC, EIO, EROFS, EDQUOT])
    func aDiskThatRefusesACallChangesNothing(_ number: Int32) throws {
        let fixture = try Fixture()
        let start = TestFolder()
        try fixture.make(start)
        let names = ["create key", "refresh", "revoke user"]
        for work in try Self.works() where names.contains(work.name) {
            for refused in 0..<40 {
                let folder = try start.copied()
                let store = try folder.store()
                let before = try Self.content(store)
                var calls = 0
                var failed: StorageFault?
                // From that call on, for ever: a disk stays full.
                try KernelCalls.watching {
                    defer { calls += 1 }
                    return calls >= refused ? number : 0
                } during: {
                    failed = fault { try work.run(store, fixture) }
                }
                if calls <= refused {
                    #expect(failed == nil && refused > 3)
                    break
                }
                if let failed {
                    #expect(failed.exitCode == 74, "\(failed)")
                    #expect(failed.path == folder.file)
                }
                // Room again: reads and the change go on by themselves, or after a start.
                let copy = try folder.copied()
                let after = try Self.content(copy.store())
                #expect((after == before) == (failed != nil), "\(work.name), call \(refused)")
            }
        }
    }

    @Test(arguments: [SQLITE_IOERR | 4 << 8, SQLITE_IOERR | 5 << 8])
    func afterAFailedSyncNothingIsWrittenUntilAStart(_ code: Int32) throws {
        let fixture = try Fixture()
        let folder = TestFolder()
        try fixture.make(folder)
        let failed: StorageFault
        do {
            let store = try folder.store()
            failed = store.database.fault(code)
            #expect(failed.exitCode == 74 && failed.words.contains("started again"))
            let before = try Self.content(store)
            for work in try Self.works() {
                #expect(fault { try work.run(store, fixture) } == failed, "\(work.name)")
            }
            #expect(try Self.content(store) == before)
        }
        let store = try folder.store()
        _ = try store.createOrganization(OrganizationID("b"), name: "B", by: Sample.change())
    }

    @Test func aFolderThatCannotBeWrittenIsAClearError() throws {
        let fixture = try Fixture()
        let folder = TestFolder()
        try fixture.make(folder)
        let store = try folder.store()
        let before = try Self.content(store)
        // What the kernel says to others than root: nothing can be opened, written or removed.
        var failed: StorageFault?
        try KernelCalls.watching {
            EACCES
        } during: {
            failed = fault {
                _ = try store.createOrganization(
                    OrganizationID("b"), name: "B", by: Sample.change())
            }
        }
        let found = try #require(failed)
        #expect(found.kind == .disk && found.words.contains("nothing was changed"))
        #expect(try Self.content(store) == before)
        _ = try store.createOrganization(OrganizationID("b"), name: "B", by: Sample.change())
        // Not a folder in which anything can be made, for nobody.
        #expect(fault { _ = try DirectoryStore(folder: "/sys") } != nil)
    }
}
