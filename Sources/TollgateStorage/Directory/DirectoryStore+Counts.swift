import TollgateCore

/// How much the directory holds, over all tenants.
package struct DirectoryCounts: Sendable, Equatable {
    package var organizations = 0
    package var users = 0
    package var keys = 0
    /// With those that ended and are not forgotten yet.
    package var sessions = 0
    package var revocations = 0
    /// By generation of the pepper: keys with a secret, the current one or one that is still good
    /// beside it, that this pepper alone can tell. Sorted; without those of which there is none.
    package var peppers: [(generation: UInt32, keys: Int)] = []

    package static func == (a: Self, b: Self) -> Bool {
        a.organizations == b.organizations && a.users == b.users && a.keys == b.keys
            && a.sessions == b.sessions && a.revocations == b.revocations
            && a.peppers.elementsEqual(b.peppers, by: ==)
    }
}

extension DirectoryStore {
    /// Subscriptions by plan.
    package func planCounts() throws(DirectoryError) -> [String: Int] {
        let rows = try rows("SELECT plan, count(*) FROM subscriptions GROUP BY plan", []) { row in
            (row.text(0), Int(row.integer(1)))
        }
        return Dictionary(rows) { first, _ in first }
    }

    /// Reads every key's row, for the peppers: some tenths of a second for a million.
    package func counts(at now: WallTime) throws(DirectoryError) -> DirectoryCounts {
        let counts = try row(
            """
            SELECT (SELECT count(*) FROM organizations), (SELECT count(*) FROM users),
              (SELECT count(*) FROM api_keys), (SELECT count(*) FROM refresh_families),
              (SELECT count(*) FROM revocations)
            """, []
        ) { row in
            DirectoryCounts(
                organizations: Int(row.integer(0)), users: Int(row.integer(1)),
                keys: Int(row.integer(2)), sessions: Int(row.integer(3)),
                revocations: Int(row.integer(4)))
        }
        guard var counts else { throw .notFound }
        counts.peppers = try rows(
            """
            SELECT generation, count(*) FROM (
              SELECT pepper AS generation FROM api_keys WHERE revoked IS NULL
              UNION ALL SELECT previous_pepper FROM api_keys
                WHERE revoked IS NULL AND previous_until > ? AND previous_pepper <> pepper)
            GROUP BY generation ORDER BY generation
            """, [.integer(now.milliseconds)]
        ) { row throws(StorageFault) in
            guard let generation = UInt32(exactly: row.integer(0)) else {
                throw row.damaged("a pepper's generation")
            }
            return (generation, Int(row.integer(1)))
        }
        return counts
    }
}
