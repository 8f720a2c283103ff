/// Something that an operator was told of, once.
public struct AlertInfo: DirectoryDocument {
    /// What it is about; `test`: an operator asked for it, and nothing is the matter.
    public enum Kind: String, DirectoryChoice {
        case quotaThreshold = "quota_threshold"
        case quotaExhaustedEarly = "quota_exhausted_early"
        case quotaForecast = "quota_forecast"
        case invalidCredentials = "invalid_credentials"
        case refreshReuse = "refresh_reuse"
        case keyNetworks = "key_networks"
        case suddenRise = "sudden_rise"
        case costlyOperation = "costly_operation"
        case daemonTrouble = "daemon_trouble"
        case test
    }

    /// How soon somebody should look: a warning in time, a critical alert now.
    public enum Severity: String, DirectoryChoice {
        case info, warning, critical
    }

    /// No other alert's, over restarts.
    public var id: UInt64
    public var rule: String
    public var kind: Kind
    public var severity: Severity
    public var at: Timestamp
    /// For people.
    public var text: String
    /// Whom or what it is about.
    public var subject: AlertSubjectInfo
    /// Of a quota: percent. Else the number from which on the rule fires.
    public var threshold: UInt64
    /// What was there when it fired, and what it is compared with.
    public var value: UInt64
    public var limit: UInt64
    /// Of a quota.
    public var periodEndsAt: Timestamp?
    /// Of a forecast.
    public var exhaustedAt: Timestamp?
    /// Of a quota that is in shadow: it refuses nobody.
    public var isShadow: Bool
    /// It was kept from those who are told.
    public var isSilenced: Bool
    public var acknowledgedAt: Timestamp?
    /// Which user of the daemon's host.
    public var acknowledgedBy: UInt64?
    /// What was said when it was acknowledged.
    public var note: String

    /// An alert of which nobody has taken note yet.
    public init(
        id: UInt64, rule: String, kind: Kind, severity: Severity, at: Timestamp, text: String,
        subject: AlertSubjectInfo = AlertSubjectInfo()
    ) {
        self.id = id
        self.rule = rule
        self.kind = kind
        self.severity = severity
        self.at = at
        self.text = text
        self.subject = subject
        (threshold, value, limit) = (0, 0, 0)
        isShadow = false
        isSilenced = false
        note = ""
    }

    /// Reads an alert.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        id = try members.count("id")
        rule = try members.text("rule")
        kind = try members.choice("kind")
        severity = try members.choice("severity")
        at = try members.instant("at")
        text = try members.text("text")
        subject = try AlertSubjectInfo(members)
        subject.isPersonal = try members.flag("personal")
        threshold = try members.count("threshold")
        value = try members.count("value")
        limit = try members.count("limit")
        periodEndsAt = try members.optionalInstant("period_ends_at")
        exhaustedAt = try members.optionalInstant("exhausted_at")
        // One that an earlier version put into the spool says nothing of it.
        isShadow = try members.optional("shadow") { (value) throws(DocumentError) in
            try value.asFlag()
        } ?? false
        isSilenced = try members.flag("silenced")
        acknowledgedAt = try members.optionalInstant("acknowledged_at")
        acknowledgedBy = try members.optionalCount("acknowledged_by")
        note = try members.text("note")
    }

    /// The alert with all of its members.
    public var json: JSONValue {
        var object: JSONObject = [
            "id": .count(id), "rule": .string(rule), "kind": .choice(kind),
            "severity": .choice(severity), "at": at.json, "text": .string(text),
        ]
        object.append("organization", .optional(subject.organization))
        object.append("personal", .bool(subject.isPersonal ?? false))
        object.members += subject.members
        let rest: JSONObject = [
            "threshold": .count(threshold), "value": .count(value), "limit": .count(limit),
            "period_ends_at": .optional(periodEndsAt), "exhausted_at": .optional(exhaustedAt),
            "shadow": .bool(isShadow), "silenced": .bool(isSilenced),
            "acknowledged_at": .optional(acknowledgedAt),
            "acknowledged_by": .optional(acknowledgedBy), "note": .string(note),
        ]
        object.members += rest.members
        return .object(object)
    }
}

/// Whom or what an alert is about, or a silence is for: `nil` is nothing of that sort, or anything.
public struct AlertSubjectInfo: Sendable, Equatable {
    public var organization: String?
    /// A user's own; `nil`, of silences alone: one or the other.
    public var isPersonal: Bool?
    public var user: String?
    /// Id of an API key.
    public var key: String?
    /// An address, or an IPv6 network.
    public var address: String?
    public var quota: String?
    public var operation: String?
    /// Of the daemon.
    public var trouble: String?

    /// Nothing, or anything.
    public init() {}

    /// All but `personal`, which only silences may leave open.
    init(_ members: MemberReader) throws(DocumentError) {
        organization = try members.optionalText("organization")
        user = try members.optionalText("user")
        key = try members.optionalText("key")
        address = try members.optionalText("address")
        quota = try members.optionalText("quota")
        operation = try members.optionalText("operation")
        trouble = try members.optionalText("trouble")
    }

    /// All but the organization, and whether it is personal.
    var members: [JSONMember] {
        [
            JSONMember("user", .optional(user)), JSONMember("key", .optional(key)),
            JSONMember("address", .optional(address)), JSONMember("quota", .optional(quota)),
            JSONMember("operation", .optional(operation)),
            JSONMember("trouble", .optional(trouble)),
        ]
    }
}

/// Alerts that nobody is told of for a time. They fire all the same, and are listed.
public struct AlertSilenceInfo: DirectoryDocument {
    /// UTF-8 of a note.
    public static let noteBytesMax = 256
    /// A silence that nobody thinks of any more is worse than an alert too many: a year.
    public static let secondsMax: Int64 = 366 * 86_400

    /// No alert's, and no other silence's.
    public var id: UInt64
    /// `nil`: of all rules.
    public var rule: String?
    /// For alerts about all that is said here.
    public var subject: AlertSubjectInfo
    public var at: Timestamp
    public var untilAt: Timestamp
    /// Which user of the daemon's host made it, and why.
    public var uid: UInt64
    public var note: String

    /// A silence as it was made.
    public init(
        id: UInt64, rule: String?, subject: AlertSubjectInfo, at: Timestamp, untilAt: Timestamp,
        uid: UInt64, note: String
    ) {
        self.id = id
        self.rule = rule
        self.subject = subject
        self.at = at
        self.untilAt = untilAt
        self.uid = uid
        self.note = note
    }

    /// Reads a silence.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        id = try members.count("id")
        rule = try members.optionalText("rule")
        subject = try AlertSubjectInfo(members)
        subject.isPersonal = try members.optional("personal") { (value) throws(DocumentError) in
            try value.asFlag()
        }
        at = try members.instant("at")
        untilAt = try members.instant("until_at")
        uid = try members.count("uid")
        note = try members.text("note")
    }

    /// The silence with all of its members.
    public var json: JSONValue {
        var object: JSONObject = ["id": .count(id), "rule": .optional(rule)]
        object.append("organization", .optional(subject.organization))
        object.append("personal", subject.isPersonal.map { .bool($0) } ?? .null)
        object.members += subject.members
        let rest: JSONObject = [
            "at": at.json, "until_at": untilAt.json, "uid": .count(uid), "note": .string(note),
        ]
        object.members += rest.members
        return .object(object)
    }
}
