import TollgateWire

extension DirectoryCall where Answer == SigningKey {
    /// A new key, made by the daemon, that verifies and does not sign yet. Left out: an id of the
    /// daemon's choice.
    public static func addSigningKey(id: String? = nil) -> DirectoryCall {
        DirectoryCall(.addSigningKey, answering: "signing_key", ["id": .member(id)])
    }

    /// Signs from now on; the one before verifies on.
    public static func promoteSigningKey(_ id: String) -> DirectoryCall {
        DirectoryCall(.promoteSigningKey, answering: "signing_key", ["id": .string(id)])
    }

    /// Takes a key away of which no token can live any more.
    public static func retireSigningKey(_ id: String) -> DirectoryCall {
        DirectoryCall(.retireSigningKey, answering: "signing_key", ["id": .string(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<SigningKey> {
    /// All signing keys, part by part.
    public static func signingKeys(after: String? = nil, limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.listSigningKeys, ["after": .member(after), "limit": .member(limit)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<PlanInfo> {
    /// The plans of the policy in force, part by part.
    public static func plans(after: String? = nil, limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.listPlans, ["after": .member(after), "limit": .member(limit)])
    }
}

extension DirectoryCall where Answer == PlanInfo {
    /// A plan of the policy in force.
    public static func plan(_ name: String) -> DirectoryCall {
        DirectoryCall(.showPlan, answering: "plan", ["plan": .string(name)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<DirectoryLogEntry> {
    /// Who changed what, of one organization or of all, the newest first, part by part.
    public static func log(
        organization: String? = nil, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listLog,
            [
                "organization": .member(organization), "after": .member(after),
                "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == DirectoryBackup {
    /// Writes a copy of the directory to a new file on the daemon's host, while it goes on.
    public static func createBackup(path: String) -> DirectoryCall {
        DirectoryCall(.createBackup, ["path": .string(path)])
    }
}

extension DirectoryCall where Answer == DirectoryStatus {
    /// How large the directory is, where it lies, which peppers it needs.
    public static func directoryStatus() -> DirectoryCall { DirectoryCall(.showStatus) }
}

extension DirectoryCall where Answer == DirectoryPage<ExportedRecord> {
    /// All records, part by part, in an order that an import takes.
    public static func exportDirectory(
        after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(.exportDirectory, ["after": .member(after), "limit": .member(limit)])
    }
}

extension DirectoryCall where Answer == ImportOutcome {
    /// Puts records in, all or none; at most 1,000, and no more than a frame holds.
    public static func importDirectory(_ records: [ExportedRecord]) -> DirectoryCall {
        DirectoryCall(.importDirectory, ["records": .array(records.map(\.json))])
    }
}
