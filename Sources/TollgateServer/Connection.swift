import Glibc

/// One peer. Lives in a slot of its reactor's table and is touched by that thread alone.
///
/// States: *reading* (events: in), or *writing* (events: out) while replies wait for a peer that
/// does not read; it is not read from meanwhile; or *paused* (no events) while too many replies
/// wait for a sync, or the last ones of a peer that sends no more. Out of all: closed, and the
/// slot's generation goes up, so that an event for a former connection is recognised.
/// Invariant: `pendingBytes > 0` exactly when writing; a connection at rest owns no buffer.
struct Connection: BitwiseCopyable {
    var descriptor: Int32 = -1
    var generation: UInt32 = 1
    var uid: UInt32 = 0
    var pid: Int32 = 0
    var isAdmin = false
    /// What the peer may do, as it was when it connected.
    var roles: Roles = []
    /// May use the admin socket's own opcodes.
    var mayAdminister: Bool { isAdmin && roles.contains(.admin) }
    var mayObserve: Bool { mayAdminister || roles.contains(.observe) }
    /// Replies that another thread is to make: RELOAD and CALL.
    var awaited = 0
    /// To be closed once what waits is written.
    var isClosing = false
    /// Stands in the list of connections with whole frames still to be answered, or is paused.
    var isQueued = false
    /// Is not read until replies of its own have left (`Reactor.pause`); then it is queued too.
    var isPaused = false
    var isWriting: Bool { pendingBytes > 0 }
    /// Once what is written now has left.
    var mayClose: Bool { isClosing && syncBytes == 0 }

    /// What was read and not yet answered: the start of a frame, or frames left for the next turn.
    var held: UnsafeMutableRawPointer?
    var heldBytes = 0
    /// Boottime of the first byte of a frame that is not whole; 0 when there is none.
    var halfSince: UInt64 = 0

    /// Replies that the peer has not taken.
    var pending: UnsafeMutableRawPointer?
    var pendingStart = 0
    var pendingBytes = 0
    /// Boottime of the last progress of a write that is waiting.
    var writeSince: UInt64 = 0

    /// Bytes of replies that wait for a sync of the ledger (`HeldReplies`).
    var syncBytes = 0

    /// What it costs in buffers; `pendingStart` bytes of what was kept are written already.
    var bufferedBytes: Int { heldBytes &+ pendingStart &+ pendingBytes }

    /// Replaces what is held by a copy of `bytes`.
    mutating func hold(_ bytes: UnsafeRawBufferPointer) {
        let old = held
        held = nil
        heldBytes = bytes.count
        if let source = bytes.baseAddress, bytes.count > 0 {
            let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
            copy.copyMemory(from: source, byteCount: bytes.count)
            held = copy
        }
        old?.deallocate()
    }

    mutating func keepPending(_ bytes: UnsafeRawBufferPointer, now: UInt64) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
        copy.copyMemory(from: source, byteCount: bytes.count)
        pending?.deallocate()
        pending = copy
        pendingStart = 0
        pendingBytes = bytes.count
        writeSince = now
    }

    mutating func releaseBuffers() {
        held?.deallocate()
        pending?.deallocate()
        held = nil
        pending = nil
        heldBytes = 0
        pendingBytes = 0
        pendingStart = 0
        halfSince = 0
    }
}
