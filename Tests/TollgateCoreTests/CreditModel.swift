@testable import TollgateCore

/// One organization's quota by the day with credits, as plainly as it can be said.
struct CreditModel {
    struct Grant: Equatable {
        var id: String
        var units: UInt64
        var priority: UInt8
        var effective: Int64
        var expires: Int64?
        var created: Int64
        var isVoided = false
        var burnt: UInt64 = 0

        func isUsable(_ now: Int64) -> Bool {
            !isVoided && effective <= now && now < expires ?? .max && burnt < units
        }

        func isActive(_ now: Int64) -> Bool {
            !isVoided && now < expires ?? .max && burnt < units
        }
    }

    struct Hold {
        var units: UInt64
        var day: Int64
        /// Milliseconds of billing time at which it ends.
        var end: Int64
    }

    static let day: Int64 = 86_400_000

    var limit: UInt64
    /// Units beyond it that a soft quota admits; `nil`: it is hard.
    var overage: UInt64?
    var rolloverMax: UInt64
    var now: Int64
    var grants: [Grant] = []
    var holds: [Int: Hold] = [:]
    var used: UInt64 = 0
    var held: UInt64 = 0
    var carried: UInt64 = 0
    var burnt: UInt64 = 0
    /// The day that is counted; -1: nothing was yet.
    var counted: Int64 = -1
    /// Used units and credits of every period, or part of one, that is over.
    var closed: [[UInt64]] = []

    var own: UInt64 { limit + carried }

    var left: UInt64 {
        grants.reduce(0) { $0 + ($1.isUsable(now) ? $1.units - $1.burnt : 0) }
    }

    var whole: UInt64 { own + burnt + left }

    var remaining: UInt64 { whole > used + held ? whole - used - held : 0 }

    func admits(_ units: UInt64) -> Bool {
        guard let overage else { return used + held + units <= whole }
        return used + held + units <= whole + overage
    }

    /// Before anything is asked: another day may have begun, and holds may be over.
    mutating func roll() {
        let today = now / Self.day
        if counted != today {
            if used > 0 { closed.append([used, burnt]) }
            if rolloverMax > 0, counted >= 0 {
                let others = carried + burnt
                let ofOwn = used + held > others ? used + held - others : 0
                let unused = limit > ofOwn ? limit - ofOwn : 0
                carried = min(rolloverMax, counted == today - 1 ? unused : limit)
            } else {
                carried = 0
            }
            (used, held, burnt, counted) = (0, 0, 0, today)
        }
        for (key, hold) in holds where hold.end <= now {
            release(hold)
            holds[key] = nil
        }
    }

    private mutating func release(_ hold: Hold) {
        if hold.day == counted { held -= hold.units }
    }

    mutating func charge(_ units: UInt64) {
        guard units > 0 else { return }
        used += units
        var beyond = used > own ? used - own : 0
        guard beyond > burnt else { return }
        beyond -= burnt
        let order = grants.indices.sorted { a, b in
            let (a, b) = (grants[a], grants[b])
            if a.priority != b.priority { return a.priority < b.priority }
            if a.expires != b.expires { return a.expires ?? .max < b.expires ?? .max }
            return a.created != b.created ? a.created < b.created : a.id < b.id
        }
        for index in order where grants[index].isUsable(now) {
            let taken = min(beyond, grants[index].units - grants[index].burnt)
            grants[index].burnt += taken
            burnt += taken
            beyond -= taken
        }
    }

    mutating func hold(_ key: Int, _ units: UInt64, milliseconds: Int64) {
        held += units
        holds[key] = Hold(units: units, day: counted, end: now + milliseconds)
    }

    mutating func settle(_ key: Int, _ units: UInt64) {
        guard let hold = holds.removeValue(forKey: key) else { return }
        release(hold)
        charge(units)
    }

    mutating func reset() {
        guard used > 0 else { return }
        closed.append([used, burnt])
        (used, burnt) = (0, 0)
    }
}
