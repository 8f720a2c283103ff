/// Replies of one reactor that wait for a sync: copies in order, gathered by the round that lets
/// them go. Two or three rounds at most are waited for at once, and their buffers are used again.
///
/// Of the reactor's thread. Invariant: rounds ascend, and `bytes` is what all of them hold.
struct HeldReplies: ~Copyable {
    /// Bytes of one connection, side by side.
    struct Entry: BitwiseCopyable {
        var registration: UInt64
        var start: Int
        var end: Int
    }

    /// Buffers above this size are not kept for the next round.
    static let keptBytesMax = 1 << 20
    private static let firstBytes = 16 << 10
    private static let spareMax = 3

    private struct Gathered {
        var round: UInt64
        var base: UnsafeMutableRawPointer
        var capacity: Int
        var used = 0
        var entries: [Entry] = []
    }

    private var waiting: [Gathered] = []
    private var spare: [Gathered] = []
    private(set) var bytes = 0

    var isEmpty: Bool { waiting.isEmpty }

    deinit {
        for gathered in waiting + spare { gathered.base.deallocate() }
    }

    /// Keeps a copy until `round` has finished; rounds do not descend from call to call.
    mutating func hold(_ reply: UnsafeRawBufferPointer, for registration: UInt64, round: UInt64) {
        guard let source = reply.baseAddress, !reply.isEmpty else { return }
        if waiting.last?.round != round {
            precondition(waiting.last.map { $0.round < round } ?? true, "rounds descend")
            waiting.append(fresh(round))
        }
        let last = waiting.count - 1
        makeRoom(reply.count, in: last)
        let start = waiting[last].used
        (waiting[last].base + start).copyMemory(from: source, byteCount: reply.count)
        waiting[last].used += reply.count
        bytes += reply.count
        let end = waiting[last].entries.count - 1
        if end >= 0, waiting[last].entries[end].registration == registration {
            waiting[last].entries[end].end += reply.count
        } else {
            waiting[last].entries.append(
                Entry(registration: registration, start: start, end: start + reply.count))
        }
    }

    /// The round that the first replies wait for.
    var firstRound: UInt64? { waiting.first?.round }

    /// Takes out the first round's replies, and hands each to `send` in order.
    mutating func releaseFirst(_ send: (UInt64, UnsafeRawBufferPointer) -> Void) {
        guard !waiting.isEmpty else { return }
        var gathered = waiting.removeFirst()
        bytes -= gathered.used
        for entry in gathered.entries {
            send(
                entry.registration,
                UnsafeRawBufferPointer(
                    start: gathered.base + entry.start, count: entry.end - entry.start))
        }
        guard gathered.capacity <= Self.keptBytesMax, spare.count < Self.spareMax else {
            return gathered.base.deallocate()
        }
        gathered.used = 0
        gathered.entries.removeAll(keepingCapacity: true)
        spare.append(gathered)
    }

    private mutating func fresh(_ round: UInt64) -> Gathered {
        if var again = spare.popLast() {
            again.round = round
            return again
        }
        return Gathered(
            round: round, base: .allocate(byteCount: Self.firstBytes, alignment: 16),
            capacity: Self.firstBytes)
    }

    private mutating func makeRoom(_ count: Int, in index: Int) {
        let gathered = waiting[index]
        guard gathered.capacity - gathered.used < count else { return }
        let capacity = max(2 * gathered.capacity, gathered.used + count)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: gathered.base, byteCount: gathered.used)
        gathered.base.deallocate()
        waiting[index].base = larger
        waiting[index].capacity = capacity
    }
}
