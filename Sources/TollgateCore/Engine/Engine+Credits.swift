import TollgateWire

/// A grant as the directory has it: plain values.
package struct GrantEntry: Sendable, Equatable {
    package var organization: String
    package var isPersonal: Bool
    /// At most `GrantCell.idBytesMax` bytes; unique in its organization.
    package var id: String
    /// The quota beyond which it burns, and what that counts.
    package var quota: String
    package var meter: String
    package var units: UInt64
    /// The lower burns first.
    package var priority: UInt8
    package var effective: WallTime
    /// It can be used strictly before; `nil`: it never ends.
    package var expires: WallTime?
    package var created: WallTime
    package var isVoided: Bool

    package init(
        organization: String, isPersonal: Bool = false, id: String, quota: String, meter: String,
        units: UInt64, priority: UInt8, effective: WallTime, expires: WallTime? = nil,
        created: WallTime, isVoided: Bool = false
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.id = id
        self.quota = quota
        self.meter = meter
        self.units = units
        self.priority = priority
        self.effective = effective
        self.expires = expires
        self.created = created
        self.isVoided = isVoided
    }
}

/// What is burnt of a grant.
package struct GrantUse: Sendable, Equatable {
    package var quota: String
    package var id: String
    package var burnt: UInt64
    /// It is defined, not voided, not over and not used up.
    package var isActive: Bool
}

/// What an operator grants beyond quotas. Any thread; each takes one shard's lock for a moment.
extension Engine {
    /// Ids of grants are at most so long, in bytes.
    package static let grantIDBytesMax = GrantCell.idBytesMax
    /// Grants of one organization and quota that can be used, now or later.
    package static let activeGrantsMax = CreditAccount.activeMax
    /// Of those, and of such as are over, that are remembered here.
    package static let grantsMax = CreditAccount.grantsMax

    /// Makes a grant count from now on, or as the directory has it now. What is burnt of one of the
    /// same id stays. False when there is no room: `grantsMax` of one quota, or memory.
    package func put(_ entry: GrantEntry, at now: Moment) -> Bool {
        let time = read(now).period.milliseconds
        return withCredits(entry.organization, entry.isPersonal, entry.quota, makes: true) {
            handle, shard in
            DirectoryImage.withBytes(entry.id) { id in
                let account = CreditAccount(shard.table.pointee.row(handle))
                let known = account.find(id)
                if known == nil {
                    guard !account.isFull else { return false }
                    account.append(GrantCell(id))
                }
                account.grants[known ?? account.count - 1].set(entry)
                account.sort(at: time)
                return true
            }
        } ?? false
    }

    /// Forgets a grant that is over, and what burnt of it, which stands elsewhere by now. False
    /// when the journal has no room.
    package func forgetGrant(
        _ id: String, quota: String, organization: String, isPersonal: Bool, at now: Moment
    ) -> Bool {
        let now = Moment(boot: now.boot, wall: read(now).period)
        return withCredits(organization, isPersonal, quota, makes: false) { handle, shard in
            DirectoryImage.withBytes(id) { id in
                let state = self.state
                let account = CreditAccount(shard.table.pointee.row(handle))
                guard let place = account.find(id) else { return true }
                if state == .refusing { return false }
                if state == .serving, let ledger = shard.ledger {
                    let slots = ShardLedger.rowSlotsMax + ShardLedger.creditSlots
                    guard ledger.pointee.makeRoom(slots, now: now) else { return false }
                    ledger.pointee.define(account.row)
                    ledger.pointee.credit(
                        account, CreditPeriod(tag: 0, end: 0, burnt: 0),
                        grant: account.grants + place, isForgotten: true)
                    ledger.pointee.journal.commit()
                }
                account.remove(at: place)
                account.sort(at: now.wall.milliseconds)
                return true
            }
        } ?? true
    }

    /// What is burnt of every grant of an organization beyond `quota`.
    package func grantUses(
        of organization: String, isPersonal: Bool, quota: String, at now: Moment
    ) -> [GrantUse] {
        let time = read(now).period.milliseconds
        return withCredits(organization, isPersonal, quota, makes: false) { handle, shard in
            let account = CreditAccount(shard.table.pointee.row(handle))
            return (0..<account.count).map { index in
                let grant = account.grants[index]
                let id = withUnsafeBytes(of: grant.id) {
                    String(decoding: $0[..<Int(grant.idBytes)], as: UTF8.self)
                }
                return GrantUse(
                    quota: quota, id: id, burnt: grant.burnt, isActive: grant.isActive(at: time))
            }
        } ?? []
    }

    /// Billing time, by which grants begin and end.
    package func billingTime(at now: Moment) -> WallTime { read(now).period }

    /// Lends the account of an organization's quota under its shard's lock; `nil` when there is
    /// none, or no memory to make it.
    private func withCredits<R>(
        _ organization: String, _ isPersonal: Bool, _ quota: String, makes: Bool,
        _ body: (RowHandle, Shard) -> R
    ) -> R? {
        DirectoryImage.withBytes(organization) { organization in
            DirectoryImage.withBytes(quota) { quota in
                let tenant = TenantHash(organization, isPersonal: isPersonal, hash)
                let key = tenant.creditsKey(quota, hash)
                let shard = tenantShard(tenant.hash)
                shard.lock.pointee.lock()
                defer { shard.lock.pointee.unlock() }
                var handle = shard.table.pointee.find(key)
                if handle == .none, makes {
                    let layout = CreditAccount.layout
                    guard let number = layouts.number(of: layout) else { return nil }
                    handle = shard.table.pointee.insert(
                        key, layout: number, layoutBytes: layout.bytes, ownerName: organization)
                    guard handle != .none else { return nil }
                    creditAccounts.wrappingAdd(1, ordering: .relaxed)
                }
                return handle == .none ? nil : body(handle, shard)
            }
        }
    }

    /// The credits of a row's quota, and what its counter is called there; under the shard's lock.
    func credits(
        of slot: CounterSlot, _ row: Row, in shard: Shard
    ) -> (CreditAccount, UInt64)? {
        credits(of: slot, row, in: shard.table.pointee)
    }

    func credits(
        of slot: CounterSlot, _ row: Row, in table: borrowing RowTable
    ) -> (CreditAccount, UInt64)? {
        guard creditAccounts.load(ordering: .relaxed) > 0, slot.identity.hasPrefix("q "),
            row.kind == RowKind.organization.rawValue
                || row.kind == RowKind.personalOrganization.rawValue
        else { return nil }
        let isPersonal = row.kind == RowKind.personalOrganization.rawValue
        let tenant = TenantHash(row.id, isPersonal: isPersonal, hash)
        var name = String(slot.identity.dropFirst(2).prefix { $0 != " " })
        let handle = name.withUTF8 {
            table.find(tenant.creditsKey(UnsafeRawBufferPointer($0), hash))
        }
        guard handle != .none else { return nil }
        return (CreditAccount(table.row(handle)), CreditAccount.tag(slot.identity))
    }
}

extension GrantCell {
    /// What the directory says.
    mutating func set(_ entry: GrantEntry) {
        units = entry.units
        effective = entry.effective.milliseconds
        expires = entry.expires?.milliseconds ?? .max
        created = entry.created.milliseconds
        meter = CreditAccount.meterTag(entry.meter)
        priority = entry.priority
        flags = Self.defined | (entry.isVoided ? Self.voided : 0)
    }
}
