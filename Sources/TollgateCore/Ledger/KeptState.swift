import TollgateWire

/// What one tenant shard keeps of reservations and idempotency records beside their rows. Guarded
/// by the shard's lock.
struct KeptState {
    var open = HoldQueue()
    var ended = KeptList()
    var records = KeptList()
    /// Of this life of the ledger, of the next reservation.
    var life: UInt32 = 0
    var counter: UInt32 = 0
    /// The id of the next one, where it was made ahead; its low half is 0 where not.
    private var ahead = ReservationID(low: 0, high: 0)

    /// Size of the last row made for a reservation: the next is likely to be as large.
    var unitsOfLast = 0

    /// The id of a new reservation in the shard, which nobody was given before.
    mutating func nextID(shard: Int, _ hash: KeyedHash) -> ReservationID {
        counter &+= 1
        let made = ahead.names(shard: shard, life: life, counter: counter)
            ? ahead : ReservationID(shard: shard, life: life, counter: counter, hash)
        ahead = ReservationID(shard: shard, life: life, counter: counter &+ 1, hash)
        return made
    }

    /// Asks for what making and opening the next reservation will write.
    @inline(__always)
    func prefetchNext(in table: borrowing RowTable) {
        table.prefetchPlace(ahead.high)
        table.prefetchNext(units: unitsOfLast)
        open.prefetchInsert()
    }

    @inline(__always)
    func hasDue(_ now: BootTime) -> Bool { open.firstEnd <= now.nanoseconds }

    /// Takes a row out of whatever it stands in, before it is removed from its table.
    mutating func detach(_ row: Row, in table: borrowing RowTable) {
        let kept = KeptRow(row)
        if row.kind == RowKind.idempotency.rawValue {
            records.remove(kept, in: table)
        } else if kept.head.pointee.ticket > 0 {
            open.remove(kept)
        } else {
            ended.remove(kept, in: table)
        }
    }
}
