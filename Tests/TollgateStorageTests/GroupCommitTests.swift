import CSQLite
import Glibc
import Testing
import TollgateCore

@testable import TollgateStorage

/// Many calls in one transaction: each is answered for itself, after the one commit.
@Suite struct GroupCommitTests {
    typealias Call = (DirectoryStore) throws(DirectoryError) -> String

    /// What the service does: runs every call, and lets the answers out when all are on the disk.
    static func batch(
        _ store: DirectoryStore, _ calls: [Call]
    ) throws(DirectoryError) -> [Result<String, DirectoryError>] {
        try store.together { () throws(DirectoryError) in
            calls.map { call in
                Result { () throws(DirectoryError) in
                    try store.together { () throws(DirectoryError) in try call(store) }
                }
            }
        }
    }

    static func create(_ id: String) -> Call {
        { store throws(DirectoryError) in
            try store.createOrganization(OrganizationID(id), name: id, by: Sample.change()).id.text
        }
    }

    static func names(_ store: DirectoryStore) throws -> [String] {
        try store.organizations(limit: 1_000).items.map(\.id.text)
    }

    @Test func aRefusedCallUndoesItselfAlone() throws {
        let folder = TestFolder()
        let store = try folder.store()
        // It fails after it has written, twice over.
        let halfway: Call = { store throws(DirectoryError) in
            _ = try Self.create("half")(store)
            _ = try store.together { () throws(DirectoryError) in
                try Self.create("way")(store)
            }
            throw .conflict("no")
        }
        let results = try Self.batch(
            store, [Self.create("a"), halfway, Self.create("a"), Self.create("b")])
        #expect(
            results == [.success("a"), .failure(.conflict("no")), .failure(.exists), .success("b")])
        #expect(try Self.names(folder.copied().store()) == ["a", "b"])
        #expect(try store.adminLog().items.map(\.subject) == ["b", "a"])
    }

    @Test func theAnswersOfRefreshesAreKeptOrLostWithTheRest() throws {
        let fixture = try CrashTests.Fixture()
        let folder = TestFolder()
        try fixture.make(folder)
        let store = try folder.store()
        func refresh(at: Int64) -> Call {
            { store throws(DirectoryError) in
                do {
                    switch try fixture.refresh(store, at: at) {
                    case .renewed(_, let token, let isRetry):
                        return String(isRetry)
                            + String(decoding: token.withBytes(Array.init), as: UTF8.self)
                    case .reused: return "reused"
                    case .refused(let why): return "\(why)"
                    }
                } catch let error as DirectoryError {
                    throw error
                } catch {
                    throw .conflict("\(error)")
                }
            }
        }
        let results = try Self.batch(
            store, [refresh(at: 5), refresh(at: 6), Self.create("b"), Self.create("b")])
        let first = try results[0].get()
        #expect(first.hasPrefix("falsetgr_"))
        #expect(try results[1].get() == "true" + first.dropFirst("false".count))
        #expect(results[3] == .failure(.exists))
        // The copy ends the family, and that stays though the calls beside it are refused.
        let ended = try Self.batch(store, [refresh(at: 50_000), Self.create("b")])
        #expect(ended == [.success("reused"), .failure(.exists)])
        let found = try folder.copied().store()
        #expect(try CrashTests.tenant(found).session(fixture.session).reason == .reuse)
        #expect(try CrashTests.tenant(found).revocations(kind: .session).items.count == 1)
    }

    @Test func eachStepIsReachedAndTheLastOnlyWhenAllIsOnTheDisk() throws {
        let fixture = try CrashTests.Fixture()
        let start = TestFolder()
        try fixture.make(start)
        let folder = try start.copied()
        let store = try folder.store()
        var steps: [DirectoryStep] = []
        store.atStep = { steps.append($0) }
        _ = try Self.batch(store, [Self.create("x"), Self.create("x"), Self.create("y")])
        #expect(
            steps == [
                .began, .changed, .logged, .began, .began, .changed, .logged, .committed,
            ])
        for work in try CrashTests.works() {
            let copy = try start.copied()
            let store = try copy.store()
            steps = []
            store.atStep = { steps.append($0) }
            try work.run(store, fixture)
            #expect(steps.last == .committed, "\(work.name)")
            #expect(work.name == "reuse" || steps.count { $0 == .committed } == 1, "\(work.name)")
        }
    }
}

extension CrashTests {
    /// Whatever write fails, of the batch or of its commit.
    @Test(arguments: [ENOSPC, EIO])
    func aDiskThatFailsOnceFailsTheWholeBatch(_ number: Int32) throws {
        let start = TestFolder()
        do {
            let store = try start.store()
            for index in 0..<200 { _ = try GroupCommitTests.create(id(index, "old"))(store) }
        }
        /// Long, and spread over the pages: changes leave the cache before the commit.
        func id(_ index: Int, _ end: String) -> String {
            String(1_000 + index) + String(repeating: "-", count: 100) + end
        }
        var refusedLater = 0
        let last: GroupCommitTests.Call = { store throws(DirectoryError) in
            do throws(DirectoryError) {
                return try GroupCommitTests.create("last")(store)
            } catch {
                refusedLater += 1
                throw error
            }
        }
        var failures = 0
        var refused = 0
        var isDone = false
        while !isDone {
            let folder = try start.copied()
            let store = try folder.store()
            try store.database.execute("PRAGMA cache_size=2")
            let before = try Self.content(store)
            var calls = 0
            var error: DirectoryError?
            try KernelCalls.watching {
                defer { calls += 1 }
                return calls == refused ? number : 0
            } during: {
                error = refusal {
                    _ = try GroupCommitTests.batch(
                        store,
                        (0..<20).map { GroupCommitTests.create(id($0 * 73 % 200, "new")) } + [last])
                }
            }
            isDone = calls <= refused
            let after = try Self.content(folder.copied().store())
            #expect((after == before) == (error != nil), "call \(refused)")
            #expect(isDone ? error == nil : true)
            if let error {
                failures += 1
                guard case .storage(let fault) = error, fault.kind == .disk else {
                    Issue.record("call \(refused): \(error)")
                    break
                }
                // The store goes on.
                _ = try GroupCommitTests.batch(store, [GroupCommitTests.create("later")])
                #expect(try GroupCommitTests.names(folder.copied().store()).contains("later"))
            }
            refused += 1
        }
        print("\(failures) of \(refused) calls failed the batch, \(refusedLater) amid it")
        #expect(failures > 20 && refusedLater > 5)
    }
}
