/// Whom or what an alert is about. What does not matter to its kind is empty.
package struct AlertSubject: Sendable, Hashable, Comparable {
    package var organization = ""
    /// The organization is the user's own.
    package var isPersonal = false
    package var user = ""
    /// Id of an API key.
    package var key = ""
    /// An address or network, as text.
    package var address = ""
    /// Name of a quota.
    package var quota = ""
    /// The quota refuses nobody; one that is enforced later is another subject.
    package var isShadow = false
    package var operation = ""
    /// Of the daemon: what is wrong, one word.
    package var trouble = ""

    package init() {}

    /// Whether each of its parts is that of the other, where the other has one; in shadow or not.
    func has(_ other: AlertSubject) -> Bool {
        func fits(_ part: KeyPath<AlertSubject, String>) -> Bool {
            other[keyPath: part].isEmpty || other[keyPath: part] == self[keyPath: part]
        }
        return fits(\.organization) && fits(\.user) && fits(\.key) && fits(\.address)
            && fits(\.quota) && fits(\.operation) && fits(\.trouble)
    }

    private var parts: [String] {
        [
            organization, isPersonal ? "1" : "", user, key, address, quota, operation, trouble,
            isShadow ? "1" : "",
        ]
    }

    package static func < (a: AlertSubject, b: AlertSubject) -> Bool {
        a.parts.lexicographicallyPrecedes(b.parts)
    }
}

package enum AlertSeverity: UInt8, Sendable, CaseIterable {
    case info = 1
    case warning = 2
    case critical = 3

    package var word: String {
        switch self {
        case .info: "info"
        case .warning: "warning"
        case .critical: "critical"
        }
    }
}

/// Something that an operator should know, once.
package struct Alert: Sendable, Equatable {
    /// Counted from 1, over restarts: no two alerts have one.
    package var id: UInt64
    package var rule: String
    package var kind: AlertKind
    package var severity: AlertSeverity
    package var subject: AlertSubject
    /// Of a quota: percent. Else the number from which on the rule fires.
    package var threshold: UInt64 = 0
    /// What was there when it fired: units used, credentials, networks, requests, micro-units.
    package var value: UInt64 = 0
    /// Of a quota: its limit. Of a rise: the busiest hour before.
    package var limit: UInt64 = 0
    /// Wall clock, milliseconds since 1970.
    package var at: Int64
    /// Milliseconds since 1970; `Int64.max`: never. Of a forecast also when the quota will be gone.
    package var periodEnd: Int64 = .max
    package var exhaustedAt: Int64?
    /// Of the daemon's trouble: its words.
    package var words = ""
    /// It was kept from the sinks.
    package var isSilenced = false
    /// When an operator first took note of it, which user, and what was said of it last.
    package var acknowledgedAt: Int64?
    package var acknowledgedBy: UInt32?
    package var note = ""

    package init(
        id: UInt64, rule: String, kind: AlertKind, severity: AlertSeverity, subject: AlertSubject,
        at: Int64
    ) {
        self.id = id
        self.rule = rule
        self.kind = kind
        self.severity = severity
        self.subject = subject
        self.at = at
    }
}

/// Alerts that are not to reach the sinks for a time. They fire all the same, and are noted.
package struct AlertSilence: Sendable, Equatable {
    /// No alert's, and no other silence's.
    package var id: UInt64 = 0
    /// Of one rule; empty: of all.
    package var rule = ""
    /// Of those whose subjects have all that is here; what is empty may be anything.
    package var subject = AlertSubject()
    /// Of personal organizations alone, or of the others; `nil`: of both.
    package var isPersonal: Bool?
    /// Milliseconds since 1970, as `at`, when it was made.
    package var until: Int64
    package var at: Int64 = 0
    /// Who made it, and why.
    package var uid: UInt32 = 0
    package var note = ""

    package init(until: Int64) { self.until = until }

    /// A test is to show whether alerts arrive: it is never kept back.
    func covers(_ alert: Alert) -> Bool {
        alert.kind != .test && alert.at < until && (rule.isEmpty || rule == alert.rule)
            && (isPersonal ?? alert.subject.isPersonal) == alert.subject.isPersonal
            && alert.subject.has(subject)
    }
}

/// What the daemon tells of itself.
package enum AlertEvent: Sendable, Equatable {
    case refreshReuse(organization: String, isPersonal: Bool, user: String)
    /// Wrong from now on, or no longer. `name` is one word: `ledger`, `audit`, `audit_dropped`.
    case trouble(name: String, isOn: Bool, words: String)
    /// All quotas of an organization began anew, by the boottime (nanoseconds). Told again, by the
    /// same id, it says nothing new.
    case quotasReset(organization: String, isPersonal: Bool, id: ResetID, boot: UInt64)
}

/// What the indices of audit entries stand for, as far as rules ask.
package struct AlertNames: Sendable {
    package var names: AuditNames
    /// By index of a limit; `nil`: it is no quota.
    package var periods: [PeriodKind?]

    package init(names: AuditNames, periods: [PeriodKind?]) {
        self.names = names
        self.periods = periods
    }
}

extension PolicyImage {
    package var alertNames: AlertNames {
        var periods = [PeriodKind?](repeating: nil, count: limits.count)
        for step in steps where step.isQuota {
            periods[Int(step.limitIndex)] = calendars[Int(step.form)].period
        }
        return AlertNames(names: auditNames, periods: periods)
    }
}
