import TollgateCore

/// An organization that is gone, and whose counters the ledger may have still.
package struct Leftover: Sendable, Hashable {
    package var organization: OrganizationID
    package var isPersonal: Bool

    package init(organization: OrganizationID, isPersonal: Bool) {
        self.organization = organization
        self.isPersonal = isPersonal
    }
}

/// A reset of an organization's quotas that was decided.
package struct DueReset: Sendable, Hashable {
    package var organization: OrganizationID
    package var isPersonal: Bool
    package var id: ResetID
}

/// What a start has to know of lives before it: numbers by name.
package enum DirectoryMark: String, Sendable {
    /// How long tokens may live under the policy in force, in milliseconds.
    case longestLife
    /// When the last token of a policy that is in force no more has expired.
    case tokensLiveUntil
    /// By what time records were taken out that had expired.
    case purgedBy
}

/// What a directory keeps for its own upkeep. None of it is in the log of changes.
extension DirectoryStore {
    // MARK: leftovers

    package func leftovers() throws(DirectoryError) -> [Leftover] {
        try rows("SELECT organization, personal FROM leftovers ORDER BY at LIMIT 1000", []) { row in
            Leftover(
                organization: OrganizationID(unchecked: row.text(0)), isPersonal: row.flag(1))
        }
    }

    package func hasLeftover(_ leftover: Leftover) throws(DirectoryError) -> Bool {
        try row(
            "SELECT 1 FROM leftovers WHERE organization = ? AND personal = ?", leftover.key
        ) { _ in true } ?? false
    }

    /// Its counters are gone for good.
    package func remove(_ leftover: Leftover) throws(DirectoryError) {
        _ = try together { () throws(DirectoryError) in
            try run("DELETE FROM leftovers WHERE organization = ? AND personal = ?", leftover.key)
        }
    }

    /// Within a change.
    func add(_ leftover: Leftover, at now: WallTime) throws(DirectoryError) {
        try run(
            "INSERT OR REPLACE INTO leftovers(organization, personal, at) VALUES(?, ?, ?)",
            leftover.key + [.integer(now.milliseconds)])
    }

    // MARK: resets

    /// The oldest first.
    package func resets() throws(DirectoryError) -> [DueReset] {
        try rows(
            """
            SELECT r.organization, o.personal, r.id
            FROM resets r JOIN organizations o ON o.id = r.organization ORDER BY r.at LIMIT 1000
            """, []
        ) { row throws(StorageFault) in
            guard let id = row.withBytes(2, { ResetID(Array($0)) }) else {
                throw row.damaged("a reset")
            }
            return DueReset(
                organization: OrganizationID(unchecked: try row.name(0)), isPersonal: row.flag(1),
                id: id)
        }
    }

    /// It is done for good. One that was decided since stays.
    package func remove(_ reset: DueReset) throws(DirectoryError) {
        _ = try together { () throws(DirectoryError) in
            try run(
                "DELETE FROM resets WHERE organization = ? AND id = ?",
                [.text(reset.organization.text), .bytes(reset.id.bytes)])
        }
    }

    // MARK: marks

    package func mark(_ mark: DirectoryMark) throws(DirectoryError) -> Int64? {
        try row("SELECT value FROM marks WHERE name = ?", [.text(mark.rawValue)]) {
            $0.integer(0)
        }
    }

    package func set(_ mark: DirectoryMark, _ value: Int64) throws(DirectoryError) {
        _ = try together { () throws(DirectoryError) in
            try run(
                "INSERT OR REPLACE INTO marks(name, value) VALUES(?, ?)",
                [.text(mark.rawValue), .integer(value)])
        }
    }

    // MARK: retention

    /// So many rows are taken out at once, at most: a change waits for no more.
    private static let pruneMax: Int64 = 10_000

    /// Takes out what stood in the log before `logged`, and refresh tokens that were spent before
    /// `spent`: the oldest first, some thousands at a time; how many.
    package func prune(
        logged: WallTime, spent: WallTime
    ) throws(DirectoryError) -> Int {
        try together { () throws(DirectoryError) in
            try run(
                """
                DELETE FROM admin_log WHERE number IN
                  (SELECT number FROM admin_log WHERE at < ? ORDER BY at LIMIT ?)
                """, [.integer(logged.milliseconds), .integer(Self.pruneMax)])
                + run(
                    """
                    DELETE FROM refresh_tokens WHERE hash IN
                      (SELECT hash FROM refresh_tokens
                       WHERE spent IS NOT NULL AND spent < ? ORDER BY spent LIMIT ?)
                    """, [.integer(spent.milliseconds), .integer(Self.pruneMax)])
        }
    }
}

extension Leftover {
    fileprivate var key: [SQLiteValue] { [.text(organization.text), .flag(isPersonal)] }

    package init(_ record: OrganizationRecord) {
        self.init(organization: record.id, isPersonal: record.isPersonal)
    }
}

extension TenantDirectory {
    /// Within a change. One that is not done yet and this are one.
    func addReset(at now: WallTime) throws(DirectoryError) {
        try store.run(
            """
            INSERT OR REPLACE INTO resets(organization, id, at) VALUES(?, randomblob(16), ?)
            """, [tenant, .integer(now.milliseconds)])
    }

    /// Sessions of a user that can go on, beyond the `count` begun last: the oldest first.
    package func sessions(
        of user: UserID, beyond count: Int, at now: WallTime
    ) throws(DirectoryError) -> [SessionRecord] {
        let newest = try store.rows(
            SessionRecord.select
                + """
                 WHERE organization = ? AND user = ? AND revoked IS NULL AND expires > ?
                ORDER BY created DESC, session LIMIT 1000 OFFSET ?
                """,
            [
                tenant, .text(user.text), .integer(now.milliseconds), .integer(Int64(count)),
            ], SessionRecord.read)
        return newest.reversed()
    }

    /// Takes out sessions of a user that were ended, but for the `count` begun last. What ended
    /// them, a revocation, stays.
    package func forgetEnded(
        sessionsOf user: UserID, beyond count: Int
    ) throws(DirectoryError) {
        try store.run(
            """
            DELETE FROM refresh_families WHERE organization = ?1 AND session IN
              (SELECT session FROM refresh_families
               WHERE organization = ?1 AND user = ?2 AND revoked IS NOT NULL
               ORDER BY created DESC, session LIMIT 1000 OFFSET ?3)
            """, [tenant, .text(user.text), .integer(Int64(count))])
    }
}
