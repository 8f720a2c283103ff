import CLinux
import Glibc

/// Replies on their way out.
extension Reactor {
    @inline(__always)
    func writeReplies(_ slot: Int, _ replies: Range<Int>) {
        let connection = connections + slot
        guard !replies.isEmpty, let base = output.baseAddress else {
            if connection.pointee.mayClose { closeConnection(slot) }
            return
        }
        write(
            slot, UnsafeRawBufferPointer(start: base + replies.lowerBound, count: replies.count))
    }

    /// To a connection for which nothing waits.
    @inline(__always)
    private func write(_ slot: Int, _ replies: UnsafeRawBufferPointer) {
        let connection = connections + slot
        let sent = tg_send(connection.pointee.descriptor, replies.baseAddress, replies.count)
        if sent == replies.count {
            counters.bytesOut.store(
                counters.bytesOut.load(ordering: .relaxed) &+ UInt64(sent), ordering: .relaxed)
            if connection.pointee.mayClose { closeConnection(slot) }
            return
        }
        guard sent >= 0 || sent == -Int(EAGAIN) || sent == -Int(EINTR) else {
            return closeConnection(slot)
        }
        let rest = UnsafeRawBufferPointer(rebasing: replies[max(0, sent)...])
        guard makeRoom(rest.count, for: slot) else { return closeConnection(slot) }
        connection.pointee.keepPending(rest, now: now)
        watchAgain(slot)
    }

    func flushPending(_ slot: Int) {
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
        if connection.pointee.mayClose { return closeConnection(slot) }
        pending.deallocate()
        connection.pointee.pending = nil
        bufferedBytes &-= connection.pointee.pendingStart
        connection.pointee.pendingStart = 0
        watchAgain(slot)
        if !connection.pointee.isPaused { answerHeld(slot) }
    }

    /// A reply that another thread made: appended to what waits, or written.
    func deliver(_ reply: LateReply) {
        let slot = Int(reply.registration & 0xffff_ffff)
        guard slot < slotsUsed, registration(slot) == reply.registration,
            connections[slot].descriptor >= 0
        else { return }
        connections[slot].awaited &-= 1
        if reply.status != .ok { countRefusal(reply.status) }
        if reply.isWithheld { return closeConnection(slot) }
        reply.frame.withUnsafeBytes { send(slot, $0) }
    }

    /// Replies that do not come of the turn at hand: appended to what waits, or written.
    func send(_ slot: Int, _ replies: UnsafeRawBufferPointer) {
        let connection = connections + slot
        guard connection.pointee.isWriting, let pending = connection.pointee.pending else {
            return write(slot, replies)
        }
        let waiting = UnsafeRawBufferPointer(
            start: pending + connection.pointee.pendingStart,
            count: connection.pointee.pendingBytes)
        guard waiting.count + replies.count <= output.count,
            makeRoom(replies.count &- connection.pointee.pendingStart, for: slot)
        else { return closeConnection(slot) }
        outputBytes = 0
        output.copy(waiting, to: 0)
        output.copy(replies, to: waiting.count)
        let all = UnsafeRawBufferPointer(rebasing: output[..<(waiting.count + replies.count)])
        connection.pointee.keepPending(all, now: connection.pointee.writeSince)
    }
}
