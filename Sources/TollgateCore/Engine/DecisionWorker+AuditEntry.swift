import TollgateWire

/// How a decision becomes an entry.
extension DecisionWorker {
    /// Writes the entry of the request at hand.
    @inline(__always)
    func writeAudit(_ decision: borrowing Decision, _ policy: PolicyImage) {
        guard let audit else { return }
        if audit.pointee.request.kind == .check, decision.reason == .none,
            audit.pointee.pen.sampleOneIn > 1,
            audit.pointee.id % audit.pointee.pen.sampleOneIn != 0
        {
            return
        }
        put(decision, policy, audit)
    }

    /// Writes the entry of a hold that ended by itself, in the middle of a request or between two.
    /// `holdUnits` is what it was charged.
    @inline(never)
    func writeCut(
        _ reservation: Reservation, _ scene: HoldScene, in shard: Shard, _ policy: PolicyImage
    ) {
        guard let audit else { return }
        let (request, id) = (audit.pointee.request, audit.pointee.id)
        let (order, standings) = (audit.pointee.order, audit.pointee.standingCount)
        let shadowQuotas = audit.pointee.shadowQuotaCount
        audit.pointee.request = AuditRequest(kind: .cut)
        audit.pointee.request.hold = reservation.id
        audit.pointee.standingCount = 0
        audit.pointee.shadowQuotaCount = 0
        audit.pointee.id = audit.pointee.pen.takeID()
        noteOrder(in: shard)
        var decision = heldDecision(scene)
        if let money = reservation.money { decision.cost = holdUnits[money] }
        put(decision, policy, audit)
        audit.pointee.request = request
        audit.pointee.id = id
        audit.pointee.order = order
        audit.pointee.standingCount = standings
        audit.pointee.shadowQuotaCount = shadowQuotas
    }

    @inline(never)
    private func put(
        _ decision: borrowing Decision, _ policy: PolicyImage,
        _ audit: UnsafeMutablePointer<AuditDesk>
    ) {
        let request = audit.pointee.request
        let charges = chargeCount(decision, request, policy)
        var head = AuditHead()
        head.kind = request.kind.rawValue
        head.flags = request.flags
        if request.hold != ReservationID(low: 0, high: 0) { head.flags.insert(.hold) }
        if !request.idempotency.isNone { head.flags.insert(.idempotencyID) }
        if request.hasKey { head.flags.insert(.keyID) }
        if decision.flags & DecisionFlags.dryRun != 0 { head.flags.insert(.dryRun) }
        if decision.flags & DecisionFlags.personalOrganization != 0 {
            head.flags.insert(.personal)
        }
        if decision.flags & DecisionFlags.overage != 0 { head.flags.insert(.overage) }
        if decision.isAllowedInShadow { head.flags.insert(.shadow) }
        fill(&head, decision, policy)
        fill(&head, request)
        head.id = audit.pointee.id
        head.order = audit.pointee.order
        head.organizationBytes = UInt8(truncatingIfNeeded: decision.organization.count)
        head.userBytes = UInt8(truncatingIfNeeded: decision.user.count)
        head.chargeCount = UInt8(truncatingIfNeeded: charges)
        if head.reason != 0 || head.flags.contains(.shadow) {
            head.standingCount = UInt8(truncatingIfNeeded: audit.pointee.standingCount)
        }
        let padded = AuditEntry.paddedBytes(head)
        let shadowQuotas = audit.pointee.shadowQuotaCount &* AuditStanding.bytes
        let bytes = padded &+ shadowQuotas
        head.bytes = UInt32(truncatingIfNeeded: bytes)
        guard let place = audit.pointee.pen.place(bytes) else { return }
        place.storeBytes(of: head, as: AuditHead.self)
        var at = place + AuditHead.bytes
        for index in 0..<charges {
            at.storeBytes(
                of: charge(index, decision, request, policy), as: AuditCharge.self)
            at += AuditCharge.bytes
        }
        let standings = Int(head.standingCount) &* AuditStanding.bytes
        if standings > 0 {
            at.copyMemory(from: audit.pointee.standings, byteCount: standings)
            at += standings
        }
        if head.flags.contains(.hold) { append(request.hold.low, request.hold.high, &at) }
        if head.flags.contains(.idempotencyID) {
            append(request.idempotency.low, request.idempotency.high, &at)
        }
        if request.hasKey {
            at.storeBytes(of: audit.pointee.key, as: APIKeyID.self)
            at += APIKeyID.bytes
        }
        append(decision.organization, &at)
        append(decision.user, &at)
        guard shadowQuotas > 0 else { return }
        (place + padded).copyMemory(from: audit.pointee.shadowQuotas, byteCount: shadowQuotas)
    }

    @inline(__always)
    private func fill(
        _ head: inout AuditHead, _ decision: borrowing Decision, _ policy: PolicyImage
    ) {
        head.reason = decision.reason.rawValue
        head.wallMilliseconds = now.wall.milliseconds
        head.bootNanoseconds = now.boot.nanoseconds
        head.generation = UInt32(truncatingIfNeeded: policy.generation)
        head.plan = UInt16(truncatingIfNeeded: decision.plan)
        head.operation = UInt16(truncatingIfNeeded: decision.operation)
        head.rate = UInt16(truncatingIfNeeded: decision.rate.index)
        head.quota = UInt16(truncatingIfNeeded: decision.quota.index)
        head.rateLimit = decision.rate.limit
        head.rateUsed = decision.rate.used
        head.quotaLimit = decision.quota.limit
        head.quotaUsed = decision.quota.used
        head.quotaResetSeconds = UInt32(
            truncatingIfNeeded: (min(decision.quota.resetMilliseconds, 4_294_967_295_000) &+ 999)
                / 1_000)
        head.quotaPeriodDays = decision.quota.periodDays
        head.cost = decision.cost
        head.retryMilliseconds = decision.retryMilliseconds
    }

    @inline(__always)
    private func fill(_ head: inout AuditHead, _ request: AuditRequest) {
        head.credentialKind = request.credential.rawValue
        head.issuer = request.issuer
        head.addressFamily = request.addressFamily
        guard request.addressFamily != 0 else { return }
        head.addressHigh = request.address.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
        head.addressLow = request.address.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    }

    private func append(_ low: UInt64, _ high: UInt64, _ at: inout UnsafeMutableRawPointer) {
        at.storeBytes(of: low.littleEndian, as: UInt64.self)
        at.storeBytes(of: high.littleEndian, toByteOffset: 8, as: UInt64.self)
        at += 16
    }

    private func append(_ name: UnsafeRawBufferPointer, _ at: inout UnsafeMutableRawPointer) {
        guard let from = name.baseAddress else { return }
        at.copyMemory(from: from, byteCount: name.count)
        at += name.count
    }

    // MARK: charges

    /// Of the operation; of a hold whose operation the policy no longer has, none.
    @inline(__always)
    private func chargeCount(
        _ decision: borrowing Decision, _ request: AuditRequest, _ policy: PolicyImage
    ) -> Int {
        guard decision.operation >= 0, decision.plan >= 0, !request.flags.contains(.repeated)
        else { return 0 }
        return Int(policy.compiledOperations[decision.operation].chargeCount)
    }

    @inline(__always)
    private func charge(
        _ index: Int, _ decision: borrowing Decision, _ request: AuditRequest,
        _ policy: PolicyImage
    ) -> AuditCharge {
        let start = Int(policy.compiledOperations[decision.operation].chargeStart)
        let charge = policy.charges[start &+ index]
        let meter = UInt16(truncatingIfNeeded: Int(charge.meter))
        guard request.isOfHold else {
            return AuditCharge(meter: meter, units: plainUnits[index], weighted: units[index])
        }
        let place = holdMeters[index]
        guard place >= 0 else { return AuditCharge(meter: meter, units: 0, weighted: 0) }
        // Of a settlement as it was named; else no finer than it was counted.
        let weighted = holdUnits[place]
        let units =
            request.kind == .settle ? plainUnits[place] : weighted / max(1, charge.weight)
        return AuditCharge(meter: meter, units: units, weighted: weighted)
    }
}
