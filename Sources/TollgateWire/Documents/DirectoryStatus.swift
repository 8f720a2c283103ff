/// How large the directory is, where it lies, and which peppers its keys need.
public struct DirectoryStatus: DirectoryDocument {
    /// A generation of the pepper.
    public struct Pepper: DirectoryDocument {
        public var generation: UInt32
        /// Keys whose digest was made with it, the one before a rotation included.
        public var keys: UInt64
        /// Whether the policy has it. Without it these keys are refused.
        public var isConfigured: Bool

        /// A generation, how many keys need it, and whether it is there.
        public init(generation: UInt32, keys: UInt64, isConfigured: Bool) {
            self.generation = generation
            self.keys = keys
            self.isConfigured = isConfigured
        }

        /// Reads a generation.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            generation = try members.small("generation")
            keys = try members.count("keys")
            isConfigured = try members.flag("configured")
        }

        /// The generation with all of its members.
        public var json: JSONValue {
            .object([
                "generation": .count(UInt64(generation)), "keys": .count(keys),
                "configured": .bool(isConfigured),
            ])
        }
    }

    /// Where it lies on the daemon's host, and its counts of entries.
    public var path: String
    public var organizations: UInt64
    public var users: UInt64
    public var keys: UInt64
    public var sessions: UInt64
    public var revocations: UInt64
    public var peppers: [Pepper]

    /// As it was counted.
    public init(
        path: String, organizations: UInt64, users: UInt64, keys: UInt64, sessions: UInt64,
        revocations: UInt64, peppers: [Pepper]
    ) {
        self.path = path
        self.organizations = organizations
        self.users = users
        self.keys = keys
        self.sessions = sessions
        self.revocations = revocations
        self.peppers = peppers
    }

    /// Reads a status.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        path = try members.text("path")
        organizations = try members.count("organizations")
        users = try members.count("users")
        keys = try members.count("keys")
        sessions = try members.count("sessions")
        revocations = try members.count("revocations")
        peppers = try members.documents("peppers")
    }

    /// The status with all of its members.
    public var json: JSONValue {
        .object([
            "path": .string(path), "organizations": .count(organizations),
            "users": .count(users), "keys": .count(keys), "sessions": .count(sessions),
            "revocations": .count(revocations), "peppers": .documents(peppers),
        ])
    }
}

/// A copy of the directory that was written while it went on.
public struct DirectoryBackup: DirectoryDocument {
    public var path: String
    public var bytes: UInt64

    /// A file and its size.
    public init(path: String, bytes: UInt64) {
        self.path = path
        self.bytes = bytes
    }

    /// Reads both.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        path = try members.text("path")
        bytes = try members.count("bytes")
    }

    /// Both.
    public var json: JSONValue {
        .object(["path": .string(path), "bytes": .count(bytes)])
    }
}

/// What an import did.
public struct ImportOutcome: DirectoryDocument {
    public var created: UInt64
    /// Records that were there already, and equal.
    public var unchanged: UInt64

    /// Counts of records.
    public init(created: UInt64, unchanged: UInt64) {
        self.created = created
        self.unchanged = unchanged
    }

    /// Reads both counts.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        created = try members.count("created")
        unchanged = try members.count("unchanged")
    }

    /// Both counts.
    public var json: JSONValue {
        .object(["created": .count(created), "unchanged": .count(unchanged)])
    }
}
