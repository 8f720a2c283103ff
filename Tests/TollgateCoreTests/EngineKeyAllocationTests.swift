import CAllocationCount
import Testing
import TollgateWire

@testable import TollgateCore

#if !DEBUG
/// What the directory adds to a CHECK allocates nothing in steady state: see EngineAllocationTests.
@Suite struct EngineKeyAllocationTests {
    private static func policy() -> PolicyDefinition {
        var policy = PolicyDefinition.withDirectory()
        policy.addressLimits[0].limit = 1 << 40
        policy.invalidCredentialLimit?.limit = 20_000
        policy.plans[1].quotas[0].limit = 1 << 40
        policy.plans[1].quotas[1].limit = 1 << 40
        for index in 0...2 { policy.plans[1].rateLimits[index].limit = 1 << 30 }
        return policy
    }

    private static func credentials(
        _ harness: DirectoryHarness
    ) throws -> [(name: String, text: String, reason: Reason)] {
        let block = try #require(AddressBlock("10.0.0.0/8"))
        harness.put("few", overrides: [OverrideEntry(limit: "per_minute", units: 1)])
        harness.image.put(UserEntry(organization: "few", id: "ada"))
        let bound = try harness.add { $0.limit = KeyLimit(units: 1 << 30, seconds: 60) }
        let once = try harness.add { $0.limit = KeyLimit(units: 1, seconds: 86_400) }
        return [
            ("a key", try harness.add().text, .none),
            ("a key with a limit of its own", bound.text, .none),
            ("one that is at it", once.text, .rateLimited),
            ("one bound to addresses", try harness.add { $0.addresses = [block] }.text, .none),
            ("one with fewer permissions",
                try harness.add { $0.permissions = ["can_use_gpt4o"] }.text, .none),
            ("one whose limit is overridden", try harness.add("few").text, .rateLimited),
            ("a token by the directory", DirectoryHarness.token(), .none),
            ("an unknown key", try harness.make().text, .keyUnknown),
            ("a revoked key", try harness.add { $0.isRevoked = true }.text, .credentialRevoked),
            ("junk", "tg_live_junk", .credentialMalformed),
        ]
    }

    @Test func noCredentialOfTheDirectoryAllocates() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try DirectoryHarness(Self.policy())
        for (name, text, reason) in try Self.credentials(harness) {
            let body = EngineHarness.body(token: text, flags: RequestFlags.explain)
            func send() {
                body.withUnsafeBytes {
                    _ = harness.engine.worker.check($0, into: harness.engine.reply)
                }
            }
            for _ in 0..<3 { send() }
            #expect(harness.check(text).reason == reason, "\(name)")
            let before = tg_allocations()
            for _ in 0..<100 {
                harness.engine.boot += 1_000_000
                harness.engine.beginTurn()
                send()
            }
            #expect(tg_allocations() == before, "\(name)")
        }
    }

    @Test func lookingAgainAfterAChangeCostsNoAllocation() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try DirectoryHarness(Self.policy())
        let bodies = [try harness.add().text, DirectoryHarness.token()].map {
            EngineHarness.body(token: $0)
        }
        func send() {
            for body in bodies {
                body.withUnsafeBytes {
                    _ = harness.engine.worker.check($0, into: harness.engine.reply)
                }
            }
        }
        send()
        let before = tg_allocations()
        for _ in 0..<100 {
            harness.image.raiseEpoch()
            send()
        }
        #expect(tg_allocations() == before)
        #expect(harness.engine.worker.counters.count(reason: .none) == 202)
    }
}
#endif
