import TestSupport
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore

/// An engine with a ledger on some disk, charged by hand; time by hand.
final class LedgerWorld {
    static let path = "/ledger"
    static let start = Moment(
        boot: BootTime(nanoseconds: 1_000_000_000_000),
        wall: WallTime(milliseconds: 1_700_000_000_000))

    let ledger: Ledger
    let engine: Engine
    let report: RecoveryReport
    private let worker: DecisionWorker
    private let reply: UnsafeMutableRawBufferPointer
    private let policy: PolicyImage
    private(set) var now: Moment

    init(
        _ disk: any Disk, path: String = LedgerWorld.path, at now: Moment = LedgerWorld.start,
        behind generation: UInt64 = 0, resuming: Bool = false,
        _ configure: (inout LedgerOptions) -> Void = { _ in }
    ) throws {
        var options = LedgerOptions(path: path, bootID: (7, 8))
        options.segmentBytes = 256 * 1024
        options.threads = 1
        configure(&options)
        var next: UInt64 = 40
        ledger = try Ledger(options, disk) {
            next += 1
            return next
        }
        engine = Engine(EngineConfiguration(hashKey: ledger.hashKey, digestKey: (5, 6)))
        worker = engine.makeWorker()
        policy = try PolicyImage(compiling: Self.policy, generation: 1)
        self.now = now
        report = try ledger.recover(
            into: engine, now: now, behind: generation, resuming: resuming)
        // Last: what throws before it leaves nothing behind.
        reply = .allocate(byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        beginTurn()
    }

    deinit { reply.deallocate() }

    static var policy: PolicyDefinition {
        var policy = PolicyDefinition()
        policy.meters = ["calls", "tokens"]
        policy.plans = [
            PlanDefinition(
                name: "pro_tier", permissions: [],
                quotas: [
                    QuotaDefinition(
                        name: "daily", scope: .user, meter: "tokens", limit: 1_000_000,
                        period: .day),
                    QuotaDefinition(
                        name: "monthly", scope: .organization, meter: "tokens",
                        limit: 1_000_000_000, period: .month),
                ])
        ]
        policy.operations = [
            OperationDefinition(
                name: "chat",
                charges: [
                    ChargeDefinition(), ChargeDefinition(meter: "tokens", defaultUnits: 0),
                ])
        ]
        return policy
    }

    func beginTurn() { worker.beginTurn(now, policy: policy) }

    func advance(milliseconds: Int64) {
        now.boot.nanoseconds += UInt64(milliseconds) * 1_000_000
        now.wall.milliseconds += milliseconds
        beginTurn()
    }

    /// One call that costs so many tokens; the reason when it was refused.
    /// Grants of `acme`: more of one shard than a snapshot writes at once.
    func fillOneShard() {
        for quota in 0..<400 {
            let grant = GrantEntry(
                organization: "acme", id: "grant", quota: "quota_\(quota)", meter: "tokens",
                units: 1, priority: 1, effective: now.wall, created: now.wall)
            #expect(engine.put(grant, at: now))
        }
    }

    @discardableResult
    func charge(_ organization: String, _ user: String, tokens: UInt64) -> Reason {
        var body: [UInt8] = [
            UInt8(organization.utf8.count), UInt8(user.utf8.count), 8, 1, 0, 0, 4,
        ]
        body += [UInt8](repeating: 0, count: 9)
        for text in [organization, user, "pro_tier", "chat", "\u{6}tokens"] {
            body += Array(text.utf8)
        }
        withUnsafeBytes(of: tokens.littleEndian) { body += $0 }
        let outcome = body.withUnsafeBytes { worker.consume($0, into: reply) }
        guard outcome.status == .ok else { return .pathNotCanonical }
        let bytes = UnsafeRawBufferPointer(reply)
        return Reason(rawValue: bytes.loadLittle(at: 2, as: UInt16.self)) ?? .pathNotCanonical
    }

    /// Used units by limit name, for one organization and user.
    func usage(_ organization: String, _ user: String) -> [String: UInt64] {
        let body: [UInt8] =
            [UInt8(organization.utf8.count), UInt8(user.utf8.count), 8]
            + [0, 0, 0, 0, 0] + Array((organization + user + "pro_tier").utf8)
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

/// What was told to callers, kept aside.
struct LedgerBooks: Equatable {
    /// Tokens by organization and user, and by organization.
    var users: [String: UInt64] = [:]
    var tokens: [String: UInt64] = [:]

    mutating func note(_ organization: String, _ user: String, _ units: UInt64) {
        users[organization + "/" + user, default: 0] += units
        tokens[organization, default: 0] += units
    }

    /// Everything that a world knows of whom these books know.
    init(_ world: LedgerWorld, of other: LedgerBooks) {
        for name in other.users.keys {
            let parts = name.split(separator: "/").map(String.init)
            let usage = world.usage(parts[0], parts[1])
            if let units = usage["daily"], units > 0 { users[name] = units }
            if let tokens = usage["monthly"], tokens > 0 { self.tokens[parts[0]] = tokens }
        }
    }

    init() {}
}

extension LedgerWorld {
    /// Charges at random, noting what was allowed; gives why the last was refused, if any was.
    @discardableResult
    func charge(
        _ count: Int, _ random: inout SeededRandom, _ books: inout LedgerBooks,
        organizations: Int = 12
    ) -> Reason {
        var refusal = Reason.none
        for _ in 0..<count {
            let organization = "org\(random.next() % UInt64(organizations))"
            let user = "user\(random.next() % 3)"
            let tokens = random.next() % 50 + 1
            let reason = charge(organization, user, tokens: tokens)
            if reason == .none {
                books.note(organization, user, tokens)
            } else {
                refusal = reason
            }
        }
        return refusal
    }
}
