import TollgateWire

/// What a request leaves in the ledger beside its charge: a reservation, an answer that is given
/// again to who asks with the same idempotency id, or both.
struct KeepRequest {
    var isActive = false
    var opcode = Opcode.check
    var id = IdempotencyID.none
    /// Keyed hash of all that makes it another request.
    var request: UInt64 = 0
    /// The id stands for another request.
    var isConflict = false
    /// It is a RESERVE: the rest is its terms.
    var isReservation = false
    var isDetached = false
    var timeToLiveMilliseconds: UInt32 = 0
    var connection: UInt64 = 0
}

/// Rows that were made for what a request leaves; in no list yet.
struct KeptRows {
    var reservation: Reservation?
    var record: IdempotencyRecord?
    /// Slots that the journal needs for them.
    var slots = 0
}

extension DecisionWorker {
    /// Room for a decision with all names, cost and reservation, in bytes.
    static let answerBytesMax = 2_048

    /// The request carries an idempotency id: its answer is to be kept. A dry run's is not.
    func keepAnswer(_ opcode: Opcode, dryRun: Bool) {
        guard !dryRun else { return }
        if !keep.isActive {
            keep = KeepRequest()
            keep.isActive = true
        }
        keep.opcode = opcode
        keep.id = idempotencyID
        answerBytes = 0
    }

    /// Writes the answer that was kept, or a refusal; of what was not kept, the decision.
    func replyKept(
        to reply: UnsafeMutableRawBufferPointer, _ policy: PolicyImage
    ) -> Outcome {
        if keep.isConflict {
            return Self.refuse(
                Refusal(.conflict, "the idempotency id stands for another request"), into: reply)
        }
        count(decision.pointee, operation: decision.pointee.operation)
        writeAudit(decision.pointee, policy)
        let explained = UnsafeRawBufferPointer(rebasing: explanation[..<explanationBytes])
        guard answerBytes > 0 else {
            conceal(&decision.pointee, policy)
            return Outcome(
                status: .ok,
                bytes: decision.pointee.write(to: reply, policy, explanation: explained))
        }
        return Outcome(status: .ok, bytes: writeAnswer(to: reply, explanation: explained))
    }

    /// Copies the answer at hand, and what explains it behind.
    func writeAnswer(
        to reply: UnsafeMutableRawBufferPointer, explanation: UnsafeRawBufferPointer
    ) -> Int {
        reply.copy(UnsafeRawBufferPointer(rebasing: answer[..<answerBytes]), to: 0)
        guard explanation.count > 0 else { return answerBytes }
        reply[answerBytes] = ExtensionTag.explain
        reply[answerBytes + 1] = 0
        reply.storeLittle(UInt16(explanation.count), at: answerBytes + 2)
        reply.copy(explanation, to: answerBytes + BodyBytes.extensionHeader)
        return answerBytes + BodyBytes.extensionHeader + explanation.count
    }

    // MARK: answers that were kept

    /// Whether the request was answered before: then `answer` has what, or `keep` says that it was
    /// another request. Takes the shard's lock for a moment.
    func isAnsweredAlready(
        _ principal: UnsafePointer<Principal>, _ policy: PolicyImage, operation: Int
    ) -> Bool {
        guard !keep.id.isNone else { return false }
        keep.request = requestHash(principal.pointee.user, policy, operation: operation)
        let shard = engine.tenantShard(principal.pointee.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        return answerAgain(principal, in: shard)
    }

    /// The same under the shard's lock.
    func answerAgain(_ principal: UnsafePointer<Principal>, in shard: Shard) -> Bool {
        guard !keep.id.isNone else { return false }
        let handle = keep.id.withKey(
            organizationHash: principal.pointee.organizationHash,
            fingerprint: principal.pointee.fingerprint, engine.hash
        ) { shard.table.pointee.find($0) }
        guard handle != .none else { return false }
        let record = IdempotencyRecord(shard.table.pointee.row(handle))
        guard record.kept.head.pointee.forgetAt > clock.period.milliseconds else {
            forget(record.kept, in: shard)
            return false
        }
        guard record.request == keep.request else {
            keep.isConflict = true
            return true
        }
        // What it says again may not be synced yet, whoever asked first.
        hasJournaled = true
        noteRepeated()
        answer.copy(record.answer, to: 0)
        answerBytes = record.answer.count
        if keep.isReservation { tieAgain(in: shard) }
        return true
    }

    /// What tells requests apart that carry the same id: opcode, user, operation, and the meters
    /// that are named with their units, in whatever order.
    private func requestHash(
        _ user: UnsafeRawBufferPointer, _ policy: PolicyImage, operation: Int
    ) -> UInt64 {
        let hash = engine.hash
        let who = hash.hash(user, tweak: UInt64(keep.opcode.rawValue))
        let what = policy.operations.withName(operation) { hash.hash($0, tweak: who) }
        var sum = what
        for index in 0..<meterCount {
            let meter = meters[index]
            sum &+= policy.meters.withName(meter.meter) {
                hash.hash($0, tweak: what ^ (meter.units &* 0x9e37_79b9_7f4a_7c15))
            }
        }
        return sum
    }

    // MARK: rows for what is kept

    /// Of the names of the request at hand that its answer has.
    func nameBytes(
        _ principal: UnsafePointer<Principal>, _ plan: Int, _ operation: Int, _ policy: PolicyImage
    ) -> Int {
        principal.pointee.user.count + principal.pointee.organization.count
            + policy.plans.withName(plan) { $0.count }
            + policy.operations.withName(operation) { $0.count }
    }

    /// Room for the answer to a request with so many bytes of names.
    func answerRoom(_ names: Int, _ policy: PolicyImage) -> Int {
        BodyBytes.decisionReply + names + 2 * policy.limitNameBytesMax
            + 3 * BodyBytes.extensionHeader + BodyBytes.cost + BodyBytes.reservation
            + BodyBytes.decisionID
            + (policy.hasShadow ? BodyBytes.extensionHeader + BodyBytes.wouldDeny : 0)
            + (policy.hasShadow ? policy.limitNameBytesMax : 0)
    }

    /// Makes the rows of what the request leaves; `nil`, and nothing is made, at a ceiling or
    /// without memory.
    func makeKept(
        _ principal: UnsafePointer<Principal>, _ decision: Decision, lines: Int, in shard: Shard,
        _ policy: PolicyImage
    ) -> KeptRows? {
        let names = nameBytes(principal, decision.plan, decision.operation, policy)
        let room = answerRoom(names, policy)
        var rows = KeptRows()
        if keep.isReservation {
            guard
                let made = makeReservation(
                    principal, decision, lines: lines, names: names, answerRoom: room,
                    in: shard, policy)
            else { return nil }
            rows.reservation = made
            rows.slots += JournalFormat.slots(
                itemBytes: PackedReservation.bytesMax(
                    meters: made.meterCount, lines: lines, names: names))
        }
        if !keep.id.isNone {
            guard let made = makeRecord(principal, answerRoom: room, in: shard, policy) else {
                drop(rows, in: shard)
                return nil
            }
            rows.record = made
            rows.slots += ShardLedger.slots(contentBytes: IdempotencyRecord.headBytes + room)
        }
        return rows
    }

    private func makeRecord(
        _ principal: UnsafePointer<Principal>, answerRoom: Int, in shard: Shard,
        _ policy: PolicyImage
    ) -> IdempotencyRecord? {
        forgetKept(in: shard, atMost: 2)
        let most = Int(clamping: policy.idempotency.recordsMax)
        guard engine.reserve(engine.idempotencyRecords, max: most) else { return nil }
        let handle = keep.id.withKey(
            organizationHash: principal.pointee.organizationHash,
            fingerprint: principal.pointee.fingerprint, engine.hash
        ) {
            shard.table.pointee.insert(
                $0, layout: 0, layoutBytes: IdempotencyRecord.headBytes + answerRoom)
        }
        guard handle != .none else {
            engine.idempotencyRecords.wrappingSubtract(1, ordering: .relaxed)
            return nil
        }
        let record = IdempotencyRecord(shard.table.pointee.row(handle))
        record.kept.reset(handle)
        record.kept.head.pointee.forgetAt = forgetAt(policy)
        record.request = keep.request
        return record
    }

    /// When what ends now is forgotten.
    func forgetAt(_ policy: PolicyImage) -> Int64 {
        clock.period.milliseconds &+ Int64(clamping: policy.idempotency.lifetimeMilliseconds)
    }

    /// Undoes `makeKept`.
    func drop(_ rows: KeptRows, in shard: Shard) {
        if let reservation = rows.reservation {
            shard.table.pointee.remove(reservation.kept.head.pointee.handle)
            engine.reservations.wrappingSubtract(1, ordering: .relaxed)
        }
        if let record = rows.record {
            shard.table.pointee.remove(record.kept.head.pointee.handle)
            engine.idempotencyRecords.wrappingSubtract(1, ordering: .relaxed)
        }
    }

    /// Writes the decision as the answer that is kept, without explain.
    func writeKept(_ decision: Decision, _ reservation: Reservation?, _ policy: PolicyImage) {
        answerBytes = decision.write(
            to: answer, policy, explanation: UnsafeRawBufferPointer(start: nil, count: 0))
        guard let reservation else { return }
        noteAudit(reservation.id)
        answer[answerBytes] = ExtensionTag.reservation
        answer[answerBytes + 1] = 0
        answer.storeLittle(UInt16(BodyBytes.reservation), at: answerBytes + 2)
        answerBytes += BodyBytes.extensionHeader
        reservation.id.write(to: answer, at: answerBytes)
        answer.storeLittle(
            reservation.head.pointee.timeToLiveMilliseconds,
            at: answerBytes + BodyBytes.reservationID)
        answer.storeLittle(UInt32(0), at: answerBytes + BodyBytes.reservationID + 4)
        answerBytes += BodyBytes.reservation
    }

    /// Puts what was made into the journal and the lists, and ends the transaction.
    func finish(
        _ rows: KeptRows, isJournaled: Bool, in shard: Shard,
        _ ledger: UnsafeMutablePointer<ShardLedger>
    ) {
        if let record = rows.record {
            record.setAnswer(UnsafeRawBufferPointer(rebasing: answer[..<answerBytes]))
            ledger.pointee.kept.records.append(record.kept, in: shard.table.pointee)
            if isJournaled {
                ledger.pointee.put(record.row, contentBytes: record.contentBytes)
            }
        }
        if let reservation = rows.reservation, isJournaled {
            ledger.pointee.put(reservation, packedInto: packed)
        }
        if isJournaled {
            ledger.pointee.journal.commit()
            hasJournaled = true
        }
    }

    /// Brings near what a RESERVE is likely to write, while its limits are looked at: its row and
    /// where that is looked up, its place among those that are open, its slots in the journal, and
    /// where there are as many as there may be the one that gives place.
    @inline(__always)
    func prefetchReservation(in shard: Shard) {
        guard let ledger = shard.ledger else { return }
        ledger.pointee.kept.prefetchNext(in: shard.table.pointee)
        ledger.pointee.journal.prefetchNext(slots: Self.slotsOfReservation)
        let count = engine.reservations.load(ordering: .relaxed)
        if count >= engine.configuration.reservationsMax {
            ledger.pointee.kept.ended.prefetchFirst(in: shard.table.pointee)
        }
    }

    /// About what a RESERVE writes.
    private static let slotsOfReservation = 8

    // MARK: forgetting

    /// Removes rows whose time to be remembered is over, at most so many of each list.
    func forgetKept(in shard: Shard, atMost most: Int) {
        guard let ledger = shard.ledger else { return }
        for _ in 0..<most {
            guard ledger.pointee.kept.ended.firstForgetAt <= clock.period.milliseconds,
                let kept = first(ledger.pointee.kept.ended, in: shard)
            else { break }
            forget(kept, in: shard)
        }
        for _ in 0..<most {
            guard ledger.pointee.kept.records.firstForgetAt <= clock.period.milliseconds,
                let kept = first(ledger.pointee.kept.records, in: shard)
            else { break }
            forget(kept, in: shard)
        }
    }

    private func first(_ list: KeptList, in shard: Shard) -> KeptRow? {
        list.first == .none ? nil : KeptRow(shard.table.pointee.row(list.first))
    }

    /// Removes a row that stands in a list, or is open.
    func forget(_ kept: KeptRow, in shard: Shard) {
        let handle = kept.head.pointee.handle
        engine.detach(kept.row, in: shard)
        shard.table.pointee.remove(handle)
    }

    /// Makes room for a reservation where there are as many as there may be: of those that have
    /// ended, the oldest of the shard gives place, unless it was cut and may still be settled.
    func forgetEndedEarly(in shard: Shard) -> Bool {
        guard let ledger = shard.ledger else { return false }
        var handle = ledger.pointee.kept.ended.first
        for _ in 0..<8 where handle != .none {
            let reservation = Reservation(shard.table.pointee.row(handle))
            if reservation.state == .settled || reservation.state == .canceled {
                forget(reservation.kept, in: shard)
                return true
            }
            handle = reservation.kept.head.pointee.next
        }
        return false
    }
}

extension Engine {
    /// Takes a row without counters out of what it stands in, before it is removed; under the
    /// shard's lock.
    func detach(_ row: Row, in shard: Shard) {
        let isOpen = row.kind == RowKind.reservation.rawValue
            && KeptRow(row).head.pointee.ticket > 0
        shard.ledger?.pointee.kept.detach(row, in: shard.table.pointee)
        if row.kind == RowKind.idempotency.rawValue {
            idempotencyRecords.wrappingSubtract(1, ordering: .relaxed)
        } else {
            reservations.wrappingSubtract(1, ordering: .relaxed)
            if isOpen { openReservations.wrappingSubtract(1, ordering: .relaxed) }
        }
    }
}
