import TollgateCore
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
            record.wall.milliseconds &- Int64(record.bootNanoseconds / 1_000_000)
        }
        let places = records.indices.sorted { a, b in
            let (first, second) = (records[a], records[b])
            if (begin(first) &- begin(second)).magnitude > 60_000 {
                return begin(first) < begin(second)
            }
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

/// The moments of a log's decisions. Boottime goes on where the machine was started again: by as
/// much as the wall clock did meanwhile, or windows would stand still until it has caught up.
struct ReplayClock {
    /// Decisions of several threads may be so far out of order.
    private static let apartNanoseconds: UInt64 = 1_000_000_000
    private static let bootMax: UInt64 = 1 << 62

    private var last: (boot: UInt64, wall: Int64)?
    private var offset: UInt64 = 0
    private var first: UInt64?
    private var reached: UInt64 = 0

    /// Nanoseconds since the first decision.
    var age: UInt64 { reached &- (first ?? reached) }

    mutating func moment(of record: AuditRecord) -> Moment {
        let (boot, wall) = (record.bootNanoseconds, record.wall.milliseconds)
        if let last, last.boot > boot, last.boot &- boot > Self.apartNanoseconds {
            let off = wall > last.wall ? (wall &- last.wall).magnitude : 0
            offset = reached &+ min(off, Self.bootMax / 1_000_000) &* 1_000_000 &- boot
        }
        last = (boot, wall)
        reached = max(reached, min(boot &+ offset, Self.bootMax))
        if first == nil { first = reached }
        return Moment(
            boot: BootTime(nanoseconds: min(boot &+ offset, Self.bootMax)), wall: record.wall)
    }
}
