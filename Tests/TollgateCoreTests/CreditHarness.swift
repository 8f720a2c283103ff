import TollgateWire

@testable import TollgateCore

/// A grant as USAGE tells of it.
struct ShownGrant: Equatable {
    var quota: String
    var id: String
    var priority: UInt8
    var isUsable: Bool
    var units: UInt64
    var burnt: UInt64
    var effective: UInt64
    var expires: UInt64
}

extension PolicyDefinition {
    /// One plan with a quota of tokens that has credits.
    static func crediting(_ edit: (inout QuotaDefinition) -> Void = { _ in }) -> PolicyDefinition {
        var quota = QuotaDefinition(
            name: "tokens_quota", scope: .organization, meter: "tokens", limit: 100, period: .day)
        quota.hasCredits = true
        edit(&quota)
        var policy = PolicyDefinition.holding()
        policy.plans = [PlanDefinition(name: "pro_tier", quotas: [quota])]
        return policy
    }
}

extension EngineHarness {
    var creditToken: String {
        Self.token(issued: moment.wall.seconds - 10, expires: moment.wall.seconds + 1_000)
    }

    func use(_ tokens: UInt64, flags: UInt16 = 0) -> Answer {
        check(creditToken, meters: [("tokens", tokens), ("calls", 0)], flags: flags)
    }

    func spend(_ tokens: UInt64) -> Answer {
        consume(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
            meters: [("tokens", tokens), ("calls", 0)])
    }

    func hold(_ tokens: UInt64, timeToLive: UInt32 = 0) -> HoldAnswer {
        let body = DecisionWorker.reserveBody(
            creditToken, meters: [("tokens", tokens), ("calls", 0)], timeToLive: timeToLive,
            flags: RequestFlags.detached)
        let outcome = body.withUnsafeBytes { worker.reserve($0, connection: 1, into: reply) }
        return HoldAnswer(outcome, reply)
    }

    /// `begins` and `ends`: milliseconds from now.
    func grant(
        _ id: String, _ units: UInt64, priority: UInt8 = 100, begins: Int64 = 0,
        ends: Int64? = nil, created: Int64? = nil, meter: String = "tokens",
        quota: String = "tokens_quota", isVoided: Bool = false
    ) -> Bool {
        let entry = GrantEntry(
            organization: "acme", id: id, quota: quota, meter: meter, units: units,
            priority: priority, effective: WallTime(milliseconds: wall + begins),
            expires: ends.map { WallTime(milliseconds: wall + $0) },
            created: WallTime(milliseconds: created ?? wall), isVoided: isVoided)
        return engine.put(entry, at: moment)
    }

    /// What is burnt, by id.
    var burnt: [String: UInt64] {
        var all: [String: UInt64] = [:]
        let uses = engine.grantUses(
            of: "acme", isPersonal: false, quota: "tokens_quota", at: moment)
        for use in uses { all[use.id] = use.burnt }
        return all
    }

    /// The grants that USAGE lists, in its order.
    var shownGrants: [ShownGrant] {
        let body: [UInt8] = [4, 0, 8, 0, 0, 0, 0, 0] + Array("acmepro_tier".utf8)
        let outcome = body.withUnsafeBytes { worker.usage($0, into: reply) }
        let all = UnsafeRawBufferPointer(reply)
        let bytes = UnsafeRawBufferPointer(rebasing: all[..<outcome.bytes])
        var at = BodyBytes.usageReply + Int(bytes[2])
        for _ in 0..<bytes.loadLittle(at: 0, as: UInt16.self) {
            at += BodyBytes.limitEntry + Int(bytes[at + 3]) + Int(bytes[at + 4])
        }
        guard at < bytes.count, bytes[at] == ExtensionTag.credits else { return [] }
        let count = bytes.loadLittle(at: at + 4, as: UInt16.self)
        at += 6
        return (0..<count).map { _ in
            let (quota, id) = (Int(bytes[at]), Int(bytes[at + 1]))
            let names = at + BodyBytes.creditEntry
            defer { at = names + quota + id }
            func text(_ from: Int, _ count: Int) -> String {
                String(decoding: bytes.slice(at: from, length: count), as: UTF8.self)
            }
            return ShownGrant(
                quota: text(names, quota), id: text(names + quota, id), priority: bytes[at + 2],
                isUsable: bytes[at + 3] == 1, units: bytes.loadLittle(at: at + 8, as: UInt64.self),
                burnt: bytes.loadLittle(at: at + 16, as: UInt64.self),
                effective: bytes.loadLittle(at: at + 24, as: UInt64.self),
                expires: bytes.loadLittle(at: at + 32, as: UInt64.self))
        }
    }

    /// Used units and credits of periods that are over, in order.
    var closedCredits: [[UInt64]] {
        (0..<Engine.shardCount).flatMap { shard in
            engine.takeClosed(shard: shard).periods.compactMap { entry in
                entry.bytes.withUnsafeBytes { ClosedPeriod($0) }.map { [$0.used, $0.credits] }
            }
        }
    }
}
