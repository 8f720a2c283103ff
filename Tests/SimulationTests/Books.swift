import TollgateCore

/// What one organization and its users used and hold, in the plainest form: dictionaries of what
/// was acknowledged. A value, so that each state it went through can be kept.
struct Books: Equatable {
    /// A counter: of a user, or with an empty name of the organization.
    struct Key: Hashable, Comparable {
        var user: String
        var quota: String

        static func < (a: Key, b: Key) -> Bool { (a.user, a.quota) < (b.user, b.quota) }
    }

    struct Open: Equatable {
        var used: UInt64 = 0
        /// Left over by the period before.
        var carried: UInt64 = 0
        /// Seconds since 1970; the period that `used` counts ends then.
        var end: Int64
        /// Over, and among the closed ones.
        var isClosed = false
    }

    struct Closed: Hashable {
        var key: Key
        var end: Int64
    }

    /// What a period leaves to the next.
    struct Rollover {
        var limit: UInt64
        var most: UInt64
        /// Of the period that begins.
        var start: Int64
    }

    /// An answer that is given again.
    struct Remembered: Equatable {
        var asked: Asked
        var verb: String
        var bytes: [UInt8]
        var hold: [UInt8]
        /// Until then, in milliseconds of billing time.
        var until: Int64
    }

    var open: [Key: Open] = [:]
    /// Units of periods that are over.
    var closed: [Closed: UInt64] = [:]
    /// By idempotency id.
    var answers: [[UInt8]: Remembered] = [:]
    /// By id, those that have ended among them.
    var holds: [[UInt8]: Hold] = [:]

    /// Units of a counter in the period that `now` lies in.
    func used(_ key: Key, at now: Int64) -> UInt64 {
        guard let open = open[key], now < open.end else { return 0 }
        return open.used
    }

    /// What open reservations hold of a counter's present period.
    func held(_ key: Key, at now: Int64) -> UInt64 {
        guard let open = open[key], now < open.end else { return 0 }
        return held(key, end: open.end)
    }

    private func held(_ key: Key, end: Int64) -> UInt64 {
        var sum: UInt64 = 0
        for hold in holds.values where hold.state == .open {
            if let line = hold.lines[key], line.end == end { sum += line.units }
        }
        return sum
    }

    /// What other members may still count on of a pool's present period, at the least and at the
    /// most: who has used nothing any more counts as a member until that is forgotten.
    func reserved(
        _ key: Key, for user: String, _ each: UInt64, at now: Int64
    ) -> ClosedRange<UInt64> {
        var (least, most): (UInt64, UInt64) = (0, 0)
        for (other, open) in open
        where other.quota == key.quota && !other.user.isEmpty && other.user != user
            && now < open.end
        {
            let taken = used(other, at: now) + held(other, at: now)
            let left = each - min(each, taken)
            most += left
            if taken > 0 { least += left }
        }
        return least...most
    }

    /// Open reservations that a limit of concurrency counts.
    func busy(_ key: Key) -> UInt64 {
        let open = holds.values.filter { $0.state == .open && $0.concurrency.contains(key) }
        return UInt64(open.count)
    }

    mutating func charge(
        _ key: Key, _ units: UInt64, now: Int64, end: Int64, _ rollover: Rollover? = nil
    ) {
        roll(key, now: now, end: end, rollover)
        open[key]?.used += units
    }

    /// Opens the period that ends at `end` where the one before is over.
    mutating func roll(_ key: Key, now: Int64, end: Int64, _ rollover: Rollover? = nil) {
        guard let was = open[key] else {
            open[key] = Open(end: end)
            return
        }
        guard now >= was.end else { return }
        let carried = rollover.map { self.carried(key, was, $0) } ?? 0
        close(key)
        open[key] = Open(carried: carried, end: end)
    }

    /// What is left over for the period that `now` lies in.
    func carried(_ key: Key, at now: Int64, _ rollover: Rollover) -> UInt64 {
        guard let was = open[key] else { return 0 }
        return now < was.end ? was.carried : carried(key, was, rollover)
    }

    private func carried(_ key: Key, _ was: Open, _ rollover: Rollover) -> UInt64 {
        var unused = rollover.limit
        // Otherwise a whole period passed in between in which nothing was used.
        if was.end > rollover.start - 20 * 3_600 {
            let occupied = was.used + held(key, end: was.end)
            unused -= min(unused, occupied - min(occupied, was.carried))
        }
        return min(unused, rollover.most)
    }

    /// Puts a period that is over among the closed ones.
    mutating func close(_ key: Key) {
        guard let was = open[key], was.used > 0, !was.isClosed else { return }
        closed[Closed(key: key, end: was.end), default: 0] += was.used
        open[key]?.isClosed = true
    }

    /// What was used so far is a closed part of its period.
    mutating func reset(_ key: Key, at now: Int64) {
        close(key)
        guard let was = open[key], now < was.end else { return }
        open[key] = Open(carried: was.carried, end: was.end)
    }

    /// Of all counters. What a cut has charged is closed with them, and is given back no more.
    mutating func resetAll(at now: Int64) {
        guard open.values.contains(where: { $0.used > 0 && !$0.isClosed }) else { return }
        for key in open.keys { reset(key, at: now) }
        for (id, hold) in holds where hold.state == .cut {
            for key in hold.lines.keys { holds[id]?.lines[key]?.isClosed = true }
        }
    }

    /// Calls by the end of their day: those of all users, and those of the organization; of a pool
    /// too, with the days' ends below 0.
    var everything: (users: [Int64: UInt64], whole: [Int64: UInt64]) {
        var (users, whole): ([Int64: UInt64], [Int64: UInt64]) = ([:], [:])
        func add(_ place: Closed, _ units: UInt64) {
            if place.key.quota == "daily_calls" { users[place.end, default: 0] &+= units }
            if place.key.quota == "org_calls" { whole[place.end, default: 0] &+= units }
            guard place.key.quota == SimulationPolicy.poolName else { return }
            if place.key.user.isEmpty {
                whole[-place.end, default: 0] &+= units
            } else {
                users[-place.end, default: 0] &+= units
            }
        }
        for (place, units) in closed { add(place, units) }
        for (key, open) in open where !open.isClosed {
            add(Closed(key: key, end: open.end), open.used)
        }
        return (users.filter { $0.value > 0 }, whole.filter { $0.value > 0 })
    }

    // MARK: the end of a hold

    /// What an end comes to: by meter, units charged in all; and for each quota that the
    /// operation charges its meter and the end of its present period.
    struct Ending {
        var state: Hold.State
        var charged: [String: UInt64]
        var quotas: [(key: Key, meter: String, end: Int64, rollover: Rollover?)]
        var now: Int64
        var forgetAt: Int64
    }

    mutating func end(_ id: [UInt8], _ ending: Ending) {
        guard var hold = holds[id] else { return }
        for quota in ending.quotas {
            roll(quota.key, now: ending.now, end: quota.end, quota.rollover)
            guard var open = open[quota.key] else { continue }
            let charged = ending.charged[quota.meter] ?? 0
            let before = hold.state == .open ? 0 : hold.meters[quota.meter]?.used ?? 0
            let isSamePeriod = hold.lines[quota.key]?.end == open.end
            if charged >= before {
                open.used += charged - before
            } else if isSamePeriod, hold.lines[quota.key]?.isClosed == false {
                open.used -= before - charged
            }
            self.open[quota.key] = open
            hold.lines[quota.key]?.units = 0
            hold.lines[quota.key]?.end = open.end
        }
        endWithoutQuota(&hold, ending)
        for meter in hold.meters.keys { hold.meters[meter]?.used = ending.charged[meter] ?? 0 }
        hold.state = ending.state
        hold.forgetAt = ending.forgetAt
        holds[id] = hold
    }

    /// A reload took the quota out of the plan, and the counter lives on by other plans: it is
    /// charged what the hold was made with, within the period that it was held in. Whether it was
    /// only looked at in the next, and by whom, changes nothing: so a pool stays the sum of shares.
    private mutating func endWithoutQuota(_ hold: inout Hold, _ ending: Ending) {
        for (key, line) in hold.lines where !ending.quotas.contains(where: { $0.key == key }) {
            guard var open = open[key] else { continue }
            let charged = ending.charged[line.meter] ?? 0
            let before = hold.state == .open ? 0 : hold.meters[line.meter]?.used ?? 0
            hold.lines[key]?.units = 0
            guard ending.now < line.end else { continue }
            if ending.now < open.end {
                if charged >= before {
                    open.used += charged - before
                } else if line.end == open.end, !line.isClosed {
                    open.used -= before - charged
                }
                self.open[key] = open
            }
            hold.lines[key]?.end = open.end
        }
    }
}

/// A reservation as its owner understands it.
struct Hold: Equatable {
    enum State: UInt8 { case open = 1, settled, canceled, cut }

    struct Meter: Equatable {
        var weight: UInt64
        /// Weighted: the estimate, and what was reported as used or in the end charged.
        var held: UInt64
        var used: UInt64 = 0
    }

    struct Line: Equatable {
        var meter: String
        var units: UInt64
        var end: Int64
        /// What a cut charged of it was closed by a reset.
        var isClosed = false
    }

    var asked: Asked
    var meters: [String: Meter]
    var lines: [Books.Key: Line]
    var concurrency: Set<Books.Key>
    var cut: UInt8
    /// 0: detached.
    var connection: UInt64
    var ttl: UInt32
    /// Billing time in milliseconds, when its time is over; and when it may be forgotten.
    var endsAt: Int64
    /// Boottime of this life in nanoseconds, when it ends.
    var endBoot: UInt64
    var forgetAt = Int64.max
    var state = State.open
    /// To SETTLE or CANCEL.
    var answer: [UInt8] = []
}
