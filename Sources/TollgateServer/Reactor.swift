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
    private static let outSoftMax = 192 * 1_024
    /// Frames of one connection in one turn; then the others have theirs.
    private static let framesPerTurnMax = 256
    private static let eventsMax = 256
    private static let tickNanoseconds: UInt64 = 100_000_000

    /// Connections that are read before the first of them is answered, and bytes of each.
    private static let batchMax = 16
    private static let batchBytes = readBytesMax * 2 / batchMax

    /// What was read of one connection of a batch.
    private struct Ready: BitwiseCopyable {
        var slot: Int
        var bytes: UnsafeRawBufferPointer
    }

    static let dataListenerID: UInt64 = 0xffff_ffff
    static let adminListenerID: UInt64 = 0xffff_fffe
    static let mailboxID: UInt64 = 0xffff_fffd

    let index: Int
    let shared: SharedState
    let counters: ReactorCounters
    let mailbox: Mailbox
    let worker: DecisionWorker
    let epoll: Int32
    let connections: UnsafeMutablePointer<Connection>
    let capacity: Int
    /// Slots given back, as a stack; slots at or above `slotsUsed` were never used.
    private var freeSlots: [UInt32] = []
    private var slotsUsed = 0
    var openCount = 0
    private var halfOpenCount = 0
    let input: UnsafeMutableRawPointer
    private let ready: UnsafeMutablePointer<Ready>
    let output: UnsafeMutableRawBufferPointer
    var outputBytes = 0
    private var queue: [UInt64] = []
    private var policy: PolicyImage
    var now: UInt64 = 0
    private var lastTick: UInt64 = 0
    private var listeners: [(descriptor: Int32, id: UInt64, isPaused: Bool)]
    private var reserve: Int32
    var framesThisTurn = 0
    private var draining = false
    private var drainEnd: UInt64 = 0

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
        capacity = shared.settings.connectionsMax + 1
        connections = .allocate(capacity: capacity)
        input = .allocate(byteCount: Self.readBytesMax * 2, alignment: 64)
        output = .allocate(byteCount: Self.outBytesMax, alignment: 64)
        ready = .allocate(capacity: Self.batchMax)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        precondition(epoll >= 0, "epoll_create1: \(errorText(errno))")
        reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
        listeners = [
            (data.descriptor, Self.dataListenerID, false),
            (admin.descriptor, Self.adminListenerID, false),
        ]
        for listener in listeners { watch(listener.descriptor, listener.id) }
        _ = tg_epoll_set(epoll, 1, mailbox.descriptor, EPOLLIN.rawValue, Self.mailboxID)
    }

    deinit {
        for slot in 0..<slotsUsed where connections[slot].descriptor >= 0 {
            close(connections[slot].descriptor)
            connections[slot].releaseBuffers()
        }
        close(epoll)
        if reserve >= 0 { close(reserve) }
        connections.deallocate()
        input.deallocate()
        ready.deallocate()
        output.deallocate()
    }

    private func watch(_ descriptor: Int32, _ id: UInt64) {
        // One reactor wakes for a connection, not all of them.
        let exclusive: UInt32 = 1 << 28
        _ = tg_epoll_set(epoll, 1, descriptor, EPOLLIN.rawValue | exclusive, id)
    }

    /// Turns until the server is drained.
    func run() {
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.eventsMax) { events in
            guard let events = events.baseAddress else { return }
            while true {
                let wait: Int32 = queue.isEmpty ? (draining ? 10 : 100) : 0
                let count = tg_epoll_wait(epoll, events, Int32(Self.eventsMax), wait)
                beginTurn()
                var event: Int32 = 0
                while event < count {
                    let end = min(count, event &+ Int32(Self.batchMax))
                    handle(events, event..<end)
                    event = end
                }
                answerQueued()
                if now &- lastTick >= Self.tickNanoseconds { tick() }
                if shared.isDraining.load(ordering: .relaxed), !draining { beginDrain() }
                if draining, continueDrain() { return }
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

    /// Reads every connection of a batch first, then begins to bring near what their first
    /// requests will read, then answers: one request's misses pass while another is read.
    private func handle(_ events: UnsafeMutablePointer<epoll_event>, _ range: Range<Int32>) {
        var count = 0
        for event in range {
            let id = tg_event_id(events, event)
            let slot = Int(id & 0xffff_ffff)
            guard isAtRest(slot, id) else { continue }
            let bytes = readFresh(slot, into: input + count &* Self.batchBytes)
            guard let bytes else { continue }
            ready[count] = Ready(slot: slot, bytes: bytes)
            count &+= 1
            if let body = peek(bytes, at: 0) { worker.prefetchCredential(body) }
        }
        for index in 0..<count {
            if let body = peek(ready[index].bytes, at: 0) { worker.prefetchRows(body) }
        }
        for index in 0..<count { answer(ready[index].slot, ready[index].bytes) }
        for event in range {
            let id = tg_event_id(events, event)
            if wasRead(id, count) { continue }
            handle(id: id, mask: tg_event_mask(events, event))
        }
    }

    /// An open connection that holds nothing and waits for nothing.
    @inline(__always)
    private func isAtRest(_ slot: Int, _ id: UInt64) -> Bool {
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

    /// What a connection at rest sent; `nil` when there is nothing, or it ended and is closed.
    @inline(__always)
    private func readFresh(
        _ slot: Int, into place: UnsafeMutableRawPointer
    ) -> UnsafeRawBufferPointer? {
        let got = tg_read(connections[slot].descriptor, place, Self.batchBytes)
        if got <= 0 {
            if got != -Int(EAGAIN), got != -Int(EINTR) { closeConnection(slot) }
            return nil
        }
        counters.bytesIn.store(
            counters.bytesIn.load(ordering: .relaxed) &+ UInt64(got), ordering: .relaxed)
        return UnsafeRawBufferPointer(start: place, count: got)
    }

    private func handle(id: UInt64, mask: UInt32) {
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
            }
        }
    }

    // MARK: connections

    @inline(__always)
    func registration(_ slot: Int) -> UInt64 {
        UInt64(connections[slot].generation) << 32 | UInt64(slot)
    }

    private func accept(isAdmin: Bool) {
        for _ in 0..<64 {
            let listener = listeners[isAdmin ? 1 : 0]
            let made = tg_accept(listener.descriptor)
            if made == -EINTR || made == -ECONNABORTED { continue }
            if made == -EMFILE || made == -ENFILE { return outOfDescriptors(isAdmin) }
            guard made >= 0 else { return }
            var peer = tg_peer()
            let known = tg_peer_credentials(made, &peer) == 0
            guard known, shared.admit(uid: peer.uid) else {
                refuse(made)
                continue
            }
            let slot = takeSlot()
            let connection = connections + slot
            connection.pointee.descriptor = made
            connection.pointee.uid = peer.uid
            connection.pointee.isAdmin = isAdmin
            connection.pointee.mayAdminister = isAdmin && (peer.uid == 0 || peer.uid == geteuid())
            let added = tg_epoll_set(epoll, 1, made, EPOLLIN.rawValue, registration(slot))
            ReactorCounters.add(counters.accepted)
            if added != 0 { closeConnection(slot) }
        }
    }

    private func takeSlot() -> Int {
        openCount += 1
        counters.open.store(openCount, ordering: .relaxed)
        if let slot = freeSlots.popLast() { return Int(slot) }
        precondition(slotsUsed < capacity, "more connections than were admitted")
        (connections + slotsUsed).initialize(to: Connection())
        slotsUsed += 1
        return slotsUsed - 1
    }

    func closeConnection(_ slot: Int) {
        let connection = connections + slot
        guard connection.pointee.descriptor >= 0 else { return }
        close(connection.pointee.descriptor)
        if connection.pointee.halfSince > 0 { halfOpenCount -= 1 }
        connection.pointee.releaseBuffers()
        shared.leave(uid: connection.pointee.uid)
        let generation = connection.pointee.generation &+ 1
        connection.pointee = Connection()
        connection.pointee.generation = generation == 0 ? 1 : generation
        freeSlots.append(UInt32(slot))
        openCount -= 1
        counters.open.store(openCount, ordering: .relaxed)
    }

    /// Says why, and closes: the ceiling of connections is reached.
    private func refuse(_ descriptor: Int32) {
        ReactorCounters.add(counters.refused)
        let start = outputBytes
        putRefusal(.tooManyConnections, "the daemon is at its ceiling of connections", opcode: 0, 0)
        if let base = output.baseAddress {
            _ = tg_send(descriptor, base + start, outputBytes - start)
        }
        outputBytes = start
        close(descriptor)
    }

    /// No descriptor is left: gives up the spare one to turn one peer away, and listens again
    /// after the next tick, so that a full table costs no processor time.
    private func outOfDescriptors(_ isAdmin: Bool) {
        if reserve >= 0 {
            close(reserve)
            let made = tg_accept(listeners[isAdmin ? 1 : 0].descriptor)
            if made >= 0 { refuse(made) }
            reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
        }
        let index = isAdmin ? 1 : 0
        _ = tg_epoll_set(epoll, 2, listeners[index].descriptor, 0, 0)
        listeners[index].isPaused = true
        lastTick = now
    }

    // MARK: reading

    /// Reads as much as is there, and answers every whole frame of it.
    @inline(__always)
    private func readAndAnswer(_ slot: Int) {
        let connection = connections + slot
        let held = connection.pointee.heldBytes
        if held > 0, let bytes = connection.pointee.held {
            input.copyMemory(from: bytes, byteCount: held)
        }
        let got = tg_read(connection.pointee.descriptor, input + held, Self.readBytesMax)
        if got <= 0 {
            if got == -Int(EAGAIN) || got == -Int(EINTR) { return }
            return closeConnection(slot)
        }
        counters.bytesIn.store(
            counters.bytesIn.load(ordering: .relaxed) &+ UInt64(got), ordering: .relaxed)
        answer(slot, UnsafeRawBufferPointer(start: input, count: held &+ got))
    }

    /// Answers the whole frames at the front of `bytes`, holds the rest, writes the replies.
    private func answer(_ slot: Int, _ bytes: UnsafeRawBufferPointer) {
        let connection = connections + slot
        var offset = 0
        var frames = 0
        outputBytes = 0
        while !connection.pointee.isClosing, bytes.count &- offset >= WireLimits.headerBytes {
            guard frames < Self.framesPerTurnMax, outputBytes < Self.outSoftMax else { break }
            let header = FrameHeader(reading: bytes, at: offset)
            if let fault = fault(of: header) {
                putRefusal(
                    fault, "the header breaks the grid", opcode: header.opcode, header.requestID)
                connection.pointee.isClosing = true
                break
            }
            let total = WireLimits.lengthFieldBytes &+ Int(header.length)
            guard bytes.count &- offset >= total else { break }
            prefetch(bytes, after: offset &+ total)
            dispatch(
                header, bytes.slice(at: offset &+ WireLimits.headerBytes, length: header.bodyBytes),
                slot)
            offset &+= total
            frames &+= 1
        }
        ReactorCounters.add(counters.frames, frames)
        if !connection.pointee.isClosing { checkShortHeader(slot, bytes, offset) }
        keepRest(slot, bytes, from: offset, answered: frames)
        writeReplies(slot)
    }

    /// Begins to bring near what the next two requests will read. Only looks: a frame that is not
    /// what it seems to be brings the wrong lines near, and is judged in its turn.
    @inline(__always)
    private func prefetch(_ bytes: UnsafeRawBufferPointer, after offset: Int) {
        guard let next = peek(bytes, at: offset) else { return }
        worker.prefetchRows(next)
        let end = offset &+ WireLimits.headerBytes &+ next.count
        if let second = peek(bytes, at: end) { worker.prefetchCredential(second) }
    }

    /// The body of the frame at `offset`, if all of it is there.
    @inline(__always)
    private func peek(
        _ bytes: UnsafeRawBufferPointer, at offset: Int
    ) -> UnsafeRawBufferPointer? {
        guard bytes.count &- offset >= WireLimits.headerBytes else { return nil }
        let length = Int(bytes.loadLittle(at: offset, as: UInt32.self))
        guard length >= WireLimits.lengthMin,
            bytes.count &- offset >= WireLimits.lengthFieldBytes &+ length
        else { return nil }
        return bytes.slice(
            at: offset &+ WireLimits.headerBytes, length: length &- WireLimits.lengthMin)
    }

    /// A length that can never be right is refused before its frame is whole.
    private func checkShortHeader(_ slot: Int, _ bytes: UnsafeRawBufferPointer, _ offset: Int) {
        let rest = bytes.count &- offset
        guard rest >= WireLimits.lengthFieldBytes, rest < WireLimits.headerBytes else { return }
        let length = bytes.loadLittle(at: offset, as: UInt32.self)
        guard let fault = fault(ofLength: length) else { return }
        putRefusal(fault, "the length is out of range", opcode: 0, 0)
        connections[slot].isClosing = true
    }

    private func fault(ofLength length: UInt32) -> Status? {
        if length < UInt32(WireLimits.lengthMin) { return .malformedFrame }
        return length > UInt32(shared.settings.frameBytesMax) ? .frameTooLarge : nil
    }

    @inline(__always)
    private func fault(of header: FrameHeader) -> Status? {
        if let fault = fault(ofLength: header.length) { return fault }
        return header.reserved != 0 || header.status != 0 ? .malformedFrame : nil
    }

    private func keepRest(
        _ slot: Int, _ bytes: UnsafeRawBufferPointer, from offset: Int, answered: Int
    ) {
        let connection = connections + slot
        let rest = bytes.count &- offset
        if rest == 0 && connection.pointee.heldBytes == 0 { return }
        if connection.pointee.isClosing { return }
        connection.pointee.hold(bytes.slice(at: offset, length: rest))
        let isWhole = rest > 0 && wholeFrameWaits(connection.pointee)
        // The clock runs from the first byte of the frame that is not whole.
        if connection.pointee.halfSince > 0, answered > 0 || isWhole || rest == 0 {
            connection.pointee.halfSince = 0
            halfOpenCount -= 1
        }
        if rest > 0, !isWhole, connection.pointee.halfSince == 0 {
            connection.pointee.halfSince = now
            halfOpenCount += 1
        }
        if isWhole, !connection.pointee.isQueued {
            connection.pointee.isQueued = true
            queue.append(registration(slot))
        }
    }

    private func wholeFrameWaits(_ connection: Connection) -> Bool {
        guard connection.heldBytes >= WireLimits.headerBytes, let held = connection.held else {
            return false
        }
        let bytes = UnsafeRawBufferPointer(start: held, count: connection.heldBytes)
        let header = FrameHeader(reading: bytes)
        return fault(of: header) != nil
            || connection.heldBytes >= WireLimits.lengthFieldBytes + Int(header.length)
    }

    /// Connections with whole frames left over from their turn, each once.
    private func answerQueued() {
        guard !queue.isEmpty else { return }
        let waiting = queue
        queue.removeAll(keepingCapacity: true)
        for id in waiting {
            let slot = Int(id & 0xffff_ffff)
            guard connections[slot].generation == UInt32(id >> 32) else { continue }
            connections[slot].isQueued = false
            if !connections[slot].isWriting { answerHeld(slot) }
        }
    }

    private func answerHeld(_ slot: Int) {
        let connection = connections + slot
        guard connection.pointee.heldBytes > 0, let held = connection.pointee.held else { return }
        input.copyMemory(from: held, byteCount: connection.pointee.heldBytes)
        answer(slot, UnsafeRawBufferPointer(start: input, count: connection.pointee.heldBytes))
    }

    // MARK: writing

    @inline(__always)
    private func writeReplies(_ slot: Int) {
        let connection = connections + slot
        guard outputBytes > 0, let base = output.baseAddress else {
            if connection.pointee.isClosing { closeConnection(slot) }
            return
        }
        let sent = tg_send(connection.pointee.descriptor, base, outputBytes)
        if sent == outputBytes {
            counters.bytesOut.store(
                counters.bytesOut.load(ordering: .relaxed) &+ UInt64(sent), ordering: .relaxed)
            if connection.pointee.isClosing { closeConnection(slot) }
            return
        }
        guard sent >= 0 || sent == -Int(EAGAIN) || sent == -Int(EINTR) else {
            return closeConnection(slot)
        }
        let rest = UnsafeRawBufferPointer(rebasing: output[max(0, sent)..<outputBytes])
        connection.pointee.keepPending(rest, now: now)
        _ = tg_epoll_set(
            epoll, 3, connection.pointee.descriptor, EPOLLOUT.rawValue, registration(slot))
    }

    private func flushPending(_ slot: Int) {
        let connection = connections + slot
        guard let pending = connection.pointee.pending else { return }
        let sent = tg_send(
            connection.pointee.descriptor, pending + connection.pointee.pendingStart,
            connection.pointee.pendingBytes)
        if sent == -Int(EAGAIN) || sent == -Int(EINTR) { return }
        guard sent >= 0 else { return closeConnection(slot) }
        connection.pointee.pendingStart += sent
        connection.pointee.pendingBytes -= sent
        connection.pointee.writeSince = now
        guard connection.pointee.pendingBytes == 0 else { return }
        if connection.pointee.isClosing { return closeConnection(slot) }
        pending.deallocate()
        connection.pointee.pending = nil
        _ = tg_epoll_set(
            epoll, 3, connection.pointee.descriptor, EPOLLIN.rawValue, registration(slot))
        answerHeld(slot)
    }

    /// A reply that another thread made: appended to what waits, or written.
    private func deliver(_ reply: LateReply) {
        let slot = Int(reply.registration & 0xffff_ffff)
        guard slot < slotsUsed, registration(slot) == reply.registration,
            connections[slot].descriptor >= 0
        else { return }
        let connection = connections + slot
        reply.frame.withUnsafeBytes { frame in
            outputBytes = 0
            if connection.pointee.isWriting, let pending = connection.pointee.pending {
                let waiting = UnsafeRawBufferPointer(
                    start: pending + connection.pointee.pendingStart,
                    count: connection.pointee.pendingBytes)
                guard waiting.count + frame.count <= output.count else { return }
                output.copy(waiting, to: 0)
                output.copy(frame, to: waiting.count)
                let all = UnsafeRawBufferPointer(rebasing: output[..<(waiting.count + frame.count)])
                connection.pointee.keepPending(all, now: connection.pointee.writeSince)
            } else {
                output.copy(frame, to: 0)
                outputBytes = frame.count
                writeReplies(slot)
            }
        }
    }

    // MARK: time

    /// Ten times a second: deadlines, idle rows, listeners that were paused.
    private func tick() {
        lastTick = now
        for _ in 0..<4 { worker.sweep() }
        for index in listeners.indices where listeners[index].isPaused {
            listeners[index].isPaused = false
            watch(listeners[index].descriptor, listeners[index].id)
        }
        let settings = shared.settings
        for slot in 0..<slotsUsed {
            let connection = connections[slot]
            guard connection.descriptor >= 0 else { continue }
            if connection.isWriting {
                if now &- connection.writeSince > settings.writeDeadlineNanoseconds { expire(slot) }
            } else if connection.halfSince > 0 {
                let hasHeader = connection.heldBytes >= WireLimits.headerBytes
                let limit =
                    hasHeader
                    ? settings.frameDeadlineNanoseconds : settings.headerDeadlineNanoseconds
                if now &- connection.halfSince > limit { expire(slot) }
            }
        }
    }

    private func expire(_ slot: Int) {
        ReactorCounters.add(counters.deadlineCloses)
        closeConnection(slot)
    }

    private func beginDrain() {
        draining = true
        drainEnd = now &+ shared.settings.drainNanoseconds
        for listener in listeners where !listener.isPaused {
            _ = tg_epoll_set(epoll, 2, listener.descriptor, 0, 0)
        }
        listeners = listeners.map { ($0.descriptor, $0.id, false) }
    }

    /// Answers what has arrived, closes who waits for nothing; true when nobody is left.
    private func continueDrain() -> Bool {
        for slot in 0..<slotsUsed where connections[slot].descriptor >= 0 {
            if connections[slot].isWriting || connections[slot].isQueued { continue }
            let generation = connections[slot].generation
            readAndAnswer(slot)
            let connection = connections[slot]
            guard connection.generation == generation, connection.descriptor >= 0 else { continue }
            if !connection.isWriting, !connection.isQueued { closeConnection(slot) }
        }
        if now > drainEnd {
            for slot in 0..<slotsUsed { closeConnection(slot) }
        }
        return openCount == 0
    }
}
