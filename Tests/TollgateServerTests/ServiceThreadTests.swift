import Synchronization
import Testing

@testable import TollgateServer

@Suite struct ServiceThreadTests {
    /// Of one thread at a time, as what services hand to theirs.
    private final class Ledger {
        var sum = 0
    }

    @Test func whoJoinsSeesAllThatTheBodyDid() throws {
        nonisolated(unsafe) let seen = Ledger()
        for round in 1...200 {
            let thread = ServiceThread()
            try thread.begin { for _ in 0..<1_000 { seen.sum += 1 } }
            thread.join()
            #expect(seen.sum == round * 1_000)
        }
    }

    @Test func whatIsGivenIsTheThreadsAndGoesWithIt() throws {
        final class Owned {
            let ended: Count
            init(_ ended: Count) { self.ended = ended }
            func run() {}
            deinit { ended.value.add(1, ordering: .relaxed) }
        }
        let ended = Count()
        let thread = ServiceThread()
        func begin() throws {
            // Not `Sendable`: the compiler lets it go, since nobody uses it here any more.
            let owned = Owned(ended)
            try thread.begin { owned.run() }
        }
        try begin()
        thread.join()
        #expect(ended.value.load(ordering: .relaxed) == 1)
    }

    @Test func nothingIsWaitedForBeforeItBeginsOrAfterItWasJoinedAndItMayBeginAgain() throws {
        let thread = ServiceThread()
        thread.join()
        let count = Count()
        for _ in 0..<3 {
            try thread.begin { count.value.add(1, ordering: .relaxed) }
            thread.join()
            thread.join()
        }
        #expect(count.value.load(ordering: .relaxed) == 3)
    }

    private final class Count: Sendable {
        let value = Atomic<Int>(0)
    }
}
