import TollgateWire

/// Names to indices, looked up by a peer's bytes without allocation. Built once per policy, small:
/// operations, plans, meters, permissions. Open addressing, at most half full.
struct NameTable: Sendable {
    private let slots: [Int32]
    private let mask: Int
    private let bytes: [UInt8]
    private let starts: [Int]

    /// The names in order of their indices; `nil` when one stands twice.
    init?(_ names: [String]) {
        var bytes: [UInt8] = []
        var starts = [0]
        for name in names {
            bytes += Array(name.utf8)
            starts.append(bytes.count)
        }
        var capacity = 8
        while capacity < names.count * 2 { capacity *= 2 }
        var slots = [Int32](repeating: -1, count: capacity)
        for (index, name) in names.enumerated() {
            let hash = Array(name.utf8).withUnsafeBytes(Self.hash)
            var slot = Int(truncatingIfNeeded: hash) & (capacity - 1)
            while slots[slot] >= 0 {
                // By bytes: == would take canonical equivalents for the same name.
                if names[Int(slots[slot])].utf8.elementsEqual(name.utf8) { return nil }
                slot = (slot + 1) & (capacity - 1)
            }
            slots[slot] = Int32(index)
        }
        self.slots = slots
        self.mask = capacity - 1
        self.bytes = bytes
        self.starts = starts
    }

    var count: Int { starts.count - 1 }

    /// The index of a name. Does not allocate.
    func find(_ name: UnsafeRawBufferPointer) -> Int? {
        var slot = Int(truncatingIfNeeded: Self.hash(name)) & mask
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            let start = starts[index]
            if starts[index &+ 1] &- start == name.count,
                bytes.withUnsafeBytes({ equal($0, start, name) })
            {
                return index
            }
            slot = (slot &+ 1) & mask
        }
        return nil
    }

    /// Lends the bytes of a name.
    func withName<R>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        bytes.withUnsafeBytes {
            body($0.slice(at: starts[index], length: starts[index + 1] - starts[index]))
        }
    }

    private func equal(
        _ pool: UnsafeRawBufferPointer, _ start: Int, _ name: UnsafeRawBufferPointer
    ) -> Bool {
        equalBytes(pool.slice(at: start, length: name.count), name)
    }

    /// FNV-1a over words of 8 bytes. The names are the operator's, so nobody can choose
    /// collisions; a peer's bytes only look up, and a table half full ends every search soon.
    @inline(__always)
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let prime: UInt64 = 0x0000_0100_0000_01b3
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(truncatingIfNeeded: bytes.count)
        var offset = 0
        while bytes.count &- offset >= 8 {
            let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            hash = (hash ^ word) &* prime
            hash ^= hash &>> 29
            offset &+= 8
        }
        while offset < bytes.count {
            hash = (hash ^ UInt64(bytes[offset])) &* prime
            offset &+= 1
        }
        return hash ^ (hash &>> 32)
    }
}
