import Synchronization
import TollgateWire

/// What one worker decided, by reason. Written by the worker's thread alone, read by any.
package final class DecisionCounters: Sendable {
    // Set once; the atomics behind it are made for sharing.
    private nonisolated(unsafe) let byReason: UnsafeMutablePointer<Atomic<UInt64>>
    private static let capacity = 128

    init() {
        byReason = .allocate(capacity: Self.capacity)
        for index in 0..<Self.capacity { (byReason + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        byReason.deinitialize(count: Self.capacity)
        byReason.deallocate()
    }

    /// Decisions with this reason; refused credentials count under their true one.
    package func count(reason: Reason) -> UInt64 {
        byReason[Int(reason.rawValue)].load(ordering: .relaxed)
    }

    @inline(__always)
    func add(_ reason: Reason) {
        let index = Int(reason.rawValue) & (Self.capacity &- 1)
        // One writer: a plain load and store, no locked instruction.
        byReason[index].store(
            byReason[index].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }
}
