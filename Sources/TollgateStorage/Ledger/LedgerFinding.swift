import TollgateCore

/// What a look at one file of a ledger found.
package struct LedgerFinding: Sendable {
    package var path: String
    /// What it holds, in a line.
    package var summary: String
    /// What is not as it was written; empty: it is whole.
    package var failures: [LedgerFailure] = []
    /// What is no damage, and worth a word.
    package var notes: [LedgerNote] = []

    package init(_ path: String, _ summary: String) {
        self.path = path
        self.summary = summary
    }

    package var failure: LedgerFailure? { failures.first }

    mutating func note(_ failure: LedgerFailure) {
        summary = failures.isEmpty ? "not whole" : summary
        failures.append(failure)
    }

    /// What failed is nothing that a start needs.
    mutating func passOver() {
        for failure in failures {
            notes.append(LedgerNote(path: path, offset: failure.offset ?? 0, words: failure.words))
        }
        failures = []
        summary = "passed over"
    }
}

/// A word on a place that is not damaged: bytes that were being written when a life ended.
package struct LedgerNote: Sendable, Equatable {
    package var path: String
    package var offset: Int
    package var words: String
    /// The next start cuts it off, and keeps it in quarantine.
    package var isCutByStart = false
}

/// A generation as its header has it, and whether the rest is whole too.
package struct GenerationSummary: Sendable {
    package var number: UInt64
    package var path: String
    package var life: UInt64 = 0
    /// When it was begun.
    package var at = WallTime(milliseconds: 0)
    package var bytes = 0
    package var rowBytes = 0
    package var closed = 0
    /// Segments from this number on belong to it.
    package var segmentsFrom: UInt64 = 0
    package var failure: LedgerFailure?
}

/// A file of the journal.
package struct SegmentSummary: Sendable {
    package var number: UInt64
    package var path: String
    package var life: UInt64 = 0
    package var bytes = 0
    package var regions = 0
    /// Of whole transactions.
    package var slots: UInt64 = 0
    package var failure: LedgerFailure?
}

/// A file of closed periods.
package struct ArchiveSummary: Sendable {
    package var number: UInt64
    package var path: String
    package var periods = 0
    package var failure: LedgerFailure?
}

/// What one shard holds, as the next start would find it.
package struct ShardSummary: Sendable {
    /// The sequence number that comes next in its journal; 1: nothing was ever written.
    package var next: UInt64
    package var usage: [SavedUsage]
}

/// All that a ledger's files say, and what a start would make of them.
package struct LedgerExamination: Sendable {
    package var findings: [LedgerFinding] = []
    package var generations: [GenerationSummary] = []
    package var segments: [SegmentSummary] = []
    package var archives: [ArchiveSummary] = []
    /// Its making has not ended, so nothing was ever charged there: a start makes it anew.
    package var isUnmade = false
    /// The state that the next start would serve, or what it would refuse with; `nil` for one
    /// whose making has not ended.
    package var start: Result<LedgerSummary, LedgerFailure>?

    package var failures: [LedgerFailure] { findings.flatMap(\.failures) }
    package var notes: [LedgerNote] { findings.flatMap(\.notes) }
}
