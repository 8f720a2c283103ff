/// What reactors ring and wait for, of a ledger.
package struct LedgerBells: Sendable {
    /// Some shard has no region of the journal ahead.
    let supply: Bell
    /// With `durability: always`.
    let rounds: SyncRounds?
    /// Hands shards the regions that stand ready; waits for no disk.
    var give: @Sendable () -> Void = {}

    /// What is written to from a reactor's thread.
    var descriptors: [Int32] { [supply.descriptor] + (rounds.map { [$0.bell.descriptor] } ?? []) }
}
