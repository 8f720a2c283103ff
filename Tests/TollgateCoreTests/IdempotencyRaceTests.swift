import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// Ten thousand ids, each asked ten times by threads that race, and ten times more behind a kill
/// and the end of a window and of a day: one charge, answers alike (RELIABILITY C4).
@Suite struct IdempotencyRaceTests {
    private static let ids = 10_000 * testScale
    private static let organizations = 64
    /// By thread, how often it asks for each id: ten times in all.
    private static let times = [3, 3, 2, 2]
    /// Asked for together, so that threads meet at ids that nobody asked for before.
    private static let together = 100

    private static func units(_ id: Int) -> UInt64 { UInt64(id % 7) + 1 }

    private static func body(_ id: Int) -> [UInt8] {
        EngineHarness.consumeBody(
            organization: "org\(id % organizations)", user: "u", plan: "pro_tier",
            operation: "chat", meters: [("tokens", units(id))])
            + DecisionWorker.extensionField(UInt64(id) + 1)
    }

    /// What each thread was answered, by id; what is refused is empty.
    private static func ask(
        _ harness: EngineHarness, _ seed: UInt64
    ) -> [[Int: [[UInt8]]]] {
        let (engine, policy, now) = (harness.engine, harness.policy, harness.moment)
        let gate = Gate(times.count)
        return onThreads(times.count) { thread in
            let worker = engine.makeWorker()
            worker.beginTurn(now, policy: policy)
            let reply = UnsafeMutableRawBufferPointer.allocate(
                byteCount: DecisionWorker.replyBytesMax, alignment: 8)
            defer { reply.deallocate() }
            var random = SeededRandom(seed: seed &+ UInt64(thread))
            var found: [Int: [[UInt8]]] = [:]
            for (turn, start) in stride(from: 0, to: ids, by: together).enumerated() {
                gate.pass(turn)
                let some = Array(start..<(start + together))
                for id in (0..<times[thread]).flatMap({ _ in some.shuffled(using: &random) }) {
                    let answer = HoldAnswer(
                        body(id).withUnsafeBytes { worker.consume($0, into: reply) }, reply)
                    found[id, default: []].append(answer.isAllowed ? answer.bytes : [])
                }
            }
            return found
        }
    }

    private func tokens(_ engine: Engine) -> [String: UInt64] {
        var used: [String: UInt64] = [:]
        for shard in 0..<Engine.shardCount {
            for saved in engine.savedUsage(shard: shard)
            where saved.counter.hasPrefix("q monthly_tokens ") {
                used[saved.organization, default: 0] += saved.used
            }
        }
        return used
    }

    @Test func anIdIsOneChargeAndItsAnswersAreAlike() throws {
        var random = SeededRandom.printed("ids that race")
        let first = try EngineHarness(
            .holding(tokens: 1 << 40, calls: 1 << 40, perMinute: 1 << 40))
        // A few minutes before midnight.
        first.advance(milliseconds: 86_250_000 - UInt64(first.wall % 86_400_000))
        let ledger = MemoryLedger(regionBytes: 256 * 1024)
        ledger.begin(first.engine)
        var told = Self.ask(first, random.next())
        var sums: [String: UInt64] = [:]
        for id in 0..<Self.ids {
            sums["org\(id % Self.organizations)", default: 0] += Self.units(id)
        }
        #expect(tokens(first.engine) == sums)
        // Killed: what is left is the journal.
        first.advance(milliseconds: 300_000)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: first.moment)
        ledger.begin(engine, life: 2)
        told += Self.ask(
            try EngineHarness(engine: engine, policy: first.policy, like: first), random.next())
        #expect(tokens(engine) == sums)
        var others = 0
        for id in 0..<Self.ids {
            let answers = told.flatMap { $0[id] ?? [] }
            #expect(answers.count == 20)
            let kinds = Set(answers)
            if kinds.count != 1 || kinds.contains([]) { others += 1 }
        }
        #expect(others == 0, "\(others) of \(Self.ids) ids")
    }
}
