import TollgateCore

/// What one organization and its users used, in the plainest form: a dictionary of what was
/// acknowledged. A value, so that each state it went through can be kept.
struct Books: Equatable {
    /// A counter: of a user, or with an empty name of the organization.
    struct Key: Hashable {
        var user: String
        var quota: String
    }

    struct Open: Equatable {
        var used: UInt64 = 0
        var held: UInt64 = 0
        /// Seconds since 1970; the period that `used` counts ends then.
        var end: Int64
    }

    struct Closed: Hashable {
        var key: Key
        var end: Int64
    }

    /// An answer that is given again.
    struct Remembered: Equatable {
        var asked: Asked
        var isConsume: Bool
        var bytes: [UInt8]
        /// Until then, in milliseconds of the books' time.
        var until: Int64
    }

    var open: [Key: Open] = [:]
    /// Units of periods that are over.
    var closed: [Closed: UInt64] = [:]
    var answers: [[UInt8]: Remembered] = [:]

    /// Units of a counter in the period that `now` lies in.
    func used(_ key: Key, at now: Int64) -> UInt64 {
        guard let open = open[key], now < open.end else { return 0 }
        return open.used
    }

    func held(_ key: Key) -> UInt64 { open[key]?.held ?? 0 }

    mutating func charge(_ key: Key, _ units: UInt64, now: Int64, end: Int64) {
        roll(key, now: now, end: end)
        open[key]?.used += units
    }

    /// Opens the period that ends at `end` where the one before is over.
    mutating func roll(_ key: Key, now: Int64, end: Int64) {
        guard let was = open[key] else {
            open[key] = Open(end: end)
            return
        }
        guard now >= was.end else { return }
        close(key)
        open[key] = Open(held: was.held, end: end)
    }

    mutating func close(_ key: Key) {
        guard let was = open[key], was.used > 0 else { return }
        closed[Closed(key: key, end: was.end), default: 0] += was.used
        open[key]?.used = 0
    }

    /// Everything used, by counter and by the end of its period: whatever is closed when.
    var total: [Closed: UInt64] {
        var total = closed
        for (key, open) in open where open.used > 0 {
            total[Closed(key: key, end: open.end), default: 0] += open.used
        }
        return total
    }
}
