import Synchronization
import TollgateWire

/// How many calls were answered with each status. Any thread.
final class CallCounters: Sendable {
    // Set once; the atomics behind it are made for sharing. By status.
    private nonisolated(unsafe) let counts: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        counts = .allocate(capacity: ReactorCounters.statusCount)
        for index in 0..<ReactorCounters.statusCount {
            (counts + index).initialize(to: Atomic<UInt64>(0))
        }
    }

    deinit {
        counts.deinitialize(count: ReactorCounters.statusCount)
        counts.deallocate()
    }

    func add(_ status: Status) {
        counts[Int(status.rawValue)].wrappingAdd(1, ordering: .relaxed)
    }

    func total(_ status: Status) -> UInt64 {
        counts[Int(status.rawValue)].load(ordering: .relaxed)
    }
}
