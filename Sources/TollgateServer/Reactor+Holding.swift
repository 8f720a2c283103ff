import CLinux
import Glibc
import TollgateCore

/// `durability: always`: replies of charges wait until a sync that began after them has finished.
/// The connection is read meanwhile, and all that it is answered waits in turn; what waits is
/// bounded, for one connection and for all: beyond it a connection is not read until some has
/// left. In every other mode nothing here runs.
extension Reactor {
    /// Whether the replies since `start` of `output`, made for the connection, have to wait: then
    /// they are moved to where they do. Called before what is left of its requests is kept.
    @inline(__always)
    func holdReplies(_ slot: Int, from start: Int) {
        guard let rounds else { return }
        holdReplies(slot, from: start, rounds)
    }

    @inline(never)
    private func holdReplies(_ slot: Int, from start: Int, _ rounds: SyncRounds) {
        let connection = connections + slot
        guard worker.hasJournaled || connection.pointee.syncBytes > 0, outputBytes > start else {
            return
        }
        // Of what it journaled, the later replies of a connection wait for no earlier round than
        // those before them.
        let replies = UnsafeRawBufferPointer(rebasing: output[start..<outputBytes])
        heldReplies.hold(replies, for: registration(slot), round: rounds.next)
        connection.pointee.syncBytes &+= replies.count
        outputBytes = start
        let isMuch = connection.pointee.syncBytes >= Self.outSoftMax
            || heldReplies.bytes &+ bufferedBytes >= bufferBytesMax
        if isMuch || connection.pointee.isClosing { pause(slot) }
    }

    /// A shard that has gone on to its last region gets another before the next request: charges
    /// come faster than a thread is woken.
    @inline(__always)
    func tendRegions() {
        if let supply, shared.engine.wantsRegions != 0 { bringRegions(supply) }
    }

    @inline(never)
    private func bringRegions(_ supply: Bell) {
        shared.ledger?.give()
        // For files of which further regions come.
        supply.ring()
    }

    /// Reads nothing of the connection until its replies have left.
    func pause(_ slot: Int) {
        let connection = connections + slot
        guard !connection.pointee.isPaused else { return }
        connection.pointee.isPaused = true
        connection.pointee.isQueued = true
        paused.append(registration(slot))
        if !connection.pointee.isWriting { watchAgain(slot) }
    }

    /// The peer sends no more: what it is still to be answered leaves first.
    func endInput(_ slot: Int) {
        guard connections[slot].syncBytes > 0 else { return closeConnection(slot) }
        connections[slot].isClosing = true
        pause(slot)
    }

    /// At the end of a turn: lets go what has been synced, and has a sync begin for the rest.
    @inline(__always)
    func tendHeldReplies() {
        guard let rounds, !heldReplies.isEmpty || !paused.isEmpty else { return }
        tendHeldReplies(rounds)
    }

    @inline(never)
    private func tendHeldReplies(_ rounds: SyncRounds) {
        rounds.wait(reactor: index)
        while let round = heldReplies.firstRound, rounds.isFinished(round) {
            heldReplies.releaseFirst { release($0, $1) }
        }
        resumePaused()
        if !heldReplies.isEmpty { rounds.bell.ring() }
    }

    private func release(_ id: UInt64, _ replies: UnsafeRawBufferPointer) {
        let slot = Int(id & 0xffff_ffff)
        // Closed meanwhile: what it was to be told is dropped.
        guard registration(slot) == id, connections[slot].descriptor >= 0 else { return }
        connections[slot].syncBytes &-= replies.count
        send(slot, replies)
    }

    private func resumePaused() {
        guard !paused.isEmpty, heldReplies.bytes &+ bufferedBytes < bufferBytesMax else { return }
        let waiting = paused
        paused.removeAll(keepingCapacity: true)
        for id in waiting {
            let slot = Int(id & 0xffff_ffff)
            let connection = connections + slot
            guard registration(slot) == id, connection.pointee.descriptor >= 0,
                connection.pointee.isPaused
            else { continue }
            guard connection.pointee.syncBytes < Self.outSoftMax, !connection.pointee.isClosing
            else {
                paused.append(id)
                continue
            }
            connection.pointee.isPaused = false
            connection.pointee.isQueued = false
            guard !connection.pointee.isWriting else { continue }
            watchAgain(slot)
            answerHeld(slot)
        }
    }

    /// The events that are waited for, as the connection's state has them.
    func watchAgain(_ slot: Int) {
        let connection = connections + slot
        var events: UInt32 = connection.pointee.isPaused ? 0 : EPOLLIN.rawValue
        if connection.pointee.isWriting { events = EPOLLOUT.rawValue }
        _ = tg_epoll_set(epoll, 3, connection.pointee.descriptor, events, registration(slot))
    }
}
