import TollgateWire

/// A decision of an audit log, asked again: who asked is taken as known, everything else is decided
/// anew. Borrows what it names.
package struct ReplayCall {
    package var kind = AuditKind.check
    package var organization: [UInt8]
    package var user: [UInt8]
    package var isPersonal = false
    package var plan: [UInt8]
    package var operation: [UInt8]
    /// Meter, and units before they are weighted.
    package var meters: [(name: [UInt8], units: UInt64)] = []
    /// 0, 4 or 6, and 16 bytes in network order, zeros behind an IPv4 address.
    package var family: UInt8 = 0
    package var address = [UInt8](repeating: 0, count: 16)
    /// The credential has the permission, whatever the plan says; `nil`: as the plan says.
    package var isPermitted: Bool?
    package var isDryRun = false

    package init(organization: [UInt8], user: [UInt8], plan: [UInt8], operation: [UInt8]) {
        self.organization = organization
        self.user = user
        self.plan = plan
        self.operation = operation
    }
}

/// What a call comes to under a policy.
package struct ReplayAnswer: Equatable {
    package var reason = Reason.none
    /// The limit that refused, or that is shown.
    package var rate: String?
    package var quota: String?
    /// Of the quota shown: used and held, after the charge.
    package var quotaUsed: UInt64 = 0
    package var rateUsed: UInt64 = 0
    /// Micro-units of money.
    package var cost: UInt64 = 0
    /// Of a RESERVE that is allowed.
    package var hold: ReservationID?
    /// It is allowed because what would have refused it is in shadow.
    package var isInShadow = false

    package init(reason: Reason = .none) { self.reason = reason }

    /// The limit that refuses, of a rate limit or a quota.
    package var refusing: String? {
        reason == .rateLimited ? rate : reason == .quotaExhausted ? quota : nil
    }
}

/// Replay. Allocates; no daemon calls it.
extension DecisionWorker {
    /// Decides a call at the turn's moment; `nil` when the policy has no such plan or operation, or
    /// the units leave 64 bits.
    package func replay(_ call: ReplayCall) -> ReplayAnswer? {
        guard let binding else { preconditionFailure("a replay before beginTurn") }
        return call.user.withUnsafeBytes { user in
            call.organization.withUnsafeBytes { organization in
                call.address.withUnsafeBytes { address in
                    replay(call, binding, user, organization, address)
                }
            }
        }
    }

    private func replay(
        _ call: ReplayCall, _ binding: PolicyBinding, _ user: UnsafeRawBufferPointer,
        _ organization: UnsafeRawBufferPointer, _ address: UnsafeRawBufferPointer
    ) -> ReplayAnswer? {
        let policy = binding.policy
        guard let plan = call.plan.withUnsafeBytes({ policy.plans.find($0) }),
            let index = call.operation.withUnsafeBytes({ policy.operations.find($0) })
        else { return nil }
        let operation = policy.compiledOperations[index]
        var decision = Decision()
        (decision.plan, decision.operation) = (plan, index)
        guard takeMeters(call, operation, policy) else { return nil }
        do {
            try setUnits(operation, policy, defaults: call.kind != .consume)
            try setCost(plan: plan, operation, policy, &decision)
        } catch { return nil }
        var principal = Principal(
            user: user, organization: organization, isPersonal: call.isPersonal, plan: plan,
            permissions: policy.compiledPlans[plan].permissions, hash: engine.hash)
        principal.members.isUnknown = true
        keep = KeepRequest()
        keep.isActive = call.kind == .reserve
        keep.isReservation = call.kind == .reserve
        keep.isDetached = true
        answerBytes = 0
        let isPermitted =
            call.isPermitted ?? (operation.permission < 0
                || principal.permissions.contains(Int(operation.permission)))
        if call.kind == .consume {
            recordStage(
                principal, policy.program(plan: plan, operation: index), dryRun: call.isDryRun,
                explain: false, binding, &decision)
        } else if isPermitted || policy.isShadow {
            if !isPermitted { shadowPermission(&decision) }
            let key = AddressKey(family: call.family, address, engine.hash)
            let flags = call.isDryRun ? RequestFlags.dryRun : 0
            withUnsafePointer(to: principal) {
                charge($0, operation, key, flags, binding, &decision)
            }
        } else {
            decision.reason = .permissionDenied
        }
        return answer(decision, policy)
    }

    /// False: there are more than a request has; then not all are taken.
    private func takeMeters(
        _ call: ReplayCall, _ operation: CompiledOperation, _ policy: PolicyImage
    ) -> Bool {
        meterCount = 0
        for (name, units) in call.meters {
            guard let meter = name.withUnsafeBytes({ policy.meters.find($0) }),
                (0..<Int(operation.chargeCount)).contains(where: {
                    Int(policy.charges[Int(operation.chargeStart) + $0].meter) == meter
                })
            else { continue }
            guard meterCount < WireLimits.metersMax else { return false }
            meters[meterCount] = RequestedMeter(meter: meter, units: units)
            meterCount += 1
        }
        return true
    }

    private func answer(_ decision: Decision, _ policy: PolicyImage) -> ReplayAnswer {
        var answer = ReplayAnswer(reason: decision.reason)
        func name(_ state: LimitState) -> String? {
            state.index < 0
                ? nil : String(decoding: policy.limits[state.index].name, as: UTF8.self)
        }
        answer.rate = name(decision.rate)
        answer.quota = name(decision.quota)
        answer.rateUsed = decision.rate.used
        answer.quotaUsed = decision.quota.used
        answer.cost = decision.cost
        answer.isInShadow = decision.isAllowedInShadow
        if keep.isReservation, decision.reason == .none, answerBytes >= BodyBytes.reservation {
            let id = ReservationID(
                UnsafeRawBufferPointer(self.answer), at: answerBytes - BodyBytes.reservation)
            answer.hold = id
            // It ends when the log says so, and not by its time.
            _ = engine.withReservation(id) { reservation, shard in
                shard.ledger?.pointee.kept.open.move(reservation.kept, end: .max)
            }
        }
        return answer
    }

    /// What a quota of a plan counts of a subject, used and held; sets what is used, and what it
    /// was, when `used` is given. `nil`: no such quota, or nothing of the subject is known.
    package func replayQuota(
        _ call: ReplayCall, _ name: String, setting occupied: UInt64? = nil
    ) -> UInt64? {
        guard let binding, let plan = call.plan.withUnsafeBytes({ binding.policy.plans.find($0) })
        else { return nil }
        return call.user.withUnsafeBytes { user in
            call.organization.withUnsafeBytes { organization in
                var principal = Principal(
                    user: user, organization: organization, isPersonal: call.isPersonal,
                    plan: plan, permissions: PermissionSet(), hash: engine.hash)
                principal.members.isUnknown = true
                return replayQuota(principal, name, occupied, binding)
            }
        }
    }

    private func replayQuota(
        _ principal: Principal, _ name: String, _ occupied: UInt64?, _ binding: PolicyBinding
    ) -> UInt64? {
        let all = binding.policy.compiledPlans[principal.plan].all
        let shard = engine.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        guard
            let (user, shared) = withUnsafePointer(to: principal, {
                tenantRows($0, nil, in: &shard.table.pointee, create: true, binding)
            })
        else { return nil }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, ledger: shard.ledger, ledgerState: engine.state)
        for index in Int(all.start)..<Int(all.end) {
            let step = evaluation.steps[index]
            guard step.isQuota, !step.flags.contains(.member),
                binding.policy.limits[Int(step.limitIndex)].name.elementsEqual(name.utf8)
            else { continue }
            let standing = evaluation.standing(index)
            let view = evaluation.view(step)
            guard let row = view.row, let offsets = view.offsets else { return nil }
            let cell = row.quota(Int(offsets[Int(step.slot)].head))
            if let occupied {
                cell.pointee.used = occupied - min(occupied, cell.pointee.held)
            }
            return standing.occupied
        }
        return nil
    }

    /// Settles a hold of `replay` with so many units of each meter; false when it has ended.
    package func replaySettle(_ id: ReservationID, _ meters: [(name: [UInt8], units: UInt64)])
        -> Bool
    {
        let body = replayBody(id, meters.map { ($0.name, [$0.units]) })
        return withUnsafeTemporaryAllocation(
            byteCount: Self.replyBytesMax, alignment: 8
        ) { reply in
            body.withUnsafeBytes { settle($0, into: reply) }.status == .ok
        }
    }

    /// Cancels a hold of `replay`.
    package func replayCancel(_ id: ReservationID) {
        let body = replayBody(id, [])
        withUnsafeTemporaryAllocation(byteCount: Self.replyBytesMax, alignment: 8) { reply in
            _ = body.prefix(24).withUnsafeBytes { cancel($0, into: reply) }
        }
    }

    /// Cuts a hold of `replay`, which is charged so many weighted units of each meter.
    package func replayCut(_ id: ReservationID, _ meters: [(name: [UInt8], weighted: UInt64)]) {
        guard let binding else { return }
        _ = engine.withReservation(id) { reservation, shard in
            guard reservation.state == .open else { return }
            for index in 0..<reservation.meterCount {
                let tag = reservation.meters[index].tag
                let found = meters.first { $0.name.withUnsafeBytes { meterTag($0) } == tag }
                reservation.meters[index].used = found?.weighted ?? 0
            }
            reservation.head.pointee.cut = CutStream.reported.rawValue
            _ = cut(reservation, HoldFacts(), in: shard, binding)
        }
    }

    /// Asks for so much of each meter in all; `nil` when it has ended.
    package func replayExtend(
        _ id: ReservationID, _ meters: [(name: [UInt8], units: UInt64)]
    ) -> ReplayAnswer? {
        let body = replayBody(id, meters.map { ($0.name, [$0.units, 0]) })
        let answer = withUnsafeTemporaryAllocation(
            byteCount: Self.replyBytesMax, alignment: 8
        ) { reply -> ReplayAnswer? in
            guard body.withUnsafeBytes({ extend($0, into: reply) }).status == .ok else {
                return nil
            }
            return Self.replayAnswer(UnsafeRawBufferPointer(reply))
        }
        _ = engine.withReservation(id) { reservation, shard in
            guard reservation.state == .open else { return }
            shard.ledger?.pointee.kept.open.move(reservation.kept, end: .max)
        }
        return answer
    }

    /// Reason and limits of a decision's bytes.
    private static func replayAnswer(_ reply: UnsafeRawBufferPointer) -> ReplayAnswer? {
        guard let reason = Reason(rawValue: reply.loadLittle(at: 2, as: UInt16.self)) else {
            return nil
        }
        var answer = ReplayAnswer(reason: reason)
        let at = BodyBytes.decisionReply + Int(reply[56]) + Int(reply[57]) + Int(reply[58])
        let (rate, quota) = (Int(reply[59]), Int(reply[60]))
        answer.rate = String(decoding: reply.slice(at: at, length: rate), as: UTF8.self)
        answer.quota = String(decoding: reply.slice(at: at + rate, length: quota), as: UTF8.self)
        return answer
    }

    private func replayBody(
        _ id: ReservationID, _ meters: [(name: [UInt8], units: [UInt64])]
    ) -> [UInt8] {
        var body: [UInt8] = []
        func little<T: FixedWidthInteger>(_ value: T) {
            withUnsafeBytes(of: value.littleEndian) { body += $0 }
        }
        little(id.low)
        little(id.high)
        // More meters, and longer names, than a request has are refused as one's.
        body += [UInt8(clamping: meters.count), 0, 0, 0, 0, 0, 0, 0]
        for (name, units) in meters {
            body.append(UInt8(clamping: name.count))
            body += name
            for unit in units { little(unit) }
        }
        return body
    }
}
