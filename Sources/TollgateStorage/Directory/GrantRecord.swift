import TollgateCore

/// Units granted to an organization beyond one of its quotas. Its content never changes; what is
/// burnt of it is the ledger's, but for one that was over so long that the ledger forgot it.
package struct GrantRecord: Sendable, Equatable {
    package static let unitsMax: UInt64 = 1 << 40
    package static let noteBytesMax = 256
    /// Of its id, in bytes.
    package static let idBytesMax = Engine.grantIDBytesMax

    package var organization: OrganizationID
    package var id: String
    package var quota: LimitName
    /// What the quota counts.
    package var meter: String
    package var units: UInt64
    /// The lower burns first.
    package var priority: UInt8
    package var effective: WallTime
    /// It can be used strictly before; `nil`: it never ends.
    package var expires: WallTime?
    package var note: String
    package var created: WallTime
    package var voided: WallTime?
    /// Once the ledger has forgotten it: what was burnt of it.
    package var burnt: UInt64?

    package init(
        organization: OrganizationID, id: String, quota: LimitName, meter: String, units: UInt64,
        priority: UInt8, effective: WallTime, expires: WallTime?, note: String, created: WallTime,
        voided: WallTime? = nil, burnt: UInt64? = nil
    ) {
        self.organization = organization
        self.id = id
        self.quota = quota
        self.meter = meter
        self.units = units
        self.priority = priority
        self.effective = effective
        self.expires = expires
        self.note = note
        self.created = created
        self.voided = voided
        self.burnt = burnt
    }

    /// Whether it is the same grant, asked for again: but for when, and what became of it.
    func isSameGrant(as other: Self) -> Bool {
        var mine = self
        (mine.created, mine.voided, mine.burnt) = (other.created, other.voided, other.burnt)
        return mine == other
    }

    func check() throws(DirectoryError) {
        guard (1...Self.idBytesMax).contains(id.utf8.count),
            id.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else {
            throw .invalid(
                field: "id",
                why: "is 1 to \(Self.idBytesMax) printable ASCII characters without spaces")
        }
        guard (1...Self.unitsMax).contains(units) else {
            throw .invalid(field: "units", why: "is 1 to 2^40")
        }
        guard note.utf8.count <= Self.noteBytesMax else {
            throw .invalid(field: "note", why: "is at most \(Self.noteBytesMax) bytes long")
        }
        if let expires, expires <= effective {
            throw .invalid(field: "expires_at", why: "is after it begins")
        }
        if let burnt, burnt > units {
            throw .invalid(field: "burnt", why: "is at most the units")
        }
    }
}

extension TenantDirectory {
    /// Adds a grant, or finds the one that was made by the same request before: then `isNew` is
    /// false. `conflict`: one of that id has another content. Without a time to begin that was
    /// asked for, `effective` is not compared.
    package func makeGrant(
        _ made: GrantRecord, isEffectiveAsked: Bool, by change: Change
    ) throws(DirectoryError) -> (record: GrantRecord, isNew: Bool) {
        try made.check()
        _ = try record()
        if let known = try grantIfAny(made.id) {
            var asked = made
            if !isEffectiveAsked { asked.effective = known.effective }
            guard asked.isSameGrant(as: known) else {
                throw .conflict("there is a grant of that id with another content")
            }
            return (known, false)
        }
        let kept = try store.change(change, "credit.grant", of: organization, made.id) {
            () throws(DirectoryError) in
            try write(made)
            return Changed(result: made, before: nil, after: made.logText)
        }
        return (kept, true)
    }

    /// Of one that was voided before, the same again.
    package func voidGrant(
        _ id: String, by change: Change
    ) throws(DirectoryError) -> GrantRecord {
        let before = try grant(id)
        guard before.voided == nil else { return before }
        return try store.change(change, "credit.void", of: organization, id) {
            () throws(DirectoryError) in
            var after = before
            after.voided = change.at
            try store.run(
                "UPDATE grants SET voided = ?3 WHERE organization = ?1 AND id = ?2",
                [tenant, .text(id), .optional(after.voided)])
            return Changed(result: after, before: before.logText, after: after.logText)
        }
    }

    /// Keeps what was burnt of one that is over: the ledger forgets it.
    package func settleGrant(_ id: String, burnt: UInt64) throws(DirectoryError) {
        try store.run(
            "UPDATE grants SET burnt = ?3 WHERE organization = ?1 AND id = ?2",
            [tenant, .text(id), .integer(Int64(clamping: burnt))])
    }

    package func grant(_ id: String) throws(DirectoryError) -> GrantRecord {
        try found(grantIfAny(id))
    }

    private func grantIfAny(_ id: String) throws(DirectoryError) -> GrantRecord? {
        try store.row(
            GrantRecord.select + " WHERE organization = ? AND id = ?", [tenant, .text(id)],
            GrantRecord.read)
    }

    /// Those beyond one quota that the ledger knows, the oldest first.
    package func liveGrants(of quota: LimitName) throws(DirectoryError) -> [GrantRecord] {
        try store.rows(
            GrantRecord.select + """
                 WHERE organization = ? AND quota = ? AND burnt IS NULL ORDER BY created, id
                """, [tenant, .text(quota.text)], GrantRecord.read)
    }

    /// All of the organization, the oldest first.
    package func grants(
        after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<GrantRecord> {
        _ = try record()
        let parts = (after ?? "-1\n").split(
            separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let created = Int64(parts[0]) else {
            throw .invalid(field: "cursor", why: "is none of ours")
        }
        return try store.page(
            GrantRecord.select + """
                 WHERE organization = ? AND (created, id) > (?, ?) ORDER BY created, id LIMIT ?
                """, [tenant, .integer(created), .text(String(parts[1]))], limit: limit,
            cursor: { "\($0.created.milliseconds)\n\($0.id)" }, GrantRecord.read)
    }

    /// Within a change.
    func write(_ record: GrantRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO grants(organization, id, quota, meter, units, priority, effective, expires,
              note, created, voided, burnt) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                tenant, .text(record.id), .text(record.quota.text), .text(record.meter),
                .integer(Int64(clamping: record.units)), .integer(Int64(record.priority)),
                .integer(record.effective.milliseconds), .optional(record.expires),
                .text(record.note), .integer(record.created.milliseconds),
                .optional(record.voided),
                record.burnt.map { .integer(Int64(clamping: $0)) } ?? .null,
            ])
    }
}

extension DirectoryStore {
    /// Every grant that the ledger knows, or may know: for its image.
    package func loadGrants(
        _ take: (GrantRecord, _ isPersonal: Bool) -> Void
    ) throws(DirectoryError) {
        let found = try rows(
            """
            SELECT g.organization, g.id, g.quota, g.meter, g.units, g.priority, g.effective,
              g.expires, g.note, g.created, g.voided, g.burnt, o.personal
            FROM grants g JOIN organizations o ON o.id = g.organization
            ORDER BY g.burnt IS NULL
            """, []
        ) { (row: Statement) throws(StorageFault) in (try GrantRecord.read(row), row.flag(12)) }
        for (record, isPersonal) in found { take(record, isPersonal) }
    }
}

extension GrantRecord {
    static let select = """
        SELECT organization, id, quota, meter, units, priority, effective, expires, note, created,
          voided, burnt FROM grants
        """

    var logText: String {
        LogText.json([
            ("quota", .string(quota.text)), ("units", .integer(Int64(clamping: units))),
            ("priority", .integer(Int64(priority))), ("effective", LogText.time(effective)),
            ("expires", LogText.time(expires)), ("note", note.isEmpty ? nil : .string(note)),
            ("voided", LogText.time(voided)),
        ])
    }

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        guard let units = UInt64(exactly: row.integer(4)),
            let priority = UInt8(exactly: row.integer(5))
        else { throw row.damaged("a grant") }
        return Self(
            organization: OrganizationID(unchecked: try row.name(0)), id: try row.name(1),
            quota: LimitName(unchecked: try row.name(2)), meter: try row.name(3), units: units,
            priority: priority, effective: row.time(6), expires: row.optionalTime(7),
            note: row.isEmpty(8) ? "" : row.text(8), created: row.time(9),
            voided: row.optionalTime(10),
            burnt: row.isNull(11) ? nil : UInt64(exactly: row.integer(11)))
    }
}
