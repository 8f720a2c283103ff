import ArgumentParser
import TollgateWire

struct CreditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credit", abstract: "Units granted to an organization beyond a quota.",
        discussion: """
            They burn when the quota's own allowance of the period is used up, and last from \
            period to period until they expire. The quota says credits: true in the policy.
            """,
        subcommands: [CreditGrantCommand.self, CreditVoid.self, CreditList.self])
}

struct CreditGrantCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grant", abstract: "Grant an organization units beyond a quota.",
        discussion: """
            With an id the same command may be given again: the same id is the same grant. Times \
            should then be dates, for a length of time from now is another with each command.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Option(help: "The quota, by its name in the policy.") var quota: String
    @Option(help: "Units granted, in what the quota counts.") var units: Int64
    @Option(help: "0 to 255: the lower burns first. Default: 100.") var priority: Int64?
    @Option(
        help: "When it ends: an ISO 8601 date, or a length of time from now (30d). Default: never.",
        transform: Instants.milliseconds)
    var expires: Int64?
    @Option(
        help: "When it begins: an ISO 8601 date, or a length of time from now. Default: now.",
        transform: Instants.milliseconds)
    var effective: Int64?
    @Option(help: "Its id, 1 to 40 characters. Default: a random one.") var id: String?
    @Option(help: "What it is for.") var note: String?

    func validate() throws {
        guard (1...(1 << 40)).contains(units) else {
            throw ValidationError("units are 1 to 2^40, not \(units)")
        }
        guard (0...255).contains(priority ?? 0) else {
            throw ValidationError("priority is 0 to 255, not \(priority ?? 0)")
        }
    }

    func run() throws {
        try options.show(
            .grantCredits,
            [
                "organization": which.value, "quota": .string(quota), "units": .integer(units),
                "priority": .optional(priority), "effective_at": .optional(effective),
                "expires_at": .optional(expires), "id": .optional(id), "note": .optional(note),
            ], "credit", .credit)
    }
}

struct CreditVoid: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "void", abstract: "End a grant now: what is burnt of it stays burnt.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Argument(help: "The grant's id.") var id: String
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        try confirmation.confirm("end the grant \(visible(id)) for good")
        try options.show(
            .voidCredits, ["organization": which.value, "id": .string(id)], "credit", .credit)
    }
}

struct CreditList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an organization's grants, and what is left of them.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .credit)
        try printer.print(.listCredits, ["organization": which.value])
    }
}
