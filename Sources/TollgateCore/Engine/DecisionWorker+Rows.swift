import Glibc
import Synchronization
import TollgateWire

/// Finding rows, making them, and giving them the counters that a plan needs. All of it under the
/// shard's lock.
extension DecisionWorker {
    /// Where a row is looked for, and what it must have.
    struct RowNeed {
        /// Index into the policy's layouts: the counters that are asked for.
        var layout: Int
        /// The layout that a row gets which lacks some of them.
        var union: Int
        /// Without it nothing is made and nothing is changed.
        var create: Bool
        var rowsMax: Int
        /// The organization that a user's row counts for.
        var ownerName = UnsafeRawBufferPointer(start: nil, count: 0)
        /// That of the organization whose row it is, or its user's; `nil`: of an address.
        var organizationHash: UInt64?
    }

    /// `tenantRows` of the request's principal, looked for where they stood last.
    @inline(__always)
    func nearRows(
        _ principal: UnsafePointer<Principal>, in table: inout RowTable, create: Bool,
        _ binding: PolicyBinding
    ) -> (user: RowView, shared: RowView)? {
        let rows = tenantRows(principal, cache.near, in: &table, create: create, binding)
        if let near = cache.near, let rows {
            if let row = rows.user.row { near.pointee.user = RowHint(row) }
            if let row = rows.shared.row { near.pointee.organization = RowHint(row) }
        }
        return rows
    }

    /// The rows of a principal; `nil` at a ceiling, when memory is short, or, and `lacksJournal` is
    /// true then, when the journal has no room for what a row is to drop. Without `create`,
    /// what does not stand is `none`, nothing is made, and no row is changed.
    @inline(__always)
    func tenantRows(
        _ principal: UnsafePointer<Principal>, _ near: UnsafeMutablePointer<PrincipalCache.Near>?,
        in table: inout RowTable, create: Bool, _ binding: PolicyBinding
    ) -> (user: RowView, shared: RowView)? {
        let plan = binding.policy.compiledPlans[principal.pointee.plan]
        var shared = RowView.none
        var user = RowView.none
        let sharedLayout = Int(plan.organizationLayout)
        if binding.layoutBytes[sharedLayout] > 0 {
            let need = RowNeed(
                layout: sharedLayout, union: binding.policy.organizationUnion, create: create,
                rowsMax: engine.configuration.organizationsMax,
                organizationHash: principal.pointee.organizationHash)
            guard
                let view = row(
                    principal.pointee.organizationKey, near?.pointee.organization ?? .none, need,
                    in: &table, engine.organizations, copy: 0, binding)
            else { return nil }
            shared = view
            if create { view.row?.notePlan(plan.tag) }
        }
        let userLayout = Int(plan.userLayout)
        if binding.layoutBytes[userLayout] > 0, principal.pointee.user.count > 0 {
            let need = RowNeed(
                layout: userLayout, union: binding.policy.userUnion, create: create,
                rowsMax: engine.configuration.usersMax,
                ownerName: principal.pointee.organization,
                organizationHash: principal.pointee.organizationHash)
            guard
                let view = row(
                    principal.pointee.userKey, near?.pointee.user ?? .none, need, in: &table,
                    engine.users, copy: 1, binding)
            else { return nil }
            user = view
            if create { view.row?.notePlan(plan.tag) }
        }
        return (user, shared)
    }

    /// The row of a principal with every counter that the policy has in its scope; `nil` as with
    /// `tenantRows`.
    func widenedRow(
        _ principal: Principal, isUser: Bool, in table: inout RowTable, _ binding: PolicyBinding
    ) -> Row? {
        let union = isUser ? binding.policy.userUnion : binding.policy.organizationUnion
        var need = RowNeed(
            layout: union, union: union, create: true,
            rowsMax: isUser
                ? engine.configuration.usersMax : engine.configuration.organizationsMax,
            organizationHash: principal.organizationHash)
        guard isUser else {
            return row(
                principal.organizationKey, .none, need, in: &table, engine.organizations, copy: 0,
                binding)?.row
        }
        need.ownerName = principal.organization
        return row(
            principal.userKey, .none, need, in: &table, engine.users, copy: 1, binding)?.row
    }

    /// A row with the counters that are needed, made or migrated if need be; `nil` when there is
    /// no room.
    @inline(__always)
    private func row(
        _ key: RowKey, _ hint: RowHint, _ need: RowNeed, in table: inout RowTable,
        _ count: borrowing Atomic<Int>, copy: Int, _ binding: PolicyBinding
    ) -> RowView? {
        if let row = hint.row(key), let offsets = binding.offsets(of: need.layout, in: row) {
            return RowView(row: row, offsets: offsets)
        }
        let handle = table.find(key)
        if handle != .none {
            let row = table.row(handle)
            if let offsets = binding.offsets(of: need.layout, in: row) {
                return RowView(row: row, offsets: offsets)
            }
            return need.create
                ? migrate(handle, to: need, in: &table, binding)
                : lookAt(row, need.layout, copy: copy, binding)
        }
        guard need.create else { return RowView.none }
        return makeRow(key, need, in: &table, count, binding)
    }

    @inline(never)
    private func makeRow(
        _ key: RowKey, _ need: RowNeed, in table: inout RowTable, _ count: borrowing Atomic<Int>,
        _ binding: PolicyBinding
    ) -> RowView? {
        guard engine.reserve(count, max: need.rowsMax) else { return nil }
        let handle = table.insert(
            key, layout: binding.number(need.layout), layoutBytes: binding.layoutBytes[need.layout],
            ownerName: need.ownerName)
        guard handle != .none else {
            count.wrappingSubtract(1, ordering: .relaxed)
            return nil
        }
        let row = table.row(handle)
        return RowView(row: row, offsets: binding.offsets(of: need.layout, in: row))
    }

    /// The row as it would be with the counters of `layout`: a copy, so that looking changes
    /// nothing. There are two, for the two rows of a stage; valid until the next look.
    @inline(never)
    private func lookAt(
        _ row: Row, _ layout: Int, copy: Int, _ binding: PolicyBinding
    ) -> RowView {
        let base = lookCopies + copy &* Self.lookCopyBytes
        let bytes = Row.bytes(idBytes: 0, layoutBytes: binding.layoutBytes[layout])
        precondition(bytes <= Self.lookCopyBytes)
        memset(base, 0, bytes)
        let copied = Row(base: base)
        copied.layout = binding.number(layout)
        binding.migrate(from: row, to: copied, now: now.boot)
        return RowView(row: copied, offsets: binding.offsets(of: layout, in: copied))
    }

    /// The row of an address. At the ceiling, the addresses of a shard that have none share one:
    /// they are limited together, never let through unlimited.
    func addressRow(
        _ address: AddressKey, _ hint: RowHint, in table: inout RowTable, create: Bool,
        _ binding: PolicyBinding
    ) -> RowView {
        let layout = binding.policy.addressLayout
        let most = engine.configuration.addressesMax
        var need = RowNeed(layout: layout, union: layout, create: create, rowsMax: most)
        let own = row(address.key, hint, need, in: &table, engine.addresses, copy: 0, binding)
        if let own, own.row != nil || engine.addresses.load(ordering: .relaxed) < most {
            return own
        }
        if create { engine.addressOverflows.wrappingAdd(1, ordering: .relaxed) }
        need.rowsMax = .max
        return row(address.overflow, .none, need, in: &table, engine.addresses, copy: 0, binding)
            ?? .none
    }
}
