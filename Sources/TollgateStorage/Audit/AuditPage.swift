import TollgateCore
import TollgateWire

/// A block of records, opened: its tables. Numbers are varints (LEB128) unless they say otherwise;
/// a *difference* is a varint of 0, -1, 1, -2… as 0, 1, 2, 3….
///
/// The content (`AuditPieces`) of version 2:
///
/// | what | how |
/// |---|---|
/// | where the records begin, where the names begin | u32 each, from the content's beginning |
/// | bases | wall clock in milliseconds, boottime in nanoseconds, order |
/// | rings | how many; of each u8 number, life, bytes of it that are in the log with it, |
/// | | base of its ids, the highest (difference from it) |
/// | shapes | how many, then of each its bytes' number and its bytes |
/// | names | of organizations, users, key ids each: how many the segment has said before, |
/// | | and how many this block says for the first time |
/// | organizations | how many; of each, ascending: its number less the one before, at first from |
/// | | 0, and how many bytes its records have |
/// | records | those of each organization together, in the order of the table |
/// | names | the new ones, in the order of their numbers: of organizations and users each its |
/// | | bytes' number and its bytes, of key ids 16 bytes each |
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
/// | place among the decisions of the block | from 0, in the order in which they came |
/// | shape | place in the table |
/// | user | number |
/// | decision id | difference from the ring's base plus the record's place |
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
/// | key id | number, as the flags say |
///
/// A number of a name is its place among all of its kind that the segment's blocks say. In version
/// 1 a block has all its names, and records their places: see `AuditPage.init(first:count:)`.
struct AuditPage {
    static let hasRetry: UInt64 = 1
    static let hasCost: UInt64 = 2

    struct Shape {
        var traits: UInt64 = 0
        var head = AuditHead()
        var ring = 0
        var meters: [UInt16] = []
    }

    /// Records of an organization, which stand together.
    struct Group {
        var organization: Int
        /// Among the records.
        var bytes: Range<Int>
    }

    let count: Int
    let isFirstVersion: Bool
    private(set) var baseWall: Int64 = 0
    private(set) var baseBoot: UInt64 = 0
    private(set) var baseOrder: UInt64 = 0
    private(set) var rings: [AuditSource] = []
    private(set) var shapes: [Shape] = []
    private(set) var groups: [Group] = []
    /// Names said before the block, and in it.
    private(set) var before = AuditNameCounts()
    private(set) var fresh = AuditNameCounts()
    let records: UnsafeRawBufferPointer
    /// Where records and names stand in the content.
    let recordBytes: Range<Int>
    let nameBytes: Range<Int>
    /// Of version 1: the block's names, and where each organization's last record begins.
    private(set) var names: [[UnsafeRawBufferPointer]] = []
    private(set) var lastRecords: [Int] = []
    /// Whose memory it is: of version 2, of version 1.
    let pieces: AuditPieces?
    private let block: AuditReadBlock?

    /// Its tables; `nil`: they are none. With `organization`, a number, of groups there is only its
    /// own, if it has one, and what stands behind that is not looked at.
    init?(_ pieces: AuditPieces, organization: Int? = nil) throws(AuditFailure) {
        let content = pieces.content
        guard pieces.head.payloadBytes <= AuditBlockHead.payloadMax,
            pieces.head.count <= UInt32(AuditBlockBuilder.recordsMax), content.count >= 8,
            try pieces.need(0..<8)
        else { return nil }
        let start = Int(content.loadLittle(at: 0, as: UInt32.self))
        let end = Int(content.loadLittle(at: 4, as: UInt32.self))
        guard start >= 8, start <= end, end <= content.count, try pieces.need(8..<start) else {
            return nil
        }
        count = Int(pieces.head.count)
        isFirstVersion = false
        recordBytes = start..<end
        nameBytes = end..<content.count
        records = content.slice(at: start, length: end &- start)
        self.pieces = pieces
        block = nil
        var reader = ByteReader(content.slice(at: 0, length: start), at: 8)
        guard readTables(&reader), readNumbers(&reader) else { return nil }
        if let organization {
            guard readGroup(&reader, organization) else { return nil }
        } else {
            guard readGroups(&reader), reader.remaining == 0 else { return nil }
        }
    }

    private mutating func readNumbers(_ reader: inout ByteReader) -> Bool {
        // So many that none overflows, however many there are.
        let most = 1 << 32
        guard let organizations = reader.count(most: most),
            let newOrganizations = reader.count(most: nameBytes.count),
            let users = reader.count(most: most),
            let newUsers = reader.count(most: nameBytes.count),
            let keys = reader.count(most: most),
            let newKeys = reader.count(most: nameBytes.count)
        else { return false }
        before = AuditNameCounts(organizations: organizations, users: users, keys: keys)
        fresh = AuditNameCounts(
            organizations: newOrganizations, users: newUsers, keys: newKeys)
        return true
    }

    private mutating func readGroup(_ reader: inout ByteReader, _ organization: Int) -> Bool {
        guard let groupCount = reader.count(most: count) else { return false }
        var (number, start) = (0, 0)
        for _ in 0..<groupCount {
            guard let step = reader.count(most: 1 << 32),
                let bytes = reader.count(most: records.count &- start)
            else { return false }
            number = number &+ step
            guard number < organization else {
                guard number == organization else { return true }
                groups = [Group(organization: number, bytes: start..<(start &+ bytes))]
                return true
            }
            start = start &+ bytes
        }
        return true
    }

    private mutating func readGroups(_ reader: inout ByteReader) -> Bool {
        guard let groupCount = reader.count(most: count) else { return false }
        groups.reserveCapacity(groupCount)
        let most = before.organizations &+ fresh.organizations
        var (number, start) = (0, 0)
        for place in 0..<groupCount {
            guard let step = reader.count(most: most), place == 0 || step > 0,
                let bytes = reader.count(most: records.count &- start), bytes > 0
            else { return false }
            number = number &+ step
            guard number < most else { return false }
            groups.append(Group(organization: number, bytes: start..<(start &+ bytes)))
            start = start &+ bytes
        }
        return start == records.count
    }

    /// Of version 1; `nil`: it is none. The payload:
    ///
    /// | what | how |
    /// |---|---|
    /// | where the records begin | u32, from the payload's beginning |
    /// | bases, rings, shapes | as in version 2 |
    /// | organizations | how many, then of each its bytes' number and its bytes |
    /// | users | the same |
    /// | key ids | how many, then 16 bytes each |
    /// | last records | of each organization: where its last begins, from the first record's |
    /// | records | one behind the other |
    ///
    /// A record begins with how many bytes back the one before of the same organization begins (0:
    /// there is none), shape, organization and user as places in the tables, and the decision id as
    /// difference from the ring's base; its key id is a place too. All else is as in version 2.
    init?(first block: AuditReadBlock) {
        let bytes = block.payload
        var reader = ByteReader(bytes)
        guard bytes.count <= AuditBlockHead.firstPayloadMax,
            let start = reader.read(UInt32.self), Int(start) <= bytes.count,
            block.head.count <= UInt32(AuditBlockBuilder.recordsMax)
        else { return nil }
        count = Int(block.head.count)
        isFirstVersion = true
        recordBytes = Int(start)..<bytes.count
        nameBytes = 0..<0
        records = bytes.slice(at: Int(start), length: bytes.count &- Int(start))
        pieces = nil
        self.block = block
        guard readTables(&reader), readNames(&reader), reader.offset == Int(start) else {
            return nil
        }
    }

    /// Of the block.
    var number: UInt64? { pieces?.head.number ?? block?.head.number }

    func keep() { withExtendedLifetime((pieces, block)) {} }

    private mutating func readTables(_ reader: inout ByteReader) -> Bool {
        guard let wall = reader.varint(), let boot = reader.varint(), let order = reader.varint(),
            let ringCount = reader.count(most: 256)
        else { return false }
        baseWall = Int64(bitPattern: wall)
        baseBoot = boot
        baseOrder = order
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
        return true
    }

    private mutating func readNames(_ reader: inout ByteReader) -> Bool {
        guard let organizations = Self.names(&reader), let users = Self.names(&reader),
            let keyCount = reader.count(most: reader.remaining / 16)
        else { return false }
        var keys: [UnsafeRawBufferPointer] = []
        for _ in 0..<keyCount {
            guard let key = reader.take(16) else { return false }
            keys.append(key)
        }
        names = [organizations, users, keys]
        fresh = AuditNameCounts(
            organizations: organizations.count, users: users.count, keys: keys.count)
        for _ in 0..<organizations.count {
            guard let start = reader.count(most: records.count) else { return false }
            lastRecords.append(start)
        }
        return true
    }

    /// The names that a block of version 2 says; `nil`: they are none.
    func newNames(_ pieces: AuditPieces) throws(AuditFailure) -> [[UnsafeRawBufferPointer]]? {
        guard try pieces.need(nameBytes) else { return nil }
        var reader = ByteReader(
            pieces.content.slice(at: nameBytes.lowerBound, length: nameBytes.count))
        guard let organizations = Self.names(&reader, count: fresh.organizations),
            let users = Self.names(&reader, count: fresh.users)
        else { return nil }
        var keys: [UnsafeRawBufferPointer] = []
        for _ in 0..<fresh.keys {
            guard let key = reader.take(16) else { return nil }
            keys.append(key)
        }
        return reader.remaining == 0 ? [organizations, users, keys] : nil
    }

    private static func names(_ reader: inout ByteReader) -> [UnsafeRawBufferPointer]? {
        reader.count(most: reader.remaining).flatMap { names(&reader, count: $0) }
    }

    private static func names(
        _ reader: inout ByteReader, count: Int
    ) -> [UnsafeRawBufferPointer]? {
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
}

extension ByteReader {
    /// A varint that fits the type.
    @inline(__always)
    mutating func small<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) -> T? {
        varint().flatMap { T(exactly: $0) }
    }
}
