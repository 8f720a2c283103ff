import TollgateStorage

/// Puts decisions of several threads' rings into the order in which they fell: by boottime, and
/// those of an organization by their place in its shard. Holds so many at most; a ring whose
/// decisions reach the log later than that many of others' is not put right.
struct ReplayOrder {
    static let heldMax = 1 << 16

    private var held: [AuditRecord] = []
    /// Two threads' turns begin at most so far apart.
    private static let apartNanoseconds: UInt64 = 1_000_000_000

    /// Gives out what is in order by now.
    mutating func add(_ record: AuditRecord, _ body: (AuditRecord) -> Void) {
        held.append(record)
        if held.count >= 2 * Self.heldMax { give(Self.heldMax, body) }
    }

    mutating func finish(_ body: (AuditRecord) -> Void) { give(held.count, body) }

    private mutating func give(_ count: Int, _ body: (AuditRecord) -> Void) {
        let sorted = Self.sorted(held)
        for record in sorted.prefix(count) { body(record) }
        held = Array(sorted.dropFirst(count))
    }

    private static func sorted(_ records: [AuditRecord]) -> [AuditRecord] {
        // A machine that was started again begins its boottime anew: the wall clock tells.
        func begin(_ record: AuditRecord) -> Int64 {
            record.wall.milliseconds - Int64(record.bootNanoseconds / 1_000_000)
        }
        let places = records.indices.sorted { a, b in
            let (first, second) = (records[a], records[b])
            if abs(begin(first) - begin(second)) > 60_000 { return begin(first) < begin(second) }
            if first.bootNanoseconds != second.bootNanoseconds {
                return first.bootNanoseconds < second.bootNanoseconds
            }
            return a < b
        }
        var byOrganization: [String: [Int]] = [:]
        for (place, index) in places.enumerated() where records[index].order > 0 {
            byOrganization[records[index].organization, default: []].append(place)
        }
        var sorted = places.map { records[$0] }
        for own in byOrganization.values {
            var list = own.map { sorted[$0] }
            for end in list.indices.dropFirst() {
                var at = end
                while at > 0, list[at].order < list[at - 1].order,
                    list[at].bootNanoseconds &- list[at - 1].bootNanoseconds < apartNanoseconds
                {
                    list.swapAt(at, at - 1)
                    at -= 1
                }
            }
            for (place, record) in zip(own, list) { sorted[place] = record }
        }
        return sorted
    }
}
