import TestSupport
import TollgateCore

/// Both clocks of a machine, moved by hand: they go on together, the wall clock steps on its own,
/// and a machine that starts anew begins to count its boottime anew.
struct SimulatedClock {
    private(set) var boot: UInt64 = 1_000_000_000_000
    private(set) var wall: Int64
    /// The wall clock may step.
    let steps: Bool

    static let second: Int64 = 1_000
    static let hour: Int64 = 3_600 * second
    static let day: Int64 = 24 * hour

    /// Beside days like others: the end of a month, of a year, of February in a leap year, and the
    /// hours in which `SimulationPolicy`'s zones change theirs.
    static let starts: [Int64] = [
        1_700_000_000, 1_701_388_795, 1_704_067_190, 1_709_164_790, 1_709_251_195,
        SimulationPolicy.springSeconds - 7_205, SimulationPolicy.autumnSeconds - 10_805,
    ]

    init(_ random: inout SeededRandom) {
        wall = Self.starts[Int(random.next() % UInt64(Self.starts.count))] * 1_000
        steps = random.next() % 3 == 0
    }

    var now: Moment {
        Moment(boot: BootTime(nanoseconds: boot), wall: WallTime(milliseconds: wall))
    }

    mutating func advance(milliseconds: Int64) {
        boot += UInt64(milliseconds) * 1_000_000
        wall += milliseconds
    }

    /// A step of the load's pace: mostly short, sometimes over the end of a day or a month.
    mutating func goOn(_ random: inout SeededRandom) {
        func below(_ bound: Int64) -> Int64 { Int64(random.next() % UInt64(bound)) }
        switch random.next() % 32 {
        case 0..<12: return
        case 12..<22: advance(milliseconds: below(50))
        case 22..<28: advance(milliseconds: below(5_000))
        case 28: advance(milliseconds: below(10 * 60 * Self.second))
        case 29: advance(milliseconds: below(20 * Self.hour))
        case 30:
            // To the millisecond at a day's or a minute's edge.
            let unit = random.next() % 2 == 0 ? Self.day : 60 * Self.second
            let edge = (wall / unit + 1) * unit + [-1, 0, 1][Int(below(3))]
            advance(milliseconds: max(0, edge - wall))
        default: advance(milliseconds: below(40 * Self.day))
        }
        if steps, random.next() % 24 == 0 { step(&random) }
    }

    /// Somebody sets the wall clock.
    private mutating func step(_ random: inout SeededRandom) {
        let far = [1, 500, 59_000, 61_000, 2 * Self.hour, Self.day + Self.hour, 400 * Self.day]
        let by = far[Int(random.next() % UInt64(far.count))]
        wall += random.next() % 2 == 0 ? by : -by
        wall = max(wall, 86_400_000)
    }

    /// The machine is started again after a while, and its wall clock may be set meanwhile.
    mutating func restart(afterPowerCut: Bool, _ random: inout SeededRandom) {
        let away = Int64(random.next() % UInt64(random.next() % 4 == 0 ? 2 * Self.day : 9_000))
        advance(milliseconds: away)
        if steps, random.next() % 3 == 0 { step(&random) }
        if afterPowerCut { boot = 5_000_000_000 + random.next() % 60_000_000_000 }
    }
}
