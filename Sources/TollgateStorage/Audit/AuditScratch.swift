/// Bytes that are being written, one after the other, in memory that grows and is used again.
///
/// Whoever writes many of them asks for room once, writes from `begin` on, and says at `end` how
/// far: a place that is a local value stays in a register, and nothing is checked for each byte.
/// Invariant: `used ≤ capacity`, and behind `capacity` there are `slack` bytes more.
struct AuditScratch: ~Copyable {
    /// What may be written, or read, behind what was asked for: words are taken as a whole.
    static let slack = 32

    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var used = 0

    init(_ capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity &+ Self.slack, alignment: 16)
    }

    deinit { base.deallocate() }

    /// Where the next byte belongs; at least so many have room there.
    @inline(__always)
    mutating func begin(_ most: Int) -> UnsafeMutableRawPointer {
        if capacity &- used < most { grow(most) }
        return base + used
    }

    /// All before it was written. Traps when that is more than had room.
    @inline(__always)
    mutating func end(_ at: UnsafeMutableRawPointer) {
        let count = at - base
        precondition(count >= used && count <= capacity)
        used = count
    }

    @inline(never)
    private mutating func grow(_ most: Int) {
        precondition(most >= 0)
        capacity = max(capacity &* 2, used &+ most)
        let grown = UnsafeMutableRawPointer.allocate(
            byteCount: capacity &+ Self.slack, alignment: 16)
        grown.copyMemory(from: base, byteCount: used)
        base.deallocate()
        base = grown
    }

    mutating func removeAll() { used = 0 }

    /// Until more is written.
    @inline(__always)
    var read: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: used) }

    /// A copy, with `slack` zeros behind.
    var padded: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: used &+ Self.slack) { bytes, count in
            let bytes = UnsafeMutableRawBufferPointer(bytes)
            bytes.copy(read, to: 0)
            for at in used..<(used &+ Self.slack) { bytes.storeLittle(UInt8(0), at: at) }
            count = used &+ Self.slack
        }
    }
}

extension AuditBytes {
    /// The most that a number takes.
    static let numberMost = 10

    /// As the other has it, at `at`, which goes on; of eight bytes there some more are written, as
    /// `AuditScratch` allows.
    @inline(__always)
    static func put(_ value: UInt64, at: inout UnsafeMutableRawPointer) {
        guard value >= 0x80 else {
            at.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
            at += 1
            return
        }
        guard value < 1 << 56 else { return putLong(value, at: &at) }
        // Seven bits to each byte, by halves: how long numbers are nobody foresees, so that a
        // branch for each byte costs more than all of this.
        var bits = (value & 0x00ff_ffff_f000_0000) &<< 4 | value & 0x0fff_ffff
        bits = (bits & 0x0fff_c000_0fff_c000) &<< 2 | bits & 0x0000_3fff_0000_3fff
        bits = (bits & 0x3f80_3f80_3f80_3f80) &<< 1 | bits & 0x007f_007f_007f_007f
        let count = (63 &- value.leadingZeroBitCount) / 7
        let more = (UInt64(1) &<< UInt64(truncatingIfNeeded: count &* 8)) &- 1
        at.storeBytes(of: (bits | 0x8080_8080_8080_8080 & more).littleEndian, as: UInt64.self)
        at += count &+ 1
    }

    @inline(never)
    private static func putLong(_ value: UInt64, at: inout UnsafeMutableRawPointer) {
        var value = value
        while value >= 0x80 {
            at.storeBytes(of: UInt8(truncatingIfNeeded: value) | 0x80, as: UInt8.self)
            at += 1
            value >>= 7
        }
        at.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        at += 1
    }

    @inline(__always)
    static func put(_ value: Int, at: inout UnsafeMutableRawPointer) {
        put(UInt64(truncatingIfNeeded: value), at: &at)
    }

    /// Up to 32 bytes are read and written whatever `count` is, as `AuditScratch` allows.
    @inline(__always)
    static func copy(
        _ from: UnsafeRawPointer, _ count: Int, at: inout UnsafeMutableRawPointer
    ) {
        if count <= 32 {
            let first = from.loadUnaligned(as: UInt64.self)
            let second = from.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            let third = from.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
            let fourth = from.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
            at.storeBytes(of: first, as: UInt64.self)
            at.storeBytes(of: second, toByteOffset: 8, as: UInt64.self)
            at.storeBytes(of: third, toByteOffset: 16, as: UInt64.self)
            at.storeBytes(of: fourth, toByteOffset: 24, as: UInt64.self)
        } else {
            at.copyMemory(from: from, byteCount: count)
        }
        at += count
    }
}
