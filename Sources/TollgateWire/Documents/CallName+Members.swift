extension CallName {
    /// The members of its request beside `call`, in the order of Protocol.md; it takes no others.
    public var members: [CallMember] {
        switch self {
        case .createOrganization, .listOrganizations, .showOrganization, .renameOrganization,
            .suspendOrganization, .resumeOrganization, .deleteOrganization, .changePlan,
            .cancelPlanChange, .setSubscription:
            organizationMembers
        case .createUser, .listUsers, .showUser, .renameUser, .setUserRole, .suspendUser,
            .resumeUser, .deleteUser:
            userMembers
        case .createKey, .listKeys, .showKey, .rotateKey, .editKey, .revokeKey: keyMembers
        case .issueTokens, .refreshTokens, .endSession, .listSessions, .showSession,
            .revokeSession:
            sessionMembers
        case .revokeToken, .revokeUser, .revokeOrganization, .listRevocations: revocationMembers
        case .setOverride, .removeOverride, .listOverrides: overrideMembers
        case .grantCredits, .voidCredits, .listCredits: creditMembers
        case .addSigningKey: [CallMember("id", .name, .optional)]
        case .promoteSigningKey, .retireSigningKey: [CallMember("id", .name)]
        case .showPlan: [CallMember("plan", .name)]
        case .listLog: [CallMember("organization", .name, .optional)] + Self.part
        case .createBackup: [CallMember("path", .text(bytesMax: 4_095))]
        case .listSigningKeys, .listPlans, .exportDirectory: Self.part
        case .importDirectory: [CallMember("records", .records)]
        case .showStatus, .showLedger, .createSnapshot: []
        case .listSnapshots: Self.part
        case .listUsage:
            [
                Self.period, CallMember("organization", .name, .optional),
                CallMember("open", .flag, .optional),
            ] + Self.part
        case .pruneUsage: [Self.period, CallMember("not_exported", .flag, .optional)]
        case .listAlerts, .acknowledgeAlert, .testAlerts, .createSilence, .listSilences,
            .removeSilence:
            alertMembers
        case .showTop:
            [
                CallMember(
                    "limit", .integer(1...Int64(TopOrganizations.listMax)), .optional)
            ]
        }
    }

    /// `2026-10` or `2026-10-31`.
    private static let period = CallMember("period", .text(bytesMax: 10))

    private static let organization = CallMember("organization", .name)
    private static let personal = CallMember("personal", .flag, .optional)
    private static let user = CallMember("user", .name)
    private static let optionalUser = CallMember("user", .name, .optional)
    private static let key = CallMember("key", .name)
    private static let session = CallMember("session", .name)
    private static let refreshToken = CallMember("refresh_token", .secret)
    private static let limit = CallMember("limit", .name)
    private static let role = CallMember.Kind.word(User.Role.allCases.map(\.rawValue))
    private static let status = CallMember(
        "status", .word(Subscription.Status.allCases.map(\.rawValue)), .optional)
    private static let timeZone = CallMember("time_zone", .name, .optional)
    private static let anchor = CallMember("anchor_at", .instant, .optional)

    /// What every list takes: where it goes on, and how many it gives at most.
    private static let part = [
        CallMember("after", .text(bytesMax: 1_024), .optional),
        CallMember("limit", .integer(1...1_000), .optional),
    ]

    private var organizationMembers: [CallMember] {
        switch self {
        case .createOrganization:
            [
                CallMember("id", .name), CallMember("name", .name, .optional), Self.personal,
                CallMember("plan", .name, .optional), Self.timeZone, Self.anchor,
                CallMember("subscription_status", Self.status.kind, .optional),
            ]
        case .listOrganizations: Self.part
        case .renameOrganization: [Self.organization, CallMember("name", .name)]
        case .changePlan:
            [
                Self.organization, CallMember("plan", .name),
                CallMember(
                    "mode", .word(Subscription.ChangeMode.allCases.map(\.rawValue)), .optional),
                CallMember("when", .word(["now", "period_end"]), .optional),
                CallMember("preview", .flag, .optional),
            ]
        case .setSubscription: [Self.organization, Self.status, Self.timeZone, Self.anchor]
        default: [Self.organization]
        }
    }

    private var userMembers: [CallMember] {
        switch self {
        case .createUser:
            [
                Self.organization, CallMember("id", .name), CallMember("name", .name, .optional),
                CallMember("role", Self.role, .optionalOrNull),
            ]
        case .listUsers: [Self.organization] + Self.part
        case .renameUser: [Self.organization, Self.user, CallMember("name", .name)]
        case .setUserRole:
            [Self.organization, Self.user, CallMember("role", Self.role, .requiredOrNull)]
        default: [Self.organization, Self.user]
        }
    }

    private var keyMembers: [CallMember] {
        switch self {
        case .createKey:
            [
                Self.organization, Self.user, CallMember("name", .name, .optional),
                CallMember("environment", .name, .optional),
                CallMember("permissions", .names, .optional),
                CallMember("addresses", .names, .optional), CallMember("rate", .rate, .optional),
                CallMember("expires_at", .instant, .optional),
                CallMember("creator", .name, .optional),
            ]
        case .listKeys: [Self.organization, Self.optionalUser] + Self.part
        case .rotateKey:
            [
                Self.organization, Self.key,
                CallMember("overlap_seconds", .integer(0...2_592_000), .optional),
            ]
        case .editKey:
            [
                Self.organization, Self.key, CallMember("name", .name, .optional),
                CallMember("permissions", .names, .optionalOrNull),
                CallMember("addresses", .names, .optionalOrNull),
                CallMember("rate", .rate, .optionalOrNull),
                CallMember("expires_at", .instant, .optionalOrNull),
            ]
        default: [Self.organization, Self.key]
        }
    }

    private var sessionMembers: [CallMember] {
        switch self {
        case .issueTokens:
            [Self.organization, Self.user, CallMember("permissions", .names, .optional)]
        case .listSessions: [Self.organization, Self.user] + Self.part
        case .showSession, .revokeSession: [Self.organization, Self.session]
        default: [Self.refreshToken]
        }
    }

    private var revocationMembers: [CallMember] {
        switch self {
        case .revokeToken:
            [
                Self.organization, Self.personal, CallMember("jti", .name),
                CallMember("expires_at", .instant, .optional),
            ]
        case .revokeUser: [Self.organization, Self.personal, Self.user]
        case .listRevocations:
            [
                Self.organization, Self.personal,
                CallMember("kind", .word(Revocation.Kind.allCases.map(\.rawValue)), .optional),
            ] + Self.part
        default: [Self.organization, Self.personal]
        }
    }

    private var overrideMembers: [CallMember] {
        switch self {
        case .setOverride:
            [
                Self.organization, Self.optionalUser, Self.limit,
                CallMember("units", .integer(0...Int64(clamping: documentCountMax))),
                CallMember("expires_at", .instant, .optional),
            ]
        case .listOverrides: [Self.organization] + Self.part
        default: [Self.organization, Self.optionalUser, Self.limit]
        }
    }

    private var alertMembers: [CallMember] {
        let rule = CallMember("rule", .name, .optional)
        let organization = CallMember("organization", .name, .optional)
        let id = CallMember("id", .integer(1...Int64(clamping: documentCountMax)))
        let note = CallMember("note", .text(bytesMax: AlertSilenceInfo.noteBytesMax), .optional)
        switch self {
        case .listAlerts: return [rule, organization] + Self.part
        case .acknowledgeAlert: return [id, note]
        case .testAlerts: return [rule]
        case .createSilence:
            let parts = ["user", "key", "address", "quota", "operation", "trouble"].map {
                CallMember($0, .name, .optional)
            }
            return [rule, organization, Self.personal] + parts + [
                CallMember("until_at", .instant, .optional),
                CallMember(
                    "for_seconds", .integer(1...AlertSilenceInfo.secondsMax), .optional),
                note,
            ]
        case .listSilences: return Self.part
        default: return [id]
        }
    }

    private var creditMembers: [CallMember] {
        switch self {
        case .grantCredits:
            [
                Self.organization, CallMember("quota", .name),
                CallMember("units", .integer(1...(1 << 40))),
                CallMember("priority", .integer(0...255), .optional),
                CallMember("effective_at", .instant, .optional),
                CallMember("expires_at", .instant, .optional),
                CallMember("id", .text(bytesMax: 40), .optional),
                CallMember("note", .text(bytesMax: 256), .optional),
            ]
        case .listCredits: [Self.organization] + Self.part
        default: [Self.organization, CallMember("id", .text(bytesMax: 40))]
        }
    }
}
