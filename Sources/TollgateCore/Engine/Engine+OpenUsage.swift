/// What is used so far in periods that go on: for an operator's question, a slice at a time.
extension Engine {
    /// Of the periods that began on one of `days` (local days since 1970) and are not over: what
    /// rows in `slots` slots of a shard's table count, from `cursor` on; `cursor` is -1 when all
    /// were looked at. What is charged, or moves, between two slices may show or not.
    package func openPeriods(
        shard index: Int, slots: Int, cursor: inout Int, days: ClosedRange<UInt32>, now: Moment
    ) -> [ClosedPeriod] {
        let billing = read(now).period
        let shard = shard(index)
        guard let ledger = shard.ledger else { preconditionFailure("no tenant shard \(index)") }
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        var found: [ClosedPeriod] = []
        cursor = shard.table.pointee.walk(from: cursor, slots: slots) { row in
            guard row.hasCounters else { return true }
            let counters = layouts.counters(row.layout)
            for (index, slot) in layouts.layout(row.layout).slots.enumerated()
            where slot.kind == .quota {
                let cell = row.quota(slot.headOffset).pointee
                guard cell.used > 0, !cell.isClosed, !cell.isOver(billing),
                    days.contains(cell.startDay),
                    let period = ledger.pointee.period(
                        row, counters[index], cell,
                        burnt: credits(of: slot, row, in: shard).map {
                            $0.0.burnt($0.1, end: cell.endSeconds)
                        } ?? 0)
                else { continue }
                found.append(period)
            }
            return true
        }
        return found
    }
}
