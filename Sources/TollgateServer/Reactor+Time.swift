import CLinux
import Glibc
import TollgateWire

/// What happens by the clock: deadlines, sweeps, the drain.
extension Reactor {
    /// Ten times a second: deadlines, idle rows, listeners that were paused.
    func tick() {
        lastTick = now
        for _ in 0..<4 { worker.sweep() }
        worker.tendHolds()
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

    func beginDrain() {
        draining = true
        for listener in listeners where !listener.isPaused {
            _ = tg_epoll_set(epoll, 2, listener.descriptor, 0, 0)
        }
        listeners = listeners.map { ($0.descriptor, $0.id, false) }
    }

    /// Answers what has arrived, closes who waits for nothing; true when nobody is left.
    func continueDrain() -> Bool {
        for slot in 0..<slotsUsed where connections[slot].descriptor >= 0 {
            if connections[slot].isWriting || connections[slot].isQueued { continue }
            let generation = connections[slot].generation
            let isEmpty = readAndAnswer(slot) < Self.readBytesMax
            let connection = connections[slot]
            guard connection.generation == generation, connection.descriptor >= 0 else { continue }
            if isEmpty, !connection.isWriting, !connection.isQueued, connection.awaited == 0,
                connection.syncBytes == 0
            {
                closeConnection(slot)
            }
        }
        if now >= shared.drainEnd.load(ordering: .relaxed) {
            for slot in 0..<slotsUsed { closeConnection(slot) }
        }
        return openCount == 0
    }
}
