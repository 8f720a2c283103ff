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
    package var operation = ""
    /// Of the daemon: what is wrong, one word.
    package var trouble = ""

    package init() {}

    private var parts: [String] {
        [organization, isPersonal ? "1" : "", user, key, address, quota, operation, trouble]
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
    /// When an operator took note of it.
    package var acknowledgedAt: Int64?

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
    package var id: UInt64
    /// Of one rule; `nil`: of all.
    package var rule: String?
    /// Of one organization; `nil`: of all.
    package var organization: String?
    /// Milliseconds since 1970.
    package var until: Int64

    package init(id: UInt64, rule: String?, organization: String?, until: Int64) {
        self.id = id
        self.rule = rule
        self.organization = organization
        self.until = until
    }

    func covers(_ alert: Alert) -> Bool {
        alert.at < until && (rule ?? alert.rule) == alert.rule
            && (organization ?? alert.subject.organization) == alert.subject.organization
    }
}

/// What the daemon tells of itself.
package enum AlertEvent: Sendable, Equatable {
    case refreshReuse(organization: String, isPersonal: Bool, user: String)
    /// Wrong from now on, or no longer. `name` is one word: `ledger`, `audit`, `audit_dropped`.
    case trouble(name: String, isOn: Bool, words: String)
    /// All quotas of an organization began anew.
    case quotasReset(organization: String, isPersonal: Bool)
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
