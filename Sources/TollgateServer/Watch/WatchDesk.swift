import Glibc
import TollgateCore
import TollgateWire

/// Answers what operators watch by, alerts and who is busiest, on a thread of its own: either waits
/// for a disk or looks at all counters, for which neither the directory's nor the ledger's calls
/// are to wait. Where there is no directory it is who all calls come to, and hands those of the
/// ledger on. Who has the role `watch` and neither `issue` nor `admin` comes to it at once.
///
/// Life: made before the sockets open; `start`; `end`, once the directory has ended.
final class WatchDesk: Sendable {
    let calls: CallQueue
    let counters = CallCounters()
    private let alerts: AlertService?
    /// Where all other calls go.
    private let ledger: CallQueue?
    // Written by `start`, before the thread that reads them is made.
    private nonisolated(unsafe) var mailboxes: [Mailbox] = []
    private nonisolated(unsafe) var engine: Engine?
    private nonisolated(unsafe) var log: Log?
    private let thread = ServiceThread()

    init(_ alerts: AlertService?, ledger: CallQueue?) throws(StartError) {
        calls = try CallQueue()
        self.alerts = alerts
        self.ledger = ledger
    }

    func start(
        mailboxes: [Mailbox], engine: Engine, top: sending TopCalls, log: Log?
    ) throws(StartError) {
        (self.mailboxes, self.engine, self.log) = (mailboxes, engine, log)
        try thread.begin { [self] in run(top) }
    }

    /// Answers what waits, and lets the thread end.
    func end() {
        calls.end()
        thread.join()
    }

    private func run(_ top: TopCalls) {
        var forbidden = ForbiddenLines()
        while true {
            let requests = calls.take()
            for request in requests { answer(request, top, &forbidden) }
            for refused in calls.takeForbidden() { tell(refused, &forbidden) }
            if calls.hasEnded { return }
            if requests.isEmpty { calls.wait(milliseconds: DirectoryService.tickMilliseconds) }
        }
    }

    private func answer(
        _ request: CallRequest, _ top: TopCalls, _ forbidden: inout ForbiddenLines
    ) {
        let decoded = DecodedCall(request)
        if let call = decoded.call, call.call.isOfAlerts {
            return reply(AlertCalls.reply(to: call, by: request.peer, alerts), to: request)
        }
        if let call = decoded.call, call.call == .showTop {
            return reply(top.reply(to: call), to: request)
        }
        guard let ledger else {
            guard let engine else { return }
            let reply = decoded.refusal ?? CallReply.without(decoded, engine: engine)
            if reply.status == .forbidden { tell(request, &forbidden) }
            return self.reply(reply, to: request)
        }
        guard !ledger.put(request) else { return }
        reply(.refused(.busy, "too many calls wait; ask again"), to: request)
    }

    private func tell(_ request: CallRequest, _ forbidden: inout ForbiddenLines) {
        if let log { forbidden.tell(request, log) }
    }

    private func reply(_ reply: CallReply, to request: CallRequest) {
        counters.add(reply.status)
        mailboxes[request.reactor].post([reply.late(for: request)])
    }
}
