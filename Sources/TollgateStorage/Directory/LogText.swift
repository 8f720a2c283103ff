import TollgateCore

/// Records as the log shows them: JSON objects with what an operator may see. No digest, no salt,
/// no hash.
enum LogText {
    static func json(_ members: [(String, ClaimValue?)]) -> String {
        let written = members.compactMap { name, value in
            value.map { ClaimValue.quoted(name) + ":" + $0.json }
        }
        return "{" + written.joined(separator: ",") + "}"
    }

    static func time(_ time: WallTime?) -> ClaimValue? { time.map { .integer($0.milliseconds) } }
    static func text(_ text: String?) -> ClaimValue? { text.map { .string($0) } }
}

extension OrganizationRecord {
    var logText: String {
        LogText.json([
            ("name", .string(name)), ("personal", isPersonal ? .boolean(true) : nil),
            ("status", .string(status.rawValue)),
        ])
    }
}

extension UserRecord {
    var logText: String {
        LogText.json([
            ("name", .string(name)), ("status", .string(status.rawValue)),
            ("role", LogText.text(role?.rawValue)),
        ])
    }
}

extension SubscriptionRecord {
    var logText: String {
        LogText.json([
            ("plan", .string(plan.text)), ("status", .string(status.rawValue)),
            ("anchor", LogText.time(anchor)), ("zone", .string(zone)),
            ("next_plan", LogText.text(pending?.plan.text)),
            ("next_mode", LogText.text(pending?.mode.rawValue)),
            ("next_at", LogText.time(pending?.at)),
        ])
    }
}

extension OverrideRecord {
    var logText: String {
        LogText.json([
            ("units", .integer(Int64(clamping: units))), ("expires", LogText.time(expires)),
            ("prorated", isProrated ? .boolean(true) : nil),
        ])
    }
}

extension APIKeyRecord {
    var logText: String {
        LogText.json([
            ("user", .string(user.text)), ("name", .string(name)), ("prefix", .string(prefix)),
            ("pepper", .integer(Int64(current.pepper))),
            ("previous_until", LogText.time(previousUntil)),
            ("permissions", permissions.map { .strings($0) }),
            ("addresses", addresses.map { .strings($0) }),
            ("rate_units", rate.map { .integer(Int64(clamping: $0.units)) }),
            ("rate_seconds", rate.map { .integer(Int64($0.seconds)) }),
            ("creator", .string(creator)), ("expires", LogText.time(expires)),
            ("revoked", LogText.time(revoked)),
        ])
    }
}

extension SessionRecord {
    var logText: String {
        LogText.json([
            ("user", .string(user.text)), ("expires", LogText.time(expires)),
            ("revoked", LogText.time(revoked)), ("reason", LogText.text(reason?.rawValue)),
        ])
    }
}

extension RevocationRecord {
    var logText: String {
        LogText.json([
            ("kind", .string(kind.rawValue)), ("personal", isPersonal ? .boolean(true) : nil),
            ("at", LogText.time(at)),
            ("expires", LogText.time(expires)),
        ])
    }
}
