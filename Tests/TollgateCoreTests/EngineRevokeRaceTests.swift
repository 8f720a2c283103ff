import Glibc
import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore

/// J10, C5 in the core: workers that decide as fast as they can, while the directory changes. What
/// a change refused before it returned, no worker admits that began after.
@Suite struct EngineRevokeRaceTests {
    /// Without limits by address: the time stands still.
    private static var policy: PolicyDefinition {
        var policy = PolicyDefinition.withDirectory()
        policy.addressLimits = []
        policy.invalidCredentialLimit = nil
        return policy
    }

    /// Written by the changing thread after a change returned, read by a worker before a check.
    private final class Board: Sendable {
        let revoked = Atomic<Int>(0)
        /// Written before a change is begun, read by a worker after a check.
        let begun = Atomic<Int>(0)
        let isOver = Atomic<Bool>(false)
        let checks = Atomic<Int>(0)
        let wrong = Atomic<Int>(0)
        let admitted = Atomic<Int>(0)
    }

    @Test func noWorkerAdmitsWhatWasRevokedBeforeItAsked() throws {
        let harness = try DirectoryHarness(Self.policy)
        let engine = harness.engine.engine
        let policy = harness.engine.policy
        let moment = harness.engine.moment
        harness.put("acme", plan: "open_tier")
        let rounds = 300
        let made = try (0..<rounds).map { _ in try harness.add() }
        let keys = made.map(\.entry)
        let tokens = (0..<rounds).map { DirectoryHarness.token(session: "s\($0)") }
        // Of round n: its key and its token, both to be refused when `revoked` is above n.
        let bodies = (made.map(\.text) + tokens).map {
            EngineHarness.body(token: $0, operation: "models")
        }
        let board = Board()
        @Sendable func work() {
            let worker = engine.makeWorker()
            let reply = UnsafeMutableRawBufferPointer.allocate(
                byteCount: DecisionWorker.replyBytesMax, alignment: 8)
            defer { reply.deallocate() }
            var index = 0
            while !board.isOver.load(ordering: .acquiring) {
                worker.beginTurn(moment, policy: policy)
                for _ in 0..<64 {
                    index = (index + 7) % bodies.count
                    let before = board.revoked.load(ordering: .acquiring)
                    let outcome = bodies[index].withUnsafeBytes { worker.check($0, into: reply) }
                    let answer = Answer(outcome, UnsafeRawBufferPointer(reply))
                    board.checks.add(1, ordering: .relaxed)
                    if answer.isAllowed { board.admitted.add(1, ordering: .relaxed) }
                    if answer.isAllowed, index % rounds < before {
                        board.wrong.add(1, ordering: .relaxed)
                    }
                }
            }
        }
        @Sendable func change() {
            while board.admitted.load(ordering: .relaxed) < 10_000 { sched_yield() }
            for round in 0..<rounds {
                var entry = keys[round]
                entry.isRevoked = true
                engine.directory.put(entry)
                engine.directory.put(
                    RevocationEntry(
                        kind: .session, organization: "acme", subject: "s\(round)",
                        at: .start(), expires: .start(1_000_000)))
                board.revoked.store(round + 1, ordering: .releasing)
                let now = board.checks.load(ordering: .relaxed)
                while board.checks.load(ordering: .relaxed) < now + 100 { sched_yield() }
            }
            board.isOver.store(true, ordering: .releasing)
        }
        _ = onThreads(3) { index in index == 0 ? change() : work() }
        #expect(board.wrong.load(ordering: .relaxed) == 0)
        #expect(board.checks.load(ordering: .relaxed) > rounds * 100)
    }

    @Test func aRotationUnderLoadRefusesNoValidSecret() throws {
        let harness = try DirectoryHarness(Self.policy)
        let engine = harness.engine.engine
        let policy = harness.engine.policy
        let moment = harness.engine.moment
        harness.put("acme", plan: "open_tier")
        let key = try harness.add()
        // Secrets in turn; of round n, n is current and n - 1 overlaps.
        let secrets = try (0..<200).map { _ in try harness.secret(of: key) }
        let digests = secrets.map(\.digest)
        let bodies = secrets.map { EngineHarness.body(token: $0.text, operation: "models") }
        let board = Board()
        var begun = key.entry
        (begun.digest, begun.previousUntil) = (secrets[0].digest, .start(1_000_000))
        let first = begun
        engine.directory.put(first)
        @Sendable func work() {
            let worker = engine.makeWorker()
            let reply = UnsafeMutableRawBufferPointer.allocate(
                byteCount: DecisionWorker.replyBytesMax, alignment: 8)
            defer { reply.deallocate() }
            while !board.isOver.load(ordering: .acquiring) {
                worker.beginTurn(moment, policy: policy)
                let round = board.revoked.load(ordering: .acquiring)
                let outcome = bodies[round].withUnsafeBytes { worker.check($0, into: reply) }
                let isStill = board.begun.load(ordering: .acquiring) <= round + 1
                board.checks.add(1, ordering: .relaxed)
                if !Answer(outcome, UnsafeRawBufferPointer(reply)).isAllowed, isStill {
                    board.wrong.add(1, ordering: .relaxed)
                }
            }
        }
        @Sendable func change() {
            var entry = first
            for round in 1..<digests.count {
                entry.previous = digests[round - 1]
                entry.previousPepper = entry.pepper
                entry.digest = digests[round]
                board.begun.store(round, ordering: .sequentiallyConsistent)
                engine.directory.put(entry)
                board.revoked.store(round, ordering: .releasing)
                let now = board.checks.load(ordering: .relaxed)
                while board.checks.load(ordering: .relaxed) < now + 50 { sched_yield() }
            }
            board.isOver.store(true, ordering: .releasing)
        }
        _ = onThreads(3) { index in index == 0 ? change() : work() }
        #expect(board.wrong.load(ordering: .relaxed) == 0)
    }
}
