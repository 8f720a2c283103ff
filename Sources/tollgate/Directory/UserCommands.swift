import ArgumentParser
import TollgateWire

struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Users of organizations.",
        discussion: """
            A user with a role (owner, admin, member) has a seat; one without is known, and not \
            let in.
            """,
        subcommands: [
            UserCreate.self, UserList.self, UserShow.self, UserRename.self, UserSetRole.self,
            UserSuspend.self, UserResume.self, UserDelete.self,
        ])
}

enum Role: String, ExpressibleByArgument, CaseIterable {
    case owner, admin, member, none

    /// `none` is a `null` that is sent.
    var value: JSONValue { self == .none ? .null : .string(rawValue) }
}

/// The user that a command is about.
struct UserArguments: ParsableArguments {
    @Argument(help: "The organization's id.") var organization: String
    @Argument(help: "The user's id.") var user: String

    var organizationValue: JSONValue? { .string(organization) }
    var userValue: JSONValue? { .string(user) }
}

struct UserCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Seat a user in an organization.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "The organization's id.") var organization: String
    @Argument(help: "The user's id, as tokens name it; it never changes.") var id: String
    @Option(help: "Its name for people; default: the id.") var name: String?
    @Option(help: "Its role; none is no seat.") var role = Role.member

    func run() throws {
        try options.show(
            .createUser,
            [
                "organization": .string(organization), "id": .string(id), "name": .optional(name),
                "role": role.value,
            ], "user", .user)
    }
}

struct UserList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an organization's users.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .user)
        try printer.print(.listUsers, ["organization": which.value])
    }
}

struct UserShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a user.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments

    func run() throws {
        try options.show(
            .showUser, ["organization": which.organizationValue, "user": which.userValue],
            "user", .user)
    }
}

struct UserRename: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rename", abstract: "Change a user's name; its id stays.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments
    @Argument(help: "The new name.") var name: String

    func run() throws {
        try options.show(
            .renameUser,
            [
                "organization": which.organizationValue, "user": which.userValue,
                "name": .string(name),
            ], "user", .user)
    }
}

struct UserSetRole: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set-role", abstract: "Change a user's role, or take its seat away (none).")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments
    @Argument(help: "The new role; none is no seat.") var role: Role

    func run() throws {
        try options.show(
            .setUserRole,
            [
                "organization": which.organizationValue, "user": which.userValue,
                "role": role.value,
            ], "user", .user)
    }
}

struct UserSuspend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suspend", abstract: "Do not let a user in, until it is resumed.",
        discussion: "Holds from the next request, for its keys and tokens. Nothing is lost by it.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments

    func run() throws {
        try options.show(
            .suspendUser, ["organization": which.organizationValue, "user": which.userValue],
            "user", .user)
    }
}

struct UserResume: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let a suspended user in again.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments

    func run() throws {
        try options.show(
            .resumeUser, ["organization": which.organizationValue, "user": which.userValue],
            "user", .user)
    }
}

struct UserDelete: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a user with its keys and sessions.",
        discussion: """
            Its tokens are revoked at once. This cannot be undone; user suspend can. Asks first, \
            unless --yes is given.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let name = "user \(which.user) of \(which.organization)"
        try confirmation.confirm("delete \(name) with all of its keys and sessions, for good")
        try options.tell(
            .deleteUser, ["organization": which.organizationValue, "user": which.userValue]
        ) { "\(name) is deleted\(RevocationText.until($0))" }
    }
}
