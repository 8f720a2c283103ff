/// Which operations are counted by name: a slot for each name that any policy since the start has
/// defined, in the order in which they came. Slots are never given to another name, so that what
/// is counted in them only grows, also over reloads.
///
/// Bounded: what finds no slot, or has a name that is too long, counts in slot 0.
package final class OperationNames: Sendable {
    /// Slot 0 among them.
    package static let slotsMax = 64
    /// A name of more bytes, as it is written in a label, counts with the others.
    package static let labelBytesMax = 100
    /// What slot 0 is called. No operation is: names have no spaces.
    package static let others = "all others"

    private let lock = Lock(.leaf)
    // Guarded by the lock. By slot.
    private nonisolated(unsafe) var labels = [OperationNames.others]
    private nonisolated(unsafe) var slots: [[UInt8]: UInt8] = [:]

    /// By slot: the names as they stand in a label's quotes.
    package var all: [String] {
        lock.lock()
        defer { lock.unlock() }
        return labels
    }

    /// Fills in the slot of each of a policy's operations, by index. Allocates: not for requests.
    func fill(_ places: UnsafeMutablePointer<UInt8>, capacity: Int, _ operations: NameTable) {
        lock.lock()
        defer { lock.unlock() }
        for index in 0..<min(capacity, operations.count) {
            places[index] = operations.withName(index) { slot(of: Array($0)) }
        }
    }

    private func slot(of name: [UInt8]) -> UInt8 {
        if let known = slots[name] { return known }
        let label = Self.label(name)
        guard labels.count < Self.slotsMax, label.utf8.count <= Self.labelBytesMax else { return 0 }
        let made = UInt8(labels.count)
        labels.append(label)
        slots[name] = made
        return made
    }

    /// As Prometheus' text format has a label's value: backslash, quote and newline escaped.
    package static func label(_ text: some Sequence<UInt8>) -> String {
        var escaped: [UInt8] = []
        for byte in text {
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "\""): escaped += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): escaped += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            default: escaped.append(byte)
            }
        }
        return String(decoding: escaped, as: UTF8.self)
    }
}
