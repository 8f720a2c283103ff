/// Somebody of an organization. Ids are unique within it only.
public struct User: DirectoryDocument {
    /// What a seat allows is for callers to say; without one the user is not served.
    public enum Role: String, DirectoryChoice { case owner, admin, member }
    /// Whether the user is served.
    public enum Status: String, DirectoryChoice { case active, suspended }

    /// Where the id and the role hold.
    public var organization: String
    public var id: String
    public var name: String
    /// `nil`: known, and without a seat.
    public var role: Role?
    public var status: Status
    public var createdAt: Timestamp

    /// As the directory has them.
    public init(
        organization: String, id: String, name: String, role: Role?, status: Status,
        createdAt: Timestamp
    ) {
        self.organization = organization
        self.id = id
        self.name = name
        self.role = role
        self.status = status
        self.createdAt = createdAt
    }

    /// Reads a user.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        id = try members.text("id")
        name = try members.text("name")
        role = try members.optionalChoice("role")
        status = try members.choice("status")
        createdAt = try members.instant("created_at")
    }

    /// The user with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "id": .string(id), "name": .string(name),
            "role": .optional(role), "status": .choice(status), "created_at": createdAt.json,
        ])
    }
}
