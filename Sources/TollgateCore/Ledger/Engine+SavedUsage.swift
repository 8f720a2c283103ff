/// What somebody has used of one quota, as the counters have it.
package struct SavedUsage: Sendable, Equatable {
    package var organization: String
    package var isPersonal: Bool
    /// `nil`: of the organization itself.
    package var user: String?
    /// The counter's identity: `q NAME METER PERIOD`.
    package var counter: String
    package var used: UInt64
    package var endSeconds: Int64
    package var startDay: UInt32
}

extension Engine {
    /// Every quota of a tenant shard of which something was used, sorted: for who looks at a
    /// ledger offline. It holds the shard's lock for as long as that takes.
    package func savedUsage(shard index: Int) -> [SavedUsage] {
        var found: [SavedUsage] = []
        let shard = shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        _ = shard.table.pointee.walk(from: 0, slots: .max / 2) { row in
            append(row, to: &found)
            return true
        }
        return found.sorted {
            ($0.organization, $0.user ?? "", $0.counter)
                < ($1.organization, $1.user ?? "", $1.counter)
        }
    }

    private func append(_ row: Row, to found: inout [SavedUsage]) {
        let isUser = row.kind == RowKind.user.rawValue
        guard
            isUser || row.kind == RowKind.organization.rawValue
                || row.kind == RowKind.personalOrganization.rawValue
        else { return }
        let name = isUser ? row.ownerName : row.id
        let isPersonal =
            isUser
            ? TenantHash(name, isPersonal: true, hash).owns(row, hash)
            : row.kind == RowKind.personalOrganization.rawValue
        for slot in layouts.layout(row.layout).slots where slot.kind == .quota {
            let cell = row.quota(slot.headOffset).pointee
            guard cell.used > 0 else { continue }
            found.append(
                SavedUsage(
                    organization: String(decoding: name, as: UTF8.self), isPersonal: isPersonal,
                    user: isUser ? String(decoding: row.id, as: UTF8.self) : nil,
                    counter: slot.identity, used: cell.used, endSeconds: cell.endSeconds,
                    startDay: cell.startDay))
        }
    }
}
