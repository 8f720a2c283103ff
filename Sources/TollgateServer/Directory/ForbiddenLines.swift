import CLinux

/// Tells the log of calls outside of their peers' roles: who, and which. At most a few lines a
/// second.
struct ForbiddenLines {
    private var second: UInt64 = 0
    private var lines = 0

    mutating func tell(_ request: CallRequest, _ log: Log) {
        let now = tg_boottime() / 1_000_000_000
        if now != second { (second, lines) = (now, 0) }
        lines += 1
        guard lines <= CallQueue.forbiddenMax else { return }
        let name = DecodedCall.name(in: request.body)
        let socket = request.peer.isAdminSocket ? "admin" : "data"
        log.warning(
            "\(name?.rawValue ?? "a call that is none") refused on the \(socket) socket: uid"
                + " \(request.peer.uid), pid \(request.peer.pid) has not the role")
    }
}
