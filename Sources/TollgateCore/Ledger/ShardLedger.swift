import Synchronization
import TollgateWire

/// What becomes of charges.
package enum LedgerState: UInt8, Sendable, BitwiseCopyable {
    /// There is no ledger: quotas are counted in memory alone.
    case off
    case serving
    /// The journal cannot be written: what would charge a quota is refused.
    case refusing
    /// The journal cannot be written, and the policy says to go on: charges are lost with memory.
    case unjournaled
}

/// What one tenant shard keeps beside its rows: the journal they are written to, and what of
/// closed periods waits to be archived. Guarded by the shard's lock.
///
/// Every change of a quota goes through here: first room is made for all slots of a transaction,
/// then memory changes, then the slots are appended; so a change is in the journal whole before
/// its reply, or was not made.
struct ShardLedger {
    var journal = ShardJournal()
    var closed = ClosedQueue()
    var kept = KeptState()
    /// Decisions since start that looked at the shard, in their order.
    var decisions: UInt64 = 0
    private let names: CounterNames
    private let hash: KeyedHash
    private let wants: RegionWants
    private let shard: Int
    /// Counters whose names this journal has, by number, of this life of the daemon.
    private var namesDefined = 0

    /// Slots that naming a row may take.
    static let rowSlotsMax = JournalFormat.slots(
        itemBytes: RowItem.headerBytes + 2 * WireLimits.identifierBytesMax)
    /// Slots of a transaction that closes a quota's period.
    static let closeSlots =
        2 * rowSlotsMax + JournalFormat.slots(itemBytes: ClosedPeriod.bytesMax) + 1 + creditSlots

    init(_ shard: Int, _ names: CounterNames, _ hash: KeyedHash, _ wants: RegionWants) {
        self.shard = shard
        self.names = names
        self.hash = hash
        self.wants = wants
    }

    /// Room for a transaction of `slots`, with the names it needs; false when there is none now.
    @inline(__always)
    mutating func makeRoom(_ slots: Int, now: Moment) -> Bool {
        if namesDefined != names.total, !defineNames(now) { return false }
        let hasRoom = journal.makeRoom(slots: slots, boot: now.boot, billing: now.wall)
        if journal.wantsRegion { wants.add(shard) }
        return hasRoom
    }

    /// Names the counters that this journal does not know yet, each in a transaction of its own.
    @inline(never)
    private mutating func defineNames(_ now: Moment) -> Bool {
        while let name = names.name(namesDefined) {
            var bytes: [UInt8] = [UInt8(namesDefined & 0xff), UInt8(namesDefined >> 8)]
            bytes += name.utf8
            let slots = JournalFormat.slots(itemBytes: bytes.count)
            guard journal.makeRoom(slots: slots, boot: now.boot, billing: now.wall) else {
                wants.add(shard)
                return false
            }
            bytes.withUnsafeBytes { journal.append(.counter, $0) }
            journal.commit()
            namesDefined += 1
        }
        return true
    }

    // MARK: within a transaction that has room

    /// Says whose a row's number is, once.
    @inline(__always)
    mutating func define(_ row: Row) {
        if !row.isDefined { append(definitionOf: row) }
    }

    @inline(never)
    private mutating func append(definitionOf row: Row) {
        RowItem.withBytes(of: row) { journal.append(.row, $0) }
        row.isDefined = true
    }

    @inline(__always)
    mutating func quota(_ row: Row, _ counter: UInt16, _ cell: QuotaCell) {
        journal.appendQuota(
            counter: counter, row: row.number, used: cell.used,
            period: PeriodBytes(endSeconds: cell.endSeconds, startDay: cell.journaledDay))
    }

    /// The same, and once in a period what was carried into it: two slots at most.
    @inline(__always)
    mutating func quota(
        _ row: Row, _ counter: UInt16, _ cell: UnsafeMutablePointer<QuotaCell>
    ) {
        quota(row, counter, cell.pointee)
        guard cell.pointee.carried > 0, cell.pointee.spare & QuotaCell.carriedNoted == 0
        else { return }
        journal.appendCarried(counter: counter, row: row.number, units: cell.pointee.carried)
        cell.pointee.spare |= QuotaCell.carriedNoted
    }

    /// What was carried into a period that nothing was charged in yet: two slots at most.
    mutating func carried(
        _ row: Row, _ counter: UInt16, _ cell: UnsafeMutablePointer<QuotaCell>
    ) {
        if cell.pointee.spare & QuotaCell.carriedNoted == 0 { quota(row, counter, cell) }
    }

    /// Puts what a row's cell counts among the closed periods: as a whole, and then the cell is
    /// marked so, or as the part before a reset, and then it counts from 0. False, and nothing
    /// changed, when the journal has no room. `credits`: those of the quota, and its tag there.
    mutating func close(
        _ row: Row, _ counter: UInt16, _ cell: UnsafeMutablePointer<QuotaCell>, isReset: Bool,
        _ state: LedgerState, now: Moment, _ credits: (CreditAccount, UInt64)? = nil
    ) -> Bool {
        guard state != .off else {
            if isReset {
                cell.pointee.used = 0
                unburn(credits, cell.pointee, isJournaled: false)
            }
            return true
        }
        if state == .refusing { return false }
        if state == .serving, !makeRoom(Self.closeSlots, now: now) { return false }
        close(row, counter, cell, isReset: isReset, isJournaled: state == .serving, credits)
        if state == .serving { journal.commit() }
        return true
    }

    /// The same within a transaction that has room for it.
    mutating func close(
        _ row: Row, _ counter: UInt16, _ cell: UnsafeMutablePointer<QuotaCell>, isReset: Bool,
        isJournaled: Bool, _ credits: (CreditAccount, UInt64)?
    ) {
        let burnt = credits?.0.burnt(credits?.1 ?? 0, end: cell.pointee.endSeconds) ?? 0
        let isPersonal = isOfPersonal(row)
        withUnsafeTemporaryAllocation(byteCount: ClosedPeriod.bytesMax, alignment: 8) { buffer in
            let count = ClosedPeriod.write(
                cell.pointee, counter, of: row, isPersonal: isPersonal, credits: burnt,
                into: buffer)
            let period = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            if isReset { cell.pointee.used = 0 } else { cell.pointee.spare |= QuotaCell.closed }
            // Without a journal it has the number that `Engine.leaveUnjournaledBehind` leaves out.
            if isJournaled { define(row) }
            let sequence = journal.nextSequence
            if isJournaled {
                journal.append(.closed, period)
                quota(row, counter, cell.pointee)
            }
            if isReset { unburn(credits, cell.pointee, isJournaled: isJournaled) }
            closed.append(period, sequence: sequence)
        }
    }

    /// Puts among the closed periods what a cell counts that stands in no row: a part of a period.
    /// Within a transaction that has room for it, where it is journaled.
    mutating func close(
        _ cell: QuotaCell, _ counter: UInt16, of subject: ClosedPeriod.Subject, isJournaled: Bool
    ) {
        withUnsafeTemporaryAllocation(byteCount: ClosedPeriod.bytesMax, alignment: 8) { buffer in
            let count = ClosedPeriod.write(cell, counter, of: subject, into: buffer)
            let part = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            let number = journal.nextSequence
            if isJournaled { journal.append(.closed, part) }
            closed.append(part, sequence: number)
        }
    }

    /// Slots that closing one of the row's quotas takes, with what its credits paid for.
    static func closeSlots(of row: Row, _ credits: (CreditAccount, UInt64)?) -> Int {
        let names = row.idBytes + row.ownerName.count
        let burnt =
            credits.map { creditSlots + ($0.0.row.isDefined ? 0 : rowSlotsMax) } ?? 0
        return (row.isDefined ? 0 : rowSlotsMax) + burnt
            + JournalFormat.slots(itemBytes: ClosedPeriod.headerBytes + names) + 1
    }

    /// Journals that a reset of all quotas of an organization, whose row it is, begins, or that it
    /// is done, and notes it there; false when the journal has no room. `mark`: a row that is named
    /// in the same transaction.
    mutating func noteReset(of row: Row, isDone: Bool, now: Moment, mark: Row? = nil) -> Bool {
        let isPersonal = row.kind == RowKind.personalOrganization.rawValue
        let bytes = [(isPersonal ? 1 : 0) | (isDone ? 2 : 0)] + row.id
        let rows = (mark == nil ? 1 : 2) * Self.rowSlotsMax
        let slots = JournalFormat.slots(itemBytes: bytes.count) + rows
        guard makeRoom(slots, now: now) else { return false }
        define(row)
        if let mark { define(mark) }
        bytes.withUnsafeBytes { journal.append(.reset, $0) }
        journal.commit()
        row.isResetting = !isDone
        return true
    }

    /// What a row's cell counts, as it would be closed now.
    func period(
        _ row: Row, _ counter: UInt16, _ cell: QuotaCell, burnt: UInt64
    ) -> ClosedPeriod? {
        let isPersonal = isOfPersonal(row)
        return withUnsafeTemporaryAllocation(byteCount: ClosedPeriod.bytesMax, alignment: 8) {
            let count = ClosedPeriod.write(
                cell, counter, of: row, isPersonal: isPersonal, credits: burnt, into: $0)
            return ClosedPeriod(UnsafeRawBufferPointer(rebasing: $0[..<count]))
        }
    }

    /// Whether a row of an organization or a user is of a personal one.
    private func isOfPersonal(_ row: Row) -> Bool {
        guard row.kind == RowKind.user.rawValue else {
            return row.kind == RowKind.personalOrganization.rawValue
        }
        return TenantHash(row.ownerName, isPersonal: true, hash).owns(row, hash)
    }

    /// Within a transaction that has room: a reservation's or an idempotency record's row, with
    /// so many bytes of its content.
    mutating func put(_ row: Row, contentBytes: Int) {
        let kind: JournalKind =
            row.kind == RowKind.reservation.rawValue ? .reservation : .idempotency
        let room = row.content
        // Ids have 16 bytes, so that the content stands right behind them.
        precondition(row.idBytes == Self.contentIDBytes && contentBytes <= room.count)
        let idAndContent = UnsafeRawBufferPointer(
            start: row.id.baseAddress, count: Self.contentIDBytes &+ contentBytes)
        journal.append(kind, head: ContentItem.head(of: row), idAndContent)
    }

    /// Within a transaction that has room: a reservation that is not settled.
    @inline(__always)
    mutating func put(
        _ reservation: Reservation, packedInto room: UnsafeMutableRawBufferPointer
    ) {
        let count = reservation.pack(into: room)
        journal.append(.hold, UnsafeRawBufferPointer(room).slice(at: 0, length: count))
        reservation.row.isDefined = true
    }

    private static let contentIDBytes = 16

    /// Slots that `put` takes. Ids have 16 bytes.
    static func slots(contentBytes: Int) -> Int {
        JournalFormat.slots(
            itemBytes: ContentItem.headerBytes + contentIDBytes + contentBytes)
    }

    /// Journals that an organization is forgotten; false when the journal has no room.
    mutating func forget(
        _ organization: UnsafeRawBufferPointer, isPersonal: Bool, now: Moment
    ) -> Bool {
        let bytes = [isPersonal ? 1 : 0] + organization
        guard makeRoom(JournalFormat.slots(itemBytes: bytes.count), now: now) else { return false }
        bytes.withUnsafeBytes { journal.append(.forget, $0) }
        journal.commit()
        return true
    }

    /// Forgets the names that are known: of a journal that begins anew.
    mutating func begin(nextSequence: UInt64, ledger: UInt64, life: UInt64) {
        journal.begin(shard: shard, ledger: ledger, life: life, nextSequence: nextSequence)
        namesDefined = 0
        kept.life = UInt32(truncatingIfNeeded: life)
    }

    /// Gives memory back, at the engine's end.
    mutating func free() {
        closed.free()
        kept.open.free()
    }
}

/// Which shards have no region ahead, by bit. Set under the shard's lock, read by whoever supplies.
final class RegionWants: Sendable {
    let bits = Atomic<UInt64>(.max)

    func add(_ shard: Int) { bits.bitwiseOr(1 &<< UInt64(shard), ordering: .relaxed) }
    func remove(_ shard: Int) { bits.bitwiseAnd(~(1 &<< UInt64(shard)), ordering: .relaxed) }
}

/// What the journal says of a row when it names it.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | number |
/// | 4 | 4 | owner: fingerprint of the organization, for a user; else 0 |
/// | 8 | 8 | keyed hash |
/// | 16 | 4 | tag of the plan last decided with |
/// | 20 | 1 | `RowKind` |
/// | 21 | 1 | bytes of the id |
/// | 22 | 1 | bytes of the owner's name |
/// | 23 | 1 | spare, 0 |
/// | 24 | | id, owner's name |
enum RowItem {
    static let headerBytes = 24

    static func slots(of row: Row) -> Int {
        JournalFormat.slots(itemBytes: headerBytes + row.idBytes + row.ownerName.count)
    }

    static func withBytes(of row: Row, _ body: (UnsafeRawBufferPointer) -> Void) {
        let (id, owner) = (row.id, row.ownerName)
        let count = headerBytes + id.count + owner.count
        withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { bytes in
            bytes.storeLittle(row.number, at: 0)
            bytes.storeLittle(row.owner, at: 4)
            bytes.storeLittle(row.hash, at: 8)
            bytes.storeLittle(row.planTag, at: 16)
            bytes[20] = row.kind
            bytes[21] = UInt8(id.count)
            bytes[22] = UInt8(owner.count)
            bytes[23] = 0
            bytes.copy(id, to: headerBytes)
            bytes.copy(owner, to: headerBytes + id.count)
            body(UnsafeRawBufferPointer(bytes))
        }
    }
}

/// What the journal has of a row without counters; then its id and its content.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | keyed hash |
/// | 8 | 4 | owner |
/// | 12 | 1 | bytes of the id |
/// | 13 | 3 | spare, 0 |
enum ContentItem {
    static let headerBytes = 16

    /// The header as two little-endian numbers.
    @inline(__always)
    static func head(of row: Row) -> (UInt64, UInt64) {
        (row.hash, UInt64(row.owner) | UInt64(row.idBytes) &<< 32)
    }
}

extension Row {
    /// All that stands behind the id.
    var content: UnsafeRawBufferPointer {
        let start = UnsafeRawPointer(counters)
        return UnsafeRawBufferPointer(
            start: start, count: UnsafeRawPointer(base) + units * RowArena.unitBytes - start)
    }
}

extension QuotaCell {
    /// Bit of `spare`: what was used stands among the closed periods already.
    static let closed: UInt32 = 1
    /// Bit of `spare`: the journal has what was carried into the period.
    static let carriedNoted: UInt32 = 2
    /// The bit that says so in a journal, where days have 23.
    static let closedDay: UInt32 = 1 << 23

    var isClosed: Bool { spare & Self.closed != 0 }

    /// The start day as the journal has it.
    @inline(__always)
    var journaledDay: UInt32 { startDay & 0x7f_ffff | (spare & Self.closed) &<< 23 }

    init(used: UInt64, endSeconds: Int64, journaledDay: UInt32) {
        self.init(
            used: used, held: 0, endSeconds: endSeconds, carried: 0,
            startDay: journaledDay & 0x7f_ffff,
            spare: journaledDay & Self.closedDay != 0 ? Self.closed : 0)
    }
}
