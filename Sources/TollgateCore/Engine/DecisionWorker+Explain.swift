import TollgateWire

/// The value of the extension *explain*: u16 count, then limit entries; also the body of USAGE.
extension DecisionWorker {
    func beginExplanation() {
        explanationBytes = 2
        explanation.storeLittle(UInt16(0), at: 0)
    }

    /// Adds an entry for every step, under the shard's lock. All entries of a plan and of the
    /// addresses fit (`PolicyLimits`). With `isRecorded` the units are among those used already.
    func add(_ program: StepRange, _ evaluation: inout Evaluation, isRecorded: Bool = false) {
        guard let policy = binding?.policy else { return }
        for index in Int(program.start)..<Int(program.end) {
            let standing = evaluation.standing(index)
            let step = standing.step
            let info = policy.limits[Int(step.limitIndex)]
            let bytes = BodyBytes.limitEntry + info.name.count + info.meter.count
            guard explanationBytes + bytes <= explanation.count - 1_024 else { return }
            let at = explanationBytes
            explanation[at] = (step.isQuota ? LimitKind.quota : .rateLimit).rawValue
            explanation[at + 1] = step.scope.rawValue
            let wanted = isRecorded ? 0 : units[Int(step.charge)]
            let isShadow = step.flags.contains(.shadow)
            let refused =
                isShadow
                ? evaluation.isShadowed(index)
                : evaluation.isRefused && !standing.admits(wanted)
            explanation[at + 2] =
                (refused ? LimitEntryFlags.refused : 0) | (isShadow ? LimitEntryFlags.shadow : 0)
            write(
                info, at: at, used: standing.used, held: standing.held, limit: step.limit,
                remaining: standing.remaining, reset: evaluation.reset(step),
                length: evaluation.lengthMilliseconds(step, policy))
        }
    }

    /// Adds an entry for every limit of open reservations. With `isLook` nobody asked for one, so
    /// none is refused.
    func addConcurrency(
        _ range: StepRange, _ evaluation: inout Evaluation, isLook: Bool = false
    ) {
        guard let policy = binding?.policy else { return }
        for index in Int(range.start)..<Int(range.end) {
            let step = evaluation.step(index)
            let info = policy.limits[Int(step.limitIndex)]
            let bytes = BodyBytes.limitEntry + info.name.count
            guard explanationBytes + bytes <= explanation.count - 1_024 else { return }
            let (at, open) = (explanationBytes, evaluation.open(step))
            explanation[at] = LimitKind.concurrency.rawValue
            explanation[at + 1] = step.scope.rawValue
            let isShadow = step.flags.contains(.shadow)
            let refused =
                isShadow
                ? evaluation.shadowedBusy & Evaluation.bit(index) != 0 : open >= step.limit
            explanation[at + 2] =
                (refused && !isLook ? LimitEntryFlags.refused : 0)
                | (isShadow ? LimitEntryFlags.shadow : 0)
            write(
                info, at: at, used: open, limit: step.limit,
                remaining: step.limit > open ? step.limit - open : 0, reset: 0, length: 0)
        }
    }

    /// The rest of an entry, behind its first three bytes, and one more in the count.
    func write(
        _ info: LimitInfo, at: Int, used: UInt64, held: UInt64 = 0, limit: UInt64,
        remaining: UInt64, reset: UInt64, length: UInt64
    ) {
        explanation[at + 3] = UInt8(info.name.count)
        explanation[at + 4] = UInt8(info.meter.count)
        for reserved in 5..<8 { explanation[at + reserved] = 0 }
        explanation.storeLittle(used, at: at + 8)
        explanation.storeLittle(held, at: at + 16)
        explanation.storeLittle(limit, at: at + 24)
        explanation.storeLittle(remaining, at: at + 32)
        explanation.storeLittle(reset, at: at + 40)
        explanation.storeLittle(length, at: at + 48)
        info.name.withUnsafeBytes { explanation.copy($0, to: at + BodyBytes.limitEntry) }
        info.meter.withUnsafeBytes {
            explanation.copy($0, to: at + BodyBytes.limitEntry + info.name.count)
        }
        explanationBytes += BodyBytes.limitEntry + info.name.count + info.meter.count
        let count = UnsafeRawBufferPointer(explanation).loadLittle(at: 0, as: UInt16.self)
        explanation.storeLittle(count + 1, at: 0)
    }
}
