import TollgateWire

/// What is in shadow: it is looked at like everything else and refuses nobody, and what it would
/// have refused is told in the reply and in the audit log, and counted.
extension DecisionWorker {
    /// Of one decision: every limit of an address and of a plan, a key's own, a permission.
    static let shadowedMax = PolicyLimits.addressLimitsMax + PolicyLimits.limitsPerPlanMax + 2

    /// Notes which steps of a stage that was looked at would have refused. Nothing, where none is
    /// in shadow.
    @inline(__always)
    func noteShadow(
        _ program: StepRange, open concurrency: StepRange = StepRange(), of own: KeyLook? = nil,
        _ evaluation: borrowing Evaluation, _ decision: inout Decision
    ) {
        if own?.wouldRefuse == true, let binding {
            addShadow(binding.policy.credentialLimit, .rateLimited, &decision)
        }
        if evaluation.shadowed | evaluation.shadowedBusy == 0 { return }
        note(program, evaluation.shadowed, evaluation.steps, isOpen: false, &decision)
        note(concurrency, evaluation.shadowedBusy, evaluation.steps, isOpen: true, &decision)
    }

    /// Notes what was looked at and refuses, or in shadow would, and how everything stands then.
    func noteLooks(
        _ program: StepRange, _ concurrency: StepRange, _ busy: Int, _ own: inout KeyLook?,
        _ evaluation: inout Evaluation, _ decision: inout Decision
    ) {
        own?.isShadow = binding?.policy.isShadow ?? false
        noteStandings(program, &evaluation)
        if busy >= 0 || evaluation.shadowedBusy != 0 {
            noteConcurrency(concurrency, &evaluation)
        }
        noteShadow(program, open: concurrency, of: own, evaluation, &decision)
        if let own, let binding { noteStanding(own, binding.policy) }
    }

    @inline(never)
    private func note(
        _ range: StepRange, _ mask: UInt64, _ steps: UnsafeMutableBufferPointer<ChargeStep>,
        isOpen: Bool, _ decision: inout Decision
    ) {
        for index in Int(range.start)..<Int(range.end) where mask & Evaluation.bit(index) != 0 {
            let step = steps[index]
            let reason: Reason =
                isOpen ? .concurrencyExceeded : step.isQuota ? .quotaExhausted : .rateLimited
            addShadow(Int(step.limitIndex), reason, &decision)
        }
    }

    /// Notes one limit that would have refused, or with -1 a permission. Of several the decision
    /// tells of the first by the order of reasons.
    func addShadow(_ limit: Int, _ reason: Reason, _ decision: inout Decision) {
        if decision.shadowReason == .none || reason.rawValue < decision.shadowReason.rawValue {
            decision.shadowReason = reason
            decision.shadowLimit = limit
        }
        guard decision.shadowCount < Self.shadowedMax else { return }
        shadowed[decision.shadowCount] = Int32(truncatingIfNeeded: limit)
        decision.shadowCount &+= 1
    }

    /// The permission is missing, and the whole policy in shadow.
    @inline(never)
    func shadowPermission(_ decision: inout Decision) {
        addShadow(-1, .permissionDenied, &decision)
        guard let audit, audit.pointee.standingCount < AuditEntry.standingsMax else { return }
        audit.pointee.standings[audit.pointee.standingCount] = AuditStanding(
            limit: AuditHead.none, scope: 0, flags: AuditStanding.refuses | AuditStanding.shadow,
            used: 0, held: 0, most: 0)
        audit.pointee.standingCount &+= 1
    }

    /// Counts a decision: by its reason, where it is given by its operation, and, where it allowed
    /// and charged, by what would have refused it.
    @inline(__always)
    func count(_ decision: borrowing Decision, operation: Int = -1) {
        counters.add(decision.reason, operation: operation)
        if decision.shadowCount > 0, decision.isAllowedInShadow { countShadow(decision) }
    }

    @inline(never)
    private func countShadow(_ decision: borrowing Decision) {
        guard decision.flags & DecisionFlags.dryRun == 0, let binding else { return }
        for index in 0..<decision.shadowCount {
            engine.wouldDenyCounts.add(binding.shadows.place(ofLimit: Int(shadowed[index])))
        }
    }
}

extension Decision {
    /// It is allowed because what would have refused it is in shadow.
    @inline(__always)
    var isAllowedInShadow: Bool { reason == .none && shadowReason != .none }

    /// Writes what would have refused: extension field `wouldDeny`.
    @inline(never)
    func writeWouldDeny(
        to reply: UnsafeMutableRawBufferPointer, _ policy: PolicyImage, _ end: inout Int
    ) {
        let name = shadowLimit < 0 ? [] : policy.limits[shadowLimit].name
        reply[end] = ExtensionTag.wouldDeny
        reply[end + 1] = 0
        reply.storeLittle(UInt16(BodyBytes.wouldDeny + name.count), at: end + 2)
        end += BodyBytes.extensionHeader
        reply.storeLittle(shadowReason.rawValue, at: end)
        reply[end + 2] = UInt8(truncatingIfNeeded: name.count)
        reply[end + 3] = 0
        name.withUnsafeBytes { reply.copy($0, to: end + BodyBytes.wouldDeny) }
        end += BodyBytes.wouldDeny + name.count
    }
}

extension Evaluation {
    @inline(__always)
    static func bit(_ index: Int) -> UInt64 { 1 &<< UInt64(truncatingIfNeeded: index & 63) }

    /// A step in shadow would have refused.
    @inline(__always)
    func isShadowed(_ index: Int) -> Bool { shadowed & Self.bit(index) != 0 }
}
