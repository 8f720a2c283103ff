/// An instant on CLOCK_BOOTTIME, in nanoseconds: never steps, goes on while the host is suspended.
/// Rate-limit windows count on it.
package struct BootTime: Sendable, Equatable, Comparable, BitwiseCopyable {
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static func < (a: BootTime, b: BootTime) -> Bool { a.nanoseconds < b.nanoseconds }
}

/// An instant of the wall clock, in milliseconds since 1970-01-01T00:00:00Z; may step either way.
/// Token times and quota periods are judged by it.
package struct WallTime: Sendable, Equatable, Comparable, BitwiseCopyable {
    package var milliseconds: Int64

    package init(milliseconds: Int64) { self.milliseconds = milliseconds }
    package init(seconds: Int64) { self.milliseconds = seconds * 1000 }

    /// Whole seconds, rounded down.
    package var seconds: Int64 { milliseconds / 1000 - (milliseconds % 1000 < 0 ? 1 : 0) }

    package static func < (a: WallTime, b: WallTime) -> Bool { a.milliseconds < b.milliseconds }
}

/// Now, as the caller of the core saw it: both clocks, read once per turn of a reactor's loop.
package struct Moment: Sendable, Equatable, BitwiseCopyable {
    package var boot: BootTime
    package var wall: WallTime

    package init(boot: BootTime, wall: WallTime) {
        self.boot = boot
        self.wall = wall
    }
}
