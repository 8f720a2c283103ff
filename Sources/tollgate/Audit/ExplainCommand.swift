import ArgumentParser
import TollgateCore
import TollgateStorage
import TollgateWire

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Why a decision came out as it did, in words.",
        discussion: """
            The id is the one that the reply carried (decision id). Of a decision that was denied \
            the log has how every limit stood, and of one that only shadow let through; of one \
            that was allowed, the tightest rate limit and quota, and the names of the others.
            """)
    @Argument(help: "The decision's id: 16 hexadecimal digits.") var id: String
    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard id.utf8.count <= 16, !id.isEmpty, UInt64(id, radix: 16) != nil else {
            throw ValidationError("a decision's id is 16 hexadecimal digits, not \"\(id)\"")
        }
    }

    func run() throws {
        let reader = try place.reader()
        let number = UInt64(id, radix: 16) ?? 0
        let found = try onAudit { () throws(AuditFailure) in try reader.decision(number) }
        guard let found else {
            throw Failure(
                .notDone, "the log has no decision \(id)",
                next: "it may be older than the log goes (tollgate audit list), left out by"
                    + " sample_allowed, or another daemon's")
        }
        let limits = Self.limits(found.record, found.names)
        let json = JSON.object([
            ("decision", AuditView.json(found.record)), ("limits", .list(limits.map(\.json))),
        ])
        try output.print(json, Self.text(found.record, limits))
    }

    /// What was looked at, in the order of the decision.
    private struct Look {
        var name: String
        var meter: String?
        var kind: LimitKind?
        var scope: LimitScope?
        /// Used and held, and the limit: where they were recorded.
        var standing: (used: UInt64, held: UInt64, limit: UInt64)?
        var refuses = false
        var isShadow = false

        var json: JSON {
            .object([
                ("name", .text(name)), ("meter", .optional(meter)),
                ("kind", .optional(kind.map { "\($0)" })),
                ("scope", .optional(scope.map { "\($0)" })),
                ("used", .optional(standing?.used)), ("held", .optional(standing?.held)),
                ("limit", .optional(standing?.limit)), ("refuses", .bool(refuses)),
                ("shadow", .bool(isShadow)),
            ])
        }
    }

    private static func limits(_ record: AuditRecord, _ names: AuditNames?) -> [Look] {
        if !record.standings.isEmpty {
            return record.standings.map {
                Look(
                    name: $0.limit, meter: $0.meter, kind: LimitKind(rawValue: $0.kind),
                    scope: LimitScope(rawValue: $0.scope),
                    standing: ($0.used, $0.held, $0.most), refuses: $0.refuses,
                    isShadow: $0.isShadow)
            }
        }
        guard record.isAllowed, let names, let plan = record.plan,
            let operation = record.operation, let row = names.plans.firstIndex(of: plan),
            let column = names.operations.firstIndex(of: operation),
            case let place = row * names.operations.count + column, place < names.programs.count
        else { return [] }
        return names.programs[place].compactMap { index in
            guard Int(index) < names.limits.count else { return nil }
            let limit = names.limits[Int(index)]
            let shown = [record.rate, record.quota].compactMap { $0 }.first {
                $0.name == limit.name
            }
            return Look(
                name: limit.name, meter: limit.meter, kind: LimitKind(rawValue: limit.kind),
                scope: LimitScope(rawValue: limit.scope),
                standing: shown.map { ($0.used, 0, $0.limit) })
        }
    }

    // MARK: words

    private static func text(_ record: AuditRecord, _ limits: [Look]) -> String {
        var lines = [verdict(record, limits)]
        var facts = [("when", AuditView.time(record.wall))]
        if !record.user.isEmpty {
            let personal = record.flags.contains(.personal) ? " (their own organization)" : ""
            facts.append(("who", "\(record.user) of \(record.organization)\(personal)"))
        }
        facts.append(("with", credential(record)))
        if let address = record.address { facts.append(("from", address)) }
        if let plan = record.plan { facts.append(("plan", plan)) }
        facts.append(("wanted", "\(record.kind) \(record.operation ?? "an unknown operation")"))
        let charges = record.charges.map {
            $0.units == $0.weighted
                ? "\(grouped($0.units)) \($0.meter)"
                : "\(grouped($0.units)) \($0.meter), which count \(grouped($0.weighted))"
        }
        if !charges.isEmpty {
            let what = record.isAllowed ? "charged" : "asked for"
            facts.append((what, charges.joined(separator: "; ")))
        }
        if record.cost > 0 { facts.append(("cost", "\(grouped(record.cost)) micro-units")) }
        if record.flags.contains(.dryRun) {
            facts.append(("note", "a dry run: nothing was charged"))
        }
        if record.flags.contains(.repeated) {
            facts.append(("note", "an answer that was given before; nothing was charged again"))
        }
        if record.flags.contains(.overage) { facts.append(("note", "beyond a limit")) }
        if let hold = record.hold { facts.append(("reservation", AuditView.hexadecimal(hold))) }
        lines.append(pairs(facts))
        if !limits.isEmpty {
            lines.append("Limits that were looked at:")
            lines.append(pairs(limits.map { ($0.name, words($0)) }))
        }
        return lines.joined(separator: "\n")
    }

    private static func verdict(_ record: AuditRecord, _ limits: [Look]) -> String {
        let id = AuditView.id(record.id)
        guard !record.isAllowed else {
            guard record.flags.contains(.shadow) else { return "Decision \(id): allowed." }
            let names = limits.filter { $0.refuses && $0.isShadow }.map(\.name)
            return "Decision \(id): allowed, because what would have denied it is in shadow: "
                + names.joined(separator: ", ") + "."
        }
        var because = AuditView.reason(record.reason)
        if let refusing = limits.first(where: { $0.refuses && !$0.isShadow }) {
            let kind = refusing.kind.map { $0 == .rateLimit ? "rate limit" : "\($0)" } ?? "limit"
            because += ": the \(kind) \(refusing.name) has no room for it"
        }
        var text = "Decision \(id): denied, \(because)."
        if record.retryMilliseconds == WireLimits.retryNever {
            text += " No wait helps: it is more than the limit ever grants."
        } else if record.retryMilliseconds > 0 {
            text += " It would pass in \(span(UInt64(record.retryMilliseconds)))."
        }
        return text
    }

    private static func credential(_ record: AuditRecord) -> String {
        switch CredentialKind(rawValue: record.credentialKind) {
        case .apiKey: "API key \(record.keyID ?? "that is none")"
        case .accessToken:
            record.issuer.map { "an access token of \($0)" } ?? "an access token of nobody known"
        default: record.kind == .check || record.kind == .reserve ? "no credential" : "-"
        }
    }

    private static func words(_ look: Look) -> String {
        var text = look.kind.map { $0 == .rateLimit ? "rate limit" : "\($0)" } ?? "limit"
        if let scope = look.scope { text += " of the \(scope)" }
        guard let standing = look.standing else { return text + ": had room" }
        if look.kind == nil, look.scope == nil { return "the operation's; in shadow, would refuse" }
        text += ": \(grouped(standing.used)) used"
        if standing.held > 0 { text += " and \(grouped(standing.held)) held" }
        text += " of \(grouped(standing.limit))"
        if let meter = look.meter, !meter.isEmpty { text += " \(meter)" }
        guard look.isShadow else { return text + (look.refuses ? "; refuses" : "") }
        return text + (look.refuses ? "; in shadow, would refuse" : "; in shadow")
    }
}
