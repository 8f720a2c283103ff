import ArgumentParser
import TollgateWire

struct AlertsAck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ack", abstract: "Say that you have taken note of an alert.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "The alert's number: tollgate alerts list.") var id: Int64
    @Option(help: "What you found or did, at most 256 bytes.") var note: String?

    func validate() throws {
        guard id >= 1 else { throw ValidationError("an alert's number is at least 1, not \(id)") }
    }

    func run() throws {
        try options.show(
            .acknowledgeAlert, ["id": .integer(id), "note": .optional(note)], "alert", .alert)
    }
}

struct AlertsTest: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Send a test alert where alerts go.",
        discussion: """
            It is marked as a test, goes out whatever is silenced, and counts as no alert of any \
            rule.
            """)
    @OptionGroup var options: AdminOptions
    @Option(help: "Under the name of this rule.") var rule: String?

    func run() throws {
        try options.show(.testAlerts, ["rule": .optional(rule)], "alert", .alert)
    }
}

struct AlertsSilence: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "silence", abstract: "Keep alerts back for a time.",
        discussion: """
            They fire all the same, and alerts list shows them; only nobody is told.
            """,
        subcommands: [SilenceAdd.self, SilenceList.self, SilenceRemove.self],
        defaultSubcommand: SilenceAdd.self)
}

struct SilenceAdd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Keep back what meets all that is given, for a time.")
    @OptionGroup var options: AdminOptions
    @Option(help: "Alerts of this rule.") var rule: String?
    @Option(help: "Of this organization.") var organization: String?
    @Option(help: "Of this user.") var user: String?
    @Option(help: "Of this API key's id.") var key: String?
    @Option(help: "Of this address; of an IPv6 address, of its /64.") var address: String?
    @Option(help: "Of this quota.") var quota: String?
    @Option(help: "Of this operation.") var operation: String?
    @Option(help: "Of this trouble of the daemon: ledger, audit, clock…") var trouble: String?
    @Flag(help: "Of personal organizations alone.") var personal = false
    @Flag(help: "All alerts.") var all = false
    @Option(
        name: .customLong("for"), help: "How long: 2h, 1d; at most 366d.",
        transform: Lengths.seconds)
    var span: Int64?
    @Option(
        help: "Until when: an ISO 8601 date, at most 366 days ahead.",
        transform: Instants.milliseconds)
    var until: Int64?
    @Option(help: "Why, at most 256 bytes.") var note: String?

    func validate() throws {
        guard (span == nil) != (until == nil) else {
            throw ValidationError("give --for or --until, one of the two")
        }
        guard (1...AlertSilenceInfo.secondsMax).contains(span ?? 1) else {
            throw ValidationError("--for is 1s to 366d")
        }
        if let until {
            let ahead = until - Times.now * 1_000
            guard ahead > 0, ahead / 1_000 <= AlertSilenceInfo.secondsMax else {
                throw ValidationError(
                    "--until is ahead of now (\(Times.shown(Times.now * 1_000))), at most 366 days")
            }
        }
        let parts = [rule, organization, user, key, address, quota, operation, trouble]
        let isNarrow = personal || parts.contains { $0 != nil }
        guard isNarrow != all else {
            throw ValidationError("say which alerts, such as --rule NAME; or --all, alone")
        }
    }

    func run() throws {
        try options.show(
            .createSilence,
            [
                "rule": .optional(rule), "organization": .optional(organization),
                "personal": personal ? .bool(true) : nil, "user": .optional(user),
                "key": .optional(key), "address": .optional(address), "quota": .optional(quota),
                "operation": .optional(operation), "trouble": .optional(trouble),
                "until_at": .optional(until), "for_seconds": .optional(span),
                "note": .optional(note),
            ], "silence", .silence)
    }
}

struct SilenceList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the silences that hold, newest first.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .silence)
        try printer.print(.listSilences)
    }
}

struct SilenceRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "End a silence before its time.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "The silence's number: tollgate alerts silence list.") var id: Int64

    func validate() throws {
        guard id >= 1 else { throw ValidationError("a silence's number is at least 1, not \(id)") }
    }

    func run() throws {
        try options.show(.removeSilence, ["id": .integer(id)], "silence", .silence)
    }
}

extension View {
    static var alert: View {
        View(
            noun: "alert",
            fields: [
                .member("id"), .member("at"), .member("severity"), .member("rule"),
                .member("kind"), .member("text"), .member("silenced"),
                .member("acknowledged_at"), .member("acknowledged_by", "by uid"),
                .member("note"),
            ])
    }

    static var silence: View {
        View(
            noun: "silence",
            fields: [
                .member("id"), .member("rule"), .made("of", subject), .member("until_at"),
                .member("at", "made"), .member("uid", "by uid"), .member("note"),
            ])
    }

    /// `organization acme, quota monthly`
    private static func subject(_ silence: JSONObject) -> String {
        let names = ["organization", "user", "key", "address", "quota", "operation", "trouble"]
        var parts = names.compactMap { name in silence.string(name).map { "\(name) \($0)" } }
        if silence.bool("personal") == true { parts.append("personal organizations") }
        return parts.isEmpty ? "all" : parts.joined(separator: ", ")
    }
}
