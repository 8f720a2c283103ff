import TollgateStorage

/// The directory remembers how far the ledger had come, so that an older copy of the ledger, put
/// back in its place, is noticed (RELIABILITY S54).
extension DirectoryKeeper {
    /// Notes a generation that is durable; nothing where it is known already.
    func noteLedger(_ mark: LedgerMark) {
        guard !hasFailed, mark != notedLedger else { return }
        do throws(DirectoryError) {
            try store.note(mark)
            notedLedger = mark
        } catch { _ = note(error) }
    }
}

extension DirectoryService {
    /// Throws when the ledger is not the one that was there, or is older than it was; unless that
    /// is accepted. The generation behind which the next is to be numbered, so that no number is
    /// used twice. Before `start`.
    package func check(
        _ ledger: Ledger, acceptingRollback: Bool, log: Log
    ) throws(StartError) -> UInt64 {
        let found: LedgerMark
        do throws(LedgerFailure) { found = try ledger.reached() } catch { throw StartError(error) }
        guard let known = try knownMark() else { return 0 }
        let what: String
        if found.generation == 0 {
            what = "there is no ledger, where one of generation \(known.generation) was"
        } else if found.ledger != known.ledger {
            what = "another ledger is there than the one that was"
        } else if found.generation < known.generation {
            what =
                "an old copy is there: it ends with generation \(found.generation), and generation"
                + " \(known.generation) was there"
        } else {
            return 0
        }
        guard acceptingRollback else {
            throw StartError(
                "ledger \(ledger.path): \(what); put the newest back in its place, or, to go on"
                    + " with what is there, start once with: tollgated --accept-rollback",
                exitCode: 78)
        }
        log.warning("ledger: \(what); accepted, for --accept-rollback was given")
        return known.generation
    }

    /// The ledger serves: notes how far it is. Before `start`.
    package func note(_ mark: LedgerMark) { onKeeper { $0.noteLedger(mark) } }

    private func knownMark() throws(StartError) -> LedgerMark? {
        var result: Result<LedgerMark?, DirectoryError> = .success(nil)
        onKeeper { keeper in
            do throws(DirectoryError) { result = .success(try keeper.store.ledgerMark()) } catch {
                result = .failure(error)
            }
        }
        switch result {
        case .success(let mark): return mark
        case .failure(let error): throw DirectoryKeeper.startError(error)
        }
    }
}
