import TollgateClient
import TollgateWire

/// Who is busiest: organizations and operations; and who is nearest to a limit.
extension TopView {
    /// An organization with what changed between two looks; `nil` where the first does not tell.
    struct Busy {
        var now: BusyOrganization
        var allowedPerSecond: Double?
        var deniedPerSecond: Double?

        var perSecond: Double? {
            allowedPerSecond.flatMap { allowed in deniedPerSecond.map { allowed + $0 } }
        }
    }

    private struct Operation {
        var name: String
        var allowed = Rate(name: "", perSecond: 0, total: 0)
        var denied = Rate(name: "", perSecond: 0, total: 0)

        var perSecond: Double { allowed.perSecond + denied.perSecond }
        var total: UInt64 { allowed.total &+ denied.total }
    }

    private var told: TopOrganizations? {
        if case .told(let top) = organizations { return top }
        return nil
    }

    private func isSame(_ a: BusyOrganization, _ b: BusyOrganization) -> Bool {
        a.organization == b.organization && a.isPersonal == b.isPersonal
    }

    /// The fastest first; then as the daemon has them.
    var busiest: [Busy] {
        guard let told else { return [] }
        var before: TopOrganizations?
        if case .told(let top) = organizationsBefore { before = top }
        let all = told.busiest.map { now -> Busy in
            var from = before?.busiest.first { isSame($0, now) }
            let isNew = before?.since != told.since
            // Who was in no list that had room had no decision yet.
            if isNew || (from == nil && before?.busiest.count ?? 0 < TopOrganizations.listMax) {
                from = BusyOrganization(
                    organization: "", isPersonal: false, recent: 0, allowed: 0, denied: 0)
            }
            guard let from, before != nil else { return Busy(now: now) }
            func rate(_ old: UInt64, _ new: UInt64) -> Double {
                // Counts that shrank were begun anew.
                Double(new >= old ? new - old : new) / seconds
            }
            return Busy(
                now: now, allowedPerSecond: rate(from.allowed, now.allowed),
                deniedPerSecond: rate(from.denied, now.denied))
        }
        return all.enumerated().sorted { a, b in
            let (x, y) = (a.element.perSecond ?? 0, b.element.perSecond ?? 0)
            return x != y ? x > y : a.offset < b.offset
        }.map(\.element)
    }

    private var operations: [Operation] {
        var all: [Operation] = []
        for rate in rates where rate.name.hasPrefix("tollgate_operation_decisions_total{") {
            let name = Self.label("operation", of: rate.name) ?? ""
            let place = all.firstIndex { $0.name == name } ?? all.count
            if place == all.count { all.append(Operation(name: name)) }
            if Self.label("verdict", of: rate.name) == "allow" {
                all[place].allowed = rate
            } else {
                all[place].denied = rate
            }
        }
        return all.filter { $0.total > 0 }
            .sorted { ($0.perSecond, $0.total, $1.name) > ($1.perSecond, $1.total, $0.name) }
    }

    // MARK: text

    func organizationBlocks(rows: Int) -> [String] {
        var blocks: [String] = []
        let operations = operations
        if !operations.isEmpty {
            blocks.append(
                table(
                    ["BUSIEST OPERATIONS", "A SECOND", "DENIED A SECOND", "TOTAL"],
                    operations.prefix(rows).map {
                        [
                            $0.name, Self.whole($0.perSecond), Self.whole($0.denied.perSecond),
                            grouped($0.total),
                        ]
                    }))
        }
        guard let told else {
            if case .untold(let why) = organizations {
                blocks.append(visible("organizations are not shown: \(why)"))
            }
            return blocks
        }
        blocks += busyBlocks(told, rows)
        if !told.nearest.isEmpty {
            blocks.append(
                table(
                    [
                        "NEAREST TO THEIR LIMITS", "USER", "QUOTA", "TAKEN", "LIMIT", "PERCENT",
                        "ENDS",
                    ],
                    told.nearest.prefix(rows).map { row($0, at: told.at) }))
        }
        return blocks
    }

    private func busyBlocks(_ told: TopOrganizations, _ rows: Int) -> [String] {
        guard told.since != nil else {
            return ["organizations are not counted: the policy has no audit log"]
        }
        let busiest = busiest
        guard !busiest.isEmpty else { return ["no organization had a decision yet"] }
        var text = table(
            ["BUSIEST ORGANIZATIONS", "A SECOND", "DENIED A SECOND", "ALLOWED", "DENIED"],
            busiest.prefix(rows).map { busy in
                [
                    name(busy.now.organization, busy.now.isPersonal),
                    busy.perSecond.map(Self.whole) ?? "-",
                    busy.deniedPerSecond.map(Self.whole) ?? "-", grouped(busy.now.allowed),
                    grouped(busy.now.denied),
                ]
            })
        if told.sampleOneIn > 1 {
            text += "\nof allowed checks one in \(grouped(told.sampleOneIn)) is counted"
        }
        if told.missedMax > 0 {
            text += "\nwho is not counted apart had \(grouped(told.missedMax)) of late at most"
        }
        return [text]
    }

    private func name(_ organization: String, _ isPersonal: Bool) -> String {
        isPersonal ? organization + " (personal)" : organization
    }

    private func row(_ near: NearestQuota, at now: Timestamp) -> [String] {
        var quota = near.quota
        if near.isShare { quota += " (share)" }
        if near.isShadow { quota += " (in shadow)" }
        let ends = near.endsAt.map {
            Times.distance(Double($0.milliseconds) / 1_000, from: Double(now.milliseconds) / 1_000)
        }
        return [
            name(near.organization, near.isPersonal), near.user ?? "-", quota,
            grouped(Self.taken(near)), grouped(near.limit),
            Self.percent(near).map { "\($0)" } ?? "-", ends ?? "never",
        ]
    }

    private static func whole(_ rate: Double) -> String { grouped(Int(rate.rounded())) }

    private static func taken(_ near: NearestQuota) -> UInt64 {
        let (sum, overflow) = near.used.addingReportingOverflow(near.held)
        return overflow ? .max : sum
    }

    /// Never 100 while something is left; `nil` where there is no limit at all.
    private static func percent(_ near: NearestQuota) -> Double? {
        guard near.limit > 0 else { return nil }
        let percent = (Double(taken(near)) / Double(near.limit) * 1_000).rounded(.down) / 10
        return taken(near) < near.limit ? min(percent, 99.9) : percent
    }

    // MARK: JSON

    var operationsJSON: JSON {
        .list(
            operations.map {
                .object([
                    ("operation", .text($0.name)), ("per_second", .rate($0.perSecond)),
                    ("denied_per_second", .rate($0.denied.perSecond)),
                    ("allowed", .count($0.allowed.total)), ("denied", .count($0.denied.total)),
                ])
            })
    }

    /// `null` where the daemon does not tell.
    var organizationsJSON: JSON {
        guard let told else { return .null }
        return .object([
            ("since_at", .optional(told.since?.milliseconds)),
            ("sample_one_in", .count(told.sampleOneIn)), ("missed_max", .count(told.missedMax)),
            ("busiest", .list(busiest.map(Self.json))),
            ("nearest", .list(told.nearest.map(Self.json))),
        ])
    }

    private static func json(_ busy: Busy) -> JSON {
        .object([
            ("organization", .text(busy.now.organization)),
            ("personal", .bool(busy.now.isPersonal)),
            ("per_second", busy.perSecond.map { .rate($0) } ?? .null),
            ("denied_per_second", busy.deniedPerSecond.map { .rate($0) } ?? .null),
            ("allowed", .count(busy.now.allowed)), ("denied", .count(busy.now.denied)),
            ("recent", .count(busy.now.recent)), ("recent_error", .count(busy.now.recentError)),
        ])
    }

    private static func json(_ near: NearestQuota) -> JSON {
        .object([
            ("organization", .text(near.organization)), ("personal", .bool(near.isPersonal)),
            ("user", .optional(near.user)), ("plan", .text(near.plan)),
            ("quota", .text(near.quota)), ("meter", .text(near.meter)),
            ("period", .text(near.period.rawValue)), ("used", .count(near.used)),
            ("held", .count(near.held)), ("limit", .count(near.limit)),
            ("percent", percent(near).map { .rate($0) } ?? .null),
            ("ends_at", .optional(near.endsAt?.milliseconds)), ("share", .bool(near.isShare)),
            ("shadow", .bool(near.isShadow)),
        ])
    }
}
