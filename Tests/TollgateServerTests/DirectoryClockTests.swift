import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// What is forgotten for good, and when, whatever the clock says.
@Suite struct DirectoryClockTests {
    private static let hour: Int64 = 3_600_000
    private static let start: Int64 = 1_800_000_000_000

    private func moment(_ seconds: UInt64, wall milliseconds: Int64) -> Moment {
        Moment(
            boot: BootTime(nanoseconds: seconds * 1_000_000_000),
            wall: WallTime(milliseconds: Self.start + milliseconds))
    }

    @Test func noGlitchOfTheClockForgetsWhatHasNotExpired() {
        let engine = Engine(EngineConfiguration(hashKey: (5, 6)))
        let begun = DirectoryKeeper.forgettable(engine, at: moment(1, wall: 0))
        #expect(begun.milliseconds == Self.start - 24 * Self.hour)
        for ahead in [20, 48, 24 * 3_650] as [Int64] {
            let glitch = DirectoryKeeper.forgettable(engine, at: moment(2, wall: ahead * Self.hour))
            #expect(glitch.milliseconds <= Self.start, "\(ahead) h ahead")
        }
    }

    @Test func whatExpiredADayAgoIsForgotten() {
        let engine = Engine(EngineConfiguration(hashKey: (5, 6)))
        _ = DirectoryKeeper.forgettable(engine, at: moment(0, wall: 0))
        let later = DirectoryKeeper.forgettable(
            engine, at: moment(48 * 3_600, wall: 48 * Self.hour))
        #expect(later.milliseconds == Self.start + 24 * Self.hour)
    }

    @Test func aPolicyOfShorterTokensShortensNoRevocation() throws {
        var policy = DirectoryHarness.policy()
        policy.issuers[0].lifetimeMaxSeconds = 7 * 86_400
        let harness = try DirectoryHarness(definition: policy)
        defer { harness.stop() }
        try harness.makeTenant()
        func revokedFor() throws -> Int64 {
            let answer = try harness.call(
                .revokeUser, ["organization": "acme", "user": "ada"])
            answer.expectOK()
            let list = try DirectoryPage<Revocation>(
                json: harness.call(.listRevocations, ["organization": "acme"]).json)
            let revocation = try #require(list.items.first)
            return revocation.expiresAt.milliseconds - revocation.at.milliseconds
        }
        policy.issuers[0].lifetimeMaxSeconds = 60
        harness.nextPolicy(policy)
        _ = try harness.server.server.reload().get()
        #expect(try revokedFor() >= 7 * 24 * Self.hour)
    }

    @Test func aRevocationIsKeptForADayAtLeast() throws {
        var policy = DirectoryHarness.policy()
        policy.issuers[0].lifetimeMaxSeconds = 60
        let harness = try DirectoryHarness(definition: policy)
        defer { harness.stop() }
        try harness.makeTenant()
        try harness.call(.revokeUser, ["organization": "acme", "user": "ada"]).expectOK()
        let list = try DirectoryPage<Revocation>(
            json: harness.call(.listRevocations, ["organization": "acme"]).json)
        let revocation = try #require(list.items.first)
        #expect(
            revocation.expiresAt.milliseconds - revocation.at.milliseconds >= 24 * Self.hour)
    }
}
