import ArgumentParser
import TollgateWire

struct KeyEdit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edit", abstract: "Change what an API key may do; its secret stays.",
        discussion: "What no option names stays as it is.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: KeyArguments
    @Option(help: "A new name for people.") var name: String?
    @Option(help: "A permission it has at most; repeatable. Replaces the earlier ones.")
    var permission: [String] = []
    @Flag(help: "It has all permissions of the plan.") var allPermissions = false
    @Option(help: "An address or network it may be used from; repeatable. Replaces earlier ones.")
    var address: [String] = []
    @Flag(help: "It may be used from anywhere.") var anyAddress = false
    @Option(help: "Its own rate limit: 100/s, 6000/m, 10000/h, 50000/d.", transform: Rate.parsed)
    var rate: JSONObject?
    @Flag(help: "It has no rate limit of its own.") var noRate = false
    @Option(
        help: "When it ends: an ISO 8601 date, or a length of time from now (90d).",
        transform: Instants.milliseconds)
    var expires: Int64?
    @Flag(help: "It does not end by itself.") var neverExpires = false

    func validate() throws {
        let pairs = [
            ("--permission", !permission.isEmpty, "--all-permissions", allPermissions),
            ("--address", !address.isEmpty, "--any-address", anyAddress),
            ("--rate", rate != nil, "--no-rate", noRate),
            ("--expires", expires != nil, "--never-expires", neverExpires),
        ]
        for (option, isGiven, flag, isSet) in pairs where isGiven && isSet {
            throw ValidationError("give \(option) or \(flag), not both")
        }
        guard name != nil || pairs.contains(where: { $0.1 || $0.3 }) else {
            throw ValidationError("give what to change, such as --name or --expires")
        }
    }

    /// What is taken away is a `null` that is sent.
    func run() throws {
        try options.show(
            .editKey,
            [
                "organization": which.organizationValue, "key": try which.id(),
                "name": .optional(name),
                "permissions": allPermissions
                    ? .some(.null) : permission.isEmpty ? nil : .strings(permission),
                "addresses": anyAddress
                    ? .some(.null) : address.isEmpty ? nil : .strings(address),
                "rate": noRate ? .some(.null) : rate.map { .object($0) },
                "expires_at": neverExpires ? .some(.null) : .optional(expires),
            ], "key", .key)
    }
}
