import Testing
import TollgateWire

@testable import TollgateCore

/// When a quota's period began, as alerts take it from what a decision recorded.
@Suite struct AlertPeriodTests {
    /// From both ends of the date line, and one whose clocks change.
    private static let zones = [
        ZoneRules.utc,
        ZoneRules(name: "Kiritimati", transitions: [], offsets: [], firstOffset: 50_400),
        ZoneRules(name: "Honolulu", transitions: [], offsets: [], firstOffset: -36_000),
        ZoneRules(name: "West", transitions: [], offsets: [], firstOffset: -43_200),
        ZoneRules(
            name: "Berlin", transitions: [1_806_195_600, 1_824_944_400, 1_837_645_200],
            offsets: [7_200, 3_600, 7_200], firstOffset: 3_600),
    ]

    /// An organization whose subscription began on a day of January 2027, and what the audit log
    /// has of its decisions.
    private final class World {
        let harness: EngineHarness
        let memory = MemoryRing(capacity: 1 << 20, number: 1, nextID: 1)

        init(_ zone: ZoneRules, anchorDay: Int64, _ period: PeriodKind = .billingMonth) throws {
            let quota = QuotaDefinition(
                name: "q", scope: .organization, limit: 1_000, period: period)
            harness = try EngineHarness(
                EngineQuotaModelTests.definition(
                    PlanDefinition(name: "p", quotas: [quota]), nil))
            harness.worker.openAudit(memory.ring, isBlocking: true)
            subscribe(zone, anchorDay)
        }

        func subscribe(_ zone: ZoneRules, _ anchorDay: Int64) {
            let noon = Calendar.days(year: 2027, month: 1, day: anchorDay) * 86_400 + 43_200
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme",
                    subscription: SubscriptionEntry(
                        plan: "p", isServed: true, zone: zone,
                        anchor: WallTime(seconds: noon - zone.offset(at: noon)))))
        }

        /// Forward, and not by more than the clock is believed.
        func go(to seconds: Int64) {
            harness.advance(milliseconds: UInt64(seconds * 1_000 - harness.wall))
        }

        /// Hands on what is recorded of a request.
        func check(_ calls: UInt64 = 1, _ body: (AuditEntry) -> Void = { _ in }) {
            let now = harness.moment.wall.seconds
            _ = harness.check(
                EngineHarness.token(plan: "p", issued: now - 10, expires: now + 100),
                operation: "op", meters: [("calls", calls), ("tokens", 0)])
            harness.worker.publishAudit(now: BootTime(nanoseconds: harness.boot))
            var position = memory.ring.start
            let isWhole = memory.ring.read(&position) {
                body($0)
                return true
            }
            #expect(isWhole)
            memory.ring.release(through: position)
        }

        var names: AlertNames { harness.policy.alertNames }
    }

    @Test func eachPeriodOfEveryAnchorBeganWhenTheCalendarSaysInEveryZone() throws {
        let day: Int64 = 86_400
        for (number, zone) in Self.zones.enumerated() {
            for anchorDay in Int64(1)...31 {
                let world = try World(zone, anchorDay: anchorDay)
                // 2027-01-01 to the end of 2028, whose February has 29 days.
                var at = Calendar.days(year: 2027, month: 1, day: 1) * day
                for _ in 0..<25 {
                    world.go(to: at)
                    var found: (start: Int64?, end: Int64) = (nil, 0)
                    world.check { found = AlertEngine.interval(.billingMonth, $0.head) }
                    let wanted = Calendar.interval(
                        of: .billingMonth, at: WallTime(seconds: at), zone: zone,
                        anchorDay: anchorDay)
                    let start = try #require(found.start)
                    // Clock changes move it by their hour.
                    let off = abs(start / 1_000 - wanted.start)
                    let isOff = number == Self.zones.count - 1 ? off > 3_600 : off != 0
                    #expect(!isOff, "\(zone.name), anchor \(anchorDay), \(at): off by \(off) s")
                    #expect(found.end == wanted.end * 1_000)
                    at = wanted.end + 7_321
                }
            }
        }
    }

    @Test func aQuotaThatIsGoneInItsFirstHourIsToldWhateverTheAnchor() throws {
        for anchorDay in Int64(1)...31 {
            let world = try World(.utc, anchorDay: anchorDay)
            let rules = AlertRules([AlertRule("quota_exhausted_early", .quotaExhaustedEarly)])
            var engine = AlertEngine(rules)
            var at = Calendar.days(year: 2027, month: 1, day: anchorDay) * 86_400 + 3_600
            for period in 1...24 {
                world.go(to: at)
                world.check(1_000) { engine.observe($0, world.names) }
                let told = engine.takePending().count
                #expect(told == 1, "anchor \(anchorDay), period \(period): \(told)")
                let now = Calendar.interval(
                    of: .billingMonth, at: WallTime(seconds: at), zone: .utc, anchorDay: anchorDay)
                at = now.end + 3_600
            }
        }
    }

    @Test func aPeriodThatAnotherAnchorBeganKeepsItsOwnLength() throws {
        let world = try World(.utc, anchorDay: 31)
        let january31 = Calendar.days(year: 2027, month: 1, day: 31) * 86_400
        world.go(to: january31 + 79_200)
        world.check()
        world.subscribe(.utc, 15)
        var found: Int64?
        world.check { found = AlertEngine.interval(.billingMonth, $0.head).start }
        let start = try #require(found)
        #expect(start == january31 * 1_000)
    }

    @Test func theAddressFamilyAndThePeriodShareAByte() {
        for family in [UInt8(0), 4, 6] {
            for days in UInt8(0)...31 {
                var head = AuditHead()
                head.quotaPeriodDays = days
                head.addressFamily = family
                #expect(head.addressFamily == family && head.quotaPeriodDays == days)
                head.quotaPeriodDays = 31 - days
                #expect(head.addressFamily == family && head.quotaPeriodDays == 31 - days)
            }
        }
        #expect(MemoryLayout<AuditHead>.size == AuditHead.bytes)
        let forever = PeriodInterval(start: 0, end: .max)
        #expect(forever.wholeDays == 0)
        #expect(PeriodInterval(start: 0, end: 32 * 86_400).wholeDays == 0)
        #expect(PeriodInterval(start: 0, end: 31 * 86_400 + 3_600).wholeDays == 31)
        #expect(PeriodInterval(start: 0, end: 23 * 3_600).wholeDays == 1)
    }
}
