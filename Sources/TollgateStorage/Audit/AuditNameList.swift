import TollgateCore

/// The distinct names of a block, in the order in which they came, found by their hash. At most
/// `slotCount / 2` of them (trapped): a block has fewer records.
struct AuditNameList {
    private static let slotCount = 16_384

    /// Place of a name plus 1; 0: free.
    private var slots = [UInt32](repeating: 0, count: slotCount)
    /// Slots that are taken, by name.
    private var places: [UInt32] = []
    /// Where each name ends in `bytes`.
    private var ends: [Int] = []
    private(set) var bytes: [UInt8] = []

    var count: Int { ends.count }

    /// Of the name, which is added when it is new.
    mutating func index(of name: UnsafeRawBufferPointer) -> (index: Int, isNew: Bool) {
        // Seeded, so that nobody can choose names that all fall on one slot.
        var hasher = Hasher()
        hasher.combine(bytes: name)
        var slot = hasher.finalize() & (Self.slotCount &- 1)
        while slots[slot] != 0 {
            let index = Int(slots[slot]) &- 1
            if isEqual(index, name) { return (index, false) }
            slot = (slot &+ 1) & (Self.slotCount &- 1)
        }
        precondition(ends.count < Self.slotCount / 2)
        slots[slot] = UInt32(truncatingIfNeeded: ends.count &+ 1)
        places.append(UInt32(truncatingIfNeeded: slot))
        bytes.append(contentsOf: name)
        ends.append(bytes.count)
        return (ends.count &- 1, true)
    }

    private func start(_ index: Int) -> Int { index == 0 ? 0 : ends[index &- 1] }

    private func isEqual(_ index: Int, _ name: UnsafeRawBufferPointer) -> Bool {
        let start = start(index)
        guard ends[index] &- start == name.count else { return false }
        return bytes.withUnsafeBytes { own in
            UnsafeRawBufferPointer(rebasing: own[start..<ends[index]]).elementsEqual(name)
        }
    }

    func withName<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        bytes.withUnsafeBytes {
            body(UnsafeRawBufferPointer(rebasing: $0[start(index)..<ends[index]]))
        }
    }

    mutating func removeAll() {
        for place in places { slots[Int(place)] = 0 }
        places.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }
}
