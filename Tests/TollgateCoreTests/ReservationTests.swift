import Testing
import TollgateWire

@testable import TollgateCore

/// Numbers are: tokens used, tokens held, calls used, open, tokens in the window.
@Suite struct ReservationTests {
    private let harness: EngineHarness

    init() throws { harness = try EngineHarness(.holding()) }

    @Test func anEstimateIsHeldAndTheTrueAmountCharged() throws {
        let hold = harness.reserve(tokens: 400)
        let id = try #require(hold.id)
        #expect(hold.isAllowed && hold.timeToLive == 60_000)
        #expect(hold.answer.quotaName == "monthly_tokens" && hold.answer.quota.remaining == 600)
        #expect(harness.numbers() == [0, 400, 0, 1, 400])
        #expect(harness.check(meters: [("tokens", 201)]).reason == .rateLimited)
        let settled = harness.settle(id, tokens: 150)
        #expect(settled.isAllowed && !settled.isOverage)
        #expect(settled.answer.texts[0] == "ada" && settled.answer.texts[5] == "chat")
        #expect(harness.numbers() == [150, 0, 1, 0, 150])
    }

    @Test func whatIsHeldIsRefusedToOthers() throws {
        let harness = try EngineHarness(.holding(tokens: 500, perMinute: 1 << 40))
        let first = try #require(harness.reserve(tokens: 300).id)
        #expect(harness.reserve(tokens: 201).reason == .quotaExhausted)
        #expect(harness.check(meters: [("tokens", 201)]).reason == .quotaExhausted)
        #expect(harness.check(meters: [("tokens", 200)]).isAllowed)
        #expect(harness.check(meters: [("tokens", 1)]).reason == .quotaExhausted)
        #expect(harness.cancel(first).isAllowed)
        #expect(harness.check(meters: [("tokens", 300)]).isAllowed)
        #expect(harness.check(meters: [("tokens", 1)]).reason == .quotaExhausted)
    }

    @Test func soManyAreOpenAtATimeAndNoMore() throws {
        var ids: [ReservationID] = []
        for _ in 0..<3 { ids.append(try #require(harness.reserve(tokens: 1).id)) }
        let refused = harness.reserve(tokens: 1)
        #expect(refused.reason == .concurrencyExceeded && refused.id == nil)
        #expect(harness.numbers()[3] == 3)
        #expect(harness.reserve(tokens: 1, user: "bob").isAllowed, "another user's are his")
        #expect(harness.settle(ids[1]).isAllowed)
        #expect(harness.reserve(tokens: 1).isAllowed)
        #expect(harness.reserve(tokens: 1).reason == .concurrencyExceeded)
    }

    @Test func settlingTwiceChargesOnceAndAnswersAlike() throws {
        let id = try #require(harness.reserve(tokens: 400).id)
        let first = harness.settle(id, tokens: 150)
        harness.advance(milliseconds: 5_000)
        let usage = harness.numbers()
        #expect(harness.settle(id, tokens: 150) == first)
        #expect(harness.settle(id, tokens: 151).status == .conflict)
        #expect(harness.settle(id).status == .conflict)
        #expect(harness.cancel(id).status == .conflict)
        #expect(harness.extend(id, hold: 1).status == .conflict)
        #expect(harness.numbers() == usage)
    }

    @Test func moreThanTheEstimateIsRecordedAndFlagged() throws {
        let id = try #require(harness.reserve(tokens: 500).id)
        let settled = harness.settle(id, tokens: 1_200)
        #expect(settled.isAllowed && settled.isOverage)
        #expect(harness.numbers() == [1_200, 0, 1, 0, 1_200])
    }

    @Test func cancelingGivesBackAndMayBeRepeated() throws {
        let id = try #require(harness.reserve(tokens: 400).id)
        let first = harness.cancel(id)
        #expect(first.isAllowed)
        // What a rate limit was charged stays charged.
        #expect(harness.numbers() == [0, 0, 0, 0, 400])
        #expect(harness.cancel(id) == first)
        #expect(harness.settle(id, tokens: 70).isAllowed, "after all, something was used")
        #expect(harness.numbers() == [70, 0, 1, 0, 70])
    }

    @Test func unknownIdsAreNotFound() throws {
        let id = try #require(harness.reserve(tokens: 1).id)
        for bit in 0..<128 {
            var other = id
            if bit < 64 {
                other.low ^= 1 << UInt64(bit)
            } else {
                other.high ^= 1 << UInt64(bit - 64)
            }
            #expect(harness.settle(other).status == .notFound)
            #expect(harness.cancel(other).status == .notFound)
            #expect(harness.extend(other, hold: 1).status == .notFound)
        }
        #expect(harness.settle(id).isAllowed)
        // Remembered for ten minutes.
        harness.advance(milliseconds: 599_999)
        harness.worker.tendHolds()
        #expect(harness.settle(id).isAllowed)
        harness.advance(milliseconds: 1)
        harness.worker.tendHolds()
        #expect(harness.settle(id).status == .notFound)
        #expect(harness.engine.gauges.reservations == 0)
    }

    @Test func extendingHoldsMoreOrSaysStop() throws {
        let id = try #require(harness.reserve(tokens: 100, timeToLive: 2_000).id)
        harness.advance(milliseconds: 1_500)
        let more = harness.extend(id, hold: 300, used: 90)
        #expect(more.isAllowed)
        #expect(harness.numbers() == [0, 300, 0, 1, 300])
        #expect(harness.extend(id, hold: 300, used: 90).isAllowed, "once more is the same")
        #expect(harness.extend(id, hold: 200).isAllowed, "less is as it is")
        #expect(harness.numbers() == [0, 300, 0, 1, 300])
        #expect(harness.extend(id, hold: 601).reason == .rateLimited)
        #expect(harness.numbers() == [0, 300, 0, 1, 300])
        harness.advance(milliseconds: 1_999)
        #expect(harness.numbers()[3] == 1, "its time began anew")
        #expect(harness.extend(id, hold: 300, timeToLive: 10_000_000).isAllowed)
        harness.advance(milliseconds: 599_999)
        #expect(harness.numbers()[3] == 1, "lowered to the plan's most")
        harness.advance(milliseconds: 1)
        #expect(harness.numbers()[3] == 0)
    }

    @Test func aWindowGetsBackWhatWasTooMuchWhileItStillCountsIt() throws {
        let id = try #require(harness.reserve(tokens: 600).id)
        #expect(harness.check(meters: [("tokens", 1)]).reason == .rateLimited)
        harness.advance(milliseconds: 30_000)
        #expect(harness.settle(id, tokens: 200).isAllowed)
        #expect(harness.numbers()[4] == 200)
        #expect(harness.check(meters: [("tokens", 400)]).isAllowed)
        let late = try #require(
            harness.reserve(tokens: 0, user: "bob", timeToLive: 500_000).id)
        harness.advance(milliseconds: 200_000)
        #expect(harness.settle(late, tokens: 50).isAllowed)
        #expect(harness.numbers(user: "bob")[4] == 50)
    }

    /// One turn of the ring later its cell counts for another time.
    @Test func aWindowGetsNothingBackOfATimeThatItNoLongerCounts() throws {
        let id = try #require(harness.reserve(tokens: 600, timeToLive: 500_000).id)
        harness.advance(milliseconds: 60_000 * 24 / 23 + 1)
        #expect(harness.check(meters: [("tokens", 400)]).isAllowed)
        #expect(harness.settle(id, tokens: 200).isAllowed)
        #expect(harness.numbers()[4] == 400)
    }

    @Test func aHoldCountsOnlyInThePeriodItWasMadeIn() throws {
        var definition = PolicyDefinition.holding()
        definition.plans[0].quotas[1].period = .day
        let harness = try EngineHarness(definition)
        // 22:13:20 at start; to ten seconds before midnight.
        harness.advance(milliseconds: 6_390_000)
        let id = try #require(harness.reserve(tokens: 500, timeToLive: 600_000).id)
        #expect(harness.numbers()[1] == 500)
        harness.advance(milliseconds: 10_000)
        #expect(harness.numbers()[1] == 0, "the new day owes nothing to the old")
        #expect(harness.extend(id, hold: 600).isAllowed)
        #expect(harness.numbers()[1] == 100)
        #expect(harness.settle(id, tokens: 120).isAllowed)
        #expect(harness.numbers()[0] == 120, "charged in the period in which it comes")
        #expect(harness.numbers()[1] == 0)
    }

    @Test func aHoldOfYesterdayIsNotTakenOffTodays() throws {
        var definition = PolicyDefinition.holding(perMinute: 10_000)
        definition.plans[0].quotas[1].period = .day
        let harness = try EngineHarness(definition)
        harness.advance(milliseconds: 6_390_000)
        let id = try #require(harness.reserve(tokens: 500, timeToLive: 600_000).id)
        harness.advance(milliseconds: 10_000)
        #expect(harness.reserve(tokens: 300).isAllowed)
        #expect(harness.settle(id, tokens: 120).isAllowed)
        #expect(Array(harness.numbers()[0...1]) == [120, 300])
    }

    @Test func aDryRunHoldsNothing() {
        let answer = harness.reserve(tokens: 100, flags: RequestFlags.dryRun)
        #expect(answer.isAllowed && answer.id == nil)
        #expect(harness.numbers() == [0, 0, 0, 0, 0])
        #expect(harness.engine.gauges.reservations == 0)
    }

    @Test func atTheCeilingSettledOnesGivePlaceAndOpenOnesDoNot() throws {
        let harness = try EngineHarness(.holding(open: 100)) { $0.reservationsMax = 3 }
        var ids: [ReservationID] = []
        for _ in 0..<3 { ids.append(try #require(harness.reserve(tokens: 1).id)) }
        let before = harness.numbers()
        #expect(harness.reserve(tokens: 1).reason == .capacityExhausted)
        #expect(harness.numbers() == before)
        #expect(harness.settle(ids[0]).isAllowed)
        #expect(harness.reserve(tokens: 1).isAllowed)
        #expect(harness.settle(ids[0]).status == .notFound)
        #expect(harness.engine.gauges.reservations == 3)
    }

    @Test func aPlanThatIsGoneLosesNoHold() throws {
        let id = try #require(harness.reserve(tokens: 400).id)
        var other = PolicyDefinition.holding()
        other.plans[0].name = "another"
        try harness.reload(other)
        #expect(harness.settle(id, tokens: 30).isAllowed)
        try harness.reload(.holding())
        #expect(harness.numbers() == [30, 0, 1, 0, 400])
    }

    @Test func moneyIsHeldAndSettledByThePrices() throws {
        var definition = PolicyDefinition.holding()
        definition.plans[0].prices = ["tokens": 7, "calls": 100]
        definition.plans[0].quotas.append(
            QuotaDefinition(
                name: "budget", scope: .organization, meter: "cost", limit: 2_000, period: .month))
        let harness = try EngineHarness(definition)
        let id = try #require(harness.reserve(tokens: 200).id)
        #expect(harness.standing()["budget"] == [0, 1_500])
        #expect(harness.extend(id, hold: 300).reason == .quotaExhausted)
        #expect(harness.extend(id, hold: 250, used: 100).isAllowed)
        #expect(harness.standing()["budget"] == [0, 1_850])
        #expect(harness.settle(id, tokens: 50).isAllowed)
        #expect(harness.standing()["budget"] == [450, 0])
    }

    @Test func usageTellsWhatIsOpenToo() throws {
        let harness = try EngineHarness(.holding(open: 2))
        let before = harness.usage(organization: "acme", user: "ada", plan: "pro_tier")
        #expect(before["open_calls"] == 0)
        let held = harness.reserve(tokens: 5)
        #expect(held.isAllowed && harness.reserve(tokens: 5).isAllowed)
        let used = harness.usage(organization: "acme", user: "ada")
        #expect(used["open_calls"] == 2 && used.count == 4)
        // Looking is refused nothing, whatever is open.
        #expect(harness.usageFlags(organization: "acme", user: "ada") == [0, 0, 0, 0])
        // A user's limits show where a user is named.
        #expect(harness.usage(organization: "acme", user: "")["open_calls"] == nil)
        let id = try #require(held.id)
        #expect(harness.cancel(id).isAllowed)
        #expect(harness.usage(organization: "acme", user: "ada")["open_calls"] == 1)
    }
}
