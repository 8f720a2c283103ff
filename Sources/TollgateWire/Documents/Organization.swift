/// A tenant. Those with `isPersonal` are of one user, whose id is theirs.
public struct Organization: DirectoryDocument {
    /// Whether it is served.
    public enum Status: String, DirectoryChoice { case active, suspended }

    /// Unique over personal ones and others.
    public var id: String
    public var name: String
    public var isPersonal: Bool
    public var status: Status
    public var createdAt: Timestamp
    public var subscription: Subscription?

    /// As the directory has it.
    public init(
        id: String, name: String, isPersonal: Bool, status: Status, createdAt: Timestamp,
        subscription: Subscription?
    ) {
        self.id = id
        self.name = name
        self.isPersonal = isPersonal
        self.status = status
        self.createdAt = createdAt
        self.subscription = subscription
    }

    /// Reads an organization.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        id = try members.text("id")
        name = try members.text("name")
        isPersonal = try members.flag("personal")
        status = try members.choice("status")
        createdAt = try members.instant("created_at")
        subscription = try members.optionalDocument("subscription")
    }

    /// The organization with all of its members.
    public var json: JSONValue {
        .object([
            "id": .string(id), "name": .string(name), "personal": .bool(isPersonal),
            "status": .choice(status), "created_at": createdAt.json,
            "subscription": .optional(subscription),
        ])
    }
}
