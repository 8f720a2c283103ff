/// A key that the daemon signs access tokens with; never its secret.
public struct SigningKey: DirectoryDocument {
    /// `verifying`: known, not yet used; `signing`: the one in use; `retiring`: tokens of it may
    /// still live; `retired`: gone.
    public enum State: String, DirectoryChoice { case verifying, signing, retiring, retired }

    /// The `kid` of its tokens.
    public var id: String
    /// `HS256`
    public var algorithm: String
    public var state: State
    public var addedAt: Timestamp
    public var promotedAt: Timestamp?
    public var demotedAt: Timestamp?
    public var retiredAt: Timestamp?
    /// From when on it may be retired: no token of it can live any more.
    public var retirableAt: Timestamp?

    /// As the directory has it.
    public init(
        id: String, algorithm: String, state: State, addedAt: Timestamp, promotedAt: Timestamp?,
        demotedAt: Timestamp?, retiredAt: Timestamp?, retirableAt: Timestamp?
    ) {
        self.id = id
        self.algorithm = algorithm
        self.state = state
        self.addedAt = addedAt
        self.promotedAt = promotedAt
        self.demotedAt = demotedAt
        self.retiredAt = retiredAt
        self.retirableAt = retirableAt
    }

    /// Reads a signing key.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        id = try members.text("id")
        algorithm = try members.text("algorithm")
        state = try members.choice("state")
        addedAt = try members.instant("added_at")
        promotedAt = try members.optionalInstant("promoted_at")
        demotedAt = try members.optionalInstant("demoted_at")
        retiredAt = try members.optionalInstant("retired_at")
        retirableAt = try members.optionalInstant("retirable_at")
    }

    /// The signing key with all of its members.
    public var json: JSONValue {
        .object([
            "id": .string(id), "algorithm": .string(algorithm), "state": .choice(state),
            "added_at": addedAt.json, "promoted_at": .optional(promotedAt),
            "demoted_at": .optional(demotedAt), "retired_at": .optional(retiredAt),
            "retirable_at": .optional(retirableAt),
        ])
    }
}
