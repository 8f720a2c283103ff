import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore

/// Nothing is oversold, and what is refused charges nothing, whatever the limit, the cost, the
/// threads and the scopes that share an organization (RELIABILITY C1).
@Suite struct EngineOversellRaceTests {
    /// Limits at the edges of what is asked for and of the widths of integers.
    static let limits: [UInt64] = [
        0, 1, 2, 7, 100, 1_000_000, (1 << 32) - 1, (1 << 32) + 1, (1 << 53) + 1, (1 << 63) - 1,
    ]
    /// Decisions of one case. Optimised: five million in all cases together.
    #if DEBUG
    private static let attempts = 2_400 * testScale
    #else
    private static let attempts = 84_000 * testScale
    #endif

    private struct Case {
        var limit: UInt64
        var cost: UInt64
        var threads: Int
        var scopes: Int
        /// All threads are one user, or each its own.
        var oneUser: Bool
    }

    /// The tightest limit at one of the scopes, and a little more at the others, so that a charge
    /// of only some of them would be seen.
    private static func policy(_ item: Case) -> PolicyDefinition {
        var policy = PolicyDefinition.small()
        policy.invalidCredentialLimit = nil
        policy.addressLimits = []
        let hour: UInt64 = 3_600_000_000_000
        func more(_ scope: Int) -> UInt64 {
            scope == item.scopes % 5 ? item.limit : item.limit + 3
        }
        var plan = PlanDefinition(name: "pro_tier")
        for scope in 0..<item.scopes {
            switch scope {
            case 0:
                plan.quotas.append(
                    QuotaDefinition(
                        name: "oq", scope: .organization, limit: item.limit, period: .day))
            case 1:
                plan.rateLimits.append(
                    RateLimitDefinition(
                        name: "ow", scope: .organization, limit: more(1), windowNanoseconds: hour))
            case 2:
                plan.quotas.append(
                    QuotaDefinition(name: "uq", scope: .user, limit: more(2), period: .month))
            case 3:
                plan.rateLimits.append(
                    RateLimitDefinition(
                        name: "uw", scope: .user, limit: more(3), windowNanoseconds: hour,
                        mode: .smooth))
            default:
                policy.addressLimits = [
                    RateLimitDefinition(
                        name: "aw", scope: .address, limit: .max, windowNanoseconds: hour)
                ]
            }
        }
        policy.plans = [plan]
        policy.operations = [
            OperationDefinition(name: "one"),
            OperationDefinition(name: "many", charges: [ChargeDefinition(weight: 1 << 30)]),
        ]
        return policy
    }

    /// Sum of what one thread was admitted for.
    private static func drive(
        _ engine: Engine, _ policy: PolicyImage, _ user: String, cost: UInt64, attempts: Int
    ) -> UInt64 {
        let worker = engine.makeWorker()
        worker.beginTurn(EngineHarness.startMoment, policy: policy)
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        defer { reply.deallocate() }
        let body = EngineHarness.body(
            token: EngineHarness.token(user: user), operation: "one", meters: [("calls", cost)])
        var admitted: UInt64 = 0
        body.withUnsafeBytes { body in
            for _ in 0..<attempts {
                _ = worker.check(body, into: reply)
                if reply[0] == Verdict.allow.rawValue { admitted += cost }
            }
        }
        return admitted
    }

    /// Brings the organization's and ada's counters to `units`.
    private static func fill(_ harness: EngineHarness, to units: UInt64) {
        for (operation, part) in [("many", units >> 30), ("one", units & (1 << 30 - 1))] {
            let answer = harness.consume(
                organization: "acme", user: "ada", plan: "pro_tier", operation: operation,
                meters: [("calls", part)])
            #expect(answer.isAllowed)
        }
    }

    private static func run(_ item: Case) throws {
        let harness = try EngineHarness(policy(item))
        let each = attempts / item.threads
        // What is left to race for: less than the demand, and where the limit is larger, its end.
        let demand = UInt64(attempts / 2)
        let free = min(item.limit, item.cost <= 3 ? demand : item.limit)
        let before = item.limit - free
        if before > 0 { fill(harness, to: before) }
        let (engine, policy) = (harness.engine, harness.policy)
        let users = (0..<item.threads).map { item.oneUser || before > 0 ? "ada" : "u\($0)" }
        let sums = onThreads(item.threads) { index in
            drive(engine, policy, users[index], cost: item.cost, attempts: each)
        }
        let admitted = sums.reduce(0, +)
        // As often as it fits, or as often as it was asked for.
        let times = item.cost == 0 ? 0 : min(free / item.cost, UInt64(each * item.threads))
        #expect(admitted == times * item.cost, "\(item)")
        var charged: [String: UInt64] = [:]
        for user in Set(users) {
            let used = harness.usage(organization: "acme", user: user, plan: "pro_tier")
            for name in ["oq", "ow"] where used[name] != nil { charged[name] = used[name] }
            for name in ["uq", "uw"] { charged[name, default: 0] += used[name] ?? 0 }
        }
        for name in ["oq", "ow", "uq", "uw"].prefix(item.scopes) {
            #expect(charged[name] == before + admitted, "\(item): \(charged)")
        }
    }

    @Test(arguments: limits) func anOrganizationsLimitIsChargedToTheUnitAndNoFurther(
        limit: UInt64
    ) throws {
        let largest = WireLimits.unitsMax
        let costs = [0, 1, 3, min(limit, largest), min(limit &+ 1, largest), largest]
        for (index, cost) in costs.enumerated() {
            let number = index + Int(limit % 11)
            try Self.run(
                Case(
                    limit: limit, cost: cost, threads: [2, 4, 8][number % 3],
                    scopes: 1 + number % 5, oneUser: number % 2 == 0))
        }
    }

    /// T4: a month ends while threads charge. Every charge is counted in one period, and none
    /// holds more than the limit.
    @Test func aMonthThatEndsUnderLoadHoldsItsLimitAndSoDoesTheNext() throws {
        let limit: UInt64 = 500
        var definition = Self.policy(
            Case(limit: limit, cost: 1, threads: 8, scopes: 1, oneUser: false))
        definition.plans[0].quotas[0].period = .month
        for edge in 0..<UInt64(6 * testScale) {
            let policy = try PolicyImage(compiling: definition, generation: 1)
            let engine = Engine(EngineConfiguration(hashKey: (edge, 4)))
            let clock = SharedClock(start: 1_701_388_800_000 - 40)  // 2023-12-01T00:00:00Z
            let seen = onThreads(8) { index in
                Self.crossEdge(engine, policy, clock, user: "u\(index)")
            }.flatMap { $0 }
            let periods = Dictionary(grouping: seen, by: \.end)
            #expect(periods.count == 2)
            for (end, charges) in periods {
                #expect(end == 1_701_388_800_000 || end == 1_704_067_200_000)
                // Every remaining amount once: no two charges were counted as the same one.
                #expect(Set(charges.map(\.remaining)).count == charges.count)
                #expect(charges.count == Int(limit), "\(charges.count) of \(limit)")
            }
        }
    }

    /// Wall milliseconds that go on by one at every few readings, by any thread.
    private final class SharedClock: Sendable {
        private let readings = Atomic<Int64>(0)
        private let start: Int64

        init(start: Int64) { self.start = start }

        func read() -> Moment {
            let passed = readings.wrappingAdd(1, ordering: .relaxed).oldValue / 4
            return Moment(
                boot: BootTime(nanoseconds: 1_000_000_000_000 + UInt64(passed) * 1_000_000),
                wall: WallTime(milliseconds: start + passed))
        }
    }

    /// Charges in turns of a few requests until both months' limits are spent; the end of the
    /// period, and what remained of it, of each charge.
    private static func crossEdge(
        _ engine: Engine, _ policy: PolicyImage, _ clock: SharedClock, user: String
    ) -> [(end: Int64, remaining: UInt64)] {
        let worker = engine.makeWorker()
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        defer { reply.deallocate() }
        let body = EngineHarness.body(
            token: EngineHarness.token(
                user: user, issued: 1_701_388_000, expires: 1_701_388_000 + 80_000),
            operation: "one", address: [])
        var charges: [(end: Int64, remaining: UInt64)] = []
        for _ in 0..<80 {
            let now = clock.read()
            worker.beginTurn(now, policy: policy)
            for _ in 0..<12 {
                let outcome = body.withUnsafeBytes { worker.check($0, into: reply) }
                let answer = Answer(outcome, UnsafeRawBufferPointer(reply))
                guard answer.isAllowed else { continue }
                let end = worker.clock.period.milliseconds + Int64(answer.quota.reset)
                charges.append((end, answer.quota.remaining))
            }
        }
        return charges
    }
}
