import Testing
import TollgateWire

@testable import TollgateCore

/// A refused caller passes at the time it is told, and a millisecond earlier it does not
/// (RELIABILITY C8): strict and smooth windows, quotas, addresses, and several of them at once.
@Suite struct EngineRetryTests {
    private final class Caller {
        let harness: EngineHarness
        private var token = ""
        private var issued: Int64 = 0

        init(_ harness: EngineHarness) { self.harness = harness }

        func check(_ operation: String, _ units: UInt64, dryRun: Bool) -> Answer {
            let now = harness.moment.wall.seconds
            if now - issued > 40_000 {
                issued = now
                token = EngineHarness.token(issued: now, expires: now + 80_000)
            }
            let meters: [(String, UInt64)] =
                operation == "chat" ? [("calls", units), ("tokens", units)] : [("calls", units)]
            return harness.check(
                token, operation: operation, meters: meters,
                flags: dryRun ? RequestFlags.dryRun : 0)
        }
    }

    @Test func whoComesAgainAtTheTimeToldPassesAndNotAMillisecondBefore() throws {
        var random = SeededRandom.printed("retries")
        var tried: [Reason: Int] = [:]
        while tried.values.reduce(0, +) < 10_000 * testScale {
            var policy = EngineModelTests.policy(&random)
            policy.addressLimits += [
                RateLimitDefinition(
                    name: "a2", scope: .address, limit: 9, windowNanoseconds: 700_000_003)
            ]
            let harness = try EngineHarness(policy)
            harness.boot += UInt64.random(in: 0...999_999, using: &random)
            let caller = Caller(harness)
            for _ in 0..<300 {
                harness.advance(milliseconds: UInt64.random(in: 0...300, using: &random))
                let operation = Bool.random(using: &random) ? "chat" : "batch"
                let units = UInt64.random(in: 0...4, using: &random)
                let refused = caller.check(operation, units, dryRun: false)
                guard !refused.isAllowed, refused.retry != WireLimits.retryNever else { continue }
                try #require(refused.retry > 0)
                harness.advance(milliseconds: UInt64(refused.retry) - 1)
                let early = caller.check(operation, units, dryRun: true)
                harness.advance(milliseconds: 1)
                let due = caller.check(operation, units, dryRun: true)
                #expect(!early.isAllowed && due.isAllowed, "\(refused): \(early), \(due)")
                tried[refused.reason, default: 0] += 1
            }
        }
        print("retries: \(tried)")
        #expect(tried[.rateLimited] ?? 0 > 1_000 && tried[.quotaExhausted] ?? 0 > 1_000)
    }
}
