import TollgateCore
import TollgateWire

/// CALL: handed to the thread of the directory, or of the ledger where there is no other, whose
/// reply comes back through the mailbox.
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
        guard !peer.roles.isDisjoint(with: [.issue, .watch]) else {
            shared.calls?.putForbidden(request)
            return refuse(
                header, .forbidden, "this user has none of the roles admin, issue and watch")
        }
        // Who has the role watch alone does not wait for the directory's disk.
        var calls = peer.roles.contains(.issue) ? shared.calls : shared.watchCalls
        if calls == nil {
            // What is wrong with the call is told first, as where there is a directory.
            let decoded = DecodedCall(request)
            guard decoded.call?.call == .showTop else {
                return answer(
                    header, decoded.refusal ?? CallReply.without(decoded, engine: shared.engine))
            }
            calls = shared.watchCalls
        }
        guard let calls, calls.put(request) else {
            return refuse(header, .busy, "too many calls wait; ask again")
        }
        connection.pointee.awaited &+= 1
    }

    /// Whether the peer may have requests decided.
    @inline(__always)
    func mayCheck(_ slot: Int) -> Bool { connections[slot].roles.contains(.check) }
}

extension CallReply {
    /// Of a call that is right in itself, where there is nothing that it is about.
    static func without(_ call: DecodedCall, engine: Engine) -> CallReply {
        if let name = call.call?.call, name.isOfLedger {
            return LedgerCalls.withoutLedger(name, engine: engine)
        }
        if call.call?.call.isOfAlerts == true { return AlertCalls.withoutAlerts }
        return noDirectory
    }
}
