import TollgateCore

/// What may be changed of a key, and is inherited when its secret is.
package struct KeyScope: Sendable, Equatable {
    package var name: String
    package var permissions: [String]?
    package var addresses: [String]?
    package var rate: KeyRate?
    package var expires: WallTime?

    package init(
        name: String, permissions: [String]? = nil, addresses: [String]? = nil,
        rate: KeyRate? = nil, expires: WallTime? = nil
    ) {
        self.name = name
        self.permissions = permissions
        self.addresses = addresses
        self.rate = rate
        self.expires = expires
    }

    package static let listMax = 64

    func check() throws(DirectoryError) {
        try UserID.check(name, field: "name")
        for (list, field) in [(permissions, "permission"), (addresses, "address")] {
            guard let list else { continue }
            guard list.count <= Self.listMax else {
                throw .invalid(field: field, why: "stands at most \(Self.listMax) times")
            }
            for text in list { try UserID.check(text, field: field) }
        }
        for address in addresses ?? [] where AddressBlock(address) == nil {
            throw .invalid(
                field: "address",
                why: "is an address or a block, such as 192.0.2.0/24 or 2001:db8::/32, with"
                    + " nothing but zeros behind its length")
        }
        guard let rate else { return }
        guard rate.units > 0, Int64(exactly: rate.units) != nil else {
            throw .invalid(field: "rate", why: "has 1 unit at least")
        }
        guard KeyRate.secondsAllowed.contains(rate.seconds) else {
            throw .invalid(field: "rate", why: "is by 1, 60, 3600 or 86400 seconds")
        }
    }
}

extension TenantDirectory {
    /// Keeps a key whose text was made by `APIKey.make`, which is shown once and not kept.
    /// `exists` says that another key, perhaps of another tenant, has the id: ids are made at
    /// random and never taken from a caller.
    package func createKey(
        _ id: APIKeyID, user: UserID, environment: String, digest: KeptDigest, scope: KeyScope,
        creator: String, by change: Change
    ) throws(DirectoryError) -> APIKeyRecord {
        let made = APIKeyRecord(
            organization: organization, id: id, user: user, name: scope.name,
            environment: environment, current: digest, previous: nil, previousUntil: nil,
            permissions: scope.permissions, addresses: scope.addresses, rate: scope.rate,
            created: change.at, creator: creator, expires: scope.expires, revoked: nil,
            lastUsed: nil)
        try made.check()
        return try store.change(change, "key.create", of: organization, id.description) {
            () throws(DirectoryError) in
            // Asked first: a tenant that is not there is told before an id that is taken.
            _ = try self.user(user)
            try insert(made)
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    /// Within a change.
    func insert(_ made: APIKeyRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO api_keys(organization, id, name, digest, pepper, previous_digest,
              previous_pepper, previous_until, permissions, addresses, rate_units, rate_seconds,
              expires, revoked, user, environment, created, creator, last_used)
            VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            made.changeable + [
                .text(made.user.text), .text(made.environment),
                .integer(made.created.milliseconds), .text(made.creator),
                .optional(made.lastUsed),
            ])
    }

    package func key(_ id: APIKeyID) throws(DirectoryError) -> APIKeyRecord {
        try found(
            store.row(
                APIKeyRecord.select + " WHERE organization = ? AND id = ?",
                [tenant, .text(id.description)], APIKeyRecord.read))
    }

    /// Of all users, or of one; by id.
    package func keys(
        of user: UserID? = nil, after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<APIKeyRecord> {
        let start = SQLiteValue.text(after ?? "")
        if let user {
            _ = try self.user(user)
            return try store.page(
                APIKeyRecord.select
                    + " WHERE organization = ? AND user = ? AND id > ? ORDER BY id LIMIT ?",
                [tenant, .text(user.text), start], limit: limit, cursor: { $0.id.description },
                APIKeyRecord.read)
        }
        _ = try record()
        return try store.page(
            APIKeyRecord.select + " WHERE organization = ? AND id > ? ORDER BY id LIMIT ?",
            [tenant, start], limit: limit, cursor: { $0.id.description }, APIKeyRecord.read)
    }

    /// Another secret for the same key. The one before is good strictly before the earlier of the
    /// key's expiry and now + `overlapMilliseconds`; the one before that ends now.
    package func rotateKey(
        _ id: APIKeyID, to digest: KeptDigest, overlapMilliseconds: Int64, by change: Change
    ) throws(DirectoryError) -> APIKeyRecord {
        guard (0...Self.overlapMillisecondsMax).contains(overlapMilliseconds) else {
            throw .invalid(field: "overlap", why: "is 0 to 30 days")
        }
        return try editKey(id, "key.rotate", by: change) { key throws(DirectoryError) in
            guard key.revoked == nil else { throw .conflict("the key is revoked") }
            let end = change.at.milliseconds + overlapMilliseconds
            let until = min(end, key.expires?.milliseconds ?? end)
            guard until >= change.at.milliseconds else { throw .conflict("the key has expired") }
            let overlaps = until > change.at.milliseconds
            key.previous = overlaps ? key.current : nil
            key.previousUntil = overlaps ? WallTime(milliseconds: until) : nil
            key.current = digest
        }
    }

    package static var overlapMillisecondsMax: Int64 { 30 * 86_400_000 }

    package func setKeyScope(
        _ id: APIKeyID, _ scope: KeyScope, by change: Change
    ) throws(DirectoryError) -> APIKeyRecord {
        try scope.check()
        return try editKey(id, "key.scope", by: change) { key throws(DirectoryError) in
            key.name = scope.name
            key.permissions = scope.permissions
            key.addresses = scope.addresses
            key.rate = scope.rate
            key.expires = scope.expires
            if let expires = scope.expires, let until = key.previousUntil {
                key.previousUntil = min(expires, until)
            }
        }
    }

    /// Both secrets end. Revoked twice, it was revoked the first time.
    package func revokeKey(
        _ id: APIKeyID, by change: Change
    ) throws(DirectoryError) -> APIKeyRecord {
        try editKey(id, "key.revoke", by: change) { key throws(DirectoryError) in
            key.revoked = key.revoked ?? change.at
            key.previous = nil
            key.previousUntil = nil
        }
    }

    /// The same secret, kept under a newer pepper, which only its presenter makes possible: done
    /// unless the secret was changed meanwhile. Whether it was done. Not logged: nobody asked.
    package func rehashKey(
        _ id: APIKeyID, from digest: APIKeyDigest, to newer: KeptDigest
    ) throws(DirectoryError) -> Bool {
        try store.together { () throws(DirectoryError) in
            try store.run(
                """
                UPDATE api_keys SET digest = ?4, pepper = ?5
                WHERE organization = ?1 AND id = ?2 AND digest = ?3 AND pepper < ?5
                """,
                [
                    tenant, .text(id.description), .bytes(digest.withBytes(Array.init)),
                    .bytes(newer.digest.withBytes(Array.init)), .integer(Int64(newer.pepper)),
                ]) == 1
        }
    }

    private func editKey(
        _ id: APIKeyID, _ action: String, by change: Change,
        _ edit: (inout APIKeyRecord) throws(DirectoryError) -> Void
    ) throws(DirectoryError) -> APIKeyRecord {
        try store.change(change, action, of: organization, id.description) {
            () throws(DirectoryError) in
            let before = try key(id)
            var after = before
            try edit(&after)
            try store.run(
                """
                UPDATE api_keys SET name = ?3, digest = ?4, pepper = ?5, previous_digest = ?6,
                  previous_pepper = ?7, previous_until = ?8, permissions = ?9, addresses = ?10,
                  rate_units = ?11, rate_seconds = ?12, expires = ?13, revoked = ?14
                WHERE organization = ?1 AND id = ?2
                """,
                after.changeable)
            return Changed(
                result: after, before: before.logText, after: after.logText,
                isChange: before != after)
        }
    }
}

extension SQLiteValue {
    /// A list as lines: no name has a line feed. The empty list is not the absent one.
    static func lines(_ list: [String]?) -> SQLiteValue {
        .optional(list?.joined(separator: "\n"))
    }
    fileprivate static func rateUnits(_ rate: KeyRate?) -> SQLiteValue {
        rate.map { .integer(Int64(clamping: $0.units)) } ?? .null
    }
    fileprivate static func rateSeconds(_ rate: KeyRate?) -> SQLiteValue {
        rate.map { .integer(Int64($0.seconds)) } ?? .null
    }
}

extension APIKeyRecord {
    func check() throws(DirectoryError) {
        try KeyScope(
            name: name, permissions: permissions, addresses: addresses, rate: rate
        ).check()
        try UserID.check(creator, field: "creator")
        var environment = environment
        guard environment.withUTF8({ APIKey.isEnvironment(UnsafeRawBufferPointer($0)) }) else {
            throw .invalid(
                field: "environment",
                why: "is a small letter, then small letters and digits: at most"
                    + " \(APIKey.environmentBytesMax) in all")
        }
        guard (previous == nil) == (previousUntil == nil) else {
            throw .invalid(field: "previous secret", why: "has an end")
        }
    }

    /// Organization and id, then what changes: in the order that the statements name it.
    fileprivate var changeable: [SQLiteValue] {
        [
            .text(organization.text), .text(id.description), .text(name),
            .bytes(current.digest.withBytes(Array.init)), .integer(Int64(current.pepper)),
            previous.map { .bytes($0.digest.withBytes(Array.init)) } ?? .null,
            previous.map { .integer(Int64($0.pepper)) } ?? .null, .optional(previousUntil),
            .lines(permissions), .lines(addresses), .rateUnits(rate), .rateSeconds(rate),
            .optional(expires), .optional(revoked),
        ]
    }

    static let select = """
        SELECT organization, user, id, name, environment, digest, pepper, previous_digest,
          previous_pepper, previous_until, permissions, addresses, rate_units, rate_seconds,
          created, creator, expires, revoked, last_used FROM api_keys
        """

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        try read(
            row, of: OrganizationID(unchecked: try row.name(0)),
            user: UserID(unchecked: try row.name(1)))
    }

    /// Of an organization and a user whose ids were read before.
    static func read(
        _ row: Statement, of organization: OrganizationID, user: UserID
    ) throws(StorageFault) -> Self {
        guard let id = row.withBytes(2, { APIKeyID($0) }) else { throw row.damaged("a key's id") }
        var previous: KeptDigest?
        if !row.isNull(7) { previous = try digest(row, 7) }
        return Self(
            organization: organization, id: id, user: user, name: row.text(3),
            environment: row.text(4),
            current: try digest(row, 5), previous: previous, previousUntil: row.optionalTime(9),
            permissions: row.optionalLines(10), addresses: row.optionalLines(11),
            rate: try rate(row), created: row.time(14), creator: row.text(15),
            expires: row.optionalTime(16),
            revoked: row.optionalTime(17), lastUsed: row.optionalTime(18))
    }

    private static func digest(
        _ row: Statement, _ column: Int32
    ) throws(StorageFault) -> KeptDigest {
        guard let digest = row.withBytes(column, { APIKeyDigest($0) }),
            let pepper = UInt32(exactly: row.integer(column + 1))
        else { throw row.damaged("a key's digest") }
        return KeptDigest(digest: digest, pepper: pepper)
    }

    private static func rate(_ row: Statement) throws(StorageFault) -> KeyRate? {
        if row.isNull(12) { return nil }
        guard let units = UInt64(exactly: row.integer(12)),
            let seconds = UInt32(exactly: row.integer(13))
        else { throw row.damaged("a key's rate") }
        return KeyRate(units: units, seconds: seconds)
    }
}
