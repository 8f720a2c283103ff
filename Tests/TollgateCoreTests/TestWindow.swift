import TollgateCore

/// A window in memory of its own.
final class TestWindow {
    let shape: WindowShape
    let limit: UInt64
    let head = UnsafeMutablePointer<WindowHead>.allocate(capacity: 1)
    let ring: UnsafeMutableRawPointer

    init(windowNanoseconds: UInt64, subBuckets: Int, mode: WindowMode, limit: UInt64) {
        shape = .make(
            windowNanoseconds: windowNanoseconds, subBuckets: subBuckets, mode: mode, limit: limit)
        self.limit = limit
        head.initialize(to: WindowHead())
        ring = .allocate(byteCount: shape.ringBytes, alignment: 8)
        ring.initializeMemory(as: UInt8.self, repeating: 0, count: shape.ringBytes)
    }

    deinit {
        head.deallocate()
        ring.deallocate()
    }

    /// The length that it keeps: at least the one asked for.
    var nanoseconds: UInt64 { shape.bucketNanoseconds * UInt64(shape.buckets) }

    func used(at now: UInt64) -> UInt64 {
        let now = BootTime(nanoseconds: now)
        Window.advance(head, ring, shape, now: now)
        return Window.used(head, ring, shape, now: now)
    }

    func admits(_ units: UInt64, at now: UInt64) -> Bool {
        Window.admits(used: used(at: now), units: units, limit: limit)
    }

    func charge(_ units: UInt64) { Window.charge(head, ring, shape, units: units) }

    func attempt(_ units: UInt64, at now: UInt64) -> Bool {
        guard admits(units, at: now) else { return false }
        charge(units)
        return true
    }

    func retry(_ units: UInt64, at now: UInt64) -> UInt32 {
        Window.retryMilliseconds(
            head, ring, shape, now: BootTime(nanoseconds: now), units: units, limit: limit)
    }

    func reset(at now: UInt64) -> UInt64 {
        Window.resetMilliseconds(head, ring, shape, now: BootTime(nanoseconds: now))
    }
}

/// Every charge and when it came: what a window approximates in fixed memory.
struct ExactLog {
    private(set) var entries: [(instant: UInt64, units: UInt64)] = []
    private var first = 0
    private var sum: UInt64 = 0
    let nanoseconds: UInt64

    init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// Units within the window that ends at `now`: those less than its length ago.
    mutating func used(at now: UInt64) -> UInt64 {
        while first < entries.count, now - entries[first].instant >= nanoseconds {
            sum -= entries[first].units
            first += 1
        }
        return sum
    }

    /// Instants do not decrease.
    mutating func charge(_ units: UInt64, at now: UInt64) {
        entries.append((now, units))
        sum += units
    }
}
