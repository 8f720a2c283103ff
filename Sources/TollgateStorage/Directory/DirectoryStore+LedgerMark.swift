import TollgateCore

/// How far a ledger had come when the directory last noted it: kept outside of the ledger, so that
/// an old copy of that, put back in its place, is noticed (RELIABILITY S54).
package struct LedgerMark: Sendable, Equatable {
    /// The ledger's id.
    package var ledger: UInt64
    /// The highest generation that was durable there.
    package var generation: UInt64

    package init(ledger: UInt64, generation: UInt64) {
        self.ledger = ledger
        self.generation = generation
    }
}

extension DirectoryStore {
    /// `nil` before any ledger was noted.
    package func ledgerMark() throws(DirectoryError) -> LedgerMark? {
        try row("SELECT ledger, generation FROM ledger_mark", []) { row throws(StorageFault) in
            LedgerMark(
                ledger: UInt64(bitPattern: row.integer(0)),
                generation: UInt64(bitPattern: row.integer(1)))
        }
    }

    /// In place of what was noted; after the generation is durable.
    package func note(_ mark: LedgerMark) throws(DirectoryError) {
        try together { () throws(DirectoryError) in
            _ = try run(
                """
                INSERT INTO ledger_mark(one, ledger, generation) VALUES(1, ?1, ?2)
                ON CONFLICT(one) DO UPDATE SET ledger = ?1, generation = ?2
                """,
                [
                    .integer(Int64(bitPattern: mark.ledger)),
                    .integer(Int64(bitPattern: mark.generation)),
                ])
        }
    }
}
