import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore

@Suite struct EngineRaceTests {
    @Test(arguments: [1, 7, 100, 5_000] as [UInt64])
    func workersRacingForAQuotaOfNGetExactlyN(limit: UInt64) async throws {
        var definition = PolicyDefinition.small(userPerSecond: 1 << 40, daily: 1 << 40)
        definition.plans[1].rateLimits = []
        definition.plans[1].quotas = [
            QuotaDefinition(name: "shared", scope: .organization, limit: limit, period: .day),
            QuotaDefinition(name: "own", scope: .user, limit: 1 << 40, period: .day),
        ]
        definition.addressLimits = []
        let policy = try PolicyImage(compiling: definition, generation: 1)
        let engine = Engine(EngineConfiguration(hashKey: (3, 4)))
        let moment = Moment(
            boot: BootTime(nanoseconds: 1_000_000_000_000),
            wall: WallTime(seconds: EngineHarness.startSeconds))
        let admitted = await withTaskGroup(of: UInt64.self) { group in
            for thread in 0..<4 {
                group.addTask {
                    Self.drive(engine, policy, moment, user: "u\(thread)", attempts: 3_000)
                }
            }
            return await group.reduce(0, +)
        }
        #expect(admitted == min(limit, 12_000))
    }

    private static func drive(
        _ engine: Engine, _ policy: PolicyImage, _ moment: Moment, user: String, attempts: Int
    ) -> UInt64 {
        let worker = engine.makeWorker()
        worker.beginTurn(moment, policy: policy)
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        defer { reply.deallocate() }
        let body = EngineHarness.body(
            token: EngineHarness.token(user: user), operation: "models", address: [])
        var admitted: UInt64 = 0
        for _ in 0..<attempts {
            body.withUnsafeBytes { _ = worker.check($0, into: reply) }
            if reply[0] == Verdict.allow.rawValue { admitted += 1 }
        }
        return admitted
    }
}
