import CLinux
import TollgateCore
import TollgateStorage
import TollgateWire

/// Owns the store and carries calls out: in a batch, as one transaction, of which a call that is
/// refused undoes its own part alone. Used by one thread at a time.
final class DirectoryKeeper {
    let plan: DirectoryPlan
    let store: DirectoryStore
    let issuer: OwnIssuer
    let engine: Engine
    let log: Log
    let steps: StepCounter
    let counters: DirectoryCounters
    var links: DirectoryLinks?
    /// A sync failed: nothing is written any more until the next start.
    private(set) var hasFailed = false
    var lastMinute: UInt64 = 0
    /// What this life noted last.
    var notedLedger: LedgerMark?
    private var forbidden = ForbiddenLines()
    /// By leftover: the boottime at which it was forgotten.
    var forgotten: [Leftover: UInt64] = [:]
    /// By reset that is due: the boottime at which it was done.
    var resetsDone: [DueReset: UInt64] = [:]
    /// Those of them that the rules of alerts know.
    var resetsTold: Set<DueReset> = []
    /// As the directory has it: how long tokens may live.
    var keptLife: Int64 = 0
    /// Since the first look at what has expired, and as the directory has it.
    var purge: PurgeClock?
    var purgeMark = Int64.min

    init(
        _ plan: DirectoryPlan, issuer: OwnIssuer, engine: Engine, log: Log, steps: StepCounter,
        counters: DirectoryCounters
    ) throws(StartError) {
        self.plan = plan
        self.issuer = issuer
        self.engine = engine
        self.log = log
        self.steps = steps
        self.counters = counters
        do throws(StorageFault) { store = try DirectoryStore(folder: plan.path) } catch {
            throw StartError("directory \(error)", exitCode: error.exitCode)
        }
        store.atStep = { steps.reach($0.rawValue) }
        try load()
    }

    // MARK: a batch

    /// Carries out, makes durable, puts in force, and replies: in this order. What cannot be
    /// carried out with others comes between those before it and those after it.
    func answer(_ requests: [CallRequest]) {
        var together: [DecodedCall] = []
        for call in requests.map({ DecodedCall($0) }) {
            if let ledger = links?.ledger, call.call?.call.isOfLedger == true {
                hand(call.request, to: ledger)
            } else if let links, let desk = links.desk,
                call.call?.call.isForDesk(hasAlerts: links.hasAlerts) == true
            {
                hand(call.request, to: desk)
            } else if call.isAlone {
                answer(together)
                answer([call])
                together = []
            } else {
                together.append(call)
            }
        }
        answer(together)
    }

    /// Calls of the ledger, and of those who watch, are threads' of their own.
    private func hand(_ request: CallRequest, to ledger: CallQueue) {
        guard !ledger.put(request) else { return }
        let refusal = CallReply.refused(.busy, "too many calls of that kind wait; ask again")
        counters.calls.add(refusal.status)
        links?.mailboxes[request.reactor].post([refusal.late(for: request)])
    }

    private func answer(_ calls: [DecodedCall]) {
        guard let links, !calls.isEmpty else { return }
        var batch = CallBatch(calls)
        run(&batch, policy: links.policy())
        let publications = batch.publications
        for publication in publications {
            if case .quotasReset = publication {
                carryOutResets(waiting: true)
            } else {
                engine.directory.publish(publication, engine: engine)
            }
        }
        if publications.contains(where: { $0.signingKeys != nil }) { republish(&batch, links) }
        if batch.isChanging { steps.reach(.published) }
        for warning in batch.warnings { log.warning(warning) }
        reply(batch, links)
        if batch.isChanging { steps.reach(.replied) }
    }

    private func run(_ batch: inout CallBatch, policy: PolicyImage) {
        guard batch.isChanging else { return performReading(&batch, policy) }
        do throws(DirectoryError) {
            var changed = batch
            try store.together { () throws(DirectoryError) in
                for index in changed.calls.indices {
                    try perform(&changed, index, policy)
                }
            }
            batch = changed
            counters.batches.wrappingAdd(1, ordering: .relaxed)
        } catch {
            let wasSound = !hasFailed
            let fault = note(error)
            for index in batch.calls.indices where batch.calls[index].isChanging {
                let isOperator = batch.calls[index].request.peer.isAdminSocket
                batch.outcomes[index].reply = .refused(
                    .storageFailed,
                    isOperator ? fault : "the disk did not take the change; the log says why")
                if wasSound, hasFailed { batch.outcomes[index].reply = .withheld }
            }
            // What only reads is answered whatever became of the changes.
            performReading(&batch, policy)
        }
    }

    /// Those that only read, outside of a transaction.
    private func performReading(_ batch: inout CallBatch, _ policy: PolicyImage) {
        for index in batch.calls.indices where !batch.calls[index].isChanging {
            do throws(DirectoryError) {
                try perform(&batch, index, policy)
            } catch {
                batch.outcomes[index].reply = .refused(.storageFailed, note(error))
            }
        }
    }

    /// Throws only what ends the whole batch.
    private func perform(
        _ batch: inout CallBatch, _ index: Int, _ policy: PolicyImage
    ) throws(DirectoryError) {
        let decoded = batch.calls[index]
        guard let call = decoded.call else { return }
        var context = CallContext(
            store: store, engine: engine, policy: policy, issuer: issuer, plan: plan,
            peer: decoded.request.peer, now: WallTime(milliseconds: tg_walltime()))
        let handler = CallHandlers.handler(of: call.call)
        let arguments = CallArguments(call)
        do throws(DirectoryError) {
            let document: JSONValue
            if decoded.isChanging {
                document = try store.together { () throws(DirectoryError) in
                    try handler(arguments, &context)
                }
            } else {
                document = try handler(arguments, &context)
            }
            batch.outcomes[index].reply = Self.reply(document, context.refusal)
            batch.outcomes[index].publications = context.publications
            batch.outcomes[index].warnings = context.warnings
            batch.outcomes[index].reuses = context.reuses
            batch.outcomes[index].displaced = context.displaced
        } catch {
            batch.outcomes[index].reply = try refusal(
                error, context.refusal, isOperator: decoded.request.peer.isAdminSocket)
        }
    }

    private static func reply(
        _ document: JSONValue, _ refusal: (status: Status, detail: String)?
    ) -> CallReply {
        if let refusal { return .refused(refusal.status, refusal.detail) }
        let body = document.bytes
        guard body.count <= CallReply.bytesMax else {
            return .refused(.internalError, "the reply would be larger than a frame")
        }
        return CallReply(status: .ok, body: body)
    }

    private func refusal(
        _ error: DirectoryError, _ refusal: (status: Status, detail: String)?, isOperator: Bool
    ) throws(DirectoryError) -> CallReply {
        switch error {
        case .storage(let fault) where fault.kind == .defect:
            log.error("directory: \(fault)")
            return .refused(.internalError, "a defect of the daemon; its log says more")
        case .storage(let fault) where fault.kind == .damaged:
            // One row that cannot be read is of this call alone, and the disk takes changes.
            log.error("directory: call refused: \(fault)")
            return .refused(
                .storageFailed,
                isOperator ? "\(fault)" : "a record is damaged; the log says which")
        case .storage: throw error
        case _ where refusal != nil:
            return .refused(refusal?.status ?? .internalError, refusal?.detail ?? "")
        case .notFound: return .refused(.notFound, "there is none of that id")
        case .exists: return .refused(.alreadyExists, "the id is taken")
        case .invalid(let field, let why): return .refused(.invalidValue, "\(field): \(why)")
        case .conflict(let why): return .refused(.conflict, why)
        }
    }

    /// Tells the log of a failure of the disk; its words for an operator.
    func note(_ error: DirectoryError) -> String {
        guard case .storage(let fault) = error else { return "\(error)" }
        guard !hasFailed else { return "\(fault)" }
        guard fault.isFailedSync else {
            log.error("directory: change refused: \(fault)")
            return "\(fault)"
        }
        hasFailed = true
        log.error("directory: \(fault); the daemon ends, and reads it anew at its next start")
        links?.onStorageFailure()
        return "\(fault)"
    }

    func tellForbidden(_ request: CallRequest) { forbidden.tell(request, log) }

    private func republish(_ batch: inout CallBatch, _ links: DirectoryLinks) {
        let changes = batch.publications.compactMap(\.signingKeys)
        for change in changes { issuer.take(change) }
        let outcome = links.republish()
        for case .gone(let id) in changes { issuer.files.remove(id.text) }
        guard case .failure(let error) = outcome else { return }
        let words = error.messages.joined(separator: "; ")
        log.error("directory: the policy does not compile with the signing keys: \(words)")
        for index in batch.outcomes.indices
        where batch.outcomes[index].publications.contains(where: { $0.signingKeys != nil }) {
            batch.outcomes[index].reply = .refused(.internalError, words)
        }
    }

    private func reply(_ batch: CallBatch, _ links: DirectoryLinks) {
        var byReactor: [Int: [LateReply]] = [:]
        for (call, outcome) in zip(batch.calls, batch.outcomes) {
            counters.calls.add(outcome.reply.status)
            counters.refreshReuses.wrappingAdd(
                UInt64(outcome.reuses.count), ordering: .relaxed)
            for reuse in outcome.reuses {
                links.alerts?.observe(reuse, now: tg_walltime())
            }
            counters.sessionsDisplaced.wrappingAdd(
                UInt64(outcome.displaced), ordering: .relaxed)
            if outcome.reply.status == .forbidden { tellForbidden(call.request) }
            let late = outcome.reply.late(for: call.request)
            byReactor[call.request.reactor, default: []].append(late)
        }
        for (reactor, replies) in byReactor { links.mailboxes[reactor].post(replies) }
    }
}
