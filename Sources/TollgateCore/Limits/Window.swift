import TollgateWire

/// How a sliding window is cut: `buckets` sub-buckets of `bucketNanoseconds`, and one more, because
/// a window that does not begin on a sub-bucket's edge touches `buckets + 1` of them.
package struct WindowShape: BitwiseCopyable, Sendable, Equatable {
    package let bucketNanoseconds: UInt64
    package let buckets: UInt16
    package let mode: WindowMode
    /// Bytes of a cell: 2, 4 or 8. A cell that would overflow saturates, at or above the limit.
    package let cellBytes: UInt8

    /// The window is rounded up to whole sub-buckets, so it is never shorter than asked.
    package static func make(
        windowNanoseconds: UInt64, subBuckets: Int, mode: WindowMode, limit: UInt64
    ) -> WindowShape {
        let count = UInt64(max(1, min(subBuckets, RateLimitDefinition.subBucketsMax)))
        let bucket = max(1, windowNanoseconds / count + (windowNanoseconds % count == 0 ? 0 : 1))
        let cell: UInt8 = limit <= 32_767 ? 2 : limit <= 0x7fff_ffff ? 4 : 8
        return WindowShape(
            bucketNanoseconds: bucket, buckets: UInt16(count), mode: mode, cellBytes: cell)
    }

    /// Bytes of all cells, padded to 8.
    package var ringBytes: Int { ((Int(buckets) + 1) * Int(cellBytes) + 7) & ~7 }

    package var windowMilliseconds: UInt64 {
        bucketNanoseconds.multipliedReportingOverflow(by: UInt64(buckets)).partialValue / 1_000_000
    }
}

/// What a window knows beside its cells. All-zero bytes are an empty window.
package struct WindowHead: BitwiseCopyable {
    /// The sum of all cells.
    package var sum: UInt64
    /// Index of the newest cell since boot: `boottime / bucketNanoseconds`.
    package var newest: UInt64

    package init() {
        sum = 0
        newest = 0
    }
}

/// Sliding-window arithmetic over memory that the caller has laid out: a head, and a ring of
/// `buckets + 1` cells in which bucket `i` has cell `i mod (buckets + 1)`.
///
/// `strict` counts every cell in full, so within any true window of the configured length never
/// more than the limit is admitted: the window's sub-buckets are all among the cells summed when
/// the last of its charges was admitted. The price is capacity: what leaves does so up to one
/// sub-bucket late, which is felt when the load equals the limit: 1 in `buckets + 1` of a steady
/// flow, less when arrivals are random and few (at 50 sub-buckets and 100 a window, 0.8 %).
///
/// `smooth` counts the oldest cell in proportion to the part of its sub-bucket still inside, as if
/// its charges had come evenly. Where they did, the limit holds as for `strict` but for rounding.
/// Whatever the arrivals: within any true window less than twice the limit, namely at most the
/// limit and what its oldest sub-bucket held; and within any stretch one sub-bucket shorter than
/// the window never more than the limit. A burst at a sub-bucket's end, and another one window
/// later, comes up to that bound.
///
/// Invariant after `advance`: `head.sum` = sum of the cells, all of buckets
/// `newest - buckets ... newest`.
package enum Window {
    package typealias Head = UnsafeMutablePointer<WindowHead>
    package typealias Ring = UnsafeMutableRawPointer

    /// Lets go of what has left the window. Never moves back: an older `now` changes nothing.
    @inline(__always)
    package static func advance(_ head: Head, _ ring: Ring, _ shape: WindowShape, now: BootTime) {
        advance(head, ring, shape, index: now.nanoseconds / shape.bucketNanoseconds)
    }

    /// `advance` for a caller that has divided once for many windows of the same shape.
    @inline(__always)
    static func advance(_ head: Head, _ ring: Ring, _ shape: WindowShape, index: UInt64) {
        let newest = head.pointee.newest
        guard index > newest else { return }
        head.pointee.newest = index
        guard head.pointee.sum > 0 else { return }
        expire(head, ring, shape, from: newest, to: index)
    }

    private static func expire(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, from newest: UInt64, to index: UInt64
    ) {
        let cells = UInt64(shape.buckets) + 1
        let steps = min(index - newest, cells)
        // The oldest cells are the ones that the new buckets take over.
        var cell = Int((newest + 1) % cells)
        for _ in 0..<steps {
            let gone = read(ring, shape, cell)
            if gone > 0 {
                write(ring, shape, cell, 0)
                head.pointee.sum -= gone
            }
            cell = cell + 1 == Int(cells) ? 0 : cell + 1
        }
    }

    /// Units counted now, after `advance`. `smooth` rounds up.
    @inline(__always)
    package static func used(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, now: BootTime
    ) -> UInt64 {
        if shape.mode == .strict { return head.pointee.sum }
        return smoothUsed(head, ring, shape, now: now)
    }

    private static func smoothUsed(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, now: BootTime
    ) -> UInt64 {
        let oldest = read(ring, shape, oldestCell(head, shape))
        let start = head.pointee.newest * shape.bucketNanoseconds
        let elapsed = now.nanoseconds > start ? now.nanoseconds - start : 0
        let left = shape.bucketNanoseconds - min(elapsed, shape.bucketNanoseconds)
        return head.pointee.sum - oldest + proportion(oldest, left, shape.bucketNanoseconds)
    }

    /// `units * left / whole`, rounded up; `left <= whole`.
    private static func proportion(_ units: UInt64, _ left: UInt64, _ whole: UInt64) -> UInt64 {
        let product = units.multipliedFullWidth(by: left)
        let (quotient, remainder) = whole.dividingFullWidth(
            (min(product.high, whole - 1), product.low))
        return product.high >= whole ? units : quotient + (remainder == 0 ? 0 : 1)
    }

    @inline(__always)
    package static func admits(used: UInt64, units: UInt64, limit: UInt64) -> Bool {
        let (sum, overflow) = used.addingReportingOverflow(units)
        return !overflow && sum <= limit
    }

    /// Counts units in the newest bucket, after `advance`. Saturates at the cell's ceiling.
    @inline(__always)
    package static func charge(_ head: Head, _ ring: Ring, _ shape: WindowShape, units: UInt64) {
        let cell = Int(head.pointee.newest % (UInt64(shape.buckets) + 1))
        charge(head, ring, shape, cell: cell, units: units)
    }

    /// `charge` for a caller that knows the newest bucket's cell.
    @inline(__always)
    static func charge(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, cell: Int, units: UInt64
    ) {
        let before = read(ring, shape, cell)
        let ceiling = cellMax(shape)
        let room = min(ceiling - before, UInt64.max - head.pointee.sum)
        let added = min(units, room)
        write(ring, shape, cell, before + added)
        head.pointee.sum += added
    }

    /// Milliseconds until nothing of it is counted any more, rounded up; 0 when nothing is. After
    /// `advance`; right after a `charge` it looks at one cell.
    package static func resetMilliseconds(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, now: BootTime
    ) -> UInt64 {
        guard head.pointee.sum > 0 else { return 0 }
        let cells = UInt64(shape.buckets) + 1
        var bucket = head.pointee.newest
        var cell = Int(bucket % cells)
        // The newest bucket that holds something; there is one, as the sum is not 0.
        while bucket > 0, read(ring, shape, cell) == 0 {
            bucket &-= 1
            cell = cell == 0 ? Int(cells) &- 1 : cell &- 1
        }
        return milliseconds(from: now, to: expiry(ofBucket: bucket, shape))
    }

    /// The earliest whole millisecond from now at which `units` would be admitted if nobody else
    /// charged; 0 when they are now, `WireLimits.retryNever` when they never are.
    package static func retryMilliseconds(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, now: BootTime, units: UInt64,
        limit: UInt64
    ) -> UInt32 {
        guard units <= limit else { return WireLimits.retryNever }
        if admits(used: used(head, ring, shape, now: now), units: units, limit: limit) { return 0 }
        // Free room that is needed before the request fits.
        let allowed = limit - units
        var left = head.pointee.sum
        let cells = Int(shape.buckets) + 1
        let newest = head.pointee.newest
        let oldest = newest >= UInt64(shape.buckets) ? newest - UInt64(shape.buckets) : 0
        for bucket in oldest...newest {
            let count = read(ring, shape, Int(bucket % UInt64(cells)))
            if left - count <= allowed {
                let end = instant(
                    whenBucket: bucket, holding: count, fitsBeside: left - count,
                    allowed: allowed, shape)
                return UInt32(clamping: min(
                    milliseconds(from: now, to: end), UInt64(WireLimits.retryNever - 1)))
            }
            left -= count
        }
        return WireLimits.retryNever
    }

    /// When a bucket's count has fallen so far that it and `others` are within `allowed`.
    private static func instant(
        whenBucket bucket: UInt64, holding count: UInt64, fitsBeside others: UInt64,
        allowed: UInt64, _ shape: WindowShape
    ) -> UInt64 {
        let end = expiry(ofBucket: bucket, shape)
        guard shape.mode == .smooth, count > 0 else { return end }
        // ceil(count * left / width) <= allowed - others
        // ⇔  left <= (allowed - others) * width / count
        let (high, low) = (allowed - others).multipliedFullWidth(by: shape.bucketNanoseconds)
        guard high < count else { return end - shape.bucketNanoseconds }
        return end - min(count.dividingFullWidth((high, low)).quotient, shape.bucketNanoseconds)
    }

    /// The first nanosecond at which a bucket is no longer counted.
    private static func expiry(ofBucket bucket: UInt64, _ shape: WindowShape) -> UInt64 {
        let (product, overflow) = (bucket + UInt64(shape.buckets) + 1)
            .multipliedReportingOverflow(by: shape.bucketNanoseconds)
        return overflow ? .max : product
    }

    private static func milliseconds(from now: BootTime, to instant: UInt64) -> UInt64 {
        guard instant > now.nanoseconds else { return 0 }
        let wait = instant - now.nanoseconds
        return wait / 1_000_000 + (wait % 1_000_000 == 0 ? 0 : 1)
    }

    /// Whether nothing would be left after an `advance` to `now`.
    package static func isIdle(_ head: Head, _ shape: WindowShape, now: BootTime) -> Bool {
        head.pointee.sum == 0
            || now.nanoseconds / shape.bucketNanoseconds
                > head.pointee.newest + UInt64(shape.buckets)
    }

    /// Carries counts over to an empty window of another shape. Each old bucket counts from its
    /// end on, so nothing that is still inside is forgotten.
    package static func migrate(
        _ old: Head, _ oldRing: Ring, _ oldShape: WindowShape, to new: Head, _ newRing: Ring,
        _ newShape: WindowShape, now: BootTime
    ) {
        advance(old, oldRing, oldShape, now: now)
        // A worker whose turn began later may have charged already.
        let width = oldShape.bucketNanoseconds
        let latest = max(now.nanoseconds, old.pointee.newest * width)
        advance(new, newRing, newShape, now: BootTime(nanoseconds: latest))
        guard old.pointee.sum > 0 else { return }
        let oldest = old.pointee.newest - min(old.pointee.newest, UInt64(oldShape.buckets))
        let current = new.pointee.newest
        for bucket in oldest...old.pointee.newest {
            let count = read(oldRing, oldShape, Int(bucket % (UInt64(oldShape.buckets) + 1)))
            let start = bucket * width
            let end = start + min(width - 1, latest - start)
            let target = end / newShape.bucketNanoseconds
            guard count > 0, current - target <= UInt64(newShape.buckets) else { continue }
            let cell = Int(target % (UInt64(newShape.buckets) + 1))
            let before = read(newRing, newShape, cell)
            let added = min(count, cellMax(newShape) - before)
            write(newRing, newShape, cell, before + added)
            new.pointee.sum += added
        }
    }

    /// Gives units back that were counted at `time`, as far as they are still counted.
    static func refund(
        _ head: Head, _ ring: Ring, _ shape: WindowShape, units: UInt64, chargedAt time: BootTime
    ) {
        let bucket = time.nanoseconds / shape.bucketNanoseconds
        let newest = head.pointee.newest
        guard bucket <= newest, newest - bucket <= UInt64(shape.buckets) else { return }
        let cell = Int(bucket % (UInt64(shape.buckets) + 1))
        let before = read(ring, shape, cell)
        let given = min(units, before)
        write(ring, shape, cell, before - given)
        head.pointee.sum -= given
    }

    /// Empties a cell; what it held.
    static func take(_ ring: Ring, _ shape: WindowShape, _ cell: Int) -> UInt64 {
        let held = read(ring, shape, cell)
        write(ring, shape, cell, 0)
        return held
    }

    @inline(__always)
    private static func oldestCell(_ head: Head, _ shape: WindowShape) -> Int {
        Int((head.pointee.newest + 1) % (UInt64(shape.buckets) + 1))
    }

    @inline(__always)
    private static func cellMax(_ shape: WindowShape) -> UInt64 {
        switch shape.cellBytes {
        case 2: UInt64(UInt16.max)
        case 4: UInt64(UInt32.max)
        default: UInt64.max
        }
    }

    @inline(__always)
    private static func read(_ ring: Ring, _ shape: WindowShape, _ cell: Int) -> UInt64 {
        switch shape.cellBytes {
        case 2: UInt64(ring.load(fromByteOffset: cell &* 2, as: UInt16.self))
        case 4: UInt64(ring.load(fromByteOffset: cell &* 4, as: UInt32.self))
        default: ring.load(fromByteOffset: cell &* 8, as: UInt64.self)
        }
    }

    @inline(__always)
    private static func write(_ ring: Ring, _ shape: WindowShape, _ cell: Int, _ value: UInt64) {
        switch shape.cellBytes {
        case 2:
            ring.storeBytes(
                of: UInt16(truncatingIfNeeded: value), toByteOffset: cell &* 2, as: UInt16.self)
        case 4:
            ring.storeBytes(
                of: UInt32(truncatingIfNeeded: value), toByteOffset: cell &* 4, as: UInt32.self)
        default: ring.storeBytes(of: value, toByteOffset: cell &* 8, as: UInt64.self)
        }
    }
}
