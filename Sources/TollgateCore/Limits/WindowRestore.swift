/// The clocks when counters were saved, and what is known of the time since.
package struct SavedClocks: Sendable, Equatable {
    package var boot: BootTime
    package var wall: WallTime
    /// The host has not been started since: its boottime went on.
    package var isSameBoot: Bool

    package init(boot: BootTime, wall: WallTime, isSameBoot: Bool) {
        self.boot = boot
        self.wall = wall
        self.isSameBoot = isSameBoot
    }

    /// Nanoseconds that have passed, at least: a wall clock that was set back makes it 0, which
    /// counts what was saved for longer than need be. One that was set forward is not believed
    /// beyond what boottime says, where the host is the same.
    func passed(until now: Moment) -> UInt64 {
        if isSameBoot {
            return now.boot.nanoseconds > boot.nanoseconds
                ? now.boot.nanoseconds - boot.nanoseconds : 0
        }
        let (milliseconds, overflow) = now.wall.milliseconds.subtractingReportingOverflow(
            wall.milliseconds)
        guard !overflow, milliseconds > 0 else { return 0 }
        // Of two clocks in whole milliseconds: up to one less has passed.
        let (passed, isLong) = UInt64(milliseconds - 1).multipliedReportingOverflow(by: 1_000_000)
        return isLong ? .max : passed
    }
}

extension Window {
    /// Puts a window as it was saved into the present boottime: every bucket as old as it was then,
    /// and older by what has passed, rounded so that nothing is forgotten sooner than it should be.
    /// What would lie before boottime began counts from there on, so for longer.
    package static func restore(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, saved: SavedClocks, now: Moment
    ) {
        let width = shape.bucketNanoseconds
        let cells = UInt64(shape.buckets) + 1
        let old = head.pointee.newest
        let then = saved.boot.nanoseconds / width
        let passed = saved.passed(until: now)
        let present = now.boot.nanoseconds / width
        let savedAt = (now.boot.nanoseconds - min(passed, now.boot.nanoseconds)) / width
        // Buckets between the moment of saving and the beginning of this boottime.
        let missing = (passed - min(passed, now.boot.nanoseconds)) / width
        let oldest = present - min(present, UInt64(shape.buckets))
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Int(cells)) { counts in
            for back in 0..<cells {
                counts[Int(back)] = old >= back ? take(ring, shape, Int((old - back) % cells)) : 0
            }
            head.pointee = WindowHead()
            head.pointee.newest = saved.isSameBoot ? old : present
            for back in 0..<cells where counts[Int(back)] > 0 {
                var bucket = old - min(old, back)
                if !saved.isSameBoot {
                    // A window that was ahead of the clock it was saved by is as old as that.
                    let age = sum(then - min(then, old), back, missing)
                    guard sum(present - savedAt, age) <= cells else { continue }
                    bucket = min(present, max(oldest, savedAt - min(savedAt, age) + 1))
                }
                charge(
                    head, ring, shape, cell: Int(bucket % cells), units: counts[Int(back)])
            }
        }
    }

    /// Of what a disk said: saturates.
    private static func sum(_ a: UInt64, _ b: UInt64, _ c: UInt64 = 0) -> UInt64 {
        let (first, overflow) = a.addingReportingOverflow(b)
        let (all, overflows) = first.addingReportingOverflow(c)
        return overflow || overflows ? .max : all
    }
}
