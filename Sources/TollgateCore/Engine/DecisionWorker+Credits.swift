import TollgateWire

/// The extension field *credits* of USAGE, behind the limits' entries.
extension DecisionWorker {
    /// Adds the grants beyond a plan's quotas that can be used, now or later: as many as fit, in
    /// the order in which they burn. Under the shard's lock, after the last limit was added.
    func addCredits(_ all: StepRange, _ evaluation: inout Evaluation) {
        guard let policy = binding?.policy, evaluation.pool != nil else { return }
        let start = explanationBytes
        var (at, count) = (start + BodyBytes.extensionHeader + 2, 0)
        for index in Int(all.start)..<Int(all.end) {
            let step = evaluation.steps[index]
            guard step.flags.contains(.credits), let account = evaluation.account(of: step)
            else { continue }
            let name = policy.limits[Int(step.limitIndex)].name
            let meter = policy.quotaTerms[Int(step.limitIndex)].creditMeter
            for place in 0..<account.active {
                let grant = account.grants[place]
                let bytes = BodyBytes.creditEntry + name.count + Int(grant.idBytes)
                guard grant.isActive(at: clock.period.milliseconds), grant.meter == meter,
                    at + bytes <= explanation.count - 1_024
                else { continue }
                write(grant, name, at: at)
                at += bytes
                count += 1
            }
        }
        guard count > 0 else { return }
        explanation[start] = ExtensionTag.credits
        explanation[start + 1] = 0
        explanation.storeLittle(UInt16(at - start - BodyBytes.extensionHeader), at: start + 2)
        explanation.storeLittle(UInt16(count), at: start + BodyBytes.extensionHeader)
        explanationBytes = at
    }

    private func write(_ grant: GrantCell, _ quota: [UInt8], at: Int) {
        explanation[at] = UInt8(quota.count)
        explanation[at + 1] = grant.idBytes
        explanation[at + 2] = grant.priority
        explanation[at + 3] = grant.isUsable(at: clock.period.milliseconds) ? 1 : 0
        explanation.storeLittle(UInt32(0), at: at + 4)
        explanation.storeLittle(grant.units, at: at + 8)
        explanation.storeLittle(grant.burnt, at: at + 16)
        explanation.storeLittle(UInt64(bitPattern: grant.effective), at: at + 24)
        explanation.storeLittle(
            grant.expires == .max ? UInt64.max : UInt64(bitPattern: grant.expires), at: at + 32)
        let names = at + BodyBytes.creditEntry
        quota.withUnsafeBytes { explanation.copy($0, to: names) }
        withUnsafeBytes(of: grant.id) {
            let id = UnsafeRawBufferPointer(rebasing: $0[..<Int(grant.idBytes)])
            explanation.copy(id, to: names + quota.count)
        }
    }

    /// Slots that burning, or giving back, takes where a reservation ends with `holdUnits`.
    func creditSlots(
        _ reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation
    ) -> Int {
        guard evaluation.pool != nil else { return 0 }
        var slots = 0
        for index in Int(scene.program.start)..<Int(scene.program.end)
        where evaluation.steps[index].flags.contains(.credits) {
            let step = evaluation.step(index)
            let meter = holdMeters[Int(step.charge)]
            guard meter >= 0 else { continue }
            let before = reservation.state == .open ? 0 : reservation.meters[meter].used
            slots &+= evaluation.creditSlots(
                step, adding: holdUnits[meter] &- min(holdUnits[meter], before),
                givesBack: holdUnits[meter] < before)
        }
        return slots
    }
}
