import Testing
import TollgateWire

@testable import TollgateCore

/// Addresses at their ceiling, addresses in disguise, and guessers beside owners.
@Suite struct EngineAddressTests {
    private static func harness(addressesMax: Int) throws -> EngineHarness {
        try EngineHarness { $0.addressesMax = addressesMax }
    }

    @Test func guessersAreStoppedAlsoWhereTheTableOfAddressesIsFull() throws {
        let harness = try Self.harness(addressesMax: 1)
        #expect(harness.check(operation: "models", address: [10, 0, 0, 1]).isAllowed)
        var reasons: [Reason] = []
        for _ in 0..<12 {
            reasons.append(harness.check("a.b.c", address: [10, 9, 9, 9]).reason)
        }
        #expect(reasons.prefix(4).allSatisfy { $0 == .credentialInvalid })
        #expect(reasons.dropFirst(4).allSatisfy { $0 == .invalidCredentialLimited })
    }

    @Test func aDryRunFromAnAddressWithoutARowDecidesAsTheRequestWould() throws {
        var policy = PolicyDefinition.small(userPerSecond: 1_000)
        policy.addressLimits[0].limit = 3
        let harness = try EngineHarness(policy) { $0.addressesMax = 0 }
        for _ in 0..<3 {
            #expect(harness.check(operation: "models", address: [10, 0, 0, 1]).isAllowed)
        }
        for flags in [RequestFlags.dryRun, 0] {
            let answer = harness.check(operation: "models", address: [10, 0, 0, 1], flags: flags)
            #expect(answer.reason == .rateLimited && answer.rateName == "per_address")
        }
    }

    @Test func anIPv4AddressCountsOnceInWhateverIPv6AddressItIsCarried() throws {
        var policy = PolicyDefinition.small(userPerSecond: 1_000)
        policy.addressLimits[0].limit = 5
        let harness = try EngineHarness(policy)
        let spellings: [[UInt8]] = [
            [192, 0, 2, 7],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7],
            [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 7],
            [0x20, 0x02, 192, 0, 2, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            [0x20, 0x02, 192, 0, 2, 7, 0xff, 0xff, 9, 9, 9, 9, 9, 9, 9, 9],
        ]
        for address in spellings {
            #expect(harness.check(operation: "models", address: address).isAllowed)
        }
        for address in spellings {
            #expect(harness.check(operation: "models", address: address).reason == .rateLimited)
        }
        let others: [[UInt8]] = [
            [192, 0, 2, 8], [0x20, 0x01, 192, 0, 2, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            [0, 0x64, 0xff, 0x9b, 0, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 7],
        ]
        for address in others {
            #expect(harness.check(operation: "models", address: address).isAllowed)
        }
    }

    @Test func anOwnerKnownBeforeIsNotLockedOutByAGuesserAtItsAddress() throws {
        let harness = try EngineHarness()
        #expect(harness.check(operation: "models").isAllowed)
        for _ in 0..<10 { _ = harness.check("a.b.c") }
        #expect(harness.check("a.b.c").reason == .invalidCredentialLimited)
        #expect(harness.check(operation: "models").isAllowed)
    }

    @Test func namesThatNoTokenCanSayAreRefused() throws {
        let harness = try EngineHarness()
        for name in ["a\u{0}", "\u{1b}[31m", "a\u{85}", "\n"] {
            let answer = harness.consume(
                organization: name, user: "u", plan: "pro_tier", operation: "models",
                meters: [("calls", 1)])
            #expect(answer.status == .malformedBody)
        }
        let fine = harness.consume(
            organization: "Zoë 漢字", user: "😀", plan: "pro_tier", operation: "models",
            meters: [("calls", 1)])
        #expect(fine.isAllowed)
    }
}
