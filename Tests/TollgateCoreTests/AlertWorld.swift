import Testing
import TollgateWire

@testable import TollgateCore

/// Rules, fed by a test that moves the time. Every so often they are encoded, decoded and go on
/// from there, as over a restart.
struct AlertWorld {
    static let names = AlertNames(
        names: AuditNames(
            generation: 1, plans: ["free", "pro"], operations: ["chat", "video"],
            meters: ["tokens"],
            limits: [
                .init(name: "monthly", meter: "tokens", kind: 2, scope: 2),
                .init(name: "daily", meter: "tokens", kind: 2, scope: 1),
                .init(name: "lifetime", meter: "tokens", kind: 2, scope: 2),
            ]),
        periods: [.month, .day, .total])

    /// 1 January 2026, 00:00 UTC.
    static let newYear: Int64 = 1_767_225_600_000

    var engine: AlertEngine
    var now = AlertWorld.newYear
    /// Of the decisions to come, nanoseconds.
    var boot: UInt64 = 1
    var alerts: [Alert] = []
    /// Observations between restarts; 0: none.
    var restartEvery = 7
    private var observed = 0

    init(_ rules: [AlertRule] = AlertRules.standard) { engine = AlertEngine(AlertRules(rules)) }

    struct Request {
        var organization = "acme"
        var user = "ada"
        var limit: UInt16 = .max
        var used: UInt64 = 0
        var most: UInt64 = 1_000
        var reason = Reason.none
        var operation: UInt16 = 0
        var cost: UInt64 = 0
        var address: (UInt8, UInt8, UInt8, UInt8)? = (10, 0, 0, 1)
        var key: String?
        var flags = AuditFlags()
        var plan: UInt16 = 1
    }

    mutating func observe(_ request: Request, resetsAt end: Int64? = nil) throws {
        var head = AuditHead()
        head.kind = AuditKind.check.rawValue
        head.flags = request.flags
        head.reason = request.reason.rawValue
        head.wallMilliseconds = now
        head.bootNanoseconds = boot
        (head.plan, head.operation, head.cost) = (request.plan, request.operation, request.cost)
        (head.quota, head.quotaUsed, head.quotaLimit) = (request.limit, request.used, request.most)
        if let end { head.quotaResetSeconds = UInt32((end - now + 999) / 1_000) }
        if let address = request.address {
            head.addressFamily = 4
            head.addressHigh = [address.3, address.2, address.1, address.0].reduce(0) {
                $0 << 8 | UInt64($1)
            }.littleEndian
        }
        var rest: [UInt8] = []
        if let key = request.key {
            head.flags.insert(.keyID)
            rest += Array(key.utf8)
        }
        rest += Array(request.organization.utf8) + Array(request.user.utf8)
        head.organizationBytes = UInt8(request.organization.utf8.count)
        head.userBytes = UInt8(request.user.utf8.count)
        head.bytes = UInt32((AuditEntry.unpaddedBytes(head) + 7) & ~7)
        var bytes = withUnsafeBytes(of: head) { Array($0) } + rest
        bytes += [UInt8](repeating: 0, count: Int(head.bytes) - bytes.count)
        bytes.withUnsafeBytes { raw in
            if let entry = AuditEntry(raw) { engine.observe(entry, Self.names) }
        }
        try settle()
    }

    mutating func note(_ event: AlertEvent) throws {
        engine.observe(event, now: now)
        try settle()
    }

    private mutating func settle() throws {
        alerts += engine.takePending()
        observed += 1
        if restartEvery > 0, observed % restartEvery == 0 { try restart() }
    }

    mutating func restart() throws {
        let kept = engine.snapshot
        let bytes = kept.encoded
        let decoded = try #require(bytes.withUnsafeBytes { AlertState(decoding: $0) })
        #expect(decoded == kept && decoded.encoded == bytes)
        engine = AlertEngine(engine.rules, decoded)
    }

    mutating func advance(hours: Int64 = 0, minutes: Int64 = 0, seconds: Int64 = 0) {
        now += (hours * 3_600 + minutes * 60 + seconds) * 1_000
        engine.tick(now: now)
    }

    mutating func set(month: Int64, day: Int64 = 1, hour: Int64 = 0) {
        now = (Calendar.days(year: 2026, month: month, day: day) * 86_400 + hour * 3_600) * 1_000
        engine.tick(now: now)
    }

    func count(_ rule: String) -> Int { alerts.filter { $0.rule == rule }.count }
}

extension AlertEngine {
    /// The period of the quota that a decision shows.
    static func interval(_ kind: PeriodKind?, _ head: AuditHead) -> (start: Int64?, end: Int64) {
        interval(kind, QuotaLook(shownIn: head), head.wallMilliseconds)
    }
}
