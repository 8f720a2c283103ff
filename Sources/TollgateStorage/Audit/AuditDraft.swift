import TollgateCore
import TollgateWire

/// A block of records that has no place in a segment yet: names are indices in an `AuditNameBook`.
struct AuditDraft: Sendable {
    struct Record: Sendable, BitwiseCopyable {
        /// Where its bytes begin: from the decision id to what stands before the key id.
        var start: UInt32 = 0
        /// Place among the block's organizations.
        var organization: UInt32 = 0
        var user: UInt32 = 0
        var key = Record.noKey
        var shape: UInt32 = 0

        static let noKey = UInt32.max
    }

    var wall: Int64 = 0
    var boot: UInt64 = 0
    var order: UInt64 = 0
    var sources: [AuditSource] = []
    var organizations: [UInt32] = []
    /// In the order in which they came: their places.
    private let records: [Record]
    /// Theirs, and `AuditScratch.slack` behind.
    private let bytes: [UInt8]
    private var shapes: [UInt8] = []

    init(records: [Record], bytes: [UInt8]) {
        self.records = records
        self.bytes = bytes
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
        var table = AuditScratch(organizations.count &* 2 &* AuditBytes.numberMost)
        var grouped = AuditScratch(bytes.count &+ records.count &* 8)
        putGroups(&book, &table, &grouped)
        let fresh = book.counts - before
        var front = tables()
        for kind in AuditNameKind.allCases {
            Self.put(before[kind], to: &front)
            Self.put(fresh[kind], to: &front)
        }
        Self.put(organizations.count, to: &front)
        var names = AuditScratch(1_024)
        Self.put(book.organizations, from: before.organizations, hasCount: true, to: &names)
        Self.put(book.users, from: before.users, hasCount: true, to: &names)
        Self.put(book.keys, from: before.keys, hasCount: false, to: &names)
        let start = 8 &+ front.count &+ table.used
        let starts = [start, start &+ grouped.used].map { UInt32(truncatingIfNeeded: $0) }
        let bytes = front.withUnsafeBytes { front in
            starts.withUnsafeBytes { starts in
                AuditPieces.payload([starts, front, table.read, grouped.read, names.read])
            }
        }
        return (bytes, fresh)
    }

    private static func put(
        _ table: borrowing AuditNameTable, from count: Int, hasCount: Bool,
        to names: inout AuditScratch
    ) {
        for index in table.said[count...] {
            table.withName(Int(index)) { name in
                var at = names.begin(name.count &+ AuditBytes.numberMost)
                if hasCount { AuditBytes.put(name.count, at: &at) }
                if let from = name.baseAddress {
                    at.copyMemory(from: from, byteCount: name.count)
                    at += name.count
                }
                names.end(at)
            }
        }
    }

    /// What stands before the names.
    private func tables() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512 &+ shapes.count)
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

    // MARK: groups

    /// The records of each organization, together, and how many bytes of whose there are.
    private func putGroups(
        _ book: inout AuditNameBook, _ table: inout AuditScratch, _ grouped: inout AuditScratch
    ) {
        // Number in the upper half, place in the lower.
        var order: [UInt64] = []
        order.reserveCapacity(organizations.count)
        for (place, index) in organizations.enumerated() {
            let number = UInt64(truncatingIfNeeded: book.organizations.number(Int(index)))
            order.append(number &<< 32 | UInt64(truncatingIfNeeded: place))
        }
        order = AuditSort.byUpperHalf(order)
        // Of each organization the first record, of each record the next of the same.
        var firsts = [Int32](repeating: -1, count: organizations.count)
        var nexts = [Int32](repeating: -1, count: records.count)
        for place in records.indices.reversed() {
            nexts[place] = firsts[Int(records[place].organization)]
            firsts[Int(records[place].organization)] = Int32(truncatingIfNeeded: place)
        }
        var last = 0
        for one in order {
            let start = grouped.used
            var place = Int(firsts[Int(one & 0xffff_ffff)])
            while place >= 0 {
                put(place, &book, to: &grouped)
                place = Int(nexts[place])
            }
            let number = Int(one &>> 32)
            var at = table.begin(2 &* AuditBytes.numberMost)
            AuditBytes.put(number &- last, at: &at)
            AuditBytes.put(grouped.used &- start, at: &at)
            table.end(at)
            last = number
        }
    }

    @inline(__always)
    private func put(_ place: Int, _ book: inout AuditNameBook, to grouped: inout AuditScratch) {
        let record = records[place]
        let start = Int(record.start)
        let written = bytes.count &- AuditScratch.slack
        let end = place &+ 1 < records.count ? Int(records[place &+ 1].start) : written
        precondition(start <= end && end <= written)
        var at = grouped.begin(end &- start &+ 4 &* AuditBytes.numberMost)
        AuditBytes.put(place, at: &at)
        AuditBytes.put(Int(record.shape), at: &at)
        AuditBytes.put(book.users.number(Int(record.user)), at: &at)
        bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            AuditBytes.copy(base + start, end &- start, at: &at)
        }
        if record.key != Record.noKey {
            AuditBytes.put(book.keys.number(Int(record.key)), at: &at)
        }
        grouped.end(at)
    }
}
