import TollgateCore
import TollgateWire

/// Who asks, as the kernel said when they connected.
struct CallPeer: Sendable {
    var uid: UInt32
    var pid: Int32
    var roles: Roles
    /// On the admin socket.
    var isAdminSocket: Bool

    /// Whether a call that needs this role is for this peer: on the data socket only what the roles
    /// `issue` and `watch` may. Of an admin on the admin socket every one is.
    func may(_ role: Roles) -> Bool {
        if isAdminSocket, roles.contains(.admin) { return true }
        return roles.contains(role) && (isAdminSocket || role == .issue || role == .watch)
    }
}

/// A CALL on its way from its reactor to the thread of the directory, or of the ledger. The body is
/// not looked at yet.
struct CallRequest: Sendable {
    var peer: CallPeer
    var body: [UInt8]
    var registration: UInt64
    var requestID: UInt64
    var reactor: Int
}

/// What became of a call.
struct CallReply: Sendable {
    var status: Status
    var body: [UInt8]
    /// Not sent, and the connection closed: a status would say that nothing has changed.
    var isWithheld = false

    static let noDirectory = refused(
        .noDirectory, "the policy has no directory; add the section, and start the daemon again")

    /// Of a change whose sync failed: it may be on the disk, or not.
    static let withheld = CallReply(status: .storageFailed, body: [], isWithheld: true)

    /// On its way to who asked.
    func late(for request: CallRequest) -> LateReply {
        var late = LateReply(
            .call, status, body, registration: request.registration, requestID: request.requestID)
        late.isWithheld = isWithheld
        return late
    }

    static func refused(_ status: Status, _ detail: String) -> CallReply {
        CallReply(status: status, body: Array(detail.utf8.prefix(WireLimits.detailBytesMax)))
    }
}
