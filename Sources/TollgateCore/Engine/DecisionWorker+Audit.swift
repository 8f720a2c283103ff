import TollgateWire

/// What a worker writes of its decisions into its ring of the audit log.
struct AuditDesk {
    var pen: AuditPen
    /// The id of the request at hand, and its place among those of its shard; 0: none.
    var id: UInt64 = 0
    var order: UInt64 = 0
    /// Of the request at hand: limits as they stood when one of them refused.
    let standings: UnsafeMutablePointer<AuditStanding>
    var standingCount = 0
    /// Of the request at hand: quotas in shadow as it left them.
    let shadowQuotas: UnsafeMutablePointer<AuditStanding>
    var shadowQuotaCount = 0
    var request = AuditRequest(kind: .check)
    /// Of the key that the request at hand showed, good or not.
    var key = APIKeyID.none
    /// Without room for its entry a request is refused; else it is decided, and left out.
    var isBlocking: Bool

    init(_ ring: AuditRing, isBlocking: Bool) {
        pen = AuditPen(ring)
        standings = .allocate(capacity: AuditEntry.standingsMax)
        shadowQuotas = .allocate(capacity: AuditEntry.shadowQuotasMax)
        self.isBlocking = isBlocking
    }
}

/// What of a request goes into its entry beside the decision.
struct AuditRequest {
    var kind: AuditKind
    var flags = AuditFlags()
    var credential = CredentialKind.none
    var addressFamily: UInt8 = 0
    var address = UnsafeRawBufferPointer(start: nil, count: 0)
    var hold = ReservationID(low: 0, high: 0)
    var idempotency = IdempotencyID.none
    var issuer = AuditHead.none
    /// `key` of the desk is its.
    var hasKey = false

    /// Its charges are those of a reservation's meters.
    var isOfHold: Bool { kind.rawValue >= AuditKind.extend.rawValue }

    init(kind: AuditKind) { self.kind = kind }
}

extension DecisionWorker {
    /// From now on every decision leaves an entry in `ring`, which outlives the worker and is
    /// written by nobody else. Before the worker's first request. A request whose entry finds no
    /// room is refused with `isBlocking`, else decided, its entry left out and counted.
    package func openAudit(_ ring: AuditRing, isBlocking: Bool, sampleOneIn: UInt64 = 1) {
        precondition(audit == nil && sampleOneIn > 0)
        let desk = UnsafeMutablePointer<AuditDesk>.allocate(capacity: 1)
        desk.initialize(to: AuditDesk(ring, isBlocking: isBlocking))
        desk.pointee.pen.sampleOneIn = sampleOneIn
        audit = desk
    }

    /// Changes what a reload may change.
    package func setAudit(isBlocking: Bool, sampleOneIn: UInt64) {
        precondition(sampleOneIn > 0)
        audit?.pointee.isBlocking = isBlocking
        audit?.pointee.pen.sampleOneIn = sampleOneIn
    }

    func closeAudit() {
        guard let audit else { return }
        audit.pointee.standings.deallocate()
        audit.pointee.shadowQuotas.deallocate()
        audit.deallocate()
        self.audit = nil
    }

    /// Whether the entries of one more request, and of some holds that end with it, find room.
    @inline(__always)
    package var hasAuditRoom: Bool {
        guard let audit else { return true }
        return audit.pointee.pen.hasRoom(entries: 4)
    }

    /// Nothing may be left out.
    @inline(__always)
    package var isAuditBlocking: Bool { audit?.pointee.isBlocking ?? false }

    /// A quarter of the ring is taken: whoever reads it should come.
    @inline(__always)
    package var isAuditFilling: Bool { audit?.pointee.pen.isFilling ?? false }

    /// Hands over the entries since the last call, before any reply to one of them leaves.
    @inline(__always)
    package func publishAudit(now: @autoclosure () -> BootTime) {
        guard let audit, audit.pointee.pen.hasUnpublished else { return }
        audit.pointee.pen.publish(now: now())
    }

    /// Whether the end of a hold that nobody asked for finds room, or need not.
    @inline(__always)
    var mayWriteCut: Bool {
        guard let audit, audit.pointee.isBlocking else { return true }
        return hasAuditRoom
    }

    /// A request begins; false, and it is to be refused, when its entry must be written and there
    /// is no room.
    @inline(__always)
    func beginAudit(_ kind: AuditKind) -> Bool {
        guard let audit else { return true }
        if audit.pointee.isBlocking, !audit.pointee.pen.hasRoom(entries: 2) { return false }
        audit.pointee.id = audit.pointee.pen.takeID()
        audit.pointee.order = 0
        audit.pointee.standingCount = 0
        audit.pointee.shadowQuotaCount = 0
        audit.pointee.request = AuditRequest(kind: kind)
        return true
    }

    /// Of the request at hand; 0 without an audit log.
    @inline(__always)
    var decisionID: UInt64 { audit?.pointee.id ?? 0 }

    /// The refusal of a request whose entry finds no room: nothing was decided.
    @inline(never)
    func refuseUnaudited(_ reply: UnsafeMutableRawBufferPointer, _ policy: PolicyImage) -> Outcome {
        if let audit { audit.pointee.pen.countRefused() }
        var decision = Decision()
        decision.reason = .auditUnavailable
        counters.add(decision.reason)
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        return Outcome(
            status: .ok, bytes: decision.write(to: reply, policy, explanation: nothing))
    }

    /// A shard's lock was taken for a decision.
    @inline(__always)
    func noteOrder(in shard: Shard) {
        guard let audit, let ledger = shard.ledger else { return }
        ledger.pointee.decisions &+= 1
        audit.pointee.order = ledger.pointee.decisions
    }

    /// Some limit of the stage refused, or would have: notes how all of them stand. Under the
    /// shard's lock.
    @inline(__always)
    func noteStandings(_ program: StepRange, _ evaluation: inout Evaluation) {
        guard let audit, evaluation.isRefused || evaluation.shadowed != 0 else { return }
        note(program, &evaluation, audit)
    }

    @inline(never)
    private func note(
        _ program: StepRange, _ evaluation: inout Evaluation,
        _ audit: UnsafeMutablePointer<AuditDesk>
    ) {
        for index in Int(program.start)..<Int(program.end) {
            guard audit.pointee.standingCount < AuditEntry.standingsMax else { return }
            let standing = evaluation.standing(index)
            let isShadow = standing.step.flags.contains(.shadow)
            let refuses =
                isShadow
                ? evaluation.isShadowed(index)
                : !standing.admits(evaluation.units[Int(standing.step.charge)])
            audit.pointee.standings[audit.pointee.standingCount] = AuditStanding(
                limit: standing.step.limitIndex, scope: standing.step.scope.rawValue,
                flags: (refuses ? AuditStanding.refuses : 0)
                    | (isShadow ? AuditStanding.shadow : 0), used: standing.used,
                held: standing.held, most: standing.step.limit)
            audit.pointee.standingCount &+= 1
        }
    }

    /// Notes, for alerts, how the quotas in shadow stand, which no reply shows. After the charge,
    /// under the shard's lock.
    @inline(__always)
    func noteShadowQuotas(_ program: StepRange, _ evaluation: inout Evaluation) {
        guard let audit, let binding, binding.policy.hasShadowQuotas else { return }
        noteQuotas(program, &evaluation, audit)
    }

    @inline(never)
    private func noteQuotas(
        _ program: StepRange, _ evaluation: inout Evaluation,
        _ audit: UnsafeMutablePointer<AuditDesk>
    ) {
        var count = 0
        for index in Int(program.start)..<Int(program.end)
        where count < AuditEntry.shadowQuotasMax && evaluation.steps[index].isQuota
            && evaluation.steps[index].flags.contains(.shadow)
        {
            let standing = evaluation.standing(index)
            let left = evaluation.periodLeft(standing.step)
            var noted = AuditStanding(
                limit: standing.step.limitIndex, scope: standing.step.scope.rawValue,
                flags: AuditStanding.shadow
                    | (evaluation.isShadowed(index) ? AuditStanding.refuses : 0),
                used: standing.used, held: standing.held, most: standing.step.limit)
            if left.milliseconds != WireLimits.resetNever {
                noted.resetSeconds = UInt32(clamping: (left.milliseconds &+ 999) / 1_000)
                noted.periodDays = left.days
            }
            audit.pointee.shadowQuotas[count] = noted
            count &+= 1
        }
        audit.pointee.shadowQuotaCount = count
    }

    /// The same of a key's own limit.
    @inline(__always)
    func noteStanding(_ own: KeyLook, _ policy: PolicyImage) {
        guard let audit, own.isFull,
            audit.pointee.standingCount < AuditEntry.standingsMax
        else { return }
        audit.pointee.standings[audit.pointee.standingCount] = AuditStanding(
            limit: UInt16(truncatingIfNeeded: policy.credentialLimit),
            scope: LimitScope.credential.rawValue,
            flags: AuditStanding.refuses | (own.isShadow ? AuditStanding.shadow : 0),
            used: own.used, held: 0, most: own.limit)
        audit.pointee.standingCount &+= 1
    }

    /// The same of limits of open reservations, one of which refused.
    @inline(never)
    func noteConcurrency(_ range: StepRange, _ evaluation: inout Evaluation) {
        guard let audit else { return }
        for index in Int(range.start)..<Int(range.end) {
            guard audit.pointee.standingCount < AuditEntry.standingsMax else { return }
            let step = evaluation.step(index)
            let open = evaluation.open(step)
            audit.pointee.standings[audit.pointee.standingCount] = AuditStanding(
                limit: step.limitIndex, scope: step.scope.rawValue,
                flags: (open >= step.limit ? AuditStanding.refuses : 0)
                    | (step.flags.contains(.shadow) ? AuditStanding.shadow : 0),
                used: open, held: 0, most: step.limit)
            audit.pointee.standingCount &+= 1
        }
    }

    // MARK: the request

    /// Notes who asks and with what: `principal`, where the credential is good.
    @inline(__always)
    func noteAudit(_ request: CheckRequest, _ principal: UnsafePointer<Principal>?) {
        guard let audit else { return }
        audit.pointee.request.credential = request.credentialKind
        audit.pointee.request.addressFamily = request.addressFamily
        audit.pointee.request.address = request.address
        audit.pointee.request.idempotency = idempotencyID
        switch request.credentialKind {
        case .accessToken:
            guard principal != nil, let entry = cache.current else { return }
            audit.pointee.request.issuer = UInt16(truncatingIfNeeded: entry.pointee.claimed.issuer)
        case .apiKey:
            if let key = principal?.pointee.keyID {
                audit.pointee.key = key.pointee
            } else {
                // What it says it is, as far as that is no secret.
                guard let key = APIKey(request.credential) else { return }
                audit.pointee.key = key.id
            }
            audit.pointee.request.hasKey = true
        case .none: return
        }
    }

    /// Whom an answer that was kept tells of.
    func answered(_ answer: UnsafeRawBufferPointer, _ policy: PolicyImage) -> Decision {
        var decision = Decision()
        decision.id = decisionID
        guard answer.count >= BodyBytes.decisionReply else { return decision }
        if answer[1] & DecisionFlags.personalOrganization != 0 {
            decision.flags |= DecisionFlags.personalOrganization
        }
        var reader = ByteReader(answer, at: BodyBytes.decisionReply)
        // In the order of their lengths, from 56 on; the limits' names are not looked at.
        if let name = reader.take(Int(answer[56])) { decision.user = name }
        if let name = reader.take(Int(answer[57])) { decision.organization = name }
        if let name = reader.take(Int(answer[58])) { decision.plan = policy.plans.find(name) ?? -1 }
        _ = reader.take(Int(answer[59]) &+ Int(answer[60]))
        if let name = reader.take(Int(answer[61])) {
            decision.operation = policy.operations.find(name) ?? -1
        }
        return decision
    }

    /// The answer that is given was given before.
    @inline(__always)
    func noteRepeated() { audit?.pointee.request.flags.insert(.repeated) }

    /// It is about a hold.
    @inline(__always)
    func noteAudit(_ id: ReservationID) { audit?.pointee.request.hold = id }
}
