import Testing
import TollgateWire

@testable import TollgateCore

@Suite struct NearestLimitsRaceTests {
    private static let organizations = 200

    private static var definition: PolicyDefinition {
        var policy = EngineQuotaModelTests.definition(
            PlanDefinition(
                name: "p",
                quotas: [
                    QuotaDefinition(
                        name: "all", scope: .organization, limit: 1_000_000, period: .total)
                ]), nil)
        policy.plans.append(
            PlanDefinition(
                name: "other",
                quotas: [
                    QuotaDefinition(
                        name: "all", scope: .organization, limit: 1_000_000, period: .total),
                    QuotaDefinition(name: "own", scope: .user, limit: 1_000_000, period: .day),
                ]))
        return policy
    }

    private static func charge(
        _ engine: Engine, _ policy: PolicyImage, seed: Int, rounds: Int
    ) {
        let worker = engine.makeWorker()
        worker.beginTurn(EngineHarness.startMoment, policy: policy)
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        defer { reply.deallocate() }
        for round in 0..<rounds {
            let body = EngineHarness.consumeBody(
                organization: "org\((round * 7 + seed) % organizations)", user: "u\(seed)",
                plan: round % 11 == 0 ? "other" : "p", operation: "op", meters: [("calls", 1)])
            body.withUnsafeBytes { _ = worker.consume($0, into: reply) }
        }
    }

    @Test func walksBesideChargesSeeNoNumberThatNeverStood() async throws {
        let policy = try PolicyImage(compiling: Self.definition, generation: 1)
        let engine = Engine(EngineConfiguration(hashKey: (3, 4)))
        #expect(engine.accept(policy))
        let rounds = 6_000
        let walks = await withTaskGroup(of: [NearestLimits].self) { group in
            for seed in 0..<2 {
                group.addTask {
                    Self.charge(engine, policy, seed: seed, rounds: rounds)
                    return []
                }
            }
            for _ in 0..<2 {
                group.addTask {
                    (0..<20).map { _ in
                        engine.nearestLimits(
                            policy, most: 1_000, at: EngineHarness.startMoment) {}
                    }
                }
            }
            var all: [NearestLimits] = []
            for await walks in group { all += walks }
            return all
        }
        let last = engine.nearestLimits(policy, most: 1_000, at: EngineHarness.startMoment) {}
        let final = Dictionary(
            last.limits.filter { $0.quota == "all" }.map { ($0.organization, $0.used) },
            uniquingKeysWith: { first, _ in first })
        #expect(final.count == Self.organizations)
        #expect(final.values.reduce(0, +) == UInt64(2 * rounds))
        #expect(walks.count == 40)
        for walk in walks {
            let shared = walk.limits.filter { $0.quota == "all" }
            #expect(Set(shared.map(\.organization)).count == shared.count)
            for limit in shared {
                #expect(limit.used <= final[limit.organization] ?? 0)
                #expect(limit.limit == 1_000_000)
            }
        }
    }
}
