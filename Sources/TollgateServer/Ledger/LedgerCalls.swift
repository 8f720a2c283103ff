import CLinux
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// The desk's thread: calls of the ledger, answered whatever its other threads wait for.
extension LedgerService {
    func answerCalls() {
        var forbidden = ForbiddenLines()
        while true {
            let requests = calls.take()
            for request in requests { answer(DecodedCall(request)) }
            for refused in calls.takeForbidden() { forbidden.tell(refused, log) }
            if calls.hasEnded { return }
            if requests.isEmpty { calls.wait(milliseconds: Self.idleMilliseconds) }
        }
    }

    private func answer(_ decoded: DecodedCall) {
        let request = decoded.request
        guard let call = decoded.call else {
            return reply(decoded.refusal ?? .refused(.internalError, "no call"), to: request)
        }
        guard call.call.isOfLedger else { return reply(.noDirectory, to: request) }
        if call.call == .createSnapshot {
            guard snapshots.put(request) else {
                return reply(.refused(.busy, "too many wait for a snapshot"), to: request)
            }
            return
        }
        do throws(LedgerCalls.Refusal) {
            reply(LedgerCalls.reply(try perform(CallArguments(call))), to: request)
        } catch {
            reply(.refused(error.status, error.detail), to: request)
        }
    }

    private func perform(_ arguments: CallArguments) throws(LedgerCalls.Refusal) -> JSONValue {
        switch arguments.request.call {
        case .showLedger: .object(["ledger": status.json])
        case .listSnapshots: try listSnapshots(arguments)
        case .listUsage: try listUsage(arguments)
        case .pruneUsage: try pruneUsage(arguments)
        default: throw .init(.internalError, "a call that is not the ledger's")
        }
    }

    private func listSnapshots(
        _ arguments: CallArguments
    ) throws(LedgerCalls.Refusal) -> JSONValue {
        let all = try LedgerCalls.onDisk { () throws(LedgerFailure) in try ledger.snapshots() }
        let limit = Int(clamping: arguments.integer("limit") ?? 100)
        let before = try arguments.optionalText("after").map { (text) throws(LedgerCalls.Refusal) in
            guard let generation = UInt64(text) else { throw .invalidCursor }
            return generation
        }
        let left = all.sorted { $0.generation > $1.generation }
            .filter { $0.generation < before ?? .max }
        let items = left.prefix(limit).map { SnapshotInfo($0) }
        let next = left.count > items.count ? items.last.map { String($0.generation) } : nil
        return DirectoryPage(items: items, next: next).json
    }
}

/// What calls of the ledger are answered.
enum LedgerCalls {
    struct Refusal: Error {
        var status: Status
        var detail: String

        init(_ status: Status, _ detail: String) {
            self.status = status
            self.detail = detail
        }

        static let invalidCursor = Refusal(.invalidValue, "after: is no cursor of this list")
    }

    static let absence =
        "the policy has no ledger; add the section, and start the daemon again"

    /// Where there is no ledger.
    static func withoutLedger(_ call: CallName, engine: Engine) -> CallReply {
        guard call == .showLedger else { return .refused(.conflict, absence) }
        return reply(.object(["ledger": off(engine).json]))
    }

    static func off(_ engine: Engine) -> LedgerHealth {
        var status = LedgerHealth()
        status.isClockHeld = engine.gauges.clockHeldForward
        return status
    }

    static func reply(_ document: JSONValue) -> CallReply {
        CallReply(status: .ok, body: document.bytes)
    }

    static func onDisk<T>(
        _ body: () throws(LedgerFailure) -> T
    ) throws(Refusal) -> T {
        do throws(LedgerFailure) { return try body() } catch {
            guard error.kind != .gone else { throw Refusal(.conflict, error.words) }
            throw Refusal(.storageFailed, "\(error)")
        }
    }
}

extension SnapshotInfo {
    init(_ summary: SnapshotSummary) {
        self.init(
            generation: summary.generation,
            at: Timestamp(milliseconds: summary.at.milliseconds), bytes: UInt64(summary.bytes))
    }
}

extension CallHandlers {
    /// Calls of the ledger come here where there is a directory and no ledger.
    static func ofLedger(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        guard arguments.request.call == .showLedger else {
            throw context.refuse(.conflict, LedgerCalls.absence)
        }
        return .object(["ledger": LedgerCalls.off(context.engine).json])
    }
}
