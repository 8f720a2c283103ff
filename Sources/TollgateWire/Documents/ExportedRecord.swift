/// A key with what the directory keeps of its secrets, for moving it elsewhere. The digests are
/// worth nothing without the pepper, and are not printed either.
public struct ExportedKey: DirectoryDocument {
    public var key: APIKeyInfo
    /// Hexadecimal; made with the pepper of generation `key.pepper`.
    public var digest: SecretText
    /// Of the secret before the last rotation, while that is good.
    public var previousDigest: SecretText?
    public var previousPepper: UInt32?

    /// A key with its digests in hexadecimal.
    public init(
        key: APIKeyInfo, digest: SecretText, previousDigest: SecretText?, previousPepper: UInt32?
    ) {
        self.key = key
        self.digest = digest
        self.previousDigest = previousDigest
        self.previousPepper = previousPepper
    }

    /// Reads the members of a key and its digests.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        key = try APIKeyInfo(json: json)
        digest = try members.secret("digest")
        previousDigest = try members.optionalText("previous_digest").map { SecretText($0) }
        previousPepper = members.has("previous_pepper") ? try members.small("previous_pepper") : nil
    }

    /// The members of the key, then the digests.
    public var json: JSONValue {
        guard case .object(var object) = key.json else { return .null }
        object.append("digest", .string(digest.revealed()))
        object.append("previous_digest", .optional(previousDigest?.revealed()))
        object.append("previous_pepper", .optional(previousPepper.map { UInt64($0) }))
        return .object(object)
    }
}

/// A line of an export: a document, and in its member `type` which.
public enum ExportedRecord: DirectoryDocument {
    /// With its subscription.
    case organization(Organization)
    case user(User)
    case override(LimitOverride)
    /// Without what is burnt of it, unless that is over.
    case grant(CreditGrant)
    case key(ExportedKey)
    case revocation(Revocation)

    /// The words of `type`, in the order of an export.
    public enum Kind: String, DirectoryChoice {
        case organization, user, override, grant, key, revocation
    }

    /// Which document it is.
    public var kind: Kind {
        switch self {
        case .organization: .organization
        case .user: .user
        case .override: .override
        case .grant: .grant
        case .key: .key
        case .revocation: .revocation
        }
    }

    /// Reads a record of any kind.
    public init(json: JSONValue) throws(DocumentError) {
        let kind: Kind = try MemberReader(json).choice("type")
        switch kind {
        case .organization: self = .organization(try Organization(json: json))
        case .user: self = .user(try User(json: json))
        case .override: self = .override(try LimitOverride(json: json))
        case .grant: self = .grant(try CreditGrant(json: json))
        case .key: self = .key(try ExportedKey(json: json))
        case .revocation: self = .revocation(try Revocation(json: json))
        }
    }

    /// Reads a record that holds no member but its own: what an import would lose, it refuses.
    public init(strictly json: JSONValue) throws(DocumentError) {
        try self.init(json: json)
        if let member = Self.firstUnknown(of: json, in: self.json) {
            throw DocumentError(member, "is not known")
        }
    }

    /// `type`, then the document's members.
    public var json: JSONValue {
        var object: JSONObject = ["type": .choice(kind)]
        if case .object(let document) = document { object.members += document.members }
        return .object(object)
    }

    private var document: JSONValue {
        switch self {
        case .organization(let organization): organization.json
        case .user(let user): user.json
        case .override(let override): override.json
        case .grant(let grant): grant.json
        case .key(let key): key.json
        case .revocation(let revocation): revocation.json
        }
    }

    /// The first member that `known` has not, in objects inside of each other too.
    private static func firstUnknown(of json: JSONValue, in known: JSONValue) -> String? {
        guard case .object(let object) = json, case .object(let knownObject) = known else {
            return nil
        }
        for member in object.members {
            guard let counterpart = knownObject[member.name] else { return member.nameInWords }
            if let inner = firstUnknown(of: member.value, in: counterpart) {
                return "\(member.name).\(inner)"
            }
        }
        return nil
    }
}
