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
    }

    // MARK: resets

    /// Longer than any reset takes that the disk keeps pace with.
    private static let resetNanoseconds: UInt64 = 60_000_000_000

    /// Begins quotas anew of which the directory says that it is to be done: as soon as the journal
    /// takes it, and once, whatever comes between. `waiting`: until it is done, for who asked is
    /// told so next; unless the disk gives no room, or too slowly.
    func carryOutResets(waiting: Bool = false) {
        do throws(DirectoryError) {
            let (now, due) = (tg_boottime(), try store.resets())
            for reset in due {
                if let since = resetsDone[reset] {
                    if now &- since >= Self.leftoverNanoseconds { try store.remove(reset) }
                } else if engine.resetForGood(
                    reset, waiting: waiting ? Self.resetNanoseconds : nil,
                    bringing: { links?.bringRoom() ?? true })
                {
                    resetsDone[reset] = tg_boottime()
                }
            }
            tellResets()
            // Taken out the time before, or another was decided since.
            for reset in resetsDone.keys where !due.contains(reset) {
                resetsDone[reset] = nil
                resetsTold.remove(reset)
                engine.forgetReset(
                    reset.id, of: reset.organization.text, isPersonal: reset.isPersonal)
            }
        } catch { _ = note(error) }
    }

    /// What was told of the quotas may be told again. A start carries out what is due before there
    /// is anybody to tell, and tells it before the first request.
    func tellResets() {
        guard let links else { return }
        for (reset, done) in resetsDone where resetsTold.insert(reset).inserted {
            links.alerts?.observe(
                .quotasReset(
                    organization: reset.organization.text, isPersonal: reset.isPersonal,
                    id: reset.id, boot: done), now: tg_walltime())
        }
    }

    /// After the ledger's restart, before requests: nothing may be used of what is to begin anew.
    func resumeResets() throws(StartError) {
        do throws(DirectoryError) {
            engine.keepResets(Set(try store.resets().map(\.id)))
        } catch { throw Self.startError(error) }
        carryOutResets()
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
    /// Begins an organization's quotas anew, once; whether nothing can undo it any more, as soon as
    /// the journal is synced. Else it is to be asked again.
    func resetForGood(
        _ reset: DueReset, waiting nanoseconds: UInt64?, bringing: () -> Bool
    ) -> Bool {
        let isDone = journaled(waiting: nanoseconds, bringing: bringing) {
            resetQuotas(
                of: reset.organization.text, isPersonal: reset.isPersonal, once: reset.id,
                at: .present)
        }
        switch currentLedgerState {
        case .serving, .off: return isDone
        default: return false
        }
    }

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
