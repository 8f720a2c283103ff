import CLinux
import Synchronization
import TollgateCore
import TollgateStorage

/// The threads that the journal needs: who brings regions ahead, and who syncs.
extension LedgerService {
    // MARK: supply

    func supplyRegions() {
        // Recovery made no more than it needed.
        var wait: Int32 = 0
        while !hasToEnd {
            bells.supply.wait(milliseconds: wait)
            do throws(LedgerFailure) {
                try ledger.tend()
                trouble.end(.supply)
                wait = Self.idleMilliseconds
            } catch {
                trouble.meet(error, at: .supply)
                wait = Self.retryMilliseconds
            }
        }
    }

    /// Has regions brought for who waits for room in the journal; false while the disk gives none.
    func bringRoom() -> Bool {
        guard !trouble.has(.sync), !trouble.has(.supply), !hasToEnd else { return false }
        ledger.giveReady()
        bells.supply.ring()
        return true
    }

    // MARK: sync

    /// Each second; or, where replies wait for it, as soon as one does.
    func flush() {
        guard let rounds = bells.rounds else {
            while !hasToEnd {
                ending.wait(
                    milliseconds: trouble.has(.sync)
                        ? Self.retryMilliseconds : Self.syncMilliseconds)
                sync()
            }
            return
        }
        while !hasToEnd {
            rounds.bell.wait(milliseconds: Self.syncMilliseconds)
            let round = rounds.begin()
            while !sync(), !hasToEnd {
                ending.wait(milliseconds: Self.retryMilliseconds)
            }
            // At the end what could not be synced is not told.
            guard !trouble.has(.sync) || plan.options.allowsUnjournaled else { return }
            rounds.finish(round) { links?.mailboxes[$0].wake() }
        }
    }

    /// Whether everything that was journaled before is on the disk, or the policy says to go on
    /// without. In trouble the ledger writes the whole state anew, from memory, into new files; as
    /// long as there is no room for that it is to be asked again. Where the disk fails for good
    /// the process ends: what it had told is read from what the disk kept.
    @discardableResult
    func sync() -> Bool {
        let began = tg_boottime()
        let outcome = ledger.flush(now: Self.now)
        tellOfLogsGivenUp()
        tellOfJournalsGivenUp()
        switch outcome {
        case .synced(let through, let isChanged):
            if trouble.has(.sync) { trouble.end(.sync) }
            if isChanged { counters.syncs.wrappingAdd(1, ordering: .relaxed) }
            let slots = zip(through, base).reduce(UInt64(0)) { $0 &+ ($1.0 &- min($1.0, $1.1)) }
            counters.synced.store(slots, ordering: .relaxed)
            counters.syncedAt.store(began, ordering: .relaxed)
            return true
        case .refusing(let failure):
            trouble.meet(failure, at: .sync)
            return plan.options.allowsUnjournaled
        case .mustEnd(let failure):
            trouble.meet(failure, at: .sync)
            log.error("ledger: the disk does not take the state anew either; ending")
            links?.onLoss()
            return false
        }
    }

    private func tellOfLogsGivenUp() {
        let (count, last) = ledger.groupLogsGivenUp
        guard count > counters.logsGivenUp.exchange(count, ordering: .relaxed) else { return }
        log.warning(
            "ledger: the group log is given up, and the journal itself is synced until another is"
                + " made" + (last.map { ": \($0)" } ?? ""))
    }

    private func tellOfJournalsGivenUp() {
        let count = ledger.journalsGivenUp
        guard count > counters.syncFailures.exchange(count, ordering: .relaxed) else { return }
        log.error(
            "ledger: the journal could not be written to its file, which is given up: the whole"
                + " state goes from memory to new files")
    }
}
