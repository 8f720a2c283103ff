import TollgateCore
import TollgateStorage
import TollgateWire

/// The users of an organization.
extension CallHandlers {
    static func createUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let id: UserID = try arguments.id("id")
        let organization = try tenant.record()
        guard !organization.isPersonal else {
            throw .conflict("a personal organization has the one user that it was made with")
        }
        let user = try tenant.createUser(
            id, name: arguments.optionalText("name") ?? id.text,
            role: arguments.has("role") ? arguments.word("role") : .member, by: context.change)
        try context.publishUser(user, of: organization)
        return .object(["user": User(user).json])
    }

    static func listUsers(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.users(after: after, limit: limit)
        }) { User($0) }
    }

    static func showUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        return .object(["user": User(try tenant.user(try arguments.user)).json])
    }

    static func renameUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let name = try arguments.text("name")
        return try edit(arguments, &context) { tenant, user, change throws(DirectoryError) in
            try tenant.renameUser(user, name, by: change)
        }
    }

    static func setUserRole(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try edit(arguments, &context) { tenant, user, change throws(DirectoryError) in
            try tenant.seat(user, as: arguments.word("role"), by: change)
        }
    }

    static func suspendUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try edit(arguments, &context) { tenant, user, change throws(DirectoryError) in
            try tenant.setUserStatus(user, .suspended, by: change)
        }
    }

    static func resumeUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try edit(arguments, &context) { tenant, user, change throws(DirectoryError) in
            try tenant.setUserStatus(user, .active, by: change)
        }
    }

    private static func edit(
        _ arguments: CallArguments, _ context: inout CallContext,
        _ edit: (TenantDirectory, UserID, Change) throws(DirectoryError) -> UserRecord
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = try edit(tenant, try arguments.user, context.change)
        try context.publishUser(user, of: try tenant.record())
        return .object(["user": User(user).json])
    }

    static func deleteUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let organization = try tenant.record()
        let id = try arguments.user
        guard !organization.isPersonal else {
            _ = try tenant.user(id)
            throw .conflict("the user of a personal organization goes with it: delete that")
        }
        let revocation = try tenant.deleteUser(
            id, tokensExpire: context.tokensExpire, by: context.change)
        context.publish(revocation)
        context.publications.append(.userGone(id, of: organization))
        return .object(["revocation": Revocation(revocation).json])
    }
}
