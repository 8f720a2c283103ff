import TollgateCore
import TollgateStorage

/// Puts decisions of several threads' rings into the order in which they fell: those of one life
/// of a daemon by boottime, and those of an organization by their place in its shard; lives as they
/// stand in the log, one behind the other. Holds so many at most; a ring whose decisions reach the
/// log later than that many of others' is not put right.
struct ReplayOrder {
    static let heldMax = 1 << 16

    /// A decision in its place, once: copies of so many, and not their users' counters, were most
    /// of what a replay took.
    final class Held {
        let record: AuditRecord
        init(_ record: AuditRecord) { self.record = record }
    }

    /// All of one life.
    private var held: [Held] = []
    /// Two threads' turns begin at most so far apart.
    private static let apartNanoseconds: UInt64 = 1_000_000_000

    /// What is in order by now.
    mutating func add(_ record: AuditRecord) -> [Held] {
        var ready: [Held] = []
        if let last = held.last, last.record.life != record.life { ready = finish() }
        held.append(Held(record))
        if held.count >= 2 * Self.heldMax { ready += take(Self.heldMax) }
        return ready
    }

    mutating func finish() -> [Held] { take(held.count) }

    private mutating func take(_ count: Int) -> [Held] {
        let sorted = Self.sorted(held)
        held = Array(sorted.dropFirst(count))
        return Array(sorted.prefix(count))
    }

    private static func sorted(_ records: [Held]) -> [Held] {
        // Not by the wall clock, which may be set back meanwhile.
        let places = records.indices.sorted {
            (records[$0].record.bootNanoseconds, $0) < (records[$1].record.bootNanoseconds, $1)
        }
        var byOrganization: [String: [Int]] = [:]
        for (place, index) in places.enumerated() where records[index].record.order > 0 {
            byOrganization[records[index].record.organization, default: []].append(place)
        }
        var sorted = places.map { records[$0] }
        for own in byOrganization.values {
            var list = own.map { sorted[$0] }
            for end in list.indices.dropFirst() {
                var at = end
                while at > 0, list[at].record.order < list[at - 1].record.order,
                    list[at].record.bootNanoseconds &- list[at - 1].record.bootNanoseconds
                        < apartNanoseconds
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

/// The moments of a log's decisions, on one clock that only goes on: within a life of a daemon as
/// its boottime did. From one life to the next too, unless the machine was started again between,
/// which the wall clock tells: then by as much as that went on, or windows would stand still until
/// the new boottime has caught up.
struct ReplayClock {
    /// The two clocks agree on how long it was between two lives but for so much.
    private static let apartMilliseconds: Int64 = 60_000
    private static let bootMax: UInt64 = 1 << 62

    private var last: AuditRecord?
    private var offset: UInt64 = 0
    private var first: UInt64?
    private var reached: UInt64 = 0

    /// Nanoseconds since the first decision.
    var age: UInt64 { reached &- (first ?? reached) }

    mutating func moment(of record: AuditRecord) -> Moment {
        if let last, last.life != record.life { begin(record, after: last) }
        last = record
        let boot = min(record.bootNanoseconds &+ offset, Self.bootMax)
        reached = max(reached, boot)
        if first == nil { first = boot }
        return Moment(boot: BootTime(nanoseconds: boot), wall: record.wall)
    }

    private mutating func begin(_ record: AuditRecord, after last: AuditRecord) {
        let wall = record.wall.milliseconds &- last.wall.milliseconds
        let boot = Int64(truncatingIfNeeded: record.bootNanoseconds / 1_000_000)
            &- Int64(truncatingIfNeeded: last.bootNanoseconds / 1_000_000)
        guard boot < 0 || (wall &- boot).magnitude > UInt64(Self.apartMilliseconds) else { return }
        let off = min(UInt64(max(0, wall)), Self.bootMax / 1_000_000) &* 1_000_000
        offset = reached &+ off &- record.bootNanoseconds
    }
}
