import Testing
import TollgateWire

@testable import TollgateCore

/// What is brought near is only looked at: whatever a peer sends, nothing changes, nothing traps.
@Suite struct PrefetchTests {
    private func prefetch(_ harness: EngineHarness, _ opcode: UInt8, _ body: [UInt8]) {
        body.withUnsafeBytes {
            harness.worker.prefetchPlace(opcode, $0)
            harness.worker.prefetchEntry(opcode, $0)
            harness.worker.prefetchRows(opcode, $0)
        }
    }

    @Test func noBytesOfAnyOpcodeChangeAnything() throws {
        let harness = try EngineHarness(.holding())
        var random = SeededRandom.printed("prefetch")
        let open = try #require(harness.reserve(tokens: 100).id)
        let ended = try #require(harness.reserve(tokens: 50).id)
        #expect(harness.settle(ended, tokens: 7).isAllowed)
        let before = harness.numbers()
        let known = [
            DecisionWorker.holdBody(open, meters: [("tokens", [9])]),
            DecisionWorker.holdBody(ended), DecisionWorker.cancelBody(open),
            DecisionWorker.reserveBody(EngineHarness.token(user: "ada"), meters: []),
        ]
        for body in known {
            for opcode in UInt8.min...UInt8.max {
                prefetch(harness, opcode, body)
                for length in 0..<20 { prefetch(harness, opcode, Array(body.prefix(length))) }
            }
        }
        for _ in 0..<20_000 {
            var body = known[Int.random(in: known.indices, using: &random)]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                body[Int.random(in: body.indices, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            prefetch(harness, UInt8.random(in: 0x10...0x17, using: &random), body)
        }
        #expect(harness.numbers() == before)
        #expect(harness.settle(open, tokens: 30).isAllowed)
        #expect(harness.settle(ended, tokens: 7).isAllowed, "its first answer, once more")
    }

    /// An id made up leads to a row that is no reservation, if its hash looks like that row's.
    @Test func anIDThatLooksLikeAnothersRowBringsNothingNear() throws {
        let harness = try EngineHarness(.holding())
        #expect(harness.check().isAllowed)
        let before = harness.numbers()
        for shard in 0..<Engine.shardCount {
            var hashes: [UInt64] = []
            harness.engine.shard(shard).table.pointee.forEach { hashes.append($0.hash) }
            for hash in hashes {
                let id = ReservationID(low: UInt64(shard), high: hash)
                prefetch(harness, Opcode.settle.rawValue, DecisionWorker.holdBody(id))
                #expect(harness.settle(id).status == .notFound)
            }
        }
        #expect(harness.numbers() == before)
    }
}
