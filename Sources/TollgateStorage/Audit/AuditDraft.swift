import TollgateCore
import TollgateWire

/// A block of records that has no place in a segment yet: names are indices in an `AuditNameBook`.
struct AuditDraft: Sendable {
    struct Record: Sendable {
        /// Where its bytes begin: from the decision id to what stands before the key id.
        var start = 0
        /// Place among the block's organizations.
        var organization = 0
        var user = 0
        /// -1: it has none.
        var key = -1
        var shape = 0
    }

    var wall: Int64 = 0
    var boot: UInt64 = 0
    var order: UInt64 = 0
    var sources: [AuditSource] = []
    var organizations: [UInt32] = []
    /// In the order in which they came: their places.
    var records: [Record] = []
    var bytes: [UInt8] = []
    private var shapes: [UInt8] = []

    init() {}

    /// Empty, with room for as much as another took.
    init(after other: AuditDraft) {
        organizations.reserveCapacity(other.organizations.count)
        records.reserveCapacity(other.records.count)
        bytes.reserveCapacity(other.bytes.count)
    }

    mutating func put(_ list: AuditNameList) {
        shapes.removeAll()
        Self.put(list.count, to: &shapes)
        for index in 0..<list.count {
            list.withName(index) { name in
                Self.put(name.count, to: &shapes)
                shapes.append(contentsOf: name)
            }
        }
    }

    @inline(__always)
    private static func put(_ value: Int, to bytes: inout [UInt8]) {
        AuditBytes.put(UInt64(truncatingIfNeeded: value), to: &bytes)
    }

    /// The payload in the segment whose names the book has, and how many it says for the first
    /// time. What it says is said from then on: when it could not be written that is to be taken
    /// back.
    func payload(
        _ book: inout AuditNameBook
    ) -> (bytes: [UInt8], fresh: AuditNameCounts) {
        let before = book.counts
        let (groups, grouped) = groups(&book)
        let fresh = book.counts - before
        var front = tables()
        for kind in AuditNameKind.allCases {
            Self.put(before[kind], to: &front)
            Self.put(fresh[kind], to: &front)
        }
        Self.put(organizations.count, to: &front)
        front.append(contentsOf: groups)
        var content: [UInt8] = []
        content.reserveCapacity(8 &+ front.count &+ grouped.count &+ 4_096)
        AuditPieces.put(UInt32(truncatingIfNeeded: 8 &+ front.count), to: &content)
        AuditPieces.put(UInt32(truncatingIfNeeded: 8 &+ front.count &+ grouped.count), to: &content)
        content.append(contentsOf: front)
        content.append(contentsOf: grouped)
        Self.put(book.organizations, from: before.organizations, to: &content)
        Self.put(book.users, from: before.users, to: &content)
        for index in book.keys.said[before.keys...] {
            book.keys.withName(Int(index)) { content.append(contentsOf: $0) }
        }
        return (AuditPieces.payload(content), fresh)
    }

    private static func put(_ table: AuditNameTable, from count: Int, to bytes: inout [UInt8]) {
        for index in table.said[count...] {
            table.withName(Int(index)) { name in
                put(name.count, to: &bytes)
                bytes.append(contentsOf: name)
            }
        }
    }

    /// What stands before the names.
    private func tables() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512 &+ shapes.count &+ organizations.count &* 4)
        AuditBytes.put(UInt64(bitPattern: wall), to: &bytes)
        AuditBytes.put(boot, to: &bytes)
        AuditBytes.put(order, to: &bytes)
        Self.put(sources.count, to: &bytes)
        for source in sources {
            bytes.append(source.ring)
            for value in [source.life, source.position, source.base] {
                AuditBytes.put(value, to: &bytes)
            }
            AuditBytes.put(AuditBytes.zigzag(source.highest &- source.base), to: &bytes)
        }
        bytes.append(contentsOf: shapes)
        return bytes
    }

    /// The records of each organization, together, and how many bytes of whose there are.
    private func groups(
        _ book: inout AuditNameBook
    ) -> (table: [UInt8], records: [UInt8]) {
        let numbers = organizations.map { book.organizations.number(Int($0)) }
        // Of each organization the first record, of each record the next of the same.
        var firsts = [Int](repeating: -1, count: organizations.count)
        var nexts = [Int](repeating: -1, count: records.count)
        for place in records.indices.reversed() {
            nexts[place] = firsts[records[place].organization]
            firsts[records[place].organization] = place
        }
        var table: [UInt8] = []
        var grouped: [UInt8] = []
        table.reserveCapacity(organizations.count &* 4)
        grouped.reserveCapacity(bytes.count &+ records.count &* 9)
        var last = 0
        for organization in numbers.indices.sorted(by: { numbers[$0] < numbers[$1] }) {
            let start = grouped.count
            var place = firsts[organization]
            while place >= 0 {
                put(place, &book, to: &grouped)
                place = nexts[place]
            }
            Self.put(numbers[organization] &- last, to: &table)
            Self.put(grouped.count &- start, to: &table)
            last = numbers[organization]
        }
        return (table, grouped)
    }

    private func put(_ place: Int, _ book: inout AuditNameBook, to grouped: inout [UInt8]) {
        let record = records[place]
        let end = place &+ 1 < records.count ? records[place &+ 1].start : bytes.count
        Self.put(place, to: &grouped)
        Self.put(record.shape, to: &grouped)
        Self.put(book.users.number(record.user), to: &grouped)
        grouped.append(contentsOf: bytes[record.start..<end])
        if record.key >= 0 { Self.put(book.keys.number(record.key), to: &grouped) }
    }
}
