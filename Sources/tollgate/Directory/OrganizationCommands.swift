import ArgumentParser
import TollgateWire

struct OrganizationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "org", abstract: "Organizations and their subscriptions.",
        discussion: """
            An organization is a customer: it owns a subscription to a plan, users, API keys, and \
            what they have used (tollgate usage). A user on its own has a personal organization.
            """,
        subcommands: [
            OrganizationCreate.self, OrganizationList.self, OrganizationShow.self,
            OrganizationRename.self, OrganizationSuspend.self, OrganizationResume.self,
            OrganizationDelete.self, OrganizationChangePlan.self,
            OrganizationCancelPlanChange.self, OrganizationSetSubscription.self,
        ])
}

/// What may be said of a subscription.
enum SubscriptionStatus: String, ExpressibleByArgument, CaseIterable {
    case trialing, active
    case pastDue = "past_due"
    case suspended, canceled
}

struct OrganizationCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Sign an organization up, perhaps to a plan.",
        discussion: """
            With --personal it is that of one user, who is made too, as its owner. Without --plan \
            it has no subscription: tollgate org change-plan makes one.
            """)
    @OptionGroup var options: AdminOptions
    @Argument(help: "The organization's id, as tokens name it; it never changes.") var id: String
    @Option(help: "Its name for people; default: the id.") var name: String?
    @Flag(help: "The organization of one user, who is made with the same id.") var personal = false
    @Option(help: "A plan of the policy.") var plan: String?
    @Option(help: "Where its periods begin: an IANA name (Europe/Berlin); default: the policy's.")
    var timeZone: String?
    @Option(
        help: "When its billing months begin: an ISO 8601 date; default: now.",
        transform: Instants.milliseconds)
    var anchor: Int64?
    @Option(name: .customLong("status"), help: "Of the subscription; default: active.")
    var status: SubscriptionStatus?

    func validate() throws {
        if plan == nil, timeZone != nil || anchor != nil || status != nil {
            throw ValidationError("--time-zone, --anchor and --status need a --plan")
        }
    }

    func run() throws {
        try options.show(
            .createOrganization,
            [
                "id": .string(id), "name": .optional(name),
                "personal": personal ? .bool(true) : nil, "plan": .optional(plan),
                "time_zone": .optional(timeZone),
                "anchor_at": .optional(anchor),
                "subscription_status": .optional(status?.rawValue),
            ], "organization", .organization)
    }
}

struct OrganizationList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the organizations.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .organization)
        try printer.print(.listOrganizations)
    }
}

/// The organization that a command is about.
struct OrganizationArgument: ParsableArguments {
    @Argument(help: "The organization's id.") var organization: String

    var value: JSONValue? { .string(organization) }
}

struct OrganizationShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show an organization and its subscription.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument

    func run() throws {
        try options.show(
            .showOrganization, ["organization": which.value], "organization", .organization)
    }
}

struct OrganizationRename: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rename", abstract: "Change an organization's name; its id stays.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Argument(help: "The new name.") var name: String

    func run() throws {
        try options.show(
            .renameOrganization, ["organization": which.value, "name": .string(name)],
            "organization", .organization)
    }
}

struct OrganizationSuspend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suspend", abstract: "Let nobody of an organization in, until it is resumed.",
        discussion: "Holds from the next request, whatever tokens claim. Nothing is lost by it.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument

    func run() throws {
        try options.show(
            .suspendOrganization, ["organization": which.value], "organization", .organization)
    }
}

struct OrganizationResume: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let a suspended organization in again.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument

    func run() throws {
        try options.show(
            .resumeOrganization, ["organization": which.value], "organization", .organization)
    }
}

struct OrganizationDelete: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete an organization with its users, keys and sessions.",
        discussion: """
            Its tokens are revoked at once. This cannot be undone; org suspend can. Asks first, \
            unless --yes is given.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let id = which.organization
        try confirmation.confirm(
            "delete organization \(id) with all of its users, keys and sessions, for good")
        try options.tell(.deleteOrganization, ["organization": which.value]) {
            "organization \(id) is deleted\(RevocationText.until($0))"
        }
    }
}

struct OrganizationSetSubscription: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set-subscription",
        abstract: "Change a subscription's status, time zone or anchor.",
        discussion: """
            trialing, active and past_due are served; suspended and canceled are not. The plan \
            is changed with org change-plan.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Option(help: "The new status.") var status: SubscriptionStatus?
    @Option(help: "Where its billing months begin: an IANA name (Europe/Berlin).")
    var timeZone: String?
    @Option(
        help: "When its billing months begin: an ISO 8601 date.",
        transform: Instants.milliseconds)
    var anchor: Int64?

    func validate() throws {
        if status == nil, timeZone == nil, anchor == nil {
            throw ValidationError("give what to change: --status, --time-zone or --anchor")
        }
    }

    func run() throws {
        try options.show(
            .setSubscription,
            [
                "organization": which.value, "status": .optional(status?.rawValue),
                "time_zone": .optional(timeZone), "anchor_at": .optional(anchor),
            ], "organization", .organization)
    }
}
