import TollgateWire

@testable import TollgateCore

/// What an answer about a reservation says, and its bytes.
struct HoldAnswer: Equatable {
    var answer: Answer
    var bytes: [UInt8]
    var id: ReservationID?
    var timeToLive: UInt32 = 0

    var isAllowed: Bool { answer.isAllowed }
    var status: Status { answer.status }
    var reason: Reason { answer.reason }
    var isOverage: Bool { answer.status == .ok && answer.flags & DecisionFlags.overage != 0 }

    init(_ outcome: Outcome, _ reply: UnsafeMutableRawBufferPointer) {
        let all = UnsafeRawBufferPointer(reply)
        answer = Answer(outcome, all)
        bytes = Array(all.prefix(outcome.bytes))
        guard answer.status == .ok else { return }
        var at = BodyBytes.decisionReply + answer.texts.reduce(0) { $0 + $1.utf8.count }
        while at < bytes.count {
            let length = Int(all.loadLittle(at: at + 2, as: UInt16.self))
            if bytes[at] == ExtensionTag.reservation {
                id = ReservationID(all, at: at + 4)
                timeToLive = all.loadLittle(at: at + 20, as: UInt32.self)
            }
            at += 4 + length
        }
    }
}

extension PolicyDefinition {
    /// A plan with a window, a quota of each scope and a limit of open reservations.
    static func holding(
        tokens: UInt64 = 1_000, calls: UInt64 = 100, perMinute: UInt64 = 600, open: UInt64 = 3,
        cut: CutStream = .reported
    ) -> PolicyDefinition {
        var policy = PolicyDefinition.small()
        var plan = PlanDefinition(
            name: "pro_tier", permissions: ["can_use_gpt4o"],
            rateLimits: [
                RateLimitDefinition(
                    name: "tokens_per_minute", scope: .user, meter: "tokens", limit: perMinute,
                    windowNanoseconds: 60_000_000_000)
            ],
            quotas: [
                QuotaDefinition(name: "daily_calls", scope: .user, limit: calls, period: .day),
                QuotaDefinition(
                    name: "monthly_tokens", scope: .organization, meter: "tokens", limit: tokens,
                    period: .month),
            ])
        plan.concurrency = [
            ConcurrencyDefinition(name: "open_calls", scope: .user, limit: open)
        ]
        plan.holds.cutStream = cut
        policy.plans = [plan]
        policy.operations = [
            OperationDefinition(
                name: "chat",
                charges: [
                    ChargeDefinition(),
                    ChargeDefinition(meter: "tokens", defaultUnits: 0, weight: 1),
                ])
        ]
        policy.addressLimits = []
        return policy
    }
}

extension DecisionWorker {
    private static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    static func extensionField(_ id: UInt64) -> [UInt8] {
        id == 0
            ? []
            : [ExtensionTag.idempotencyID, ExtensionFlags.critical, 16, 0] + little(id)
                + little(~id)
    }

    static func reserveBody(
        _ token: String, meters: [(String, UInt64)], timeToLive: UInt32 = 0, flags: UInt16 = 0,
        id: UInt64 = 0, operation: String = "chat"
    ) -> [UInt8] {
        var body = EngineHarness.body(
            token: token, operation: operation, meters: meters, flags: flags)
        body.replaceSubrange(12..<16, with: little(timeToLive))
        return body + extensionField(id)
    }

    static func holdBody(
        _ id: ReservationID, meters: [(String, [UInt64])] = [], flags: UInt16 = 0,
        timeToLive: UInt32 = 0
    ) -> [UInt8] {
        var body = little(id.low) + little(id.high) + [UInt8(meters.count), 0] + little(flags)
        body += little(timeToLive)
        for (name, units) in meters {
            body += [UInt8(name.utf8.count)] + Array(name.utf8)
            for unit in units { body += little(unit) }
        }
        return body
    }

    static func cancelBody(_ id: ReservationID, flags: UInt16 = 0) -> [UInt8] {
        little(id.low) + little(id.high) + little(flags) + [0, 0, 0, 0, 0, 0]
    }
}

extension EngineHarness {
    func reserve(
        tokens: UInt64, user: String = "ada", timeToLive: UInt32 = 0, flags: UInt16 = 0,
        connection: UInt64 = 1, id: UInt64 = 0, worker: DecisionWorker? = nil
    ) -> HoldAnswer {
        let body = DecisionWorker.reserveBody(
            Self.token(user: user), meters: [("tokens", tokens)], timeToLive: timeToLive,
            flags: flags, id: id)
        let outcome = body.withUnsafeBytes {
            (worker ?? self.worker).reserve($0, connection: connection, into: reply)
        }
        return HoldAnswer(outcome, reply)
    }

    func extend(
        _ id: ReservationID, hold: UInt64, used: UInt64 = 0, timeToLive: UInt32 = 0
    ) -> HoldAnswer {
        let body = DecisionWorker.holdBody(
            id, meters: [("tokens", [hold, used])], timeToLive: timeToLive)
        return HoldAnswer(body.withUnsafeBytes { worker.extend($0, into: reply) }, reply)
    }

    func settle(
        _ id: ReservationID, tokens: UInt64? = nil, calls: UInt64? = nil, flags: UInt16 = 0,
        worker: DecisionWorker? = nil
    ) -> HoldAnswer {
        let meters = [("tokens", tokens), ("calls", calls)].compactMap { meter, units in
            units.map { (meter, [$0]) }
        }
        let body = DecisionWorker.holdBody(id, meters: meters, flags: flags)
        return HoldAnswer(
            body.withUnsafeBytes { (worker ?? self.worker).settle($0, into: reply) }, reply)
    }

    func cancel(_ id: ReservationID) -> HoldAnswer {
        let body = DecisionWorker.cancelBody(id)
        return HoldAnswer(body.withUnsafeBytes { worker.cancel($0, into: reply) }, reply)
    }

    /// Used and held units by limit name, with what is open.
    func standing(user: String = "ada") -> [String: [UInt64]] {
        let body = DecisionWorker.reserveBody(
            Self.token(user: user), meters: [("tokens", 0), ("calls", 0)],
            flags: RequestFlags.dryRun | RequestFlags.explain)
        let outcome = body.withUnsafeBytes { worker.reserve($0, connection: 9, into: reply) }
        let bytes = UnsafeRawBufferPointer(reply)
        let texts = Answer(outcome, bytes).texts.reduce(0) { $0 + $1.utf8.count }
        var offset = BodyBytes.decisionReply + texts + BodyBytes.extensionHeader
        guard outcome.status == .ok, outcome.bytes > offset else { return [:] }
        var found: [String: [UInt64]] = [:]
        let count = Int(bytes.loadLittle(at: offset, as: UInt16.self))
        offset += 2
        for _ in 0..<count {
            let name = bytes.slice(at: offset + 56, length: Int(bytes[offset + 3]))
            found[String(decoding: name, as: UTF8.self)] = [
                bytes.loadLittle(at: offset + 8, as: UInt64.self),
                bytes.loadLittle(at: offset + 16, as: UInt64.self),
            ]
            offset += 56 + Int(bytes[offset + 3]) + Int(bytes[offset + 4])
        }
        return found
    }

    /// Used, held, open, and the window: those of `PolicyDefinition.holding`.
    func numbers(user: String = "ada") -> [UInt64] {
        let all = standing(user: user)
        return (all["monthly_tokens"] ?? []) + [
            all["daily_calls"]?[0] ?? .max, all["open_calls"]?[0] ?? .max,
            all["tokens_per_minute"]?[0] ?? .max,
        ]
    }
}
