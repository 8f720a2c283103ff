import TestSupport
import Testing

@testable import TollgateCore

/// Delivery on a clock that the test moves.
@Suite struct AlertDeliveryTests {
    typealias Attempt = AlertDelivery.Attempt

    private func delivery(_ sinks: Int = 1) -> AlertDelivery {
        AlertDelivery(sinks: sinks, firstMilliseconds: 1_000, longestMilliseconds: 300_000)
    }

    @Test func aReceiverThatIsDownForAnHourGetsAllOfThemAfterInOrder() throws {
        var delivery = delivery()
        let hour: UInt64 = 3_600_000
        var (now, arrived, attempts) = (UInt64(0), [UInt64](), 0)
        var nextID: UInt64 = 1
        while now < 2 * hour {
            // One a minute for the hour.
            if now < hour, now % 60_000 == 0 {
                delivery.add(nextID, to: [0])
                nextID += 1
            }
            while let attempt = delivery.next(now: now) {
                if now < hour {
                    attempts += 1
                    let rest = delivery.failed(
                        attempt, .sink(retryAfter: nil), now: now, random: UInt64(attempts))
                    #expect((500...300_000).contains(rest))
                } else {
                    arrived.append(attempt.alert)
                    let isDone = delivery.delivered(attempt)
                    #expect(isDone)
                }
            }
            now += 500
        }
        #expect(arrived == Array(1...60) && delivery.isEmpty)
        // One receiver is asked once for all that wait: 9 doublings, then every 150 to 300 s.
        #expect((18...34).contains(attempts))
    }

    @Test func aSinkRestsTwiceAsLongEachTimeWithJitterAndNotAfterASuccess() throws {
        var delivery = delivery()
        delivery.add(1, to: [0])
        delivery.add(2, to: [0])
        var now: UInt64 = 0
        for failures in 0..<70 {
            let doubled: UInt64 = 1_000 << UInt64(min(failures, 20))
            let whole: UInt64 = min(300_000, doubled)
            var shortest = UInt64.max
            let randoms: [UInt64] = [0, whole / 2, UInt64.max]
            for random in randoms {
                var copy = delivery
                let rest = copy.failed(
                    Attempt(sink: 0, alert: 1), .sink(retryAfter: nil), now: now, random: random)
                #expect((whole - whole / 2...whole).contains(rest))
                shortest = min(shortest, rest)
            }
            #expect(shortest == whole - whole / 2)
            let rest = delivery.failed(
                Attempt(sink: 0, alert: 1), .sink(retryAfter: nil), now: now, random: 0)
            now += rest
            #expect(delivery.next(now: now - 1) == nil)
            #expect(delivery.nextAt == now)
        }
        let isDone = delivery.delivered(Attempt(sink: 0, alert: 1))
        #expect(isDone)
        #expect(delivery.next(now: 0) == Attempt(sink: 0, alert: 2))
        let rest = delivery.failed(
            Attempt(sink: 0, alert: 2), .sink(retryAfter: nil), now: 0, random: 0)
        #expect(rest == 500)
    }

    @Test func whatAReceiverAsksForIsObeyedUpToADay() {
        var delivery = delivery()
        delivery.add(1, to: [0])
        let attempt = Attempt(sink: 0, alert: 1)
        let asked = delivery.failed(attempt, .sink(retryAfter: 120_000), now: 0, random: 0)
        #expect(asked == 120_000 && delivery.next(now: 119_999) == nil)
        #expect(delivery.next(now: 120_000) == attempt)
        // Not sooner than without it, and not for ever.
        let short = delivery.failed(attempt, .sink(retryAfter: 0), now: 120_000, random: 0)
        #expect(short == 1_000)
        let long = delivery.failed(attempt, .sink(retryAfter: .max), now: 130_000, random: 0)
        #expect(long == AlertDelivery.retryAfterMax)
    }

    @Test func anAlertThatIsRefusedHoldsNoOtherBackAndIsTriedAgain() {
        var delivery = delivery()
        for id in UInt64(1)...3 { delivery.add(id, to: [0]) }
        var (now, arrived, refused) = (UInt64(0), [UInt64](), 0)
        while now < 3_600_000 {
            if let attempt = delivery.next(now: now) {
                if attempt.alert == 1 {
                    refused += 1
                    _ = delivery.failed(attempt, .alert, now: now, random: 9)
                } else {
                    arrived.append(attempt.alert)
                    _ = delivery.delivered(attempt)
                }
            }
            now += 500
        }
        #expect(arrived == [2, 3] && delivery.knows(1) && !delivery.knows(2))
        #expect(refused >= 10)
    }

    /// Sinks fail as chance has it: each alert arrives at each sink once, and none is forgotten.
    @Test func eachArrivesAtEverySinkThatItIsFor() {
        for seed in UInt64(1)...20 {
            var random = SeededRandom(seed: seed)
            var delivery = delivery(3)
            var (now, wanted, arrived) = (UInt64(0), [Attempt](), [Attempt]())
            var done: [UInt64] = []
            for round in UInt64(1)...3_000 {
                if round <= 200 {
                    let sinks = (0..<3).filter { _ in random.next() % 2 == 0 }
                    delivery.add(round, to: sinks)
                    delivery.add(round, to: [0, 1, 2])
                    let all = sinks.isEmpty ? [0, 1, 2] : sinks
                    wanted += all.map { Attempt(sink: $0, alert: round) }
                }
                while let attempt = delivery.next(now: now) {
                    if round > 2_000 || random.next() % 3 == 0 {
                        arrived.append(attempt)
                        if delivery.delivered(attempt) { done.append(attempt.alert) }
                    } else {
                        let isAlone = random.next() % 2 == 0
                        _ = delivery.failed(
                            attempt, isAlone ? .alert : .sink(retryAfter: nil), now: now,
                            random: random.next())
                    }
                }
                now += 1_000
            }
            func key(_ attempt: Attempt) -> UInt64 { attempt.alert * 4 + UInt64(attempt.sink) }
            #expect(arrived.map(key).sorted() == wanted.map(key).sorted(), "seed \(seed)")
            #expect(done.sorted() == Array(1...200) && delivery.isEmpty, "seed \(seed)")
        }
    }

    @Test func whoTriesEachOnceIsHeldBackByNoneThatIsRefused() {
        var delivery = delivery(2)
        for alert in [UInt64(1), 2, 3] { delivery.add(alert, to: [0, 1]) }
        var (tried, order): (Set<Attempt>, [Attempt]) = ([], [])
        while let attempt = delivery.next(beyond: tried, out: []), order.count < 10 {
            tried.insert(attempt)
            order.append(attempt)
            if attempt.alert == 1 {
                _ = delivery.failed(attempt, .alert, now: 0, random: 0)
            } else {
                _ = delivery.delivered(attempt)
            }
        }
        #expect(order.map(\.sink) == [0, 0, 0, 1, 1, 1])
        #expect(order.map(\.alert) == [1, 2, 3, 1, 2, 3])
        #expect(delivery.waiting == 1)
        #expect(delivery.next(beyond: [], out: [0]) == Attempt(sink: 1, alert: 1))
        #expect(delivery.next(beyond: [], out: [0, 1]) == nil)
    }

    @Test func newAlertsTakeTheIdOfNoneThatIsThere() {
        var state = AlertState()
        state.takeIDs(after: 0)
        #expect(state.nextID == 1)
        state.takeIDs(after: 41)
        state.takeIDs(after: 7)
        state.takeIDs(after: .max)
        state.takeIDs(after: 1 << 53)
        #expect(state.nextID == 42)
    }
}
