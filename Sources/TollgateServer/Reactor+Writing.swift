import CLinux
import Glibc

/// Replies on their way out.
extension Reactor {
    @inline(__always)
    func writeReplies(_ slot: Int, _ replies: Range<Int>) {
        let connection = connections + slot
        guard !replies.isEmpty, let base = output.baseAddress else {
            if connection.pointee.isClosing { closeConnection(slot) }
            return
        }
        let sent = tg_send(
            connection.pointee.descriptor, base + replies.lowerBound, replies.count)
        if sent == replies.count {
            counters.bytesOut.store(
                counters.bytesOut.load(ordering: .relaxed) &+ UInt64(sent), ordering: .relaxed)
            if connection.pointee.isClosing { closeConnection(slot) }
            return
        }
        guard sent >= 0 || sent == -Int(EAGAIN) || sent == -Int(EINTR) else {
            return closeConnection(slot)
        }
        let from = replies.lowerBound + max(0, sent)
        let rest = UnsafeRawBufferPointer(rebasing: output[from..<replies.upperBound])
        guard makeRoom(rest.count, for: slot) else { return closeConnection(slot) }
        connection.pointee.keepPending(rest, now: now)
        _ = tg_epoll_set(
            epoll, 3, connection.pointee.descriptor, EPOLLOUT.rawValue, registration(slot))
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
        if connection.pointee.isClosing { return closeConnection(slot) }
        pending.deallocate()
        connection.pointee.pending = nil
        bufferedBytes &-= connection.pointee.pendingStart
        connection.pointee.pendingStart = 0
        _ = tg_epoll_set(
            epoll, 3, connection.pointee.descriptor, EPOLLIN.rawValue, registration(slot))
        answerHeld(slot)
    }

    /// A reply that another thread made: appended to what waits, or written.
    func deliver(_ reply: LateReply) {
        let slot = Int(reply.registration & 0xffff_ffff)
        guard slot < slotsUsed, registration(slot) == reply.registration,
            connections[slot].descriptor >= 0
        else { return }
        let connection = connections + slot
        connection.pointee.awaited &-= 1
        if reply.status != .ok { countRefusal(reply.status) }
        if reply.isWithheld { return closeConnection(slot) }
        reply.frame.withUnsafeBytes { frame in
            outputBytes = 0
            if connection.pointee.isWriting, let pending = connection.pointee.pending {
                let waiting = UnsafeRawBufferPointer(
                    start: pending + connection.pointee.pendingStart,
                    count: connection.pointee.pendingBytes)
                guard waiting.count + frame.count <= output.count,
                    makeRoom(frame.count &- connection.pointee.pendingStart, for: slot)
                else { return closeConnection(slot) }
                output.copy(waiting, to: 0)
                output.copy(frame, to: waiting.count)
                let all = UnsafeRawBufferPointer(rebasing: output[..<(waiting.count + frame.count)])
                connection.pointee.keepPending(all, now: connection.pointee.writeSince)
            } else {
                output.copy(frame, to: 0)
                outputBytes = frame.count
                writeReplies(slot, 0..<outputBytes)
            }
        }
    }
}
