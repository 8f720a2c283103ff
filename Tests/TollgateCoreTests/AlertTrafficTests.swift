import Testing
import TollgateWire

@testable import TollgateCore

/// Rules of traffic and of the daemon on a simulated clock.
@Suite struct AlertTrafficTests {
    private func standard(_ name: String) -> [AlertRule] {
        AlertRules.standard.filter { $0.name == name }
    }

    @Test func aFloodFromOneAddressIsToldOnceADayForMonths() throws {
        var world = AlertWorld(standard("invalid_credentials_source"))
        for day in Int64(0)..<90 {
            world.now = AlertWorld.newYear + day * 86_400_000 + 3_600_000
            for _ in 0..<2 {
                for _ in 0..<150 {
                    world.advance(seconds: 1)
                    try world.observe(
                        .init(organization: "", user: "", reason: .signatureInvalid))
                }
                world.advance(hours: 2)
            }
            // Others fail as often as anybody does.
            for minute in UInt8(0)..<60 {
                world.advance(minutes: 1)
                try world.observe(
                    .init(
                        organization: "", user: "", reason: .keyUnknown,
                        address: (10, 0, 1, minute)))
            }
        }
        #expect(world.alerts.count == 90)
        #expect(Set(world.alerts.map(\.subject.address)) == ["10.0.0.1"])
        #expect(world.alerts.allSatisfy { $0.value == 100 && $0.threshold == 100 })
    }

    @Test func aFloodOverMidnightIsOneUntilADayHasPassed() throws {
        var rule = standard("invalid_credentials")[0]
        rule.count = 50
        var world = AlertWorld([rule])
        world.now = AlertWorld.newYear + 23 * 3_600_000
        // Sixty in five minutes from 23:00 on, for 71 hours.
        for _ in 0..<(71 * 720) {
            world.advance(seconds: 5)
            try world.observe(.init(organization: "", user: "", reason: .credentialMalformed))
        }
        #expect(world.alerts.count == 3)
        let times = world.alerts.map(\.at)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= 86_400_000 })
    }

    @Test func whatIsMissingOrOutOfDateIsNoAttempt() throws {
        var world = AlertWorld()
        for _ in 0..<3_000 {
            try world.observe(.init(organization: "", user: "", reason: .credentialMissing))
            try world.observe(.init(organization: "", user: "", reason: .tokenExpired))
        }
        #expect(world.alerts.isEmpty)
    }

    @Test func guessesAtOneKeyFromManyAddressesAreToldByTheKey() throws {
        var world = AlertWorld(standard("invalid_credentials_key"))
        for address in UInt8(0)..<60 {
            world.advance(seconds: 2)
            try world.observe(
                .init(
                    organization: "", user: "", reason: .credentialInvalid,
                    address: (10, address, 1, 1), key: "abcdefgh01234567"))
        }
        #expect(world.alerts.map(\.subject.key) == ["abcdefgh01234567"])
    }

    @Test func aMillionSourcesMakeABoundedStateAndABoundedNumberOfAlerts() throws {
        var rule = standard("invalid_credentials_source")[0]
        rule.count = 2
        var world = AlertWorld([rule])
        world.restartEvery = 0
        for number in 0..<60_000 {
            let address = (
                UInt8(1), UInt8(number >> 16), UInt8(number >> 8 & 255), UInt8(number & 255)
            )
            for _ in 0..<2 {
                try world.observe(
                    .init(organization: "", user: "", reason: .keyUnknown, address: address))
            }
        }
        #expect(world.engine.counters[0].windows.count <= AlertState.tableMax)
        #expect(world.alerts.count == 100)
        #expect(world.engine.state.suppressed == 59_900)
        #expect(world.engine.state.evicted > 0)
        try world.restart()
        #expect(world.engine.snapshot.encoded.count < 1 << 20)
    }

    @Test func aKeyUsedFromManyNetworksIsToldOnceADay() throws {
        var world = AlertWorld(standard("key_networks"))
        for day in Int64(0)..<60 {
            world.now = AlertWorld.newYear + day * 86_400_000
            for network in UInt8(0)..<20 {
                world.advance(minutes: 20)
                // The thief's, and an office of many addresses in one network.
                try world.observe(.init(address: (10, 0, network, 1), key: "stolen0123456789"))
                try world.observe(.init(address: (10, 9, 9, network), key: "office0123456789"))
            }
        }
        #expect(world.alerts.count == 60)
        #expect(Set(world.alerts.map(\.subject.key)) == ["stolen0123456789"])
        #expect(world.alerts.allSatisfy { $0.value == 8 && $0.subject.user == "ada" })
    }

    @Test func onlyARiseAgainstTheOwnBaselineIsTold() throws {
        var rule = standard("sudden_rise")[0]
        rule.count = 100
        var world = AlertWorld([rule])
        world.restartEvery = 1_001
        // Busy by day, idle by night and on Sundays, for eight weeks; then a day of four times.
        for hour in Int64(0)..<(56 * 24) {
            let isIdle = hour % 24 < 8 || (hour / 24) % 7 == 6
            try world.hour(hour, isIdle ? 2 : 90)
        }
        #expect(world.alerts.isEmpty)
        for hour in Int64(56 * 24)..<(57 * 24) { try world.hour(hour, 360) }
        #expect(world.alerts.count == 1)
        let alert = try #require(world.alerts.first)
        #expect(alert.limit == 90 && alert.value == 270 && alert.threshold == 270)
        // What has become usual is no rise any more.
        for hour in Int64(57 * 24)..<(70 * 24) { try world.hour(hour, 360) }
        #expect(world.alerts.count == 1)
    }

    @Test func theFirstUseOfWhatCostsMuchIsToldOnceForEver() throws {
        var world = AlertWorld(standard("costly_operation"))
        for month in Int64(1)...12 {
            world.set(month: month)
            try world.observe(.init(operation: 0, cost: 999_999))
            try world.observe(.init(operation: 1, cost: 5_000_000))
            try world.observe(.init(organization: "beta", operation: 1, cost: 1_000_000))
            try world.observe(
                .init(organization: "none", reason: .quotaExhausted, operation: 1, cost: 5_000_000))
        }
        #expect(world.alerts.map(\.subject.organization) == ["acme", "beta"])
        #expect(world.alerts.first?.subject.operation == "video")
    }

    @Test func aReusedRefreshTokenAndTheDaemonsTroubleAreToldOnceADay() throws {
        var world = AlertWorld()
        let reuse = AlertEvent.refreshReuse(organization: "acme", isPersonal: false, user: "ada")
        for day in Int64(0)..<31 {
            world.now = AlertWorld.newYear + day * 86_400_000
            for _ in 0..<10 {
                try world.note(reuse)
                try world.note(.trouble(name: "audit", isOn: true, words: "no space left"))
                world.advance(seconds: 30)
                try world.note(.trouble(name: "audit", isOn: false, words: ""))
            }
        }
        #expect(world.count("refresh_reuse") == 31)
        #expect(world.count("daemon_trouble") == 31)
        #expect(world.alerts.last?.words == "no space left")
    }

    @Test func aSilencedAlertIsNotedAndOneThatIsAcknowledgedSaysSo() throws {
        var world = AlertWorld(standard("costly_operation"))
        var wanted = AlertSilence(until: world.now + 1_000)
        (wanted.rule, wanted.subject.organization) = ("costly_operation", "acme")
        let first = world.engine.silence(wanted, now: world.now)
        #expect(first != nil)
        try world.observe(.init(operation: 1, cost: 5_000_000))
        try world.observe(.init(organization: "beta", operation: 1, cost: 5_000_000))
        #expect(world.alerts.map(\.isSilenced) == [true, false])
        let second = try #require(world.alerts.last?.id)
        for now in Int64(7)...8 {
            let noted = world.engine.acknowledge(second, by: 5, note: "n\(now)", now: now)
            let at = try #require(noted?.acknowledgedAt)
            #expect(at == 7 && noted?.acknowledgedBy == 5 && noted?.note == "n\(now)")
        }
        let unknown = world.engine.acknowledge(99, by: 5, note: nil, now: 8)
        #expect(unknown == nil)
        try world.restart()
        #expect(world.engine.state.recent.map(\.acknowledgedAt) == [nil, 7])
        world.advance(seconds: 2)
        try world.observe(.init(organization: "gamma", operation: 1, cost: 5_000_000))
        #expect(world.engine.state.silences.isEmpty && world.alerts.last?.isSilenced == false)
        for _ in 0..<AlertState.silencesMax {
            let one = world.engine.silence(AlertSilence(until: .max), now: world.now)
            #expect(one != nil)
        }
        let oneMore = world.engine.silence(AlertSilence(until: .max), now: world.now)
        #expect(oneMore == nil)
    }

    @Test func whatRulesOfOtherNamesRememberIsForgottenAndTheRestStays() throws {
        var world = AlertWorld(standard("invalid_credentials") + standard("costly_operation"))
        for _ in 0..<999 {
            try world.observe(.init(organization: "", user: "", reason: .keyUnknown))
        }
        world.engine.replace(AlertRules(standard("invalid_credentials")))
        try world.observe(.init(organization: "", user: "", reason: .keyUnknown))
        #expect(world.count("invalid_credentials") == 1)
    }

    @Test func everyPrefixAndEveryFlippedByteOfAStateIsRefusedOrReadAsOne() throws {
        var world = AlertWorld()
        for number in UInt8(0)..<10 {
            try world.observe(
                .init(
                    limit: 0, used: 1_000, operation: 1, cost: 5_000_000,
                    address: (1, 1, number, 1), key: "abcdefgh01234567"))
            try world.observe(.init(organization: "", user: "", reason: .keyUnknown))
        }
        let bytes = world.engine.snapshot.encoded
        for count in bytes.indices {
            let prefix = Array(bytes[..<count])
            #expect(prefix.withUnsafeBytes { AlertState(decoding: $0) } == nil)
        }
        for index in bytes.indices {
            var broken = bytes
            broken[index] ^= 0xff
            _ = broken.withUnsafeBytes { AlertState(decoding: $0) }
        }
    }
}

extension AlertWorld {
    /// So many requests, spread over an hour.
    mutating func hour(_ hour: Int64, _ count: Int64) throws {
        for number in 0..<count {
            now = Self.newYear + hour * 3_600_000 + number * 3_600_000 / count
            try observe(Request())
        }
    }
}
