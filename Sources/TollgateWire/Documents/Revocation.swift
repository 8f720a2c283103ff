/// Credentials that are refused though they are good otherwise. It leaves when none of them can
/// live any more.
public struct Revocation: DirectoryDocument {
    /// One access token by its `jti`, all of a login, or everything of a user or of the
    /// organization that was issued up to `at`.
    public enum Kind: String, DirectoryChoice { case token, session, user, organization }

    /// Need not be in the directory.
    public var organization: String
    public var isPersonal: Bool
    public var kind: Kind
    /// A `jti`, or the id of a session, user or organization.
    public var subject: String
    public var at: Timestamp
    public var expiresAt: Timestamp

    /// As the directory has it.
    public init(
        organization: String, isPersonal: Bool, kind: Kind, subject: String, at: Timestamp,
        expiresAt: Timestamp
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.kind = kind
        self.subject = subject
        self.at = at
        self.expiresAt = expiresAt
    }

    /// Reads a revocation.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        isPersonal = try members.flag("personal")
        kind = try members.choice("kind")
        subject = try members.text("subject")
        at = try members.instant("at")
        expiresAt = try members.instant("expires_at")
    }

    /// The revocation with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "personal": .bool(isPersonal),
            "kind": .choice(kind), "subject": .string(subject), "at": at.json,
            "expires_at": expiresAt.json,
        ])
    }
}

/// What a revocation did.
public struct RevocationOutcome: DirectoryDocument {
    public var revocation: Revocation
    /// False: the directory has no such subject. It is revoked all the same, for the tokens of
    /// issuers whose claims are believed.
    public var isKnown: Bool

    /// A revocation, and whether the directory knows its subject.
    public init(revocation: Revocation, isKnown: Bool) {
        self.revocation = revocation
        self.isKnown = isKnown
    }

    /// Reads an outcome.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        revocation = try members.document("revocation")
        isKnown = try members.flag("known")
    }

    /// The outcome with all of its members.
    public var json: JSONValue {
        .object(["revocation": revocation.json, "known": .bool(isKnown)])
    }
}

/// A session that was ended, and what refuses its access tokens.
public struct SessionRevocation: DirectoryDocument {
    public var session: Session
    public var revocation: Revocation

    /// A session and its revocation.
    public init(session: Session, revocation: Revocation) {
        self.session = session
        self.revocation = revocation
    }

    /// Reads both.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        session = try members.document("session")
        revocation = try members.document("revocation")
    }

    /// Both.
    public var json: JSONValue {
        .object(["session": session.json, "revocation": revocation.json])
    }
}
