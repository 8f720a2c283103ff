import Synchronization

/// Syncs of the journal by number, for `durability: always`: a reply leaves once a round that began
/// after its charge was journaled has finished. While one runs, what is journaled meanwhile gathers
/// for the next, so that one sync serves all of it.
///
/// Invariant: `finished <= begun`. Written by the flusher alone; read by reactors.
package final class SyncRounds: Sendable {
    /// Rung by reactors that hold replies back.
    let bell: Bell
    private let begun = Atomic<UInt64>(0)
    private let finished = Atomic<UInt64>(0)
    // Set once; the atomics behind it are made for sharing. By reactor: whether it waits for a
    // round.
    private nonisolated(unsafe) let waiting: UnsafeMutablePointer<Atomic<Bool>>
    private let reactors: Int

    init(reactors: Int) throws(StartError) {
        bell = try Bell()
        self.reactors = reactors
        waiting = .allocate(capacity: reactors)
        for index in 0..<reactors { (waiting + index).initialize(to: Atomic<Bool>(false)) }
    }

    deinit {
        waiting.deinitialize(count: reactors)
        waiting.deallocate()
    }

    // MARK: reactors

    /// The first round that surely begins after all that this thread has journaled.
    var next: UInt64 {
        // What was journaled stands in memory before the number is read; `begin` counts before it
        // syncs: either it sees the bytes, or this sees the number before it.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return begun.load(ordering: .sequentiallyConsistent) &+ 1
    }

    func isFinished(_ round: UInt64) -> Bool {
        finished.load(ordering: .sequentiallyConsistent) >= round
    }

    /// From now on the reactor is woken at the end of a round: it looks once more, then asks.
    func wait(reactor: Int) { waiting[reactor].store(true, ordering: .sequentiallyConsistent) }

    // MARK: the flusher

    /// Begins a round: what stands in the journal now is to be synced by it.
    func begin() -> UInt64 {
        let round = begun.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return round
    }

    /// What was journaled before `begin` is on the disk; wakes who waits for it.
    func finish(_ round: UInt64, wake: (_ reactor: Int) -> Void) {
        finished.store(round, ordering: .sequentiallyConsistent)
        for index in 0..<reactors
        where waiting[index].exchange(false, ordering: .sequentiallyConsistent) {
            wake(index)
        }
    }
}
