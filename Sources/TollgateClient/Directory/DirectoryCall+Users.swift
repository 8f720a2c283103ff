import TollgateWire

extension DirectoryCall where Answer == User {
    /// A new user; without a role known only, and not served. Left out: the id as the name.
    public static func createUser(
        organization: String, id: String, name: String? = nil, role: User.Role? = .member
    ) -> DirectoryCall {
        DirectoryCall(
            .createUser, answering: "user",
            [
                "organization": .string(organization), "id": .string(id), "name": .member(name),
                "role": .member(role) ?? .null,
            ])
    }

    /// The user as they are.
    public static func user(_ id: String, organization: String) -> DirectoryCall {
        of(.showUser, id, organization)
    }

    /// Another name; the id stays.
    public static func renameUser(
        _ id: String, organization: String, to name: String
    ) -> DirectoryCall {
        DirectoryCall(
            .renameUser, answering: "user",
            [
                "organization": .string(organization), "user": .string(id),
                "name": .string(name),
            ])
    }

    /// Another role; `nil` takes the seat away.
    public static func setRole(
        _ role: User.Role?, user: String, organization: String
    ) -> DirectoryCall {
        DirectoryCall(
            .setUserRole, answering: "user",
            [
                "organization": .string(organization), "user": .string(user),
                "role": .member(role) ?? .null,
            ])
    }

    /// From now on the user is not served.
    public static func suspendUser(_ id: String, organization: String) -> DirectoryCall {
        of(.suspendUser, id, organization)
    }

    /// Takes a suspension back.
    public static func resumeUser(_ id: String, organization: String) -> DirectoryCall {
        of(.resumeUser, id, organization)
    }

    private static func of(
        _ call: CallName, _ id: String, _ organization: String
    ) -> DirectoryCall {
        DirectoryCall(
            call, answering: "user",
            ["organization": .string(organization), "user": .string(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<User> {
    /// The users of an organization, part by part.
    public static func users(
        organization: String, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listUsers,
            [
                "organization": .string(organization), "after": .member(after),
                "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == Revocation {
    /// Takes the user out with their keys and sessions, and refuses their access tokens.
    public static func deleteUser(_ id: String, organization: String) -> DirectoryCall {
        DirectoryCall(
            .deleteUser, answering: "revocation",
            ["organization": .string(organization), "user": .string(id)])
    }
}
