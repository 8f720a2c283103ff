import Testing
import TollgateWire

@testable import TollgateCore

/// The engine against `EngineModel` over sequences of operations at random.
@Suite struct EngineModelTests {
    private static let second: UInt64 = 1_000_000_000
    /// UTC+1, one hour more from 2023-11-15T00:30Z on.
    private static let shifted = ZoneRules(
        name: "T", transitions: [1_700_008_200], offsets: [7_200], firstOffset: 3_600)

    private struct Run {
        let harness: EngineHarness
        /// The policy is edited, or idle rows are forgotten. With both it would matter which comes
        /// first: a row made anew has no counters of limits that are no more, and its periods end
        /// as the plan says that asks first, where plans have zones of their own.
        let edits: Bool
        var model: EngineModel
        var random: SeededRandom
        var tokens: [String: String] = [:]
        /// How often each came, so that a generator that reaches little is seen.
        var reached: [String: Int] = [:]

        init(seed: UInt64) throws {
            random = SeededRandom(seed: seed)
            edits = seed % 2 == 0
            let policy = EngineModelTests.policy(&random, oneZone: !edits)
            harness = try EngineHarness(policy)
            model = EngineModel(policy)
            model.now = harness.moment
        }

        mutating func pick<T>(_ list: [T]) -> T {
            list[Int.random(in: list.indices, using: &random)]
        }
    }

    /// Three plans whose limits have some names in common, so that changing the plan or the policy
    /// carries counters over, widens them, narrows them and drops them.
    static func policy(
        _ random: inout SeededRandom, oneZone: Bool = false
    ) -> PolicyDefinition {
        func pick<T>(_ list: [T]) -> T { list[Int.random(in: list.indices, using: &random)] }
        var policy = PolicyDefinition.small()
        policy.invalidCredentialLimit = nil
        let zones: [ZoneRules?] = oneZone ? [nil] : [nil, .utc, shifted]
        policy.timeZone = pick(zones) ?? shifted
        // A name is one counter in all plans: only its limit and its classes may differ.
        var windowsByName: [String: RateLimitDefinition] = [:]
        var quotasByName: [String: QuotaDefinition] = [:]
        func window(_ name: String, _ scope: LimitScope) -> RateLimitDefinition {
            let key = "\(scope) \(name)"
            var window =
                windowsByName[key]
                ?? RateLimitDefinition(
                    name: name, scope: scope, meter: pick(["calls", "tokens"]), limit: 0,
                    windowNanoseconds: pick([second, 1_500_000_001, 10 * second, 60 * second]),
                    mode: pick([.strict, .smooth]), subBuckets: pick([1, 4, 23]))
            windowsByName[key] = window
            window.limit = pick([0, 1, 2, 5, 20, 40_000])
            window.classes = pick([[], [], ["slow"]])
            return window
        }
        func quota(_ name: String, _ scope: LimitScope) -> QuotaDefinition {
            let key = "\(scope) \(name)"
            var quota =
                quotasByName[key]
                ?? QuotaDefinition(
                    name: name, scope: scope, meter: pick(["calls", "tokens"]), limit: 0,
                    period: pick([.day, .month]), timeZone: pick(zones))
            quotasByName[key] = quota
            quota.limit = pick([0, 1, 5, 30, 1_000])
            return quota
        }
        for index in policy.plans.indices {
            var windows: [RateLimitDefinition] = []
            for name in ["w1", "w2", "w3"] where Int.random(in: 0..<3, using: &random) > 0 {
                windows.append(window(name, pick([.user, .organization])))
            }
            var quotas: [QuotaDefinition] = []
            for name in ["q1", "q2", "q3"] where Int.random(in: 0..<3, using: &random) > 0 {
                quotas.append(quota(name, pick([.user, .organization])))
            }
            policy.plans[index].rateLimits = windows
            policy.plans[index].quotas = quotas
        }
        policy.operations[1].rateLimitClass = "slow"
        policy.operations[1].charges = [ChargeDefinition(defaultUnits: pick([0, 1, 2]))]
        policy.operations[0].permission = nil
        policy.operations[2].permission = nil
        policy.addressLimits = pick([[], [window("a1", .address)]])
        return policy
    }

    private static func call(_ run: inout Run) -> EngineModel.Call {
        var call = EngineModel.Call(
            organization: run.pick(["acme", "other"]), user: run.pick(["ada", "bob"]),
            plan: run.pick(["free_tier", "pro_tier", "open_tier"]),
            operation: run.pick(["chat", "models", "batch"]))
        if call.operation == "chat" {
            for meter in ["calls", "tokens"] where Bool.random(using: &run.random) {
                call.meters[meter] = run.pick([0, 1, 1, 2, 3, 7, 100])
            }
        }
        call.address = run.pick([nil, nil, nil, 1, 2, 3])
        call.dryRun = Int.random(in: 0..<5, using: &run.random) == 0
        if call.operation == "chat", !call.meters.isEmpty {
            call.isConsume = Int.random(in: 0..<5, using: &run.random) == 0
        }
        return call
    }

    private static func ask(_ call: EngineModel.Call, _ run: inout Run) -> Answer {
        let meters = call.meters.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let flags = call.dryRun ? RequestFlags.dryRun : 0
        if call.isConsume {
            return run.harness.consume(
                organization: call.organization, user: call.user, plan: call.plan,
                operation: call.operation, meters: meters, flags: flags)
        }
        let now = run.harness.moment.wall.seconds / 10_000 * 10_000
        let key = "\(call.organization) \(call.user) \(call.plan) \(now)"
        let token = run.tokens[key] ?? EngineHarness.token(
            user: call.user, organization: call.organization, plan: call.plan, issued: now,
            expires: now + 20_000)
        run.tokens = [key: token]
        return run.harness.check(
            token, operation: call.operation, meters: meters,
            address: call.address.map { [10, 0, 0, $0] } ?? [], flags: flags)
    }

    private static func shown(
        _ state: (limit: UInt64, remaining: UInt64, reset: UInt64), _ name: String
    ) -> EngineModel.Shown {
        EngineModel.Shown(
            name: name, limit: state.limit, remaining: state.remaining, reset: state.reset)
    }

    /// One operation on both; returns what differs.
    private static func step(_ run: inout Run) throws -> String? {
        switch Int.random(in: 0..<40, using: &run.random) {
        case 0 where run.edits:
            let policy = policy(&run.random)
            try run.harness.reload(policy)
            run.model.policy = policy
            run.reached["reload", default: 0] += 1
        case 1 where !run.edits: for _ in 0..<300 { run.harness.worker.sweep() }
        case 2...16:
            run.harness.advance(
                milliseconds: run.pick([
                    0, 1, 7, 49, 200, 1_000, 9_999, 60_000, 3_600_000, 86_400_000, 2_700_000_000,
                ]))
            run.model.now = run.harness.moment
        default: break
        }
        let call = call(&run)
        let expected = run.model.answer(call)
        let answer = ask(call, &run)
        guard answer.status == .ok else { return "\(call): \(answer.status)" }
        let got = EngineModel.Answer(
            reason: answer.reason, retry: answer.retry,
            rate: shown(answer.rate, answer.rateName),
            quota: shown(answer.quota, answer.quotaName),
            overage: answer.flags & DecisionFlags.overage != 0)
        run.reached["\(got.reason)", default: 0] += 1
        guard got == expected else { return "\(call):\n got \(got)\n not \(expected)" }
        let used = run.harness.usage(
            organization: call.organization, user: call.user, plan: call.plan)
        let wanted = run.model.usage(call)
        return used == wanted ? nil : "\(call):\n used \(used)\n not \(wanted)"
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func everyAnswerIsThatOfThePlainModel(seed: UInt64) throws {
        for part in 0..<UInt64(testScale) {
            var run = try Run(seed: seed + part * 1_000)
            for number in 0..<600 {
                guard let difference = try Self.step(&run) else { continue }
                Issue.record("seed \(seed + part * 1_000), operation \(number): \(difference)")
                return
            }
            print("model, seed \(seed + part * 1_000): \(run.reached)")
            #expect(run.reached["none", default: 0] > 20)
        }
    }
}
