import ArgumentParser
import TollgateWire

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Plans of the policy that is in force.",
        discussion: "Plans are written in the policy file: tollgate policy show FILE.",
        subcommands: [PlanList.self, PlanShow.self])
}

struct PlanList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the plans that the daemon knows.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .plan)
        try printer.print(.listPlans)
    }
}

struct PlanShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a plan's permissions and limits.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "The plan's name.") var plan: String

    func run() throws {
        let reply = try options.call(.showPlan, ["plan": .string(plan)])
        let plan = try reply.required("plan", JSONObject.object)
        try options.output.print(reply.json, text(plan))
    }

    private func text(_ plan: JSONObject) -> String {
        let head =
            options.output.paint(visible("plan \(plan.shown("name"))"), .bold) + "\n"
            + pairs([("permissions", plan.shown("permissions"))])
        let rows = plan.objects("limits").map { limit in
            let window = limit.integer("window_milliseconds").map { span(UInt64(max(0, $0))) }
            return ["name", "kind", "scope", "meter", "limit"].map { limit.shown($0) }
                + [window ?? limit.shown("period")]
        }
        guard !rows.isEmpty else { return head + "\n  no limits" }
        let header = ["LIMIT", "KIND", "SCOPE", "METER", "AT MOST", "PER"]
        return head + "\n" + table(header, rows, indent: 2)
    }
}
