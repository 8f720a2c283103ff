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
        func billing(_ now: Moment) -> WallTime { engine.billingTime(now) }
        let begun = moment(1, wall: 0)
        var clock = PurgeClock(kept: nil, billing: billing(begun), boot: begun.boot)
        let first = clock.advance(to: billing(begun), boot: begun.boot)
        #expect(first.milliseconds == Self.start - 24 * Self.hour)
        for ahead in [20, 48, 24 * 3_650] as [Int64] {
            let glitch = moment(2, wall: ahead * Self.hour)
            let forgotten = clock.advance(to: billing(glitch), boot: glitch.boot)
            #expect(forgotten.milliseconds <= Self.start, "\(ahead) h ahead")
        }
    }

    @Test func aStartWithAClockThatIsAheadForgetsNothingForADay() {
        // Whatever a start is told is the time; the directory knows what it was before.
        let kept = WallTime(milliseconds: Self.start)
        let wrong = WallTime(milliseconds: Self.start + 24 * 365 * Self.hour)
        var clock = PurgeClock(kept: kept, billing: wrong, boot: BootTime(nanoseconds: 0))
        for hours in 1...12 as ClosedRange<UInt64> {
            let boot = BootTime(nanoseconds: hours * 3_600_000_000_000)
            let forgotten = clock.advance(to: wrong, boot: boot)
            #expect(forgotten.milliseconds <= Self.start)
        }
        // Set right, it goes on from where it is.
        let right = WallTime(milliseconds: Self.start + 12 * Self.hour)
        let boot = BootTime(nanoseconds: 13 * 3_600_000_000_000)
        #expect(clock.advance(to: right, boot: boot).milliseconds <= Self.start)
    }

    @Test func aDowntimeIsCaughtUpWith() {
        let kept = WallTime(milliseconds: Self.start)
        var clock = PurgeClock(
            kept: kept, billing: WallTime(milliseconds: Self.start + 48 * Self.hour),
            boot: BootTime(nanoseconds: 0))
        func after(_ hours: Int64) -> Int64 {
            clock.advance(
                to: WallTime(milliseconds: Self.start + (48 + hours) * Self.hour),
                boot: BootTime(nanoseconds: UInt64(hours) * 3_600_000_000_000)
            ).milliseconds - Self.start
        }
        #expect(after(10) == (20 - 24) * Self.hour)
        #expect(after(48) == (96 - 24) * Self.hour)
        #expect(after(60) == (108 - 24) * Self.hour)
    }

    @Test func whatExpiredADayAgoIsForgotten() {
        var clock = PurgeClock(
            kept: nil, billing: WallTime(milliseconds: Self.start), boot: BootTime(nanoseconds: 0))
        let later = clock.advance(
            to: WallTime(milliseconds: Self.start + 48 * Self.hour),
            boot: BootTime(nanoseconds: 48 * 3_600_000_000_000))
        #expect(later.milliseconds == Self.start + 24 * Self.hour)
    }

    @Test func aStartWithAPolicyOfShorterTokensShortensNoRevocation() throws {
        let folder = try ServerHarness.freshDirectory()
        var policy = DirectoryHarness.policy()
        policy.issuers[0].lifetimeMaxSeconds = 7 * 86_400
        func life() throws -> Int64 {
            let plan = DirectoryPlan(
                path: folder, signingKeysPath: folder + "/signing",
                peppers: [try DirectoryHarness.pepper(1)], zone: { _ in .utc })
            let service = try DirectoryService(
                plan, definition: policy, engine: Engine(EngineConfiguration(hashKey: (5, 6))),
                log: Log(level: .error, isJSON: false, hasPriorities: false))
            defer { service.end() }
            let now = Moment.present.wall
            return service.issuer.tokensExpire(from: now).milliseconds - now.milliseconds
        }
        #expect(try life() >= 7 * 24 * Self.hour)
        policy.issuers[0].lifetimeMaxSeconds = 60
        // Tokens of the policy before may be out, and its like may come again; over any number of
        // starts.
        for _ in 0..<3 { #expect(try life() >= 7 * 24 * Self.hour - 60_000) }
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
