import TollgateCore

/// A record as an export gives it and an import takes it: with all that is kept of it, secrets'
/// digests too. Sessions stay where they are: their holders log in again.
package enum PortableRecord: Sendable, Equatable {
    case organization(OrganizationRecord, SubscriptionRecord?)
    case user(UserRecord)
    case override(OverrideRecord)
    case grant(GrantRecord)
    case key(APIKeyRecord)
    case revocation(RevocationRecord)
}

/// What an import made of a record.
package enum Imported: Sendable, Equatable, CaseIterable {
    case created
    /// It is there, and the same.
    case unchanged
    /// There is another of that id. Nothing was changed.
    case differs
}

extension DirectoryStore {
    /// Every record of every tenant, those that others lead to first: organizations, users,
    /// overrides, grants, keys, revocations. Each part is of one instant; what is changed between
    /// two parts may be seen or not.
    package func export(
        after cursor: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<PortableRecord> {
        guard (1...Page<PortableRecord>.itemsMax).contains(limit) else {
            throw .invalid(field: "limit", why: "is 1 to \(Page<PortableRecord>.itemsMax)")
        }
        let start = try PortablePlace(cursor)
        var items: [PortableRecord] = []
        for kind in PortableKind.allCases.drop(while: { $0 != start.kind }) {
            let place = kind == start.kind ? start : PortablePlace(beforeAll: kind)
            items += try part(place, rows: Int64(limit - items.count + 1))
            guard items.count > limit else { continue }
            items.removeLast()
            return Page(items: items, next: items.last?.cursor)
        }
        return Page(items: items, next: nil)
    }

    private func part(
        _ place: PortablePlace, rows count: Int64
    ) throws(DirectoryError) -> [PortableRecord] {
        let order = place.kind.order
        let marks = [String](repeating: "?", count: place.values.count).joined(separator: ", ")
        let rest = " WHERE (\(order)) > (\(marks)) ORDER BY \(order) LIMIT ?"
        let values = place.values + [.integer(count)]
        switch place.kind {
        case .organization:
            return try rows(OrganizationRecord.select + rest, values, OrganizationRecord.read)
                .map { record throws(DirectoryError) in try portable(record) }
        case .user:
            return try rows(UserRecord.select + rest, values, UserRecord.read).map { .user($0) }
        case .override:
            return try rows(OverrideRecord.select + rest, values, OverrideRecord.read)
                .map { .override($0) }
        case .grant:
            return try rows(GrantRecord.select + rest, values, GrantRecord.read)
                .map { .grant($0) }
        case .key:
            return try rows(APIKeyRecord.select + rest, values, APIKeyRecord.read)
                .map { .key($0) }
        case .revocation:
            return try rows(RevocationRecord.select + rest, values, RevocationRecord.read)
                .map { .revocation($0) }
        }
    }

    fileprivate func portable(
        _ record: OrganizationRecord
    ) throws(DirectoryError) -> PortableRecord {
        let tenant = acting(for: record.id)
        let plan = try absent { () throws(DirectoryError) in try tenant.subscription() }
        return .organization(record, plan)
    }

    /// Keeps a record as it was exported, with its instants, states and digests. `notFound`: what
    /// it leads to is not there; `exists`: a key has the id of another tenant's.
    package func importRecord(
        _ record: PortableRecord, by change: Change
    ) throws(DirectoryError) -> Imported {
        try record.check()
        let tenant = acting(for: record.organization)
        return try together { () throws(DirectoryError) in
            if let known = try tenant.known(record) {
                return known.isSame(as: record) ? .unchanged : .differs
            }
            return try self.change(
                change, record.action, of: tenant.organization, record.subject
            ) { () throws(DirectoryError) in
                try tenant.keep(record)
                return Changed(result: .created, before: nil, after: record.logText)
            }
        }
    }

    /// `nil` for what is not there.
    fileprivate func absent<T>(
        _ read: () throws(DirectoryError) -> T
    ) throws(DirectoryError) -> T? {
        do throws(DirectoryError) { return try read() } catch .notFound { return nil }
    }
}

extension TenantDirectory {
    /// The record of the same kind and id.
    fileprivate func known(_ record: PortableRecord) throws(DirectoryError) -> PortableRecord? {
        try store.absent { () throws(DirectoryError) -> PortableRecord in
            switch record {
            case .organization: return try store.portable(self.record())
            case .user(let user): return .user(try self.user(user.id))
            case .override(let override):
                return .override(try found(self.override(override.limit, user: override.user)))
            case .grant(let grant): return .grant(try self.grant(grant.id))
            case .key(let key): return .key(try self.key(key.id))
            case .revocation(let revocation): return .revocation(try found(known(revocation)))
            }
        }
    }

    fileprivate func keep(_ record: PortableRecord) throws(DirectoryError) {
        switch record {
        case .organization(let organization, let subscription):
            try store.insert(organization)
            if let subscription { try write(subscription) }
        case .user(let user): try insert(user)
        case .override(let override):
            if let user = override.user { _ = try self.user(user) }
            try write(override)
        case .grant(let grant): try write(grant)
        case .key(let key): try insert(key)
        case .revocation(let revocation): try insert(revocation)
        }
    }
}
