import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateWire

/// One thread, one epoll: accepts, reads whole frames in place, has them decided, and writes all
/// replies of a connection's turn at once. A connection stays with the reactor that accepted it.
/// Nothing is allocated per request, and the clocks are read once per turn.
final class Reactor {
    static let readBytesMax = 128 * 1_024
    static let outBytesMax = 512 * 1_024
    /// No further frame is answered in a turn when so much waits to be written.
    static let outSoftMax = 192 * 1_024
    /// Replies of a batch are written when there are so many bytes of them.
    private static let writeBytes = 4_096
    /// Frames of one connection in one turn, and about how many of all; then others have theirs.
    static let framesEachMax = 256
    static let framesEachMin = 8
    static let framesPerTurn = 4_096
    /// What a connection may hold of requests and replies, however much others hold.
    static let ownBytes = 4_096
    static let eventsMax = 256
    static let tickNanoseconds: UInt64 = 100_000_000

    /// Connections that are read before the first of them is answered, and bytes of each.
    static let batchMax = 16
    static let batchBytes = readBytesMax * 2 / batchMax

    /// What was read of one connection of a batch.
    struct Ready: BitwiseCopyable {
        var slot: Int
        var bytes: UnsafeRawBufferPointer
        /// Where its replies stand in `output`.
        var start = 0
        var end = 0
    }

    static let dataListenerID: UInt64 = 0xffff_ffff
    static let adminListenerID: UInt64 = 0xffff_fffe
    static let mailboxID: UInt64 = 0xffff_fffd

    let index: Int
    let shared: SharedState
    let counters: ReactorCounters
    let mailbox: Mailbox
    let worker: DecisionWorker
    /// Made by `run`, on the reactor's thread, as is `reserve`; -1 before.
    private(set) var epoll: Int32 = -1
    let connections: UnsafeMutablePointer<Connection>
    let capacity: Int
    /// Slots given back, as a stack; slots at or above `slotsUsed` were never used.
    var freeSlots: [UInt32] = []
    var slotsUsed = 0
    var openCount = 0
    let input: UnsafeMutableRawPointer
    let ready: UnsafeMutablePointer<Ready>
    let output: UnsafeMutableRawBufferPointer
    var outputBytes = 0
    var queue: [UInt64] = []
    private var policy: PolicyImage
    var now: UInt64 = 0
    /// Frames that each connection may have answered in this turn.
    var framesEach = Reactor.framesEachMax
    var lastTick: UInt64 = 0
    var listeners: [(descriptor: Int32, id: UInt64, isPaused: Bool)]
    var reserve: Int32 = -1
    var draining = false
    /// Bytes that connections hold, of requests and of replies; at most `bufferBytesMax`.
    var bufferedBytes = 0
    let bufferBytesMax: Int
    /// Of the ledger, if there is one: who brings it regions, and, where replies wait for syncs,
    /// their rounds.
    let supply: Bell?
    let rounds: SyncRounds?
    /// Of the audit log, if there is one.
    let audit: Bell?
    /// It had no room for too long: until it has, nothing waits for it.
    var isAuditStuck = false
    /// Frames whose replies were told of.
    var framesTold: UInt64 = 0
    var heldReplies = HeldReplies()
    /// Registrations of the connections that are paused; those closed meanwhile among them.
    var paused: [UInt64] = []

    init(
        index: Int, shared: SharedState, data: Listener, admin: Listener,
        counters: ReactorCounters, mailbox: Mailbox, decisions: DecisionWorker
    ) {
        self.index = index
        self.shared = shared
        self.counters = counters
        self.mailbox = mailbox
        worker = decisions
        policy = shared.policy
        capacity = shared.settings.connectionsMax + SharedState.adminConnectionsMax
        bufferBytesMax = shared.settings.bufferBytesMax / max(1, shared.settings.threads)
        supply = shared.ledger?.supply
        rounds = shared.ledger?.rounds
        audit = shared.audit
        connections = .allocate(capacity: capacity)
        input = .allocate(byteCount: Self.readBytesMax * 2, alignment: 64)
        output = .allocate(byteCount: Self.outBytesMax, alignment: 64)
        ready = .allocate(capacity: Self.batchMax)
        listeners = [
            (data.descriptor, Self.dataListenerID, false),
            (admin.descriptor, Self.adminListenerID, false),
        ]
    }

    deinit {
        for slot in 0..<slotsUsed where connections[slot].descriptor >= 0 {
            close(connections[slot].descriptor)
            connections[slot].releaseBuffers()
        }
        if epoll >= 0 { close(epoll) }
        if reserve >= 0 { close(reserve) }
        connections.deallocate()
        input.deallocate()
        ready.deallocate()
        output.deallocate()
    }

    func watch(_ descriptor: Int32, _ id: UInt64) {
        // One reactor wakes for a connection, not all of them.
        let exclusive: UInt32 = 1 << 28
        _ = tg_epoll_set(epoll, 1, descriptor, EPOLLIN.rawValue | exclusive, id)
    }

    /// What only the reactor's own thread may do: its descriptors are nobody else's.
    private func open() {
        var kept =
            (listeners.map(\.descriptor) + [mailbox.descriptor] + shared.wakeDescriptors).sorted()
        // Where the kernel or a container does not allow it, the table stays shared.
        _ = tg_own_descriptors(&kept, Int32(kept.count))
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        precondition(epoll >= 0, "epoll_create1: \(errorText(errno))")
        reserve = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
        for listener in listeners { watch(listener.descriptor, listener.id) }
        _ = tg_epoll_set(epoll, 1, mailbox.descriptor, EPOLLIN.rawValue, Self.mailboxID)
    }

    /// Turns until the server is drained.
    func run() {
        open()
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.eventsMax) { events in
            guard let events = events.baseAddress else { return }
            while true {
                let wait: Int32 = queue.isEmpty ? (draining ? 10 : 100) : 0
                let count = tg_epoll_wait(epoll, events, Int32(Self.eventsMax), wait)
                beginTurn()
                let share = Self.framesPerTurn / max(1, Int(max(0, count)) &+ queue.count)
                framesEach = min(Self.framesEachMax, max(Self.framesEachMin, share))
                var event: Int32 = 0
                while event < count {
                    let end = min(count, event &+ Int32(Self.batchMax))
                    handle(events, event..<end)
                    event = end
                }
                answerQueued()
                tendHeldReplies()
                tendRegions()
                if now &- lastTick >= Self.tickNanoseconds { tick() }
                if shared.isDraining.load(ordering: .relaxed), !draining { beginDrain() }
                publishAudit()
                if draining, continueDrain() { return publishAudit() }
            }
        }
    }

    private func beginTurn() {
        now = tg_boottime()
        let generation = shared.generation.load(ordering: .acquiring)
        if generation != policy.generation { policy = shared.policy }
        worker.beginTurn(
            Moment(
                boot: BootTime(nanoseconds: now), wall: WallTime(milliseconds: tg_walltime())),
            policy: policy)
        ReactorCounters.add(counters.turns)
    }

    /// Reads every connection of a batch first, and meanwhile begins to bring near what their first
    /// requests will read, step by step, so that one request's misses pass while others are read;
    /// then decides them all, and then writes: each part finds its own instructions still in the
    /// processor's cache.
    private func handle(_ events: UnsafeMutablePointer<epoll_event>, _ range: Range<Int32>) {
        var count = 0
        var used = 0
        for event in range {
            let id = tg_event_id(events, event)
            let slot = Int(id & 0xffff_ffff)
            guard isAtRest(slot, id) else { continue }
            guard let bytes = readFresh(slot, into: input + used) else { continue }
            ready[count] = Ready(slot: slot, bytes: bytes)
            // Side by side, so that small requests stay in the nearest cache.
            used = (used &+ bytes.count &+ 63) & ~63
            if let next = peek(bytes, at: 0) { worker.prefetchPlace(next.opcode, next.body) }
            if count > 0 { prefetchEntry(count &- 1) }
            if count > 1 { prefetchRows(count &- 2) }
            count &+= 1
        }
        if count > 0 { prefetchEntry(count &- 1) }
        for index in max(0, count &- 2)..<count { prefetchRows(index) }
        answer(ready: count)
        for event in range {
            let id = tg_event_id(events, event)
            if wasRead(id, count) { continue }
            handle(id: id, mask: tg_event_mask(events, event))
        }
    }

    /// Decides what was read, and writes: when so much stands that the peers should have it.
    private func answer(ready count: Int) {
        outputBytes = 0
        var first = 0
        for index in 0..<count {
            ready[index].start = outputBytes
            answerFrames(ready[index].slot, ready[index].bytes)
            ready[index].end = outputBytes
            guard outputBytes >= Self.writeBytes else { continue }
            write(first...index)
            first = index &+ 1
        }
        if first < count { write(first...(count &- 1)) }
    }

    @inline(__always)
    private func prefetchEntry(_ index: Int) {
        guard let next = peek(ready[index].bytes, at: 0) else { return }
        worker.prefetchEntry(next.opcode, next.body)
    }

    @inline(__always)
    private func prefetchRows(_ index: Int) {
        guard let next = peek(ready[index].bytes, at: 0) else { return }
        worker.prefetchRows(next.opcode, next.body)
    }

    private func write(_ range: ClosedRange<Int>) {
        tellOfReplies()
        for index in range {
            writeReplies(ready[index].slot, ready[index].start..<ready[index].end)
        }
        outputBytes = 0
    }

    /// An open connection that holds nothing and waits for nothing.
    @inline(__always)
    func isAtRest(_ slot: Int, _ id: UInt64) -> Bool {
        guard slot < slotsUsed else { return false }
        let connection = connections + slot
        return connection.pointee.generation == UInt32(id >> 32)
            && connection.pointee.descriptor >= 0 && connection.pointee.heldBytes == 0
            && !connection.pointee.isWriting && !connection.pointee.isQueued
    }

    @inline(__always)
    private func wasRead(_ id: UInt64, _ count: Int) -> Bool {
        let slot = Int(id & 0xffff_ffff)
        for index in 0..<count where ready[index].slot == slot { return true }
        return false
    }

    func handle(id: UInt64, mask: UInt32) {
        switch id {
        case Self.dataListenerID: accept(isAdmin: false)
        case Self.adminListenerID: accept(isAdmin: true)
        case Self.mailboxID: for reply in mailbox.take() { deliver(reply) }
        default:
            let slot = Int(id & 0xffff_ffff)
            guard slot < slotsUsed else { return }
            let connection = connections + slot
            // The descriptor was closed, and perhaps used again, since this event was made.
            guard connection.pointee.generation == UInt32(id >> 32),
                connection.pointee.descriptor >= 0
            else { return }
            if connection.pointee.isWriting {
                if mask & (EPOLLOUT.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 {
                    flushPending(slot)
                }
            } else if !connection.pointee.isQueued {
                readAndAnswer(slot)
            } else if connection.pointee.isPaused,
                mask & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0
            {
                // Gone: it would wake the reactor until its replies could leave.
                closeConnection(slot)
            }
        }
    }
}
