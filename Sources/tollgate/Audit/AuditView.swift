import TollgateCore
import TollgateStorage
import TollgateWire

/// How decisions of the log are shown.
struct AuditView {
    enum Format: String, CaseIterable { case table, jsonl, csv }

    static let header = [
        "TIME", "DECISION", "REASON", "KIND", "ORGANIZATION", "USER", "OPERATION", "CHARGED",
        "LIMIT", "ID",
    ]

    let format: Format
    private var widths = header.map(\.count)
    private var isFirst = true
    private var csv = AuditCSV()

    init(_ format: Format) { self.format = format }

    /// Lines of a part of a list, of csv all in one; columns widen from part to part as they must.
    mutating func lines(_ records: [AuditRecord]) -> [String] {
        // The header of csv stands there whatever comes.
        guard !records.isEmpty || (isFirst && format == .csv) else { return [] }
        defer { isFirst = false }
        var lines: [String] = []
        switch format {
        case .jsonl: lines = records.map { Self.json($0).text }
        case .csv: lines = [csv.lines(records)]
        case .table:
            var rows = records.map { Self.row($0).map { visible($0, onOneLine: true) } }
            if isFirst { rows.insert(Self.header, at: 0) }
            for row in rows {
                for (column, cell) in row.enumerated() {
                    widths[column] = max(widths[column], cell.count)
                }
            }
            lines = rows.map(padded)
        }
        return lines
    }

    private func padded(_ row: [String]) -> String {
        var line = zip(row, widths).map { cell, width in
            cell + String(repeating: " ", count: max(0, width - cell.count))
        }.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        return line
    }

    static func time(_ wall: WallTime) -> String {
        let text = Times.shown(wall.milliseconds)
        let thousandths = String(((wall.milliseconds % 1_000) + 1_000) % 1_000)
        let padded = String(repeating: "0", count: 3 - thousandths.count) + thousandths
        return text.hasSuffix("Z") ? text.dropLast() + "." + padded + "Z" : text
    }

    static func id(_ id: UInt64) -> String { hexadecimal(id) }

    static func hexadecimal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    static func reason(_ number: UInt16) -> String {
        Reason(rawValue: number).map { "\($0)" } ?? "reason \(number)"
    }

    static func credential(_ kind: UInt8) -> String {
        switch CredentialKind(rawValue: kind) {
        case .accessToken: "access_token"
        case .apiKey: "api_key"
        default: "none"
        }
    }

    private static func row(_ record: AuditRecord) -> [String] {
        let would = record.wouldDeny.first
        let shown = record.quota ?? record.rate
        let room = shown.map { "\($0.name) \(grouped($0.used))/\(grouped($0.limit))" }
        let limit = record.refusedBy ?? room ?? "-"
        let charges = record.charges.filter { $0.weighted > 0 }
            .map { "\($0.meter)=\($0.weighted)" }.joined(separator: " ")
        return [
            time(record.wall), record.isAllowed ? "allowed" : "denied",
            record.isAllowed ? would.map { "would deny: \($0)" } ?? "-" : reason(record.reason),
            "\(record.kind)",
            record.organization.isEmpty ? "-" : record.organization,
            record.user.isEmpty ? "-" : record.user, record.operation ?? "-",
            charges.isEmpty ? "-" : charges, limit, id(record.id),
        ]
    }

    static func json(_ record: AuditRecord) -> JSON {
        func shown(_ limit: AuditRecord.Shown?) -> JSON {
            guard let limit else { return .null }
            return .object([
                ("name", .text(limit.name)), ("limit", .count(limit.limit)),
                ("used", .count(limit.used)),
            ])
        }
        return .object([
            ("time", .text(time(record.wall))), ("time_ms", .count(record.wall.milliseconds)),
            ("id", .text(id(record.id))), ("kind", .text("\(record.kind)")),
            ("verdict", .text(record.isAllowed ? "allow" : "deny")),
            ("reason", .text(reason(record.reason))), ("reason_code", .count(record.reason)),
            ("refused_by", .optional(record.refusedBy)),
            ("organization", .text(record.organization)),
            ("personal_organization", .bool(record.flags.contains(.personal))),
            ("user", .text(record.user)), ("plan", .optional(record.plan)),
            ("operation", .optional(record.operation)),
            ("credential_kind", .text(credential(record.credentialKind))),
            ("key_id", .optional(record.keyID)), ("issuer", .optional(record.issuer)),
            ("address", .optional(record.address)), ("charges", .list(record.charges.map(charge))),
            ("cost_micros", .count(record.cost)), ("rate_limit", shown(record.rate)),
            ("quota", shown(record.quota)), ("retry_after_ms", .count(record.retryMilliseconds)),
            ("latency_ns", .count(record.latencyNanoseconds)),
            ("dry_run", .bool(record.flags.contains(.dryRun))),
            ("overage", .bool(record.flags.contains(.overage))),
            ("repeated", .bool(record.flags.contains(.repeated))),
            ("would_deny", .texts(record.wouldDeny)),
            ("reservation", .optional(record.hold.map(hexadecimal))),
            ("idempotency_id", .optional(record.idempotency.map(hexadecimal))),
            ("limits", .list(record.standings.map(standing))), ("order", .count(record.order)),
            ("policy_generation", .count(record.generation)),
            ("segment", .count(record.segment)), ("block", .count(record.block)),
        ])
    }

    private static func charge(_ charge: AuditRecord.Charge) -> JSON {
        .object([
            ("meter", .text(charge.meter)), ("units", .count(charge.units)),
            ("weighted", .count(charge.weighted)),
        ])
    }

    private static func standing(_ standing: AuditRecord.Standing) -> JSON {
        .object([
            ("name", .text(standing.limit)), ("meter", .optional(standing.meter)),
            ("kind", .optional(LimitKind(rawValue: standing.kind).map { "\($0)" })),
            ("scope", .optional(LimitScope(rawValue: standing.scope).map { "\($0)" })),
            ("used", .count(standing.used)), ("held", .count(standing.held)),
            ("limit", .count(standing.most)), ("refuses", .bool(standing.refuses)),
            ("shadow", .bool(standing.isShadow)),
        ])
    }
}

extension AuditRecord {
    /// The limit that refused it; of several the one that the reply named. `nil`: it is allowed, or
    /// no limit refused it.
    var refusedBy: String? {
        let named: String? =
            switch Reason(rawValue: reason) {
            case .rateLimited, .invalidCredentialLimited: rate?.name
            case .quotaExhausted: quota?.name
            // A reply names none: the first that was full.
            case .concurrencyExceeded:
                standings.first {
                    $0.refuses && !$0.isShadow && $0.kind == LimitKind.concurrency.rawValue
                }?.limit
            default: nil
            }
        return named
    }
}
