import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// Accepting, refusing and closing.
extension Reactor {
    @inline(__always)
    func registration(_ slot: Int) -> UInt64 {
        UInt64(connections[slot].generation) << 32 | UInt64(slot)
    }

    func accept(isAdmin: Bool) {
        for _ in 0..<64 {
            let listener = listeners[isAdmin ? 1 : 0]
            let made = tg_accept(listener.descriptor)
            if made == -EINTR || made == -ECONNABORTED { continue }
            if made == -EAGAIN { return }
            guard made >= 0 else { return cannotAccept(isAdmin) }
            var peer = tg_peer()
            let known = tg_peer_credentials(made, &peer) == 0
            guard known, shared.admit(uid: peer.uid, isAdmin: isAdmin) else {
                refuse(made)
                continue
            }
            let slot = takeSlot()
            let connection = connections + slot
            connection.pointee.descriptor = made
            connection.pointee.uid = peer.uid
            connection.pointee.pid = peer.pid
            connection.pointee.isAdmin = isAdmin
            connection.pointee.roles = shared.roles(made, peer)
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

    /// Ends what is held by it, whoever goes: what an orderly end cuts is journaled, and stands in
    /// the last snapshot.
    func closeConnection(_ slot: Int) {
        let connection = connections + slot
        guard connection.pointee.descriptor >= 0 else { return }
        worker.release(connection: registration(slot)) { tendRegions() }
        close(connection.pointee.descriptor)
        bufferedBytes &-= connection.pointee.bufferedBytes
        connection.pointee.releaseBuffers()
        shared.leave(uid: connection.pointee.uid, isAdmin: connection.pointee.isAdmin)
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

    /// No descriptor is left, or no memory: gives up the spare descriptor to turn one peer away,
    /// and listens again after the next tick, so that a full table costs no processor time.
    private func cannotAccept(_ isAdmin: Bool) {
        if reserve >= 0 {
            close(reserve)
            let made = tg_accept(listeners[isAdmin ? 1 : 0].descriptor)
            if made >= 0 { refuse(made) }
            reserve = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
        }
        let index = isAdmin ? 1 : 0
        _ = tg_epoll_set(epoll, 2, listeners[index].descriptor, 0, 0)
        listeners[index].isPaused = true
        lastTick = now
    }
}
