import ArgumentParser
import TollgateWire

struct OrganizationChangePlan: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "change-plan", abstract: "Move an organization to another plan.",
        discussion: """
            Shows what changes: limits before and after, permissions gained and lost, and who has \
            used more than the new plan grants, with when they are let in again. --preview shows \
            the same and changes nothing. An organization without a subscription gets one.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Argument(help: "The new plan, one of the policy.") var plan: String
    @Option(
        help: """
            What becomes of what was used: carry it over, prorate the rest of the period, or \
            reset it to nothing.
            """)
    var mode = Mode.carry
    @Option(name: .customLong("at"), help: "Now, or when the billing month ends.")
    var time = Time.now
    @Flag(help: "Show what would change, and change nothing.") var preview = false

    enum Mode: String, ExpressibleByArgument, CaseIterable { case carry, prorate, reset }
    enum Time: String, ExpressibleByArgument, CaseIterable {
        case now
        case periodEnd = "period-end"
    }

    func run() throws {
        let reply = try options.call(
            .changePlan,
            [
                "organization": which.value, "plan": .string(plan), "mode": .string(mode.rawValue),
                "when": .string(time == .now ? "now" : "period_end"),
                "preview": preview ? .bool(true) : nil,
            ])
        let change = try reply.required("preview", JSONObject.object)
        let text = PlanChangeText(output: options.output, organization: which.organization)
        try options.output.print(reply.json, text.text(change, isPreview: preview))
    }
}

struct OrganizationCancelPlanChange: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel-plan-change",
        abstract: "Take back a plan change that waits for the period's end.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument

    func run() throws {
        try options.show(
            .cancelPlanChange, ["organization": which.value], "organization",
            .organization)
    }
}

/// What a plan change does, for people.
struct PlanChangeText {
    let output: OutputOptions
    let organization: String

    func text(_ preview: JSONObject, isPreview: Bool) -> String {
        let from = preview.string("from") ?? "no plan"
        var blocks = [
            output.paint(
                visible("\(organization): \(from) → \(preview.shown("to"))"), .bold) + "\n"
                + pairs([
                    ("used so far", preview.shown("mode")),
                    ("from", preview.shown("effective_at")),
                    ("gains", preview.shown("permissions_gained")),
                    ("loses", preview.shown("permissions_lost")),
                ])
        ]
        let limits = preview.objects("limits")
        if !limits.isEmpty {
            blocks.append(
                table(
                    ["LIMIT", "KIND", "SCOPE", "METER", "BEFORE", "AFTER"],
                    limits.map { limit in
                        ["name", "kind", "scope", "meter", "before", "after"].map {
                            limit.shown($0)
                        }
                    }))
        }
        blocks.append(over(preview))
        if isPreview { blocks.append(output.paint("a preview: nothing was changed", .dim)) }
        return blocks.joined(separator: "\n")
    }

    private func over(_ preview: JSONObject) -> String {
        let over = preview.objects("over")
        let count = preview.integer("over_count") ?? Int64(over.count)
        guard count > 0 else { return "nobody is over the new limits" }
        let title = output.paint("over the new limits: \(count)", .red)
        let rows = over.map { one in
            [
                one.shown("user", or: "(organization)"), one.shown("limit"), one.shown("meter"),
                one.shown("used"), one.shown("limit_after"),
                one.shown("until_at", or: "for good"),
            ]
        }
        let header = ["WHO", "LIMIT", "METER", "USED", "OF", "REFUSED UNTIL"]
        let more = count > Int64(over.count) ? "\n  and \(count - Int64(over.count)) more" : ""
        return title + "\n" + table(header, rows, indent: 2) + more
    }
}
