import TollgateCore
import TollgateWire

/// A block of records, opened: its tables. Borrows the payload. Numbers are varints (LEB128) unless
/// they say otherwise; a *difference* is a varint of 0, -1, 1, -2… as 0, 1, 2, 3….
///
/// The payload:
///
/// | what | how |
/// |---|---|
/// | where the records begin | u32, from the payload's beginning |
/// | bases | wall clock in milliseconds, boottime in nanoseconds, order |
/// | rings | how many; of each u8 number, life, bytes of it that are in the log with it, |
/// | | base of its ids, the highest (difference from it) |
/// | shapes | how many, then of each its bytes' number and its bytes |
/// | organizations | the same |
/// | users | the same |
/// | key ids | how many, then 16 bytes each |
/// | last records | of each organization: where its last record begins, from the first record's |
/// | records | one behind the other |
///
/// A shape is what many records have alike: traits (bit 0: there is a retry-after; 1: there is a
/// cost), kind, flags, reason, place in the table of rings, generation, plan, operation, rate limit
/// and quota (each plus 1, 0: none), their limits, credential kind, address family, issuer (plus
/// 1), number of standings, number of charges, and the meter of each charge.
///
/// A record:
///
/// | what | how |
/// |---|---|
/// | how far back the record before of the same organization begins | bytes; 0: there is none |
/// | shape, organization, user | places in the tables |
/// | decision id | difference from the ring's base |
/// | wall clock | difference from the base |
/// | boottime | difference from the base and the wall clock's difference |
/// | latency | nanoseconds |
/// | order | difference from the base |
/// | used of the rate limit, used of the quota | |
/// | retry-after, cost | as the traits say |
/// | address | 4 bytes of family 4, 16 of any other but 0 |
/// | of each charge | units, and the difference of the weighted from them |
/// | of each standing | limit, u8 scope, u8 flags, used, held, limit |
/// | hold id, idempotency id | 16 bytes each, as the flags say |
/// | key id | place in the table, as the flags say |
struct AuditPage {
    static let hasRetry: UInt64 = 1
    static let hasCost: UInt64 = 2

    struct Shape {
        var traits: UInt64 = 0
        var head = AuditHead()
        var ring = 0
        var meters: [UInt16] = []
    }

    let count: Int
    private(set) var baseWall: Int64 = 0
    private(set) var baseBoot: UInt64 = 0
    private(set) var baseOrder: UInt64 = 0
    private(set) var rings: [AuditSource] = []
    private(set) var shapes: [Shape] = []
    private(set) var organizations: [UnsafeRawBufferPointer] = []
    private(set) var users: [UnsafeRawBufferPointer] = []
    private(set) var keys: [UnsafeRawBufferPointer] = []
    private(set) var lastRecords: [Int] = []
    let records: UnsafeRawBufferPointer

    /// `nil` when the tables are none. `bytes` outlives it.
    init?(_ bytes: UnsafeRawBufferPointer, count: UInt32) {
        var reader = ByteReader(bytes)
        guard bytes.count <= AuditBlockHead.payloadMax,
            let start = reader.read(UInt32.self), Int(start) <= bytes.count,
            count <= UInt32(AuditBlockBuilder.recordsMax)
        else { return nil }
        self.count = Int(count)
        records = bytes.slice(at: Int(start), length: bytes.count &- Int(start))
        guard let wall = reader.varint(), let boot = reader.varint(), let order = reader.varint()
        else { return nil }
        baseWall = Int64(bitPattern: wall)
        baseBoot = boot
        baseOrder = order
        guard readTables(&reader), reader.offset == Int(start) else { return nil }
    }

    private mutating func readTables(_ reader: inout ByteReader) -> Bool {
        guard let ringCount = reader.count(most: 256) else { return false }
        for _ in 0..<ringCount {
            guard let ring = reader.read(UInt8.self), let life = reader.varint(),
                let position = reader.varint(), let base = reader.varint(),
                let highest = reader.varint()
            else { return false }
            rings.append(
                AuditSource(
                    ring: ring, life: life, base: base,
                    highest: base &+ AuditBytes.difference(highest), position: position))
        }
        guard let shapeNames = Self.names(&reader) else { return false }
        for name in shapeNames {
            guard let shape = shape(name) else { return false }
            shapes.append(shape)
        }
        guard let organizations = Self.names(&reader), let users = Self.names(&reader),
            let keyCount = reader.count(most: reader.remaining / 16)
        else { return false }
        self.organizations = organizations
        self.users = users
        for _ in 0..<keyCount {
            guard let key = reader.take(16) else { return false }
            keys.append(key)
        }
        for _ in 0..<organizations.count {
            guard let start = reader.count(most: records.count) else { return false }
            lastRecords.append(start)
        }
        return true
    }

    private static func names(_ reader: inout ByteReader) -> [UnsafeRawBufferPointer]? {
        guard let count = reader.count(most: reader.remaining) else { return nil }
        var names: [UnsafeRawBufferPointer] = []
        names.reserveCapacity(count)
        for _ in 0..<count {
            guard let length = reader.count(most: reader.remaining), let name = reader.take(length)
            else { return nil }
            names.append(name)
        }
        return names
    }

    private func shape(_ bytes: UnsafeRawBufferPointer) -> Shape? {
        var reader = ByteReader(bytes)
        var shape = Shape()
        guard let traits = reader.varint(), let kind = reader.small(UInt8.self),
            AuditKind(rawValue: kind) != nil, let flags = reader.small(UInt8.self),
            let reason = reader.small(UInt16.self), let ring = reader.count(most: rings.count),
            ring < rings.count, let generation = reader.small(UInt32.self),
            let plan = reader.small(UInt16.self), let operation = reader.small(UInt16.self),
            let rate = reader.small(UInt16.self), let quota = reader.small(UInt16.self),
            let rateLimit = reader.varint(), let quotaLimit = reader.varint(),
            let credential = reader.small(UInt8.self), let family = reader.small(UInt8.self),
            let issuer = reader.small(UInt16.self), let standings = reader.small(UInt8.self),
            let charges = reader.small(UInt8.self)
        else { return nil }
        shape.traits = traits
        shape.ring = ring
        shape.head.kind = kind
        shape.head.flags = AuditFlags(rawValue: flags)
        shape.head.reason = reason
        shape.head.generation = generation
        shape.head.plan = plan &- 1
        shape.head.operation = operation &- 1
        shape.head.rate = rate &- 1
        shape.head.quota = quota &- 1
        shape.head.rateLimit = rateLimit
        shape.head.quotaLimit = quotaLimit
        shape.head.credentialKind = credential
        shape.head.addressFamily = family
        shape.head.issuer = issuer &- 1
        shape.head.standingCount = standings
        shape.head.chargeCount = charges
        for _ in 0..<charges {
            guard let meter = reader.small(UInt16.self) else { return nil }
            shape.meters.append(meter)
        }
        return reader.remaining == 0 ? shape : nil
    }

    /// Place of the organization in the table; `nil` when it has no record here.
    func place(ofOrganization name: [UInt8]) -> Int? {
        organizations.firstIndex { $0.count == name.count && $0.elementsEqual(name) }
    }
}

extension ByteReader {
    /// A varint that fits the type.
    @inline(__always)
    mutating func small<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) -> T? {
        varint().flatMap { T(exactly: $0) }
    }
}

/// A record as it stands in its page.
struct AuditPageRecord {
    /// Bytes back to the one before of the same organization; 0: none.
    var back = 0
    /// Where the next begins.
    var end = 0
    var head = AuditHead()
    /// Place in the table of rings.
    var ring = 0
    var organization = 0
    var user = 0
    var charges: [AuditCharge] = []
    var standings: [AuditStanding] = []
    var hold: UnsafeRawBufferPointer?
    var idempotency: UnsafeRawBufferPointer?
    var key: UnsafeRawBufferPointer?
}

extension AuditPage {
    /// The record at an offset among the records; `nil` when none begins there.
    func record(at offset: Int) -> AuditPageRecord? {
        guard offset >= 0, offset < records.count else { return nil }
        var reader = ByteReader(records, at: offset)
        var record = AuditPageRecord()
        guard let back = reader.count(most: offset), let place = reader.count(most: shapes.count),
            place < shapes.count, let organization = reader.count(most: organizations.count),
            organization < organizations.count, let user = reader.count(most: users.count),
            user < users.count
        else { return nil }
        record.back = back
        record.organization = organization
        record.user = user
        let shape = shapes[place]
        record.head = shape.head
        record.ring = shape.ring
        guard readTimes(&reader, &record.head, rings[shape.ring].base),
            readAmounts(&reader, &record.head, shape.traits),
            readLists(&reader, &record, shape), readIDs(&reader, &record)
        else { return nil }
        record.end = reader.offset
        return record
    }

    private func readTimes(
        _ reader: inout ByteReader, _ head: inout AuditHead, _ ring: UInt64
    ) -> Bool {
        guard let id = reader.varint(), let wall = reader.varint(), let boot = reader.varint(),
            let latency = reader.small(UInt32.self), let order = reader.varint()
        else { return false }
        let wallDifference = AuditBytes.difference(wall)
        head.id = ring &+ AuditBytes.difference(id)
        head.wallMilliseconds = baseWall &+ Int64(bitPattern: wallDifference)
        head.bootNanoseconds =
            baseBoot &+ AuditBytes.difference(boot) &+ wallDifference &* 1_000_000
        head.latencyNanoseconds = latency
        head.order = baseOrder &+ AuditBytes.difference(order)
        return true
    }

    private func readAmounts(
        _ reader: inout ByteReader, _ head: inout AuditHead, _ traits: UInt64
    ) -> Bool {
        guard let rateUsed = reader.varint(), let quotaUsed = reader.varint() else { return false }
        head.rateUsed = rateUsed
        head.quotaUsed = quotaUsed
        if traits & Self.hasRetry != 0 {
            guard let retry = reader.small(UInt32.self) else { return false }
            head.retryMilliseconds = retry
        }
        if traits & Self.hasCost != 0 {
            guard let cost = reader.varint() else { return false }
            head.cost = cost
        }
        switch head.addressFamily {
        case 0: return true
        case 4:
            guard let address = reader.read(UInt32.self) else { return false }
            head.addressHigh = UInt64(address)
        default:
            guard let high = reader.read(UInt64.self), let low = reader.read(UInt64.self) else {
                return false
            }
            head.addressHigh = high
            head.addressLow = low
        }
        return true
    }

    private func readLists(
        _ reader: inout ByteReader, _ record: inout AuditPageRecord, _ shape: Shape
    ) -> Bool {
        for meter in shape.meters {
            guard let units = reader.varint(), let weighted = reader.varint() else { return false }
            record.charges.append(
                AuditCharge(
                    meter: meter, units: units,
                    weighted: units &+ AuditBytes.difference(weighted)))
        }
        for _ in 0..<record.head.standingCount {
            guard let limit = reader.small(UInt16.self), let scope = reader.read(UInt8.self),
                let flags = reader.read(UInt8.self), let used = reader.varint(),
                let held = reader.varint(), let most = reader.varint()
            else { return false }
            record.standings.append(
                AuditStanding(
                    limit: limit, scope: scope, flags: flags, used: used, held: held, most: most))
        }
        return true
    }

    private func readIDs(_ reader: inout ByteReader, _ record: inout AuditPageRecord) -> Bool {
        if record.head.flags.contains(.hold) {
            guard let id = reader.take(16) else { return false }
            record.hold = id
        }
        if record.head.flags.contains(.idempotencyID) {
            guard let id = reader.take(16) else { return false }
            record.idempotency = id
        }
        if record.head.flags.contains(.keyID) {
            guard let place = reader.count(most: keys.count), place < keys.count else {
                return false
            }
            record.key = keys[place]
        }
        return true
    }
}
