import TollgateWire

@testable import TollgateCore

/// An engine with a small policy, driven through the bytes of the protocol, time by hand.
final class EngineHarness {
    static let secret = SecretBytes(copying: (0..<32).map { UInt8($0 &* 7 &+ 3) })
    static let startSeconds: Int64 = 1_700_000_000
    static let startMoment = Moment(
        boot: BootTime(nanoseconds: 1_000_000_000_000), wall: WallTime(seconds: startSeconds))

    let engine: Engine
    let worker: DecisionWorker
    var policy: PolicyImage
    var boot: UInt64 = 1_000_000_000_000
    var wall = EngineHarness.startSeconds * 1_000
    let reply = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DecisionWorker.replyBytesMax, alignment: 8)

    init(
        _ definition: PolicyDefinition = .small(),
        configure: (inout EngineConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = EngineConfiguration(hashKey: (1, 2))
        configure(&configuration)
        engine = Engine(configuration)
        worker = engine.makeWorker()
        policy = try PolicyImage(compiling: definition, generation: 1)
        beginTurn()
    }

    /// Goes on with an engine that was put together again, at the other's time.
    init(engine: Engine, policy: PolicyImage, like other: EngineHarness) throws {
        self.engine = engine
        self.policy = policy
        boot = other.boot
        wall = other.wall
        worker = engine.makeWorker()
        beginTurn()
    }

    deinit { reply.deallocate() }

    var moment: Moment {
        Moment(boot: BootTime(nanoseconds: boot), wall: WallTime(milliseconds: wall))
    }

    func beginTurn() { worker.beginTurn(moment, policy: policy) }

    func advance(milliseconds: UInt64) {
        boot += milliseconds * 1_000_000
        wall += Int64(milliseconds)
        beginTurn()
    }

    func reload(_ definition: PolicyDefinition) throws {
        policy = try PolicyImage(compiling: definition, generation: policy.generation + 1)
        beginTurn()
    }

    static func token(
        user: String = "ada", organization: String? = "acme", plan: String? = "pro_tier",
        issued: Int64 = startSeconds - 10, expires: Int64 = startSeconds + 86_000,
        permissions: [String]? = nil
    ) -> String {
        var claims: [(name: String, value: ClaimValue)] = [
            ("iss", .string("https://issuer")), ("sub", .string(user)),
            ("exp", .integer(expires)), ("iat", .integer(issued)),
        ]
        if let organization { claims.append(("org", .string(organization))) }
        if let plan { claims.append(("plan", .string(plan))) }
        if let permissions { claims.append(("permissions", .strings(permissions))) }
        return TokenMinter.mint(
            claims: claims, algorithm: .hs256, keyID: "k1", secret: secret) ?? ""
    }

    static func body(
        token: String, operation: String = "chat", meters: [(String, UInt64)] = [],
        address: [UInt8] = [10, 0, 0, 1], flags: UInt16 = 0, route: (String, String)? = nil
    ) -> [UInt8] {
        var body: [UInt8] = [
            token.isEmpty ? 0 : token.hasPrefix("tg_") ? 2 : 1,
            address.count == 4 ? 4 : address.count == 16 ? 6 : 0,
            route == nil ? 1 : 2, UInt8(meters.count),
        ]
        func little(_ value: UInt64, _ bytes: Int) {
            for index in 0..<bytes {
                body.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))))
            }
        }
        let name = route?.1 ?? operation
        little(UInt64(flags), 2)
        little(UInt64(token.utf8.count), 2)
        little(UInt64(name.utf8.count), 2)
        body.append(UInt8(route?.0.utf8.count ?? 0))
        body += [0, 0, 0, 0, 0]
        body += address + [UInt8](repeating: 0, count: 16 - address.count)
        body += Array(token.utf8) + Array((route?.0 ?? "").utf8) + Array(name.utf8)
        for (name, units) in meters {
            body.append(UInt8(name.utf8.count))
            body += Array(name.utf8)
            little(units, 8)
        }
        return body
    }

    func check(
        _ token: String = EngineHarness.token(), operation: String = "chat",
        meters: [(String, UInt64)] = [], address: [UInt8] = [10, 0, 0, 1], flags: UInt16 = 0,
        route: (String, String)? = nil
    ) -> Answer {
        let body = Self.body(
            token: token, operation: operation, meters: meters, address: address, flags: flags,
            route: route)
        let outcome = body.withUnsafeBytes { worker.check($0, into: reply) }
        return Answer(outcome, UnsafeRawBufferPointer(reply))
    }

    static func consumeBody(
        organization: String, user: String, plan: String, operation: String,
        meters: [(String, UInt64)], flags: UInt16 = 0
    ) -> [UInt8] {
        var body: [UInt8] = [
            UInt8(organization.utf8.count), UInt8(user.utf8.count), UInt8(plan.utf8.count),
            UInt8(meters.count), UInt8(flags & 255), UInt8(flags >> 8), UInt8(operation.utf8.count),
        ]
        body += [UInt8](repeating: 0, count: 9)
        for text in [organization, user, plan, operation] { body += Array(text.utf8) }
        for (name, units) in meters {
            body.append(UInt8(name.utf8.count))
            body += Array(name.utf8)
            withUnsafeBytes(of: units.littleEndian) { body += $0 }
        }
        return body
    }

    func consume(
        organization: String, user: String, plan: String, operation: String,
        meters: [(String, UInt64)], flags: UInt16 = 0
    ) -> Answer {
        let body = Self.consumeBody(
            organization: organization, user: user, plan: plan, operation: operation,
            meters: meters, flags: flags)
        let outcome = body.withUnsafeBytes { worker.consume($0, into: reply) }
        return Answer(outcome, UnsafeRawBufferPointer(reply))
    }

    /// Flags of the entries of USAGE, in their order.
    func usageFlags(organization: String, user: String) -> [UInt8] {
        let count = usage(organization: organization, user: user).count
        let bytes = UnsafeRawBufferPointer(reply)
        var offset = 8 + Int(bytes[2])
        return (0..<count).map { _ in
            defer { offset += 56 + Int(bytes[offset + 3]) + Int(bytes[offset + 4]) }
            return bytes[offset + 2]
        }
    }

    /// Used units by limit name.
    func usage(organization: String, user: String, plan: String = "") -> [String: UInt64] {
        let body: [UInt8] =
            [UInt8(organization.utf8.count), UInt8(user.utf8.count), UInt8(plan.utf8.count)]
            + [0, 0, 0, 0, 0] + Array((organization + user + plan).utf8)
        let outcome = body.withUnsafeBytes { worker.usage($0, into: reply) }
        guard outcome.status == .ok else { return [:] }
        let bytes = UnsafeRawBufferPointer(reply)
        var offset = 8 + Int(bytes[2])
        var used: [String: UInt64] = [:]
        for _ in 0..<Int(bytes.loadLittle(at: 0, as: UInt16.self)) {
            let name = bytes.slice(at: offset + 56, length: Int(bytes[offset + 3]))
            used[String(decoding: name, as: UTF8.self)] = bytes.loadLittle(
                at: offset + 8, as: UInt64.self)
            offset += 56 + Int(bytes[offset + 3]) + Int(bytes[offset + 4])
        }
        return used
    }
}

/// A decision, read back from its bytes.
struct Answer: Equatable {
    var status: Status
    var reason = Reason.none
    var flags: UInt8 = 0
    var retry: UInt32 = 0
    var rate: (limit: UInt64, remaining: UInt64, reset: UInt64) = (0, 0, 0)
    var quota: (limit: UInt64, remaining: UInt64, reset: UInt64) = (0, 0, 0)
    var texts: [String] = []
    /// Of the extension field; 0: there is none.
    var cost: UInt64 = 0
    /// Of the extension field; the limit is empty of a permission.
    var wouldDeny: (reason: Reason, limit: String)?

    var isAllowed: Bool { status == .ok && reason == .none }
    var rateName: String { texts[3] }
    var quotaName: String { texts[4] }

    init(_ outcome: Outcome, _ bytes: UnsafeRawBufferPointer) {
        status = outcome.status
        guard status == .ok else { return }
        reason = Reason(rawValue: bytes.loadLittle(at: 2, as: UInt16.self)) ?? .none
        precondition((bytes[0] == 1) == (reason == .none))
        flags = bytes[1]
        retry = bytes.loadLittle(at: 4, as: UInt32.self)
        func state(_ at: Int) -> (UInt64, UInt64, UInt64) {
            (
                bytes.loadLittle(at: at, as: UInt64.self),
                bytes.loadLittle(at: at + 8, as: UInt64.self),
                bytes.loadLittle(at: at + 16, as: UInt64.self)
            )
        }
        rate = state(8)
        quota = state(32)
        var offset = 64
        for index in 56...61 {
            texts.append(
                String(decoding: bytes.slice(at: offset, length: Int(bytes[index])), as: UTF8.self))
            offset += Int(bytes[index])
        }
        while offset < outcome.bytes {
            let length = Int(bytes.loadLittle(at: offset + 2, as: UInt16.self))
            if bytes[offset] == ExtensionTag.cost {
                cost = bytes.loadLittle(at: offset + 4, as: UInt64.self)
            }
            if bytes[offset] == ExtensionTag.wouldDeny {
                let code = bytes.loadLittle(at: offset + 4, as: UInt16.self)
                let name = bytes.slice(at: offset + 8, length: Int(bytes[offset + 6]))
                wouldDeny = (
                    Reason(rawValue: code) ?? .none, String(decoding: name, as: UTF8.self)
                )
            }
            offset += 4 + length
        }
    }

    static func == (a: Answer, b: Answer) -> Bool {
        a.status == b.status && a.reason == b.reason && a.flags == b.flags && a.retry == b.retry
            && a.rate == b.rate && a.quota == b.quota && a.texts == b.texts && a.cost == b.cost
            && a.wouldDeny?.reason == b.wouldDeny?.reason
            && a.wouldDeny?.limit == b.wouldDeny?.limit
    }
}

extension PolicyDefinition {
    /// Three plans: `free_tier` with little, `pro_tier` with every kind of limit, `open_tier` with
    /// none.
    static func small(
        userPerSecond: UInt64 = 5, daily: UInt64 = 100, monthlyTokens: UInt64 = 10_000
    ) -> PolicyDefinition {
        let second: UInt64 = 1_000_000_000
        var policy = PolicyDefinition()
        policy.meters = ["calls", "tokens"]
        policy.plans = plans(
            userPerSecond: userPerSecond, daily: daily, monthlyTokens: monthlyTokens)
        policy.operations = [
            OperationDefinition(
                name: "chat", routes: [RouteDefinition(method: "POST", path: "/v1/chat")],
                permission: "can_use_gpt4o",
                charges: [
                    ChargeDefinition(),
                    ChargeDefinition(meter: "tokens", defaultUnits: 0, weight: 10),
                ]),
            OperationDefinition(name: "models"),
            OperationDefinition(name: "batch", permission: "can_access_batch_api"),
        ]
        policy.addressLimits = [
            RateLimitDefinition(
                name: "per_address", scope: .address, limit: 500, windowNanoseconds: second)
        ]
        policy.invalidCredentialLimit = RateLimitDefinition(
            name: "invalid_credentials", scope: .address, limit: 4, windowNanoseconds: 60 * second)
        var issuer = IssuerDefinition(
            name: "main", issuer: "https://issuer",
            keys: [
                SigningKeyDefinition(
                    keyID: "k1", algorithm: .hs256, secret: EngineHarness.secret)
            ])
        issuer.claims.permissions = "permissions"
        policy.issuers = [issuer]
        return policy
    }

    private static func plans(
        userPerSecond: UInt64, daily: UInt64, monthlyTokens: UInt64
    ) -> [PlanDefinition] {
        let second: UInt64 = 1_000_000_000
        return [
            PlanDefinition(
                name: "free_tier", permissions: [],
                rateLimits: [
                    RateLimitDefinition(
                        name: "per_second", scope: .user, limit: 2, windowNanoseconds: second)
                ],
                quotas: [
                    QuotaDefinition(name: "daily_calls", scope: .user, limit: 3, period: .day)
                ]),
            PlanDefinition(
                name: "pro_tier", permissions: ["can_use_gpt4o"],
                rateLimits: [
                    RateLimitDefinition(
                        name: "per_second", scope: .user, limit: userPerSecond,
                        windowNanoseconds: second),
                    RateLimitDefinition(
                        name: "per_minute", scope: .user, limit: 1_000,
                        windowNanoseconds: 60 * second),
                    RateLimitDefinition(
                        name: "org_per_second", scope: .organization, limit: 50,
                        windowNanoseconds: second),
                ],
                quotas: [
                    QuotaDefinition(name: "daily_calls", scope: .user, limit: daily, period: .day),
                    QuotaDefinition(
                        name: "monthly_tokens", scope: .organization, meter: "tokens",
                        limit: monthlyTokens, period: .month),
                ]),
            PlanDefinition(
                name: "open_tier", permissions: ["can_use_gpt4o", "can_access_batch_api"]),
        ]
    }
}
