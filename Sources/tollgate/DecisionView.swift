import TollgateClient
import TollgateWire

/// A decision as people and as programs read it.
struct DecisionView {
    let decision: CheckDecision
    let output: OutputOptions
    /// The limits were asked for.
    let explains: Bool

    init(_ decision: CheckDecision, _ output: OutputOptions, explains: Bool) {
        self.decision = decision
        self.output = output
        self.explains = explains
    }

    var text: String {
        let reason = decision.reason.map { "\($0)" } ?? "reason \(decision.reasonCode)"
        var verdict = output.paint("allow", .green)
        if !decision.isAllowed { verdict = output.paint("deny", .red) + "  " + reason }
        if decision.isDryRun { verdict += output.paint("  (dry run: nothing charged)", .dim) }
        var rows: [(String, String)] = []
        if !decision.user.isEmpty {
            let whose = decision.isPersonal ? "on its own" : "of \(decision.organization)"
            rows.append(("user", "\(decision.user) \(whose), plan \(decision.plan)"))
        }
        if !decision.operation.isEmpty { rows.append(("operation", decision.operation)) }
        for (name, limit) in [("rate limit", decision.rateLimit), ("quota", decision.quota)] {
            guard let limit else { continue }
            let reset =
                limit.resetMilliseconds == 0 ? "" : ", reset in \(span(limit.resetMilliseconds))"
            let isCounted = limit.limit == .max
            let left =
                isCounted ? "unlimited" : "\(limit.remaining) of \(limit.limit) left"
            rows.append((name, "\(limit.name): \(left)\(reset)"))
        }
        if let cost = decision.costMicroUnits { rows.append(("cost", Self.money(cost))) }
        if let id = decision.decisionID { rows.append(("decision id", Self.text(id))) }
        if let held = decision.reservation {
            rows.append(("reservation", "\(held.id)"))
            rows.append(("held for", span(UInt64(held.timeToLiveMilliseconds))))
        }
        if decision.isOverage { rows.append(("overage", "a limit is past its end")) }
        if let would = decision.wouldDeny {
            let what = would.limit.map { ", \($0)" } ?? ""
            rows.append(("in shadow", "would deny: \(Self.reason(would))\(what)"))
        }
        if let retry = decision.retryAfterMilliseconds {
            let never = retry == WireLimits.retryNever
            rows.append(("retry", never ? "no wait helps" : "in \(span(UInt64(retry)))"))
        }
        var lines = [verdict]
        if !rows.isEmpty { lines.append(pairs(rows)) }
        if !decision.explanation.isEmpty {
            lines.append(LimitTable.text(decision.explanation, indent: 2))
        }
        return lines.joined(separator: "\n")
    }

    var json: JSON {
        func limit(_ limit: LimitSummary?) -> JSON {
            guard let limit else { return .null }
            return .object([
                ("name", .text(limit.name)), ("limit", LimitTable.bounded(limit.limit)),
                ("remaining", LimitTable.bounded(limit.remaining)),
                ("reset_ms", LimitTable.reset(limit.resetMilliseconds)),
            ])
        }
        let isNever = decision.retryAfterMilliseconds == WireLimits.retryNever
        var members: [(String, JSON)] = [
            ("verdict", .text(decision.isAllowed ? "allow" : "deny")),
            ("reason", .text(decision.reason.map { "\($0)" } ?? "unknown")),
            ("reason_code", .count(decision.reasonCode)), ("dry_run", .bool(decision.isDryRun)),
            ("user", .text(decision.user)), ("organization", .text(decision.organization)),
            ("personal_organization", .bool(decision.isPersonal)), ("plan", .text(decision.plan)),
            ("operation", .text(decision.operation)), ("rate_limit", limit(decision.rateLimit)),
            ("quota", limit(decision.quota)),
            ("retry_after_ms", isNever ? .null : .optional(decision.retryAfterMilliseconds)),
            ("retry_helps", .bool(!isNever)), ("overage", .bool(decision.isOverage)),
            (
                "would_deny",
                decision.wouldDeny.map {
                    .object([
                        ("reason", .text(Self.reason($0))), ("reason_code", .count($0.reasonCode)),
                        ("limit", .optional($0.limit)),
                    ])
                } ?? .null
            ),
            ("cost_micros", .optional(decision.costMicroUnits)),
            ("reservation", .optional(decision.reservation.map { "\($0.id)" })),
            ("ttl_ms", .optional(decision.reservation?.timeToLiveMilliseconds)),
            ("decision_id", .optional(decision.decisionID.map(Self.text))),
        ]
        if explains { members.append(("limits", LimitTable.json(decision.explanation))) }
        return .object(members)
    }

    private static func reason(_ would: WouldDeny) -> String {
        would.reason.map { "\($0)" } ?? "reason \(would.reasonCode)"
    }

    /// As the audit log writes it: 16 hexadecimal digits.
    private static func text(_ id: UInt64) -> String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// `1.250000`: micro-units of the operator's currency.
    private static func money(_ microUnits: UInt64) -> String {
        let digits = String(microUnits % 1_000_000)
        return "\(microUnits / 1_000_000)."
            + String(repeating: "0", count: 6 - digits.count) + digits
    }
}

/// Limits and what is used of them, as a table and as JSON.
enum LimitTable {
    static func text(_ limits: [LimitEntry], indent: Int = 0) -> String {
        let header = [
            "LIMIT", "SCOPE", "METER", "USED", "HELD", "OF", "LEFT", "WINDOW", "RESET IN", "",
        ]
        let rows = limits.map { limit in
            [
                limit.name, "\(limit.scope)", limit.meter, "\(limit.used)", "\(limit.held)",
                units(limit.limit), units(limit.remaining), span(limit.lengthMilliseconds),
                limit.resetMilliseconds == 0 ? "-" : span(limit.resetMilliseconds),
                limit.isShadow
                    ? (limit.refuses ? "would refuse" : "in shadow")
                    : limit.refuses ? "refuses" : "",
            ]
        }
        return table(header, rows, indent: indent)
    }

    static func json(_ limits: [LimitEntry]) -> JSON {
        .list(
            limits.map { limit in
                .object([
                    ("kind", .text("\(limit.kind)")), ("scope", .text("\(limit.scope)")),
                    ("name", .text(limit.name)), ("meter", .text(limit.meter)),
                    ("used", .count(limit.used)), ("held", .count(limit.held)),
                    ("limit", bounded(limit.limit)), ("remaining", bounded(limit.remaining)),
                    ("reset_ms", reset(limit.resetMilliseconds)),
                    ("length_ms", .count(limit.lengthMilliseconds)),
                    ("refuses", .bool(limit.refuses)), ("shadow", .bool(limit.isShadow)),
                ])
            })
    }

    private static func units(_ units: UInt64) -> String {
        units == .max ? "unlimited" : "\(units)"
    }

    /// `null` where there is no limit.
    static func bounded(_ units: UInt64) -> JSON { units == .max ? .null : .count(units) }

    /// `null` when it never comes.
    static func reset(_ milliseconds: UInt64) -> JSON {
        milliseconds == WireLimits.resetNever ? .null : .count(milliseconds)
    }
}
