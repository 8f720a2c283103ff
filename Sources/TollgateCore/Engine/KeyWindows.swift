import TollgateWire

/// Shapes and layouts of keys' own limits: a window of a second, a minute, an hour or a day, with
/// cells of three widths. Immutable.
final class KeyWindows: Sendable {
    static let ceilings: [UInt64] = [32_767, 0x7fff_ffff, .max]

    // Written once in init, read-only until deinit: safe to share.
    private nonisolated(unsafe) let shapes: UnsafeMutablePointer<WindowShape>
    private nonisolated(unsafe) let numbers: UnsafeMutablePointer<UInt32>
    private nonisolated(unsafe) let bytes: UnsafeMutablePointer<Int>
    private let count: Int

    init(_ registry: LayoutRegistry) {
        count = KeyLimit.secondsAllowed.count * Self.ceilings.count
        shapes = .allocate(capacity: count)
        numbers = .allocate(capacity: count)
        bytes = .allocate(capacity: count)
        for index in 0..<count {
            let limit = KeyLimit(
                units: Self.ceilings[index % Self.ceilings.count],
                seconds: KeyLimit.secondsAllowed[index / Self.ceilings.count])
            let layout = RowLayout([CounterSlot(limit)])
            guard let number = registry.number(of: layout), let shape = layout.slots[0].shape
            else { preconditionFailure("a registry that is full at start") }
            (shapes + index).initialize(to: shape)
            (numbers + index).initialize(to: number)
            (bytes + index).initialize(to: layout.bytes)
        }
    }

    deinit {
        shapes.deallocate()
        numbers.deallocate()
        bytes.deallocate()
    }

    /// Of a window that is not one of `KeyLimit.secondsAllowed` the longest: refused when it is
    /// made, so never here.
    func index(of limit: KeyLimit) -> Int8 {
        let seconds =
            KeyLimit.secondsAllowed.firstIndex(of: limit.seconds)
            ?? KeyLimit.secondsAllowed.count - 1
        let ceiling = Self.ceilings.firstIndex { limit.units <= $0 } ?? 2
        return Int8(seconds * Self.ceilings.count + ceiling)
    }

    func shape(_ index: Int) -> WindowShape { shapes[index] }
    func layout(_ index: Int) -> (number: UInt32, bytes: Int) { (numbers[index], bytes[index]) }
    func milliseconds(_ index: Int) -> UInt64 {
        UInt64(KeyLimit.secondsAllowed[index / Self.ceilings.count]) * 1_000
    }
}

/// A look at a key's own limit, under its shard's lock.
struct KeyLook {
    var row: Row?
    var shape: WindowShape
    let limit: UInt64
    private(set) var used: UInt64 = 0
    /// Before the charge: there is no room for it.
    let isFull: Bool
    /// With the whole policy: it refuses nobody.
    var isShadow = false
    private let now: BootTime

    init(_ row: Row?, _ shape: WindowShape, limit: UInt64, now: BootTime) {
        self.row = row
        self.shape = shape
        self.limit = limit
        self.now = now
        if let row {
            Window.advance(row.head(0), Self.ring(row), shape, now: now)
            used = Window.used(row.head(0), Self.ring(row), shape, now: now)
        }
        isFull = !Window.admits(used: used, units: 1, limit: limit)
    }

    var isRefused: Bool { isFull && !isShadow }
    var wouldRefuse: Bool { isFull && isShadow }

    private static func ring(_ row: Row) -> UnsafeMutableRawPointer {
        row.counters + MemoryLayout<WindowHead>.stride
    }

    var retryMilliseconds: UInt32 {
        guard limit > 0 else { return WireLimits.retryNever }
        guard let row else { return 0 }
        return Window.retryMilliseconds(
            row.head(0), Self.ring(row), shape, now: now, units: 1, limit: limit)
    }

    mutating func charge() {
        guard let row, !wouldRefuse else { return }
        Window.charge(row.head(0), Self.ring(row), shape, units: 1)
        used = Window.used(row.head(0), Self.ring(row), shape, now: now)
    }

    var resetMilliseconds: UInt64 {
        guard let row else { return 0 }
        return Window.resetMilliseconds(row.head(0), Self.ring(row), shape, now: now)
    }

    func state(_ index: Int) -> LimitState {
        if isShadow { return LimitState() }
        let remaining = limit > used ? limit - used : 0
        return LimitState(
            index: index, limit: limit, remaining: remaining, resetMilliseconds: resetMilliseconds,
            fraction: limit == 0 ? 0 : Double(remaining) / Double(limit), isRefused: isRefused,
            used: used)
    }
}
