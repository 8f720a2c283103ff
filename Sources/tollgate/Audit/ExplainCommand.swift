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
            that was allowed, the tightest rate limit and quota, and the names of the others. \
            Where it does not say how one of these came out, neither does this.
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
        let explained = Explanation(found.record, found.names)
        try output.print(explained.json, explained.text)
    }
}

/// What the log knows of a decision, limit by limit.
private struct Explanation {
    let record: AuditRecord
    /// In the order in which they were looked at.
    private let limits: [Look]
    /// The permission that the operation wants; `nil`: none, or it is not known.
    private let permission: String?

    /// How a limit came out.
    enum Outcome: String {
        case hadRoom = "had_room"
        /// It had room, or is soft: it admits what is beyond its limit.
        case letPass = "let_pass"
        case refused
        /// It is in shadow.
        case wouldHaveRefused = "would_have_refused"
        /// What was used is recorded, whatever the limit.
        case charged
        case notAsked = "not_asked"
        case notRecorded = "not_recorded"

        /// Of a limit of which the decision does not say it by itself.
        init(_ record: AuditRecord) {
            let isWithoutCharge = !record.flags.isDisjoint(with: [.dryRun, .repeated])
            switch record.kind {
            case .check, .reserve:
                self =
                    record.flags.contains(.repeated)
                    ? .notAsked : record.flags.contains(.overage) ? .letPass : .hadRoom
            case .consume, .settle, .cut: self = isWithoutCharge ? .notAsked : .charged
            // It asks those of meters of which it wants more, and the log has not which.
            case .extend: self = .notRecorded
            case .cancel: self = .notAsked
            }
        }

        var words: String {
            switch self {
            case .hadRoom: "had room"
            case .letPass: "had room, or is soft"
            case .refused: "refuses"
            case .wouldHaveRefused: "in shadow, would refuse"
            case .charged: "charged, not asked"
            case .notAsked: "not asked"
            case .notRecorded: "how it came out is not recorded"
            }
        }
    }

    private struct Look {
        var name: String
        var meter: String?
        var kind: LimitKind?
        var scope: LimitScope?
        /// Used and held, and the limit: where they were recorded.
        var standing: (used: UInt64, held: UInt64, limit: UInt64)?
        var outcome: Outcome
        var isShadow = false

        var isPermission: Bool { kind == nil && scope == nil && name == AuditRecord.permission }

        var json: JSON {
            .object([
                ("name", .text(name)), ("meter", .optional(meter)),
                ("kind", .optional(kind.map { "\($0)" })),
                ("scope", .optional(scope.map { "\($0)" })),
                ("used", .optional(standing?.used)), ("held", .optional(standing?.held)),
                ("limit", .optional(standing?.limit)), ("outcome", .text(outcome.rawValue)),
                ("refuses", .bool(outcome == .refused || outcome == .wouldHaveRefused)),
                ("shadow", .bool(isShadow)),
            ])
        }
    }

    init(_ record: AuditRecord, _ names: AuditNames?) {
        self.record = record
        let operation = record.operation.flatMap { names?.operations.firstIndex(of: $0) }
        let permissions = names?.permissions ?? []
        if let operation, operation < permissions.count, !permissions[operation].isEmpty {
            permission = permissions[operation]
        } else {
            permission = nil
        }
        if !record.standings.isEmpty {
            limits = record.standings.map(Self.look)
        } else if record.isAllowed, let names, let operation {
            limits = Self.ofProgram(record, names, operation)
        } else {
            limits = []
        }
    }

    private static func look(_ standing: AuditRecord.Standing) -> Look {
        let outcome: Outcome =
            standing.refuses ? standing.isShadow ? .wouldHaveRefused : .refused : .hadRoom
        return Look(
            name: standing.limit, meter: standing.meter, kind: LimitKind(rawValue: standing.kind),
            scope: LimitScope(rawValue: standing.scope),
            standing: (standing.used, standing.held, standing.most), outcome: outcome,
            isShadow: standing.isShadow)
    }

    /// What the plan and the operation have, which is not all that was asked.
    private static func ofProgram(
        _ record: AuditRecord, _ names: AuditNames, _ operation: Int
    ) -> [Look] {
        guard let plan = record.plan, let row = names.plans.firstIndex(of: plan),
            case let place = row * names.operations.count + operation,
            place < names.programs.count
        else { return [] }
        let outcome = Outcome(record)
        return names.programs[place].compactMap { index in
            guard Int(index) < names.limits.count else { return nil }
            let limit = names.limits[Int(index)]
            let scope = LimitScope(rawValue: limit.scope)
            if scope == .address, record.address == nil { return nil }
            let shown = [record.rate, record.quota].compactMap { $0 }.first {
                $0.name == limit.name
            }
            return Look(
                name: limit.name, meter: limit.meter, kind: LimitKind(rawValue: limit.kind),
                scope: scope, standing: shown.map { ($0.used, 0, $0.limit) }, outcome: outcome)
        }
    }

    var json: JSON {
        .object([
            ("decision", AuditView.json(record)), ("permission", .optional(permission)),
            ("limits", .list(limits.map(\.json))),
        ])
    }

    // MARK: words

    var text: String {
        var lines = [verdict]
        var facts = [("when", AuditView.time(record.wall))]
        if !record.user.isEmpty {
            let personal = record.flags.contains(.personal) ? " (their own organization)" : ""
            facts.append(("who", "\(record.user) of \(record.organization)\(personal)"))
        }
        facts.append(("with", credential))
        if let address = record.address { facts.append(("from", address)) }
        if let plan = record.plan { facts.append(("plan", plan)) }
        facts.append(("wanted", "\(record.kind) \(record.operation ?? "an unknown operation")"))
        let charges = record.charges.map {
            $0.units == $0.weighted
                ? "\(grouped($0.units)) \($0.meter)"
                : "\(grouped($0.units)) \($0.meter), which count \(grouped($0.weighted))"
        }
        if let permission { facts.append(("needs", "the permission \(permission)")) }
        if !charges.isEmpty {
            let isHeld = record.kind == .reserve || record.kind == .extend
            let what =
                !record.isAllowed || record.flags.contains(.dryRun)
                ? "asked for" : isHeld ? "held" : "charged"
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
            lines.append(
                record.standings.isEmpty && Outcome(record) != .hadRoom
                    ? "Limits that count it:" : "Limits that were looked at:")
            lines.append(pairs(limits.map { ($0.name, words($0)) }))
        }
        return lines.joined(separator: "\n")
    }

    private var verdict: String {
        let id = AuditView.id(record.id)
        guard !record.isAllowed else {
            guard record.flags.contains(.shadow) else { return "Decision \(id): allowed." }
            let names = limits.filter { $0.outcome == .wouldHaveRefused }.map(\.name)
            return "Decision \(id): allowed, because what would have denied it is in shadow: "
                + names.joined(separator: ", ") + "."
        }
        var because = AuditView.reason(record.reason)
        if record.reason == Reason.permissionDenied.rawValue, let permission {
            because += ": it needs the permission \(permission)"
        } else if let refusing = refusing {
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

    /// Of several the one that the reply named.
    private var refusing: Look? {
        let all = limits.filter { $0.outcome == .refused }
        return all.first { $0.name == record.refusedBy } ?? all.first
    }

    private var credential: String {
        switch CredentialKind(rawValue: record.credentialKind) {
        case .apiKey: "API key \(record.keyID ?? "that is none")"
        case .accessToken:
            record.issuer.map { "an access token of \($0)" } ?? "an access token of nobody known"
        default: record.kind == .check || record.kind == .reserve ? "no credential" : "-"
        }
    }

    private func words(_ look: Look) -> String {
        if look.isPermission {
            return "the operation's" + (permission.map { ", \($0)" } ?? "")
                + "; in shadow, would refuse"
        }
        var text = look.kind.map { $0 == .rateLimit ? "rate limit" : "\($0)" } ?? "limit"
        if let scope = look.scope { text += " of the \(scope)" }
        guard let standing = look.standing else { return text + ": " + look.outcome.words }
        text += ": \(grouped(standing.used)) used"
        if standing.held > 0 { text += " and \(grouped(standing.held)) held" }
        text += " of \(grouped(standing.limit))"
        if let meter = look.meter, !meter.isEmpty { text += " \(meter)" }
        switch look.outcome {
        // The numbers say it.
        case .hadRoom, .letPass, .notRecorded: return text + (look.isShadow ? "; in shadow" : "")
        default: return text + "; " + look.outcome.words
        }
    }
}
