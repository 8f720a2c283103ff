import ArgumentParser
import TollgateWire

struct OverrideCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "override", abstract: "Another limit than the plan's, for one customer.",
        subcommands: [OverrideSet.self, OverrideRemove.self, OverrideList.self])
}

struct OverrideSet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Grant an organization, or one user, another limit.",
        discussion: """
            What was used stays. It replaces an earlier override of the same limit. tollgate plan \
            show names the limits.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Argument(help: "The limit's name.") var limit: String
    @Argument(help: "Units granted, in place of the plan's.") var units: Int64
    @Option(help: "Only for this user of it: for limits that count per user.") var user: String?
    @Option(
        help: "When it ends: an ISO 8601 date, or a length of time from now (7d). Default: never.",
        transform: Instants.milliseconds)
    var expires: Int64?

    func validate() throws {
        guard units >= 0 else { throw ValidationError("units are 0 or more, not \(units)") }
    }

    func run() throws {
        try options.show(
            .setOverride,
            [
                "organization": which.value, "user": .optional(user), "limit": .string(limit),
                "units": .integer(units), "expires_at": .optional(expires),
            ], "override", .override)
    }
}

struct OverrideRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Go back to the plan's limit.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Argument(help: "The limit's name.") var limit: String
    @Option(help: "The override of this user of it.") var user: String?

    func run() throws {
        let whose = user.map { "\($0) of \(which.organization)" } ?? which.organization
        try options.tell(
            .removeOverride,
            ["organization": which.value, "user": .optional(user), "limit": .string(limit)]
        ) { _ in "\(limit) of \(whose) is the plan's again" }
    }
}

struct OverrideList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an organization's overrides, and its users'.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .override)
        try printer.print(.listOverrides, ["organization": which.value])
    }
}
