import ArgumentParser
import TollgateClient

struct UsageShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what an organization or a user has used.")

    @OptionGroup var options: DataOptions
    @Argument(help: "The organization; with --personal, the user.") var organization: String
    @Argument(help: "A user of it; without, the organization's limits alone.") var user: String?
    @Option(help: "Plan whose limits to show; default: the one last decided with.")
    var plan: String?
    @Flag(help: "The user's own organization.") var personal = false

    func run() throws {
        let named = user ?? (personal ? organization : "")
        let report = try options.ask { (client) throws(ClientError) in
            try client.usage(
                organization: organization, user: named, plan: plan ?? "", isPersonal: personal)
        }
        let json = JSON.object([
            ("organization", .text(organization)), ("user", named.isEmpty ? .null : .text(named)),
            ("plan", report.plan.isEmpty ? .null : .text(report.plan)),
            ("limits", LimitTable.json(report.limits)),
            ("credits", .list(report.credits.map(Self.json))),
        ])
        try options.output.print(json, text(report))
    }

    private func text(_ report: UsageReport) -> String {
        guard !report.plan.isEmpty else {
            return "nothing is known of \(visible(organization)) yet; --plan NAME shows a plan's"
                + " limits"
        }
        let title = options.output.paint("plan \(visible(report.plan))", .bold)
        guard !report.limits.isEmpty else { return title + "\nno limits" }
        let limits = title + "\n" + LimitTable.text(report.limits)
        guard !report.credits.isEmpty else { return limits }
        let lines = report.credits.map { grant in
            let left = grant.units &- min(grant.units, grant.burnt)
            return "\(visible(grant.quota)) \(visible(grant.id)): \(grouped(left)) of"
                + " \(grouped(grant.units)) left, priority \(grant.priority)"
                + (grant.isUsable ? "" : ", from \(Times.shown(grant.effectiveAt.milliseconds))")
                + (grant.expiresAt.map { ", until \(Times.shown($0.milliseconds))" } ?? "")
        }
        return limits + "\ncredits, in the order in which they burn:\n"
            + lines.joined(separator: "\n")
    }

    private static func json(_ grant: CreditEntry) -> JSON {
        .object([
            ("quota", .text(grant.quota)), ("id", .text(grant.id)),
            ("priority", .count(UInt64(grant.priority))), ("usable", .bool(grant.isUsable)),
            ("units", .count(grant.units)), ("burnt", .count(grant.burnt)),
            ("effective_at", .text(Times.shown(grant.effectiveAt.milliseconds))),
            ("expires_at", .optional(grant.expiresAt.map { Times.shown($0.milliseconds) })),
        ])
    }
}
