import TollgateCore
import TollgateWire

/// CALL: handed to the directory's thread, whose reply comes back through the mailbox.
extension Reactor {
    /// A peer that no call is for takes no place in the queue.
    func call(_ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ slot: Int) {
        let connection = connections + slot
        let peer = CallPeer(
            uid: connection.pointee.uid, pid: connection.pointee.pid,
            roles: connection.pointee.roles, isAdminSocket: connection.pointee.isAdmin)
        let request = CallRequest(
            peer: peer, body: Array(body), registration: registration(slot),
            requestID: header.requestID, reactor: index)
        guard peer.roles.contains(.issue) else {
            shared.calls?.putForbidden(request)
            return refuse(header, .forbidden, "this user has neither the role admin nor issue")
        }
        guard let calls = shared.calls else {
            // What is wrong with the call is told first, as where there is a directory.
            let missing = CallReply.refused(
                .noDirectory,
                "the policy has no directory; add the section, and start the daemon again")
            return refuse(header, DecodedCall(request).refusal ?? missing)
        }
        guard calls.put(request) else {
            return refuse(header, .busy, "too many calls wait; ask again")
        }
        connection.pointee.awaited &+= 1
    }

    /// Whether the peer may have requests decided.
    @inline(__always)
    func mayCheck(_ slot: Int) -> Bool { connections[slot].roles.contains(.check) }
}
