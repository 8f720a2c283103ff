import TestSupport
import Testing

@testable import TollgateServer

@Suite struct HeldRepliesTests {
    private static func hold(
        _ held: inout HeldReplies, _ bytes: [UInt8], _ registration: UInt64, _ round: UInt64
    ) {
        bytes.withUnsafeBytes { held.hold($0, for: registration, round: round) }
    }

    private static func release(_ held: inout HeldReplies) -> [(UInt64, [UInt8])] {
        var released: [(UInt64, [UInt8])] = []
        held.releaseFirst { released.append(($0, Array($1))) }
        return released
    }

    @Test func repliesLeaveByRoundInTheOrderTheyCame() {
        var held = HeldReplies()
        #expect(held.isEmpty && held.firstRound == nil)
        Self.hold(&held, [1, 2], 7, 1)
        Self.hold(&held, [3], 8, 1)
        Self.hold(&held, [4], 7, 2)
        #expect(held.bytes == 4 && held.firstRound == 1)
        let first = Self.release(&held)
        #expect(first.map(\.0) == [7, 8] && first.map(\.1) == [[1, 2], [3]])
        #expect(held.bytes == 1 && held.firstRound == 2)
        #expect(Self.release(&held).map(\.1) == [[4]])
        #expect(held.isEmpty && Self.release(&held).isEmpty)
    }

    @Test func whatOneConnectionIsAnsweredInTurnLeavesInOnePiece() {
        var held = HeldReplies()
        Self.hold(&held, [1], 7, 3)
        Self.hold(&held, [], 9, 3)
        Self.hold(&held, [2], 7, 3)
        #expect(Self.release(&held).map(\.1) == [[1, 2]])
    }

    @Test func itHoldsWhatAPlainListOfCopiesWould() {
        var random = SeededRandom.printed("held replies")
        for _ in 0..<50 {
            var held = HeldReplies()
            var model: [(round: UInt64, registration: UInt64, bytes: [UInt8])] = []
            var round: UInt64 = 1
            for _ in 0..<200 {
                if Int.random(in: 0..<10, using: &random) == 0 { round += 1 }
                if Int.random(in: 0..<20, using: &random) == 0, let first = held.firstRound {
                    let expected = model.filter { $0.round == first }
                    model.removeAll { $0.round == first }
                    let released = Self.release(&held)
                    #expect(released.flatMap(\.1) == expected.flatMap(\.bytes))
                    let bytesOf = { (id: UInt64) in
                        released.filter { $0.0 == id }.flatMap(\.1)
                            == expected.filter { $0.registration == id }.flatMap(\.bytes)
                    }
                    #expect((1...4).allSatisfy { bytesOf($0) })
                    if round == first { round += 1 }
                }
                let count = Int.random(in: 0...20_000, using: &random)
                let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
                let registration = UInt64.random(in: 1...4, using: &random)
                Self.hold(&held, bytes, registration, round)
                if count > 0 { model.append((round, registration, bytes)) }
                #expect(held.bytes == model.reduce(0) { $0 + $1.bytes.count })
                #expect(held.firstRound == model.first?.round)
            }
        }
    }
}

@Suite struct SyncRoundsTests {
    @Test func aRoundThatRunsAlreadyIsNotTheOneToWaitFor() throws {
        let rounds = try SyncRounds(reactors: 2)
        #expect(rounds.next == 1 && !rounds.isFinished(1))
        let first = rounds.begin()
        #expect(first == 1 && rounds.next == 2)
        rounds.finish(first) { _ in }
        #expect(rounds.isFinished(1) && !rounds.isFinished(2) && rounds.next == 2)
    }

    @Test func aReactorThatWaitsIsWokenOnce() throws {
        let rounds = try SyncRounds(reactors: 3)
        var woken: [Int] = []
        rounds.wait(reactor: 1)
        rounds.finish(rounds.begin()) { woken.append($0) }
        rounds.finish(rounds.begin()) { woken.append($0) }
        #expect(woken == [1])
    }

    @Test func aBellThatIsRungWakesOnceHoweverOften() throws {
        let bell = try Bell()
        #expect(!bell.wait(milliseconds: 0))
        for _ in 0..<5 { bell.ring() }
        #expect(bell.wait(milliseconds: 10_000))
        #expect(!bell.wait(milliseconds: 0))
        bell.ring()
        #expect(bell.wait(milliseconds: 10_000))
    }
}
