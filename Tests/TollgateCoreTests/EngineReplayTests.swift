import Testing
import TollgateWire

@testable import TollgateCore

/// Decisions of a log, asked again: what a log says is not to be trusted.
@Suite struct EngineReplayTests {
    private func call(_ meters: Int = 1) -> ReplayCall {
        var call = ReplayCall(
            organization: Array("acme".utf8), user: Array("ada".utf8),
            plan: Array("pro_tier".utf8), operation: Array("chat".utf8))
        call.meters = Array(repeating: (name: Array("tokens".utf8), units: 1), count: meters)
        return call
    }

    @Test func moreMetersThanARequestHasAreNotTaken() throws {
        let harness = try EngineHarness(.holding())
        #expect(harness.worker.replay(call(WireLimits.metersMax))?.reason == Reason.none)
        for count in [WireLimits.metersMax + 1, 255] {
            #expect(harness.worker.replay(call(count)) == nil)
            #expect(harness.worker.meterCount <= WireLimits.metersMax)
        }
    }

    @Test func whatOnlyShadowLetsThroughIsTold() throws {
        var policy = PolicyDefinition.holding(calls: 2)
        let enforced = try EngineHarness(policy)
        policy.isShadow = true
        let shadow = try EngineHarness(policy)
        for round in 0..<3 {
            let (refused, would) = (enforced.worker.replay(call()), shadow.worker.replay(call()))
            #expect(would?.reason == Reason.none && would?.isInShadow == (round == 2))
            #expect(refused?.reason == (round == 2 ? .quotaExhausted : Reason.none))
        }
        var unpermitted = call()
        unpermitted.isPermitted = false
        unpermitted.isDryRun = true
        #expect(enforced.worker.replay(unpermitted)?.reason == .permissionDenied)
        #expect(shadow.worker.replay(unpermitted)?.isInShadow == true)
    }
}
