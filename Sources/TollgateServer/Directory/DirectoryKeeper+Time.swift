import CLinux
import TollgateCore
import TollgateStorage

/// What the directory's thread does by the clock, and at its end.
extension DirectoryKeeper {
    private static let minuteNanoseconds: UInt64 = 60_000_000_000

    /// About once a second.
    func tick(now: BootTime) {
        guard !hasFailed else { return }
        applyDuePlans()
        if let mark = links?.ledgerMark() { noteLedger(mark) }
        keepDigests()
        keepTokenLife()
        forgetLeftovers()
        carryOutResets()
        if issuer.lacksKey { makeMissingKey() }
        if let before = issuer.takeReplaced() { lookAtPolicy(replacing: before) }
        guard now.nanoseconds &- lastMinute >= Self.minuteNanoseconds else { return }
        lastMinute = now.nanoseconds
        forgetExpired(now: Self.moment)
        noteUses()
    }

    /// What is only in memory yet and should outlive the process.
    func finish() {
        if !hasFailed { noteUses() }
    }

    /// A policy that was read again has tokens for the first time.
    private func makeMissingKey() {
        guard let links else { return }
        do throws(DirectoryError) { try makeFirstKey() } catch {
            return log.error("directory: no signing key: \(note(error))")
        }
        if case .failure(let error) = links.republish() {
            log.error("directory: \(error.messages.joined(separator: "; "))")
        }
    }

    /// Another policy is in force: what it leaves behind in the directory, and out there.
    private func lookAtPolicy(replacing before: PolicyDefinition) {
        let now = issuer.definition
        if let old = before.tokens,
            old.issuer != now.tokens?.issuer || old.audience != now.tokens?.audience
        {
            log.warning(
                "the policy does not issue tokens as \(old.issuer) any more: those that are out are"
                    + " refused, and their holders log in again")
        }
        let names = Set(now.plans.map(\.name))
        guard before.plans.contains(where: { !names.contains($0.name) }) else { return }
        do throws(DirectoryError) {
            warn(plans: try store.planCounts(), known: names)
        } catch { _ = note(error) }
    }

    private static var moment: Moment {
        Moment(
            boot: BootTime(nanoseconds: tg_boottime()),
            wall: WallTime(milliseconds: tg_walltime()))
    }

    /// When keys were used: at most a minute of it is lost with the process.
    private func noteUses() {
        let uses = engine.directory.takeUses()
        guard !uses.isEmpty else { return }
        do throws(DirectoryError) {
            try store.noteUses(
                uses.map {
                    KeyUse(
                        organization: OrganizationID(unchecked: $0.organization), id: $0.id,
                        at: $0.at)
                })
        } catch { _ = note(error) }
    }

    /// Digests that a use of the key brought under the newest pepper.
    private func keepDigests() {
        let rehashes = engine.directory.takeRehashes()
        guard !rehashes.isEmpty else { return }
        do throws(DirectoryError) {
            let kept = try store.together { () throws(DirectoryError) in
                var kept: [APIKeyEntry] = []
                for rehash in rehashes {
                    if let entry = try keep(rehash) { kept.append(entry) }
                }
                return kept
            }
            for entry in kept { engine.directory.put(entry) }
        } catch { _ = note(error) }
    }

    /// The key as it is kept now; `nil` when its secret was changed, or it was deleted, meanwhile.
    private func keep(_ rehash: KeyRehash) throws(DirectoryError) -> APIKeyEntry? {
        let tenant = store.acting(for: OrganizationID(unchecked: rehash.organization))
        let isDone = try tenant.rehashKey(
            rehash.id, from: rehash.from,
            to: KeptDigest(digest: rehash.to, pepper: rehash.pepper))
        guard isDone else { return nil }
        return APIKeyEntry(
            try tenant.key(rehash.id), isPersonal: try tenant.record().isPersonal,
            lastUsed: engine.directory.lastUsed(rehash.id))
    }
}

extension DirectoryKeeper {
    /// Plans whose time has come. Decisions have gone by them since; here they become the record,
    /// by the time of billing periods: what is applied cannot be taken back.
    func applyDuePlans() {
        var change = ownChange
        change.at = engine.billingTime(Self.moment)
        do throws(DirectoryError) {
            var applied: [AppliedPlan]
            repeat {
                applied = try store.applyDuePlans(by: change)
                for due in applied { try publish(due) }
                if links != nil, applied.contains(where: { $0.mode == .reset }) {
                    carryOutResets()
                }
            } while applied.count == Page<AppliedPlan>.itemsMax
        } catch { _ = note(error) }
    }

    private func publish(_ due: AppliedPlan) throws(DirectoryError) {
        let tenant = store.acting(for: due.subscription.organization)
        let record = try tenant.record()
        engine.directory.put(
            OrganizationEntry(
                record, due.subscription, try tenant.overrides(of: nil), zone: plan.zone))
    }
}
