import Synchronization
import TollgateWire

/// What one reactor counts. Written by its thread alone, read by any.
final class ReactorCounters: Sendable {
    let frames = Atomic<UInt64>(0)
    let accepted = Atomic<UInt64>(0)
    let refused = Atomic<UInt64>(0)
    let open = Atomic<Int>(0)
    let bytesIn = Atomic<UInt64>(0)
    let bytesOut = Atomic<UInt64>(0)
    let deadlineCloses = Atomic<UInt64>(0)
    let bufferCloses = Atomic<UInt64>(0)
    let turns = Atomic<UInt64>(0)
    let latency = LatencyBuckets()
    // Set once; the atomics behind it are made for sharing. By status.
    nonisolated(unsafe) let statuses: UnsafeMutablePointer<Atomic<UInt64>>
    static let statusCount = 1 + Int(Status.allCases.map(\.rawValue).max() ?? 0)

    init() {
        statuses = .allocate(capacity: Self.statusCount)
        for index in 0..<Self.statusCount { (statuses + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        statuses.deinitialize(count: Self.statusCount)
        statuses.deallocate()
    }

    /// One writer: a plain load and store, no locked instruction.
    @inline(__always)
    static func add(_ counter: borrowing Atomic<UInt64>, _ count: Int = 1) {
        counter.store(
            counter.load(ordering: .relaxed) &+ UInt64(truncatingIfNeeded: count),
            ordering: .relaxed)
    }
}
