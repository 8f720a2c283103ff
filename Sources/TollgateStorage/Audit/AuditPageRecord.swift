import TollgateCore
import TollgateWire

/// A record as it stands in its page.
struct AuditPageRecord {
    /// Of version 2: its place among the block's decisions.
    var place = 0
    /// Of version 1: bytes back to the one before of the same organization; 0: none.
    var back = 0
    /// Where the next begins.
    var end = 0
    var head = AuditHead()
    /// Place in the table of rings.
    var ring = 0
    /// Names: numbers of the segment; of version 1 places in the page's tables.
    var organization = 0
    var user = 0
    var key: Int?
    var charges: [AuditCharge] = []
    var standings: [AuditStanding] = []
    var hold: UnsafeRawBufferPointer?
    var idempotency: UnsafeRawBufferPointer?
}

extension AuditPage {
    /// The record of version 1 at an offset among the records; `nil` when none begins there.
    func firstRecord(at offset: Int) -> AuditPageRecord? {
        guard offset >= 0, offset < records.count else { return nil }
        var reader = ByteReader(records, at: offset)
        var record = AuditPageRecord()
        guard let back = reader.count(most: offset), let place = reader.count(most: shapes.count),
            place < shapes.count, let organization = reader.count(most: fresh.organizations),
            organization < fresh.organizations, let user = reader.count(most: fresh.users),
            user < fresh.users
        else { return nil }
        record.back = back
        record.organization = organization
        record.user = user
        return rest(&reader, &record, shapes[place], 0)
    }

    /// The record of a group at an offset among the records; `nil` when none begins there, or it
    /// goes beyond the group.
    func record(at offset: Int, of group: Group) -> AuditPageRecord? {
        guard offset >= group.bytes.lowerBound, offset < group.bytes.upperBound else { return nil }
        var reader = ByteReader(records.slice(at: 0, length: group.bytes.upperBound), at: offset)
        var record = AuditPageRecord()
        guard let place = reader.count(most: count), place < count,
            let shape = reader.count(most: shapes.count), shape < shapes.count,
            let user = reader.count(most: before.users &+ fresh.users),
            user < before.users &+ fresh.users
        else { return nil }
        record.place = place
        record.organization = group.organization
        record.user = user
        return rest(&reader, &record, shapes[shape], UInt64(truncatingIfNeeded: place))
    }

    private func rest(
        _ reader: inout ByteReader, _ record: inout AuditPageRecord, _ shape: Shape,
        _ place: UInt64
    ) -> AuditPageRecord? {
        record.head = shape.head
        record.ring = shape.ring
        guard readTimes(&reader, &record.head, rings[shape.ring].base &+ place),
            readAmounts(&reader, &record.head, shape.traits),
            readLists(&reader, &record, shape), readIDs(&reader, &record)
        else { return nil }
        record.end = reader.offset
        return record
    }

    /// All records, in the order in which they came, those of one organization, or, where
    /// `organization` is a number that no record has, none; `nil` when they are damaged.
    func all(organization: Int? = nil) throws(AuditFailure) -> [AuditPageRecord]? {
        isFirstVersion ? allOfFirst(organization) : try grouped(organization)
    }

    private func grouped(_ organization: Int?) throws(AuditFailure) -> [AuditPageRecord]? {
        var found: [AuditPageRecord] = []
        guard let pieces else { return nil }
        if organization == nil {
            guard try pieces.need(recordBytes) else { return nil }
            found.reserveCapacity(count)
        }
        for group in groups where organization.map({ $0 == group.organization }) ?? true {
            let from = recordBytes.lowerBound
            guard
                try pieces.need(
                    (from &+ group.bytes.lowerBound)..<(from &+ group.bytes.upperBound))
            else { return nil }
            var at = group.bytes.lowerBound
            while at < group.bytes.upperBound {
                guard found.count < count, let record = record(at: at, of: group) else {
                    return nil
                }
                found.append(record)
                at = record.end
            }
        }
        return organization == nil ? inOrder(found) : found
    }

    /// `nil`: their places are not those from 0 on, each once.
    private func inOrder(_ records: [AuditPageRecord]) -> [AuditPageRecord]? {
        guard records.count == count else { return nil }
        var places = [Int](repeating: -1, count: count)
        for (index, record) in records.enumerated() {
            guard places[record.place] < 0 else { return nil }
            places[record.place] = index
        }
        return places.map { records[$0] }
    }

    private func allOfFirst(_ organization: Int?) -> [AuditPageRecord]? {
        var found: [AuditPageRecord] = []
        guard let organization else {
            var at = 0
            for _ in 0..<count {
                guard let record = firstRecord(at: at) else { return nil }
                found.append(record)
                at = record.end
            }
            return at == records.count ? found : nil
        }
        guard organization < lastRecords.count else { return [] }
        // Along its chain, from the last: the others are not decoded.
        var at = lastRecords[organization]
        for _ in 0..<count {
            guard let record = firstRecord(at: at), record.organization == organization else {
                return nil
            }
            found.append(record)
            if record.back == 0 { return found.reversed() }
            at = at &- record.back
        }
        return nil
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
            let keys = before.keys &+ fresh.keys
            guard let place = reader.count(most: keys), place < keys else { return false }
            record.key = place
        }
        return true
    }
}

// MARK: verifying

extension AuditPage {
    /// Every record, name and checksum, and, of version 1, every organization's chain. `before`:
    /// how many names the blocks before have said.
    func isWhole(behind before: AuditNameCounts) throws(AuditFailure) -> Bool {
        guard let pieces else { return isChained }
        guard self.before == before, try pieces.needAll(), try newNames(pieces) != nil else {
            return false
        }
        return try all() != nil
    }

    private var isChained: Bool {
        var (at, last) = (0, [Int](repeating: -1, count: fresh.organizations))
        for _ in 0..<count {
            guard let record = firstRecord(at: at) else { return false }
            let before = last[record.organization]
            guard record.back == (before < 0 ? 0 : at &- before) else { return false }
            last[record.organization] = at
            at = record.end
        }
        return at == records.count && last == lastRecords
    }
}
