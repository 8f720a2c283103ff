import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// An entry that a test makes up, and what the log must say of it.
struct AuditSample {
    var head = AuditHead()
    var charges: [AuditCharge] = []
    var standings: [AuditStanding] = []
    var hold: [UInt8]?
    var idempotency: [UInt8]?
    var key: [UInt8]?
    var organization = "acme"
    var user = "ada"

    /// Into the ring; false when there is no room. Its id is the pen's.
    mutating func write(_ pen: inout AuditPen) -> Bool {
        head.id = pen.takeID()
        if hold != nil { head.flags.insert(.hold) }
        if idempotency != nil { head.flags.insert(.idempotencyID) }
        if key != nil { head.flags.insert(.keyID) }
        head.chargeCount = UInt8(charges.count)
        head.standingCount = UInt8(standings.count)
        head.organizationBytes = UInt8(organization.utf8.count)
        head.userBytes = UInt8(user.utf8.count)
        head.bytes = UInt32((AuditEntry.unpaddedBytes(head) + 7) & ~7)
        guard var at = pen.place(Int(head.bytes)) else { return false }
        func put(_ bytes: [UInt8]) {
            bytes.withUnsafeBytes {
                if let from = $0.baseAddress { at.copyMemory(from: from, byteCount: $0.count) }
            }
            at += bytes.count
        }
        at.storeBytes(of: head, as: AuditHead.self)
        at += AuditHead.bytes
        for charge in charges {
            at.storeBytes(of: charge, as: AuditCharge.self)
            at += AuditCharge.bytes
        }
        for standing in standings {
            at.storeBytes(of: standing, as: AuditStanding.self)
            at += AuditStanding.bytes
        }
        for bytes in [hold, idempotency, key, Array(organization.utf8), Array(user.utf8)] {
            put(bytes ?? [])
        }
        return true
    }

    static func random(_ random: inout SeededRandom, at wall: Int64) -> AuditSample {
        var sample = AuditSample()
        func any<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) -> T {
            // Of every length, not only the longest.
            T(truncatingIfNeeded: random.next() >> UInt64.random(in: 0...63, using: &random))
        }
        sample.head.kind = UInt8.random(in: 1...7, using: &random)
        sample.head.flags = AuditFlags(rawValue: UInt8.random(in: 0...15, using: &random))
        sample.head.reason = any(UInt16.self)
        sample.head.wallMilliseconds = wall + Int64.random(in: -50...50, using: &random)
        sample.head.bootNanoseconds = any(UInt64.self)
        sample.head.generation = UInt32.random(in: 1...2, using: &random)
        sample.head.order = any(UInt64.self)
        sample.head.plan = Bool.random(using: &random) ? .max : any(UInt16.self)
        sample.head.operation = Bool.random(using: &random) ? .max : any(UInt16.self)
        sample.head.rate = Bool.random(using: &random) ? .max : any(UInt16.self)
        sample.head.quota = Bool.random(using: &random) ? .max : any(UInt16.self)
        sample.head.rateLimit = any(UInt64.self)
        sample.head.rateUsed = any(UInt64.self)
        sample.head.quotaLimit = any(UInt64.self)
        sample.head.quotaUsed = any(UInt64.self)
        sample.head.cost = Bool.random(using: &random) ? 0 : any(UInt64.self)
        sample.head.retryMilliseconds = Bool.random(using: &random) ? 0 : any(UInt32.self)
        sample.head.credentialKind = UInt8.random(in: 0...2, using: &random)
        sample.head.issuer = Bool.random(using: &random) ? .max : any(UInt16.self)
        sample.head.addressFamily = [0, 4, 6].randomElement(using: &random) ?? 0
        if sample.head.addressFamily == 4 { sample.head.addressHigh = random.next() >> 32 }
        if sample.head.addressFamily == 6 {
            (sample.head.addressHigh, sample.head.addressLow) = (random.next(), random.next())
        }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            sample.charges.append(
                AuditCharge(
                    meter: any(UInt16.self), units: any(UInt64.self), weighted: any(UInt64.self)))
        }
        let standings = Int.random(in: 0...40, using: &random)
        for _ in 0..<(standings == 40 ? AuditEntry.standingsMax : standings / 8) {
            sample.standings.append(
                AuditStanding(
                    limit: Int.random(in: 0..<8, using: &random) == 0 ? .max : any(UInt16.self),
                    scope: any(UInt8.self),
                    flags: UInt8.random(in: 0...3, using: &random), used: any(UInt64.self),
                    held: any(UInt64.self), most: any(UInt64.self)))
        }
        sample.hold = Bool.random(using: &random) ? nil : random.bytes(16)
        sample.idempotency = Bool.random(using: &random) ? nil : random.bytes(16)
        let key = "key0123456789ab" + String(Int.random(in: 0...9, using: &random))
        sample.key = Bool.random(using: &random) ? nil : Array(key.utf8)
        sample.organization =
            ["", "acme", "o\(random.next() % 40)", String(repeating: "x", count: 128)]
            .randomElement(using: &random) ?? ""
        sample.user = ["", "u\(random.next() % 200)"].randomElement(using: &random) ?? ""
        return sample
    }
}

/// A log with its rings' pens, whose time the test moves. One thread.
final class AuditWorld {
    static let start: Int64 = 1_800_000_000_000
    static let names = AuditNames(
        generation: 1, plans: ["free", "pro"], operations: ["chat", "embed"],
        meters: ["tokens", "requests"], issuers: ["login"],
        limits: [
            .init(name: "per-minute", meter: "requests", kind: 1, scope: 1),
            .init(name: "monthly", meter: "tokens", kind: 2, scope: 2),
        ], programs: [[0, 1], [0], [1], []])

    let disk: any Disk
    let log: AuditLog
    var pens: [AuditPen]
    var now: Int64
    var said: [String] { saying.lines + (log.status.doubt.map { [$0] } ?? []) }
    private let saying: Saying

    private final class Saying: @unchecked Sendable {
        // Sendable: tests that use it ask for one thread.
        var lines: [String] = []
    }

    init(
        _ disk: any Disk = MemoryDisk(), rings: Int = 1, boot: (UInt64, UInt64) = (1, 2),
        at now: Int64 = start, seed: UInt64 = 1, directory: String = "/audit",
        _ change: (inout AuditSettings) -> Void = { _ in }
    ) throws {
        var settings = AuditSettings(directory: directory)
        settings.ringBytes = 1 << 20
        change(&settings)
        var random = SeededRandom(seed: seed &+ UInt64(now))
        let saying = Saying()
        self.saying = saying
        self.disk = disk
        self.now = now
        log = try AuditLog(
            settings, disk, rings: rings, boot: boot, life: 7,
            now: WallTime(milliseconds: now), { saying.lines.append($0) }, random.source())
        pens = log.rings.map { AuditPen($0) }
        try log.add(Self.names)
    }

    var time: WallTime { WallTime(milliseconds: now) }
    var reader: AuditReader { AuditReader(log.settings.directory, disk) }

    /// False: it found no room.
    @discardableResult
    func put(_ sample: inout AuditSample, ring: Int = 0) -> Bool {
        if sample.head.kind == 0 { sample.head.kind = 1 }
        if sample.head.wallMilliseconds == 0 { sample.head.wallMilliseconds = now }
        let isWritten = sample.write(&pens[ring])
        pens[ring].publish(now: BootTime(nanoseconds: sample.head.bootNanoseconds &+ 5_000))
        // As `publish` has it.
        sample.head.latencyNanoseconds = UInt32(
            clamping: (sample.head.bootNanoseconds &+ 5_000)
                &- min(sample.head.bootNanoseconds, sample.head.bootNanoseconds &+ 5_000))
        return isWritten
    }

    func drain(after milliseconds: Int64 = 100) {
        now += milliseconds
        log.drain(now: time)
    }

    func close() {
        now += 100
        log.close(now: time)
    }
}

/// All that the log has, in its order.
func auditRecords(
    _ reader: AuditReader, _ query: AuditQuery = AuditQuery()
) throws -> [AuditRecord] {
    var records: [AuditRecord] = []
    try reader.run(query) { record in
        records.append(record)
        return true
    }
    return records
}

/// What of a record is not what was put in.
func auditDifferences(
    _ record: AuditRecord, _ sample: AuditSample, _ names: AuditNames?
) -> [String] {
    var wrong: [String] = []
    func same<T: Equatable>(_ what: String, _ a: T, _ b: T) {
        if a != b { wrong.append("\(what): \(a), not \(b)") }
    }
    func named(_ index: UInt16, _ list: [String]?) -> String {
        list.flatMap { Int(index) < $0.count ? $0[Int(index)] : nil } ?? "#\(index)"
    }
    func name(_ index: UInt16, _ list: [String]?) -> String? {
        index == .max ? nil : named(index, list)
    }
    let head = sample.head
    same("kind", record.kind.rawValue, head.kind)
    same("flags", record.flags.rawValue, head.flags.rawValue)
    same("reason", record.reason, head.reason)
    same("id", record.id, head.id)
    same("wall", record.wall.milliseconds, head.wallMilliseconds)
    same("boot", record.bootNanoseconds, head.bootNanoseconds)
    same("generation", record.generation, head.generation)
    same("latency", record.latencyNanoseconds, head.latencyNanoseconds)
    same("order", record.order, head.order)
    same("plan", record.plan, name(head.plan, names?.plans))
    same("operation", record.operation, name(head.operation, names?.operations))
    let limits = names?.limits.map(\.name)
    same("rate", record.rate?.name, name(head.rate, limits))
    same("rate limit", record.rate?.limit, head.rate == .max ? nil : head.rateLimit)
    same("rate used", record.rate?.used, head.rate == .max ? nil : head.rateUsed)
    same("quota", record.quota?.name, name(head.quota, limits))
    same("quota limit", record.quota?.limit, head.quota == .max ? nil : head.quotaLimit)
    same("quota used", record.quota?.used, head.quota == .max ? nil : head.quotaUsed)
    same("cost", record.cost, head.cost)
    same("retry", record.retryMilliseconds, head.retryMilliseconds)
    same("credential", record.credentialKind, head.credentialKind)
    same("issuer", record.issuer, name(head.issuer, names?.issuers))
    same("family", record.addressFamily, head.addressFamily)
    same("address", record.addressHigh, head.addressHigh)
    same("address", record.addressLow, head.addressLow)
    let meters = sample.charges.map { named($0.meter, names?.meters) }
    same("charges", record.charges.map(\.meter), meters)
    same("units", record.charges.map(\.units), sample.charges.map(\.units))
    same("weighted", record.charges.map(\.weighted), sample.charges.map(\.weighted))
    let standings = sample.standings.map { name($0.limit, limits) ?? AuditRecord.permission }
    same("standings", record.standings.map(\.limit), standings)
    same("scopes", record.standings.map(\.scope), sample.standings.map(\.scope))
    same("refuses", record.standings.map(\.refuses), sample.standings.map { $0.flags & 1 != 0 })
    same("shadow", record.standings.map(\.isShadow), sample.standings.map { $0.flags & 2 != 0 })
    same("used", record.standings.map(\.used), sample.standings.map(\.used))
    same("held", record.standings.map(\.held), sample.standings.map(\.held))
    same("most", record.standings.map(\.most), sample.standings.map(\.most))
    same("hold", record.hold, sample.hold)
    same("idempotency", record.idempotency, sample.idempotency)
    same("key", record.keyID, sample.key.map { String(decoding: $0, as: UTF8.self) })
    same("organization", record.organization, sample.organization)
    same("user", record.user, sample.user)
    return wrong
}
