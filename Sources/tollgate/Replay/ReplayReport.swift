import TollgateCore
import TollgateStorage
import TollgateWire

/// What a replay found.
struct ReplayReport {
    /// Decisions that came out otherwise, by how and by which limit.
    struct Change {
        var count = 0
        var first = WallTime(milliseconds: .max)
        var last = WallTime(milliseconds: .min)
        /// Weighted units that were asked for, by meter, and micro-units of money.
        var units: [String: UInt64] = [:]
        var cost: UInt64 = 0
        var organizations: [String: Int] = [:]
        var users: [String: Int] = [:]

        mutating func add(_ record: AuditRecord, cost own: UInt64) {
            count += 1
            if record.wall.milliseconds < first.milliseconds { first = record.wall }
            if record.wall.milliseconds > last.milliseconds { last = record.wall }
            for charge in record.charges {
                let sum = units[charge.meter, default: 0].addingReportingOverflow(charge.weighted)
                units[charge.meter] = sum.overflow ? .max : sum.partialValue
            }
            let sum = cost.addingReportingOverflow(own)
            cost = sum.overflow ? .max : sum.partialValue
            organizations[record.organization, default: 0] += 1
            users["\(record.organization)/\(record.user)", default: 0] += 1
        }
    }

    enum Way: String, CaseIterable {
        case refused, allowed, otherReason = "other_reason"
    }

    struct Key: Hashable {
        var way: Way
        var reason: Reason
        /// Of a rate limit or a quota.
        var limit: String?
    }

    /// A decision that comes out otherwise.
    struct Changed {
        var record: AuditRecord
        var key: Key
        var cost: UInt64
    }

    var decisions = 0
    /// Of allowed decisions the log has one in so many.
    var sampledOneIn: UInt64 = 1
    /// Decided as in the log by the old policy, and then compared.
    var judged = 0
    /// Taken from the log: credentials, subscriptions, ends of holds, answers given again.
    var asRecorded = 0
    private(set) var unjudged: [PolicyReplay.Unjudged: Int] = [:]
    /// Ids of the first of each, for whoever asks `explain`.
    private var examples: [PolicyReplay.Unjudged: [UInt64]] = [:]
    /// Quotas whose count was taken from the log: begun before it, or changed between decisions.
    var begunBefore = 0
    var changedBetween = 0
    private(set) var changes: [Key: Change] = [:]
    private(set) var first: WallTime?
    private(set) var last: WallTime?

    var differences: Int { changes.values.reduce(0) { $0 + $1.count } }
    var unjudgedCount: Int { unjudged.values.reduce(0, +) }

    mutating func note(_ wall: WallTime) {
        if first.map({ wall.milliseconds < $0.milliseconds }) ?? true { first = wall }
        if last.map({ wall.milliseconds > $0.milliseconds }) ?? true { last = wall }
    }

    mutating func leave(_ record: AuditRecord, _ cause: PolicyReplay.Unjudged) {
        unjudged[cause, default: 0] += 1
        if examples[cause, default: []].count < 3 { examples[cause, default: []].append(record.id) }
    }

    /// Compares what the two policies say; `nil`: the same.
    mutating func judge(
        _ record: AuditRecord, _ old: ReplayAnswer, _ new: ReplayAnswer
    ) -> Changed? {
        judged += 1
        guard old.reason != new.reason || old.refusing != new.refusing else { return nil }
        let way: Way =
            old.reason == .none ? .refused : new.reason == .none ? .allowed : .otherReason
        let by = way == .allowed ? old : new
        let key = Key(way: way, reason: by.reason, limit: by.refusing)
        let own = way == .allowed ? new.cost : record.cost
        // In its place: a copy of it would be one of all users that it has met.
        changes[key, default: Change()].add(record, cost: own)
        return Changed(record: record, key: key, cost: own)
    }

    private var ordered: [(key: Key, value: Change)] {
        changes.sorted {
            ($0.key.way.rawValue, $0.value.count, $1.key.limit ?? "")
                > ($1.key.way.rawValue, $1.value.count, $0.key.limit ?? "")
        }
    }

    private static func top(_ counts: [String: Int], _ most: Int) -> [(name: String, count: Int)] {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(most).map {
            ($0.key, $0.value)
        }
    }

    // MARK: shown

    func json(most: Int) -> JSON {
        func busiest(_ counts: [String: Int]) -> JSON {
            .list(
                Self.top(counts, most).map {
                    .object([("name", .text($0.name)), ("decisions", .count($0.count))])
                })
        }
        return .object([
            ("decisions", .count(decisions)), ("judged", .count(judged)),
            ("as_recorded", .count(asRecorded)), ("differences", .count(differences)),
            ("from", .optional(first.map(AuditView.time))),
            ("to", .optional(last.map(AuditView.time))),
            (
                "not_judged",
                .object(PolicyReplay.Unjudged.allCases.map {
                    ($0.word, .count(unjudged[$0, default: 0]))
                })
            ),
            (
                "examples",
                .object(examples.sorted { $0.key.word < $1.key.word }.map {
                    ($0.key.word, .texts($0.value.map(AuditView.id)))
                })
            ),
            ("sample_allowed", .count(sampledOneIn)),
            ("quotas_begun_before", .count(begunBefore)),
            ("quotas_changed_between", .count(changedBetween)),
            (
                "changes",
                .list(
                    ordered.map { key, change in
                        .object([
                            ("now", .text(key.way.rawValue)), ("reason", .text("\(key.reason)")),
                            ("limit", .optional(key.limit)), ("decisions", .count(change.count)),
                            ("first", .text(AuditView.time(change.first))),
                            ("last", .text(AuditView.time(change.last))),
                            (
                                "units",
                                .object(change.units.sorted { $0.key < $1.key }.map {
                                    ($0.key, .count($0.value))
                                })
                            ),
                            ("cost_micros", .count(change.cost)),
                            ("organizations", busiest(change.organizations)),
                            ("users", busiest(change.users)),
                        ])
                    })
            ),
        ])
    }

    /// What was judged, and what not and why.
    var head: [String] {
        var lines = [
            "\(grouped(decisions)) decisions"
                + (first.map { ", \(AuditView.time($0))" } ?? "")
                + (last.map { " to \(AuditView.time($0))" } ?? "")
                + ": \(grouped(judged)) judged, \(grouped(asRecorded)) as recorded,"
                + " \(grouped(unjudgedCount)) cannot be judged"
        ]
        for cause in PolicyReplay.Unjudged.allCases {
            guard let count = unjudged[cause] else { continue }
            let ids = examples[cause, default: []].map(AuditView.id).joined(separator: ", ")
            lines.append("  \(grouped(count)) because \(cause.meaning): \(ids)")
        }
        if begunBefore > 0 {
            lines.append(
                "\(grouped(begunBefore)) quotas had begun before the log: they go on from"
                    + " what it first says of them")
        }
        if changedBetween > 0 {
            lines.append(
                "\(grouped(changedBetween)) times a quota counted something else than the"
                    + " log before tells (a reset, decisions that were left out): taken from it")
        }
        if sampledOneIn > 1 {
            lines.append(
                "the log has one in \(grouped(sampledOneIn)) allowed decisions (sample_allowed):"
                    + " rate limits, and quotas between them, count too little")
        }
        return lines
    }

    func text(most: Int) -> String {
        var lines = head
        guard differences > 0 else {
            return (lines + ["No decision that can be judged comes out otherwise."])
                .joined(separator: "\n")
        }
        let header = ["NOW", "REASON", "LIMIT", "DECISIONS", "FIRST", "LAST", "UNITS", "COST"]
        let rows = ordered.map { key, change in
            [
                key.way.rawValue, "\(key.reason)", key.limit ?? "-",
                grouped(change.count), AuditView.time(change.first),
                AuditView.time(change.last),
                change.units.sorted { $0.key < $1.key }.filter { $0.value > 0 }
                    .map { "\($0.key)=\($0.value)" }.joined(separator: " "),
                "\(change.cost)",
            ]
        }
        lines.append(table(header, rows))
        for (key, change) in ordered {
            let named = key.limit ?? "\(key.reason)"
            for (what, counts) in [("organizations", change.organizations), ("users", change.users)]
            {
                let busiest = Self.top(counts, most).map { "\(visible($0.name)) \($0.count)" }
                lines.append("\(key.way.rawValue) by \(visible(named)), \(what): "
                    + busiest.joined(separator: ", "))
            }
        }
        return lines.joined(separator: "\n")
    }
}

extension PolicyReplay.Unjudged {
    /// In JSON.
    var word: String {
        switch self {
        case .before: "begun_before"
        case .numbers: "other_numbers"
        case .keyLimit: "key_limit"
        case .otherPolicy: "other_policy"
        case .unexplained: "unexplained"
        }
    }

    var meaning: String {
        switch self {
        case .before: "rate limits, holds or members' pools had begun before the log"
        case .numbers:
            "a limit had another number than the old policy's (override, credits, carried over)"
        case .keyLimit: "an API key's own limit refused, which is not in the log"
        case .otherPolicy: "the old policy has not their plan or operation"
        case .unexplained:
            "the old policy decides otherwise than was recorded: is it the one that decided?"
        }
    }
}

extension ReplayReport.Changed {
    static let columns = [
        "time", "id", "kind", "recorded", "now", "reason", "limit", "organization",
        "personal_organization", "user", "plan", "operation", "charges", "cost_micros",
    ]

    var cells: [String] {
        let charges = record.charges.map { "\($0.meter)=\($0.weighted)" }.joined(separator: " ")
        return [
            AuditView.time(record.wall), AuditView.id(record.id), "\(record.kind)",
            record.isAllowed ? "allow" : AuditView.reason(record.reason), key.way.rawValue,
            "\(key.reason)", key.limit ?? "", record.organization,
            record.flags.contains(.personal) ? "true" : "false", record.user, record.plan ?? "",
            record.operation ?? "", charges, "\(cost)",
        ]
    }
}
