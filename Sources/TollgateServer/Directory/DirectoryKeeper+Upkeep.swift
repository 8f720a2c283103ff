import CLinux
import TollgateCore
import TollgateStorage

/// What the directory's thread does again until it is done, and what it remembers for the next
/// start.
extension DirectoryKeeper {
    /// The forgetting of a leftover is journaled; until it is surely synced its row stays, so that
    /// a power cut brings nothing back.
    private static let leftoverNanoseconds: UInt64 = 60_000_000_000
    private static let purgeMarkMilliseconds: Int64 = 3_600_000

    // MARK: leftovers

    /// Organizations that are gone, and whose counters could not be forgotten, or may not have been
    /// when the daemon was cut short.
    func forgetLeftovers() {
        do throws(DirectoryError) {
            let now = tg_boottime()
            for leftover in try store.leftovers() {
                if let since = forgotten[leftover] {
                    guard now &- since >= Self.leftoverNanoseconds else { continue }
                    try store.remove(leftover)
                    forgotten[leftover] = nil
                } else if engine.forgetForGood(leftover) {
                    forgotten[leftover] = now
                }
            }
        } catch { _ = note(error) }
        resetsToDo.removeAll {
            engine.resetQuotas($0.organization.text, isPersonal: $0.isPersonal)
        }
    }

    /// Begins an organization's quotas anew: as soon as there is a journal that takes it. A start
    /// applies plans that are due before the ledger is read.
    func reset(_ organization: OrganizationRecord) {
        if links != nil,
            engine.resetQuotas(organization.id.text, isPersonal: organization.isPersonal)
        {
            return
        }
        let due = Leftover(organization)
        if !resetsToDo.contains(due) { resetsToDo.append(due) }
    }

    // MARK: how long tokens live

    /// At a start, before anything is revoked.
    func recallTokenLives() throws(DirectoryError) {
        let longest = issuer.longestLifeOfAnyMilliseconds
        let before = try store.mark(.longestLife) ?? 0
        var until = try store.mark(.tokensLiveUntil) ?? 0
        if before > longest {
            let (end, overflow) = tg_walltime().addingReportingOverflow(before)
            until = max(until, overflow ? .max : end)
            try store.set(.tokensLiveUntil, until)
        }
        if before != longest { try store.set(.longestLife, longest) }
        keptLife = longest
        issuer.setTokensLiveUntil(WallTime(milliseconds: until))
    }

    /// A policy that was read since may let tokens live longer.
    func keepTokenLife() {
        let longest = issuer.longestLifeOfAnyMilliseconds
        guard longest > keptLife else { return }
        do throws(DirectoryError) {
            try store.set(.longestLife, longest)
            keptLife = longest
        } catch { _ = note(error) }
    }

    // MARK: what has expired

    func forgetExpired(now: Moment) {
        do throws(DirectoryError) {
            let billing = engine.billingTime(now)
            var clock: PurgeClock
            if let purge {
                clock = purge
            } else {
                let kept = try store.mark(.purgedBy)
                purgeMark = kept ?? .min
                clock = PurgeClock(
                    kept: kept.map { WallTime(milliseconds: $0) }, billing: billing,
                    boot: now.boot)
            }
            let expired = clock.advance(to: billing, boot: now.boot)
            purge = clock
            if clock.time.milliseconds.subtractingReportingOverflow(purgeMark).partialValue
                >= Self.purgeMarkMilliseconds || purgeMark == .min
            {
                try store.set(.purgedBy, clock.time.milliseconds)
                purgeMark = clock.time.milliseconds
            }
            _ = try store.forgetExpired(at: expired)
            _ = try store.prune(
                logged: WallTime(
                    milliseconds: expired.milliseconds - plan.logRetentionMilliseconds),
                spent: WallTime(
                    milliseconds: expired.milliseconds - plan.spentRetentionMilliseconds))
            _ = engine.directory.forgetRevocations(expiredAt: expired)
        } catch { _ = note(error) }
    }
}

extension Engine {
    /// Forgets what a deleted organization used; whether nothing of it can come back, for the
    /// journal has it too. Else it is to be asked again.
    func forgetForGood(_ leftover: Leftover) -> Bool {
        let isDone = journaled {
            forget(
                organization: leftover.organization.text, isPersonal: leftover.isPersonal,
                at: .present)
        }
        switch currentLedgerState {
        case .serving, .off: return isDone
        default: return false
        }
    }
}
