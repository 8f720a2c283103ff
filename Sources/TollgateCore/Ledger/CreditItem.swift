import TollgateWire

/// What burns of credits, in the journal: absolute state, so that replaying it twice is once.
extension ShardLedger {
    /// Slots of one item.
    static let creditSlots = JournalFormat.slots(
        itemBytes: CreditAccount.itemBytes + GrantCell.idBytesMax)

    /// Within a transaction that has room, of a row that is defined: what burnt in a period, and of
    /// one grant; `nil`: of the period alone.
    mutating func credit(
        _ account: CreditAccount, _ period: CreditPeriod,
        grant: UnsafeMutablePointer<GrantCell>?, isForgotten: Bool = false
    ) {
        let idBytes = Int(grant?.pointee.idBytes ?? 0)
        let burnt = isForgotten ? CreditAccount.forgotten : grant?.pointee.burnt ?? 0
        let bytes = CreditAccount.itemBytes + idBytes
        withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 8) { item in
            item.storeLittle(account.row.number, at: 0)
            item.storeLittle(period.tag, at: 4)
            item.storeLittle(UInt64(bitPattern: period.end), at: 12)
            item.storeLittle(period.burnt, at: 20)
            item.storeLittle(burnt, at: 28)
            if let grant {
                withUnsafeBytes(of: &grant.pointee.id) {
                    item.copy(
                        UnsafeRawBufferPointer(rebasing: $0[..<idBytes]),
                        to: CreditAccount.itemBytes)
                }
            }
            journal.append(.credit, UnsafeRawBufferPointer(item))
        }
    }

    /// The period's usage counts from 0 again, and so does what paid for it; the grants stay as
    /// they are.
    mutating func unburn(
        _ credits: (account: CreditAccount, tag: UInt64)?, _ cell: QuotaCell, isJournaled: Bool
    ) {
        guard let (account, tag) = credits, account.burnt(tag, end: cell.endSeconds) > 0
        else { return }
        account.setBurnt(tag, end: cell.endSeconds, 0)
        guard isJournaled else { return }
        define(account.row)
        credit(account, CreditPeriod(tag: tag, end: cell.endSeconds, burnt: 0), grant: nil)
    }
}

extension ShardRestorer {
    /// What burnt of credits: the grant's row, which was named before, gets it if it has none.
    func applyCredit(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        let idBytes = item.count - CreditAccount.itemBytes
        guard (0...GrantCell.idBytesMax).contains(idBytes) else { throw .badItem(.credit) }
        let number = item.loadLittle(at: 0, as: UInt32.self)
        let handle = handles.find(number)
        guard handle != .none,
            shard.table.pointee.row(handle).kind == RowKind.credits.rawValue
        else { throw .unknownRow(number) }
        let (tag, end) = (
            item.loadLittle(at: 4, as: UInt64.self),
            Int64(bitPattern: item.loadLittle(at: 12, as: UInt64.self))
        )
        let account = CreditAccount(shard.table.pointee.row(handle))
        if tag != 0 {
            account.setBurnt(tag, end: end, item.loadLittle(at: 20, as: UInt64.self))
        }
        guard idBytes > 0 else { return }
        let id = item.slice(at: CreditAccount.itemBytes, length: idBytes)
        let burnt = item.loadLittle(at: 28, as: UInt64.self)
        if let place = account.find(id) {
            if burnt == CreditAccount.forgotten { return account.remove(at: place) }
            account.grants[place].burnt = burnt
            return
        }
        guard burnt != CreditAccount.forgotten else { return }
        guard !account.isFull else { throw .badItem(.credit) }
        var grant = GrantCell(id)
        grant.burnt = burnt
        account.append(grant)
    }
}

extension GrantCell {
    /// `id` has at most `idBytesMax` bytes; what is longer is cut.
    init(_ id: UnsafeRawBufferPointer) {
        self.init()
        idBytes = UInt8(min(id.count, Self.idBytesMax))
        for index in 0..<Int(idBytes) { self.id[index] = id[index] }
    }
}
