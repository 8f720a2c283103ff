import Testing
import TollgateCore

@testable import TollgateStorage

/// What a directory does for its own upkeep: leftovers, marks, and what is too old to be kept.
@Suite struct UpkeepTests {
    @Test func aDirectoryOfTheFirstSchemaIsBroughtUpToDate() throws {
        let folder = TestFolder()
        do {
            let store = try folder.store()
            _ = try store.createOrganization(
                OrganizationID("acme"), name: "Acme", by: Sample.change())
            try store.database.execute(
                """
                DROP TABLE leftovers; DROP TABLE marks; DROP INDEX admin_log_at;
                DROP TABLE grants; DROP TABLE ledger_mark; DROP TABLE resets;
                DROP INDEX refresh_tokens_spent; PRAGMA user_version = 1
                """)
        }
        let store = try folder.store()
        #expect(try store.leftovers().isEmpty)
        #expect(try store.mark(.purgedBy) == nil)
        #expect(try store.acting(for: OrganizationID("acme")).record().name == "Acme")
        try store.checkAll()
    }

    /// What was decided stands with the change of plans, whatever becomes of the daemon next.
    @Test func aChangeOfPlansLeavesItsResetToBeDone() throws {
        let folder = TestFolder()
        let id = try OrganizationID("acme")
        var store = try folder.store()
        _ = try store.createOrganization(id, name: "Acme", by: Sample.change())
        var tenant = store.acting(for: id)
        _ = try tenant.subscribe(
            to: PlanName("free"), status: .active, anchor: Sample.time(1), zone: "UTC",
            by: Sample.change(1))
        _ = try tenant.changePlan(to: PlanName("big"), by: Sample.change(2))
        #expect(try store.resets().isEmpty)
        _ = try tenant.changePlan(to: PlanName("big"), resets: true, by: Sample.change(3))
        let copy = try folder.copied()
        store = try copy.store()
        let first = try #require(store.resets().first)
        #expect(first.organization == id && !first.isPersonal)
        #expect(try store.resets().count == 1)
        // Another takes its place, and is not taken for the one that was done.
        tenant = store.acting(for: id)
        _ = try tenant.schedulePlan(
            PendingPlan(plan: PlanName("free"), mode: .reset, at: Sample.time(100)),
            by: Sample.change(4))
        #expect(try store.resets() == [first])
        #expect(try store.applyDuePlans(by: Sample.change(100)).count == 1)
        let second = try #require(store.resets().first)
        #expect(second.id != first.id)
        try store.remove(first)
        #expect(try store.resets() == [second])
        try store.remove(second)
        #expect(try store.resets().isEmpty)
        _ = try tenant.changePlan(to: PlanName("big"), resets: true, by: Sample.change(101))
        _ = try tenant.delete(tokensExpire: Sample.time(900), by: Sample.change(102))
        #expect(try store.resets().isEmpty)
        try store.checkAll()
    }

    @Test func aDeletionLeavesAnOrganizationToBeForgotten() throws {
        let folder = TestFolder()
        let id = try OrganizationID("acme")
        var store = try folder.store()
        let made = try store.createOrganization(id, name: "Acme", by: Sample.change())
        let tenant = store.acting(for: id)
        _ = try tenant.delete(tokensExpire: Sample.time(9), by: Sample.change())
        let copy = try folder.copied()
        store = try copy.store()
        #expect(try store.leftovers() == [Leftover(made)])
        #expect(throws: DirectoryError.self) {
            try store.createOrganization(id, name: "Acme", by: Sample.change())
        }
        // A personal one of that id has other counters.
        let personal = try store.createOrganization(
            id, name: "Acme", personal: true, by: Sample.change())
        #expect(personal.isPersonal)
        _ = try store.acting(for: id).delete(tokensExpire: Sample.time(9), by: Sample.change())
        #expect(try store.leftovers().count == 2)
        try store.remove(Leftover(made))
        #expect(try store.leftovers() == [Leftover(personal)])
        _ = try store.createOrganization(id, name: "Acme", by: Sample.change())
    }

    @Test func marksAreKept() throws {
        let folder = TestFolder()
        try folder.store().set(.longestLife, 7)
        try folder.store().set(.longestLife, 8)
        let store = try folder.store()
        #expect(try store.mark(.longestLife) == 8)
        #expect(try store.mark(.tokensLiveUntil) == nil)
    }

    @Test func theLogIsKeptAsLongAsItIsToldTo() throws {
        let folder = TestFolder()
        let store = try folder.store()
        for (place, at) in [10, 20, 30, 40].enumerated() {
            _ = try store.createOrganization(
                OrganizationID("o\(place)"), name: "n", by: Sample.change(Int64(at)))
        }
        let before = Sample.time(30)
        #expect(try store.prune(logged: before, spent: Sample.time(0)) == 2)
        #expect(try store.adminLog().items.map(\.subject) == ["o3", "o2"])
        #expect(try store.prune(logged: before, spent: Sample.time(0)) == 0)
    }

    @Test func spentTokensAreKeptAsLongAsTheyAreToldToAndTheirSessionGoesOn() throws {
        let bench = try RefreshTests.Bench(seed: 1)
        for at in 1...5 { try bench.rotate(at: Int64(at) * 100_000) }
        #expect(
            try bench.store.prune(logged: Sample.time(0), spent: Sample.time(250_000)) == 2)
        // The two oldest are not known any more; the next is, and its use ends the session.
        guard case .refused(.unknown) = try bench.refresh(bench.texts[0], at: 600_000) else {
            Issue.record("a token that was taken out is known")
            return
        }
        try bench.rotate(at: 600_000)
        guard case .reused = try bench.refresh(bench.texts[2], at: 600_001) else {
            Issue.record("a token that was spent was used again, and nothing came of it")
            return
        }
    }

    @Test func sessionsBeyondACountAreTheOldest() throws {
        let bench = try RefreshTests.Bench(seed: 2)
        var ids = [bench.session]
        for at in 1...4 {
            let id = try Sample.session(&bench.random)
            _ = try bench.logIn(id, at: Int64(at))
            ids.append(id)
        }
        func beyond(_ count: Int) throws -> [SessionID] {
            try bench.tenant.sessions(of: bench.user, beyond: count, at: Sample.time(5))
                .map(\.session)
        }
        #expect(try beyond(3) == Array(ids[..<2]))
        _ = try bench.tenant.revokeSession(
            ids[0], tokensExpire: Sample.time(9), by: Sample.change(6))
        _ = try bench.tenant.revokeSession(
            ids[1], tokensExpire: Sample.time(9), by: Sample.change(6))
        #expect(try beyond(3).isEmpty)
        try bench.tenant.forgetEnded(sessionsOf: bench.user, beyond: 1)
        let left = try bench.tenant.sessions(of: bench.user).items.map(\.session)
        #expect(Set(left) == Set(ids.dropFirst()))
    }
}
