/// Why what was read is no state of this shard.
package enum LedgerFault: Error, Equatable, Sendable {
    /// Offset of a row's image that is none.
    case badRow(at: Int)
    /// The row's name and its hash do not go together: another ledger's, or damaged.
    case foreignRow
    case unknownRow(UInt32)
    case unknownCounter(UInt16)
    case badItem(JournalKind)
    case tooManyCounters
    case outOfMemory
}
