import Testing

@testable import TollgateServer

@Suite struct SnapshotTurnsTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func oneThatFailsIsTriedAgainInAWhileWhoeverWantsIt() {
        for isWanted in [false, true] {
            var turns = SnapshotTurns(every: 300 * Self.second, at: 0)
            turns.note(isWritten: false, at: 10 * Self.second)
            let due = (10...30 as ClosedRange<UInt64>).first {
                turns.isDue(at: $0 * Self.second, isWanted: isWanted)
            }
            #expect(due == 15)
            // Also after the next, which fails as well.
            turns.note(isWritten: false, at: 15 * Self.second)
            #expect(!turns.isDue(at: 20 * Self.second - 1, isWanted: isWanted))
            #expect(turns.isDue(at: 20 * Self.second, isWanted: isWanted))
        }
    }

    @Test func whereNoneFailsTheOneThatIsWantedComesAtOnceAndElseByTheClock() {
        var turns = SnapshotTurns(every: 300 * Self.second, at: 0)
        #expect(turns.isDue(at: 1, isWanted: true))
        turns.note(isWritten: false, at: 10 * Self.second)
        turns.note(isWritten: true, at: 16 * Self.second)
        #expect(turns.isDue(at: 16 * Self.second + 1, isWanted: true))
        #expect(!turns.isDue(at: 316 * Self.second - 1, isWanted: false))
        #expect(turns.isDue(at: 316 * Self.second, isWanted: false))
    }

    /// Who has one each second waits no longer than that.
    @Test func theWhileIsNoLongerThanTheClockWouldTake() {
        var turns = SnapshotTurns(every: Self.second, at: 0)
        turns.note(isWritten: false, at: 0)
        #expect(turns.isDue(at: Self.second, isWanted: false))
    }

    @Test func aSnapshotRestsAsLongAsItsLastStepTookAndNeverLong() {
        var pace = SnapshotPace(at: 1_000_000)
        #expect(pace.restMicroseconds(at: 1_000_999) == 0)
        #expect(pace.restMicroseconds(at: 1_040_000) == 40)
        #expect(pace.restMicroseconds(at: 1_500_000) == 500)
        #expect(pace.restMicroseconds(at: 9_000_000_000_000) == 500, "it waited for the disk")
        pace.goOn(at: 1_600_000)
        #expect(pace.restMicroseconds(at: 1_630_000) == 30)
        #expect(pace.restMicroseconds(at: 1_000_000) == 0, "whatever a clock does")
    }
}
