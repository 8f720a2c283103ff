import Testing
import TollgateWire

@testable import TollgateCore

/// What bounds the engine's memory, whoever comes (RELIABILITY M1, S35).
@Suite struct EngineTableTests {
    @Test func idleRowsAreForgottenUnderLoadAndTheirMemoryIsUsedAgain() throws {
        let harness = try EngineHarness {
            $0.usersMax = 1_500
            $0.addressesMax = 1_500
        }
        var bytes: [Int] = []
        for round in 0..<10 {
            // What the last round charged is over now; nothing has been forgotten yet.
            harness.advance(milliseconds: 32 * 86_400_000)
            let now = harness.moment.wall.seconds
            for number in 0..<1_000 {
                // One organization, so that its shard's memory is needed again and again.
                let token = EngineHarness.token(
                    user: "u\(number)-\(round)", issued: now, expires: now + 1_000)
                let address = [10, UInt8(round), UInt8(number >> 8), UInt8(number & 255)]
                let answer = harness.check(token, operation: "models", address: address)
                if number % 40 == 39 { harness.advance(milliseconds: 2_000) }
                #expect(answer.isAllowed, "round \(round), user \(number): \(answer.reason)")
                // One of 128 shards, a slice of it, as between two turns of a reactor.
                for _ in 0..<2 { harness.worker.sweep() }
            }
            bytes.append(harness.engine.gauges.counterBytes)
        }
        #expect(harness.engine.gauges.capacityRefusals == 0)
        #expect(harness.engine.gauges.addressOverflows == 0)
        // 1,000 rows of more than 256 bytes a round, and no further chunk of memory for them.
        #expect(bytes[9] - bytes[2] < RowArena.chunkBytes, "\(bytes)")
    }

    @Test func editsOfThePolicyUseTheSameMemoryAgain() throws {
        // Another window each time, so that every row gets another layout.
        func edited(_ edit: UInt64) -> PolicyDefinition {
            var policy = PolicyDefinition.small()
            policy.plans[1].rateLimits.append(
                RateLimitDefinition(
                    name: "edited", scope: .user, limit: edit % 2 == 0 ? 9 : 1 << 40,
                    windowNanoseconds: (edit + 1) * 1_000_000_000))
            return policy
        }
        let harness = try EngineHarness()
        let tokens = (0..<500).map { EngineHarness.token(user: "u\($0)") }
        var bytes: [Int] = []
        for edit in 0..<10 as Range<UInt64> {
            try harness.reload(edited(edit))
            harness.advance(milliseconds: 10_000)
            for (number, token) in tokens.enumerated() {
                if number % 40 == 39 { harness.advance(milliseconds: 2_000) }
                #expect(harness.check(token, address: []).isAllowed)
            }
            bytes.append(harness.engine.gauges.counterBytes)
        }
        #expect(bytes[9] - bytes[2] < RowArena.chunkBytes, "\(bytes)")
    }

    @Test func inventedAddressesShareWhatIsLeftAndFreeNobody() throws {
        var policy = PolicyDefinition.small(userPerSecond: 1 << 40, daily: 1 << 40)
        policy.plans[1].rateLimits = []
        policy.addressLimits[0].limit = 5
        policy.addressLimits[0].windowNanoseconds = 3_600_000_000_000
        let harness = try EngineHarness(policy) { $0.addressesMax = 4_000 }
        let token = EngineHarness.token()
        var random = SeededRandom.printed("addresses")
        let known: [UInt8] = [192, 0, 2, 7]
        func ask(_ address: [UInt8]) -> Bool {
            harness.check(token, operation: "models", address: address).isAllowed
        }
        for _ in 0..<3 { #expect(ask(known)) }
        var admitted = 0
        let count = 30_000 * testScale
        for number in 0..<count {
            var address = (0..<4).map { _ in UInt8.random(in: 0...255, using: &random) }
            address[0] |= 1
            if number % 3 == 0 {
                // 100 networks of IPv6 with as many hosts as one likes: 100 rows.
                address = [0x20, 1, 13, 184, 0, 0, 0, UInt8(number / 3 % 100)]
                    + (0..<8).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            if ask(address) { admitted += 1 }
        }
        let gauges = harness.engine.gauges
        // And one shared row for each shard.
        #expect(gauges.addresses <= 4_000 + Engine.shardCount && gauges.addresses > 4_000)
        #expect(gauges.addressOverflows > UInt64(count / 2))
        #expect(gauges.counterBytes < 64 << 20)
        #expect(admitted <= 4_000 + Engine.shardCount * 5 + 100 * 5)
        // Who was known before is limited on its own as ever: two of five were left.
        #expect([ask(known), ask(known), ask(known)] == [true, true, false])
    }
}
