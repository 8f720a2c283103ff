import TollgateClient
import TollgateWire

/// What changed between two looks at the daemon's statistics.
struct TopView {
    struct Sample {
        var nanoseconds: UInt64
        var entries: [StatisticEntry]
        var organizations: Known
    }

    /// What is known of organizations; or why nothing is.
    enum Known {
        case told(TopOrganizations)
        case untold(String)
    }

    /// A counter: how fast it grows, and where it stands.
    struct Rate {
        var name: String
        var perSecond: Double
        var total: UInt64
    }

    let seconds: Double
    let organizations: Known
    let organizationsBefore: Known
    let rates: [Rate]
    let latency: TopLatency
    private let gauges: [(name: String, value: UInt64)]
    private let leftOut: String?

    init(before: Sample, now: Sample) {
        let seconds = max(0.001, Double(now.nanoseconds &- before.nanoseconds) / 1e9)
        let old = Dictionary(
            before.entries.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        self.seconds = seconds
        leftOut = now.entries.leftOutWords
        latency = TopLatency(before: before.entries, now: now.entries)
        organizations = now.organizations
        organizationsBefore = before.organizations
        rates = now.entries.filter { !$0.isGauge }.map { entry in
            // A counter that shrank belongs to a daemon that was started since.
            let from = old[entry.name] ?? 0
            let grown = entry.value >= from ? entry.value - from : entry.value
            return Rate(
                name: entry.name, perSecond: Double(grown) / seconds, total: entry.value)
        }
        gauges = now.entries.filter(\.isGauge).map { ($0.name, $0.value) }
    }

    // MARK: what is of interest

    /// Decisions with their reason in place of the name; busiest first.
    private var decisions: [Rate] { labelled("tollgate_decisions_total", "reason") }
    private var refusedFrames: [Rate] { labelled("tollgate_refused_frames_total", "status") }

    /// What is in shadow and would have refused, by limit; of permissions by reason.
    private var wouldDenials: [Rate] {
        rates.compactMap { rate in
            guard rate.name.hasPrefix("tollgate_would_deny_total{"), rate.total > 0 else {
                return nil
            }
            var named = rate
            let limit = Self.label("limit", of: rate.name) ?? ""
            named.name = limit.isEmpty ? Self.label("reason", of: rate.name) ?? "" : limit
            return named
        }.sorted { ($0.perSecond, $0.total, $1.name) > ($1.perSecond, $1.total, $0.name) }
    }

    private func labelled(_ metric: String, _ label: String) -> [Rate] {
        rates.compactMap { rate in
            guard rate.name.hasPrefix(metric + "{") else { return nil }
            var named = rate
            named.name = Self.label(label, of: rate.name) ?? rate.name
            return named
        }.sorted { ($0.perSecond, $0.total, $1.name) > ($1.perSecond, $1.total, $0.name) }
    }

    /// The value of a label in `metric{a="x",b="y"}`.
    static func label(_ label: String, of name: String) -> String? {
        let parts = name.split(separator: "\"", omittingEmptySubsequences: false)
        for (at, part) in parts.enumerated() where part.hasSuffix(label + "=") {
            return at + 1 < parts.count ? String(parts[at + 1]) : nil
        }
        return nil
    }

    func gauge(_ name: String) -> UInt64? { gauges.first { $0.name == name }?.value }

    private func sum(_ rates: [Rate], _ name: String) -> Rate {
        rates.reduce(into: Rate(name: name, perSecond: 0, total: 0)) {
            $0.perSecond += $1.perSecond
            $0.total += $1.total
        }
    }

    // MARK: shown

    func text(_ output: OutputOptions, rows limit: Int) -> String {
        let all = sum(decisions, "all decisions")
        let allowed = sum(decisions.filter { $0.name == "none" }, "allowed")
        let denied = sum(decisions.filter { $0.name != "none" }, "denied")
        func row(_ rate: Rate) -> [String] {
            let share = all.perSecond > 0 ? rate.perSecond / all.perSecond * 100 : 0
            return [
                rate.name, grouped(Int(rate.perSecond.rounded())),
                "\((share * 10).rounded() / 10) %", grouped(rate.total),
            ]
        }
        let reasons = decisions.filter { $0.name != "none" && $0.total > 0 }.map { rate in
            var rate = rate
            rate.name = "  " + rate.name
            return rate
        }
        let rows = ([allowed, denied] + reasons + [all]).map(row)
        var blocks = [
            output.paint(heading, .bold), table(["DECISIONS", "A SECOND", "SHARE", "TOTAL"], rows),
        ]
        let broken = refusedFrames.filter { $0.total > 0 }
        if !broken.isEmpty {
            blocks.append(
                table(
                    ["REFUSED FRAMES", "A SECOND", "TOTAL"],
                    broken.map {
                        [$0.name, grouped(Int($0.perSecond.rounded())), grouped($0.total)]
                    }))
        }
        let shadow = wouldDenials
        if !shadow.isEmpty {
            blocks.append(
                table(
                    ["WOULD DENY (IN SHADOW)", "A SECOND", "TOTAL"],
                    shadow.prefix(10).map {
                        [$0.name, grouped(Int($0.perSecond.rounded())), grouped($0.total)]
                    }))
        }
        blocks += organizationBlocks(rows: limit)
        blocks.append(traffic + "\n" + lag)
        if let leftOut { blocks.append(leftOut) }
        return blocks.joined(separator: "\n\n")
    }

    private var heading: String {
        var parts = ["tollgated"]
        for (name, _) in gauges where name.hasPrefix("tollgate_build_info{") {
            parts = ["tollgated " + (Self.label("version", of: name) ?? "")]
        }
        if let seconds = gauge("tollgate_uptime_seconds") {
            parts.append("up \(span(seconds.multipliedReportingOverflow(by: 1_000).partialValue))")
        }
        if let generation = gauge("tollgate_policy_generation") {
            parts.append("policy generation \(generation)")
        }
        for what in ["connections", "organizations", "users", "addresses"] {
            if let count = gauge("tollgate_" + what) { parts.append("\(grouped(count)) \(what)") }
        }
        if let size = gauge("tollgate_tables_bytes") {
            parts.append("\(bytes(Double(size))) of counters")
        }
        return visible(parts.joined(separator: ", "))
    }

    private var traffic: String {
        func perSecond(_ name: String) -> Double {
            rates.first { $0.name == name }?.perSecond ?? 0
        }
        let frames = grouped(Int(perSecond("tollgate_frames_total").rounded()))
        return "\(frames) frames, \(bytes(perSecond("tollgate_received_bytes_total"))) received and"
            + " \(bytes(perSecond("tollgate_sent_bytes_total"))) sent a second"
    }

    var json: JSON {
        func rate(_ rate: Rate) -> JSON {
            .object([("per_second", .rate(rate.perSecond)), ("total", .count(rate.total))])
        }
        let moving = rates.filter { $0.perSecond > 0 }
        let shadow = JSON.list(
            wouldDenials.map {
                .object([
                    ("name", .text($0.name)), ("per_second", .rate($0.perSecond)),
                    ("total", .count($0.total)),
                ])
            })
        let first: [(String, JSON)] = [
            ("seconds", .number("\((seconds * 1_000).rounded() / 1_000)")),
            (
                "decisions",
                .object([
                    ("all", rate(sum(decisions, ""))),
                    ("allowed", rate(sum(decisions.filter { $0.name == "none" }, ""))),
                    ("denied", rate(sum(decisions.filter { $0.name != "none" }, ""))),
                    (
                        "by_reason",
                        .object(decisions.filter { $0.total > 0 }.map { ($0.name, rate($0)) })
                    ),
                ])
            ),
        ]
        let rest: [(String, JSON)] = [
            ("would_deny", shadow), ("operations", operationsJSON),
            ("organizations", organizationsJSON),
            ("per_second", .object(moving.map { ($0.name, .rate($0.perSecond)) })),
            ("gauges", .object(gauges.map { ($0.name, .count($0.value)) })),
        ]
        return .object(first + lagMembers + rest)
    }
}
