import Synchronization
import TollgateWire

/// What one worker decided, by reason and by operation. Written by the worker's thread alone, read
/// by any.
package final class DecisionCounters: Sendable {
    // Set once; the atomics behind them are made for sharing.
    private nonisolated(unsafe) let byReason: UnsafeMutablePointer<Atomic<UInt64>>
    /// By slot of `OperationNames`: allowed, then denied.
    private nonisolated(unsafe) let byOperation: UnsafeMutablePointer<Atomic<UInt64>>
    /// Slots of the operations of the policy that is decided by; the worker's thread's alone.
    private nonisolated(unsafe) let slots: UnsafeMutablePointer<UInt8>
    private static let capacity = 128
    private static let operationCapacity = 2 * OperationNames.slotsMax

    init() {
        byReason = .allocate(capacity: Self.capacity)
        for index in 0..<Self.capacity { (byReason + index).initialize(to: Atomic<UInt64>(0)) }
        byOperation = .allocate(capacity: Self.operationCapacity)
        for index in 0..<Self.operationCapacity {
            (byOperation + index).initialize(to: Atomic<UInt64>(0))
        }
        slots = .allocate(capacity: PolicyLimits.operationsMax)
        slots.initialize(repeating: 0, count: PolicyLimits.operationsMax)
    }

    deinit {
        byReason.deinitialize(count: Self.capacity)
        byReason.deallocate()
        byOperation.deinitialize(count: Self.operationCapacity)
        byOperation.deallocate()
        slots.deallocate()
    }

    /// Decisions with this reason; refused credentials count under their true one.
    package func count(reason: Reason) -> UInt64 {
        byReason[Int(reason.rawValue)].load(ordering: .relaxed)
    }

    /// CHECK, RESERVE and CONSUME of the operation in that slot of `OperationNames`.
    package func count(slot: Int, isAllowed: Bool) -> UInt64 {
        precondition(slot >= 0 && slot < OperationNames.slotsMax)
        return byOperation[2 * slot + (isAllowed ? 0 : 1)].load(ordering: .relaxed)
    }

    /// What the operations of `add(_:operation:)` mean from now on.
    func bind(_ operations: NameTable, _ names: OperationNames) {
        names.fill(slots, capacity: PolicyLimits.operationsMax, operations)
    }

    @inline(__always)
    func add(_ reason: Reason) {
        Self.add(byReason + (Int(reason.rawValue) & (Self.capacity &- 1)))
    }

    /// `operation` is the policy's index; -1: not known, and counted by its reason alone.
    @inline(__always)
    func add(_ reason: Reason, operation: Int) {
        add(reason)
        guard operation >= 0, operation < PolicyLimits.operationsMax else { return }
        let slot = Int(slots[operation]) & (OperationNames.slotsMax &- 1)
        Self.add(byOperation + (2 &* slot &+ (reason == .none ? 0 : 1)))
    }

    /// One writer: a plain load and store, no locked instruction.
    @inline(__always)
    private static func add(_ counter: UnsafeMutablePointer<Atomic<UInt64>>) {
        counter.pointee.store(
            counter.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }
}
