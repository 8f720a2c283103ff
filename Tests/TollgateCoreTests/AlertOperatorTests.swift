import Testing
import TollgateWire

@testable import TollgateCore

/// What operators do about alerts.
@Suite struct AlertOperatorTests {
    private func world() -> AlertWorld {
        var rule = AlertRule("quota_threshold", .quotaThreshold)
        rule.percents = [80]
        var world = AlertWorld([rule])
        world.restartEvery = 1
        return world
    }

    /// Each part of a silence alone decides: `true` where it is the alert's.
    @Test func aSilenceHoldsWhatHasAllOfItsParts() {
        var subject = AlertSubject()
        (subject.organization, subject.isPersonal, subject.user) = ("acme", true, "ada")
        (subject.key, subject.address, subject.quota) = ("key", "192.0.2.7", "monthly")
        (subject.operation, subject.trouble) = ("chat", "ledger")
        let alert = Alert(
            id: 1, rule: "r", kind: .quotaThreshold, severity: .info, subject: subject, at: 9)
        #expect(AlertSilence(until: 10).covers(alert))
        #expect(!AlertSilence(until: 9).covers(alert))
        let parts: [WritableKeyPath<AlertSilence, String>] = [
            \.rule, \.subject.organization, \.subject.user, \.subject.key, \.subject.address,
            \.subject.quota, \.subject.operation, \.subject.trouble,
        ]
        var whole = AlertSilence(until: 10)
        (whole.rule, whole.subject, whole.isPersonal) = ("r", subject, true)
        #expect(whole.covers(alert))
        for part in parts {
            var one = AlertSilence(until: 10)
            one[keyPath: part] = whole[keyPath: part]
            #expect(one.covers(alert))
            one[keyPath: part] += "x"
            #expect(!one.covers(alert))
            var other = whole
            other[keyPath: part] = "x"
            #expect(!other.covers(alert))
        }
        whole.isPersonal = false
        #expect(!whole.covers(alert))
        var test = alert
        test.kind = .test
        #expect(!AlertSilence(until: 10).covers(test))
    }

    @Test func aSilenceIsRememberedAndRemovedOnceAndATestPassesIt() throws {
        var world = world()
        let silence = world.engine.silence(AlertSilence(until: world.now + 5_000), now: world.now)
        let made = try #require(silence)
        try world.restart()
        #expect(world.engine.silences(now: world.now).map(\.id) == [made.id])
        try world.observe(.init(limit: 0, used: 800))
        let before = world.engine.snapshot
        let test = world.engine.fireTest(rule: "quota_threshold", now: world.now)
        #expect(!test.isSilenced && test.kind == .test && test.rule == "quota_threshold")
        // No rule has it for one of its own.
        #expect(world.engine.snapshot.quotas == before.quotas)
        #expect(world.engine.snapshot.firings == before.firings)
        let taken = world.engine.takePending()
        #expect(taken == [test])
        #expect(world.alerts.map(\.isSilenced) == [true])
        let removed = world.engine.removeSilence(made.id, now: world.now)
        #expect(removed == made)
        let again = world.engine.removeSilence(made.id, now: world.now)
        #expect(again == nil)
        try world.observe(.init(organization: "beta", limit: 0, used: 800))
        #expect(world.alerts.map(\.isSilenced) == [true, false])
        let ids = world.engine.state.recent.map(\.id) + [made.id]
        #expect(Set(ids).count == 4)
    }

    @Test func aResetLetsThresholdsFireAgainOnceAndDecisionsFromBeforeItDoNot() throws {
        var world = world()
        func reset(_ number: UInt64, boot: UInt64, _ organization: String = "acme") -> AlertEvent {
            .quotasReset(
                organization: organization, isPersonal: false,
                id: ResetID(low: number, high: 7), boot: boot)
        }
        world.restartEvery = 0
        world.boot = 100
        try world.observe(.init(limit: 0, used: 850))
        try world.observe(.init(organization: "beta", limit: 0, used: 850))
        #expect(world.alerts.count == 2)
        try world.note(reset(1, boot: 200))
        // Decided before the reset, and read after it.
        world.boot = 200
        try world.observe(.init(limit: 0, used: 900))
        #expect(world.alerts.count == 2)
        world.boot = 201
        try world.observe(.init(limit: 0, used: 10))
        try world.observe(.init(organization: "beta", limit: 0, used: 900))
        #expect(world.alerts.count == 2)
        try world.observe(.init(limit: 0, used: 810))
        #expect(world.alerts.count == 3)
        // Told again, over a restart too: it is the same reset.
        for _ in 0..<2 {
            try world.note(reset(1, boot: 300))
            world.boot = 400
            try world.observe(.init(limit: 0, used: 820))
            try world.restart()
        }
        #expect(world.alerts.count == 3)
        try world.note(reset(2, boot: 500))
        world.boot = 501
        try world.observe(.init(limit: 0, used: 800))
        #expect(world.alerts.count == 4)
    }

    @Test func aStateOfTheFormBeforeIsReadAsItWas() throws {
        // Written by the form before: one alert of id 3, acknowledged, and one silence.
        var bytes = AlertBytes()
        bytes.all = Array("TGALERT1".utf8)
        for number in [UInt64(5), 1, 2, 3] { bytes.put(number) }
        for _ in 0..<3 { bytes.put([Int]()) { _, _ in } }
        bytes.put([0]) { bytes, _ in
            bytes.put(UInt64(3))
            bytes.put("quota_threshold")
            bytes.all += [1, 2]
            bytes.put(AlertSubject())
            for number in [UInt64(80), 800, 1_000] { bytes.put(number) }
            bytes.put(Int64(9))
            bytes.put(Int64.max)
            bytes.put(Int64?.none)
            bytes.put("words")
            bytes.all.append(1)
            bytes.put(Int64?(10))
        }
        bytes.put([0]) { bytes, _ in
            bytes.put(UInt64(4))
            bytes.put(["r"]) { $0.put($1) }
            bytes.put([String]()) { $0.put($1) }
            bytes.put(Int64(99))
        }
        let state = try #require(bytes.all.withUnsafeBytes { AlertState(decoding: $0) })
        #expect(state.nextID == 5 && state.handed == 3)
        let alert = try #require(state.recent.first)
        #expect(alert.id == 3 && alert.value == 800 && alert.isSilenced && alert.note.isEmpty)
        #expect(alert.acknowledgedAt.map { $0 == 10 } == true && alert.acknowledgedBy == nil)
        let silence = try #require(state.silences.first)
        #expect(silence.rule == "r" && silence.subject == AlertSubject() && silence.until == 99)
        let again = state.encoded
        #expect(Array(again.prefix(8)) == Array("TGALERT3".utf8))
        #expect(again.withUnsafeBytes { AlertState(decoding: $0) } == state)
    }
}
