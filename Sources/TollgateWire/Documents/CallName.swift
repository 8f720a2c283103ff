/// Every call, by its name on the wire: Protocol.md, "Calls".
public enum CallName: String, Sendable, CaseIterable {
    case createOrganization = "org.create"
    case listOrganizations = "org.list"
    case showOrganization = "org.show"
    case renameOrganization = "org.rename"
    case suspendOrganization = "org.suspend"
    case resumeOrganization = "org.resume"
    case deleteOrganization = "org.delete"
    case changePlan = "org.change_plan"
    case cancelPlanChange = "org.cancel_plan_change"
    case setSubscription = "org.set_subscription"

    case createUser = "user.create"
    case listUsers = "user.list"
    case showUser = "user.show"
    case renameUser = "user.rename"
    case setUserRole = "user.set_role"
    case suspendUser = "user.suspend"
    case resumeUser = "user.resume"
    case deleteUser = "user.delete"

    case createKey = "key.create"
    case listKeys = "key.list"
    case showKey = "key.show"
    case rotateKey = "key.rotate"
    case editKey = "key.edit"
    case revokeKey = "key.revoke"

    case issueTokens = "token.issue"
    case refreshTokens = "token.refresh"
    case endSession = "session.end"
    case listSessions = "session.list"
    case showSession = "session.show"
    case revokeSession = "session.revoke"

    case revokeToken = "revoke.token"
    case revokeUser = "revoke.user"
    case revokeOrganization = "revoke.organization"
    case listRevocations = "revoke.list"

    case setOverride = "override.set"
    case removeOverride = "override.remove"
    case listOverrides = "override.list"

    case grantCredits = "credit.grant"
    case voidCredits = "credit.void"
    case listCredits = "credit.list"

    case addSigningKey = "signing_key.add"
    case promoteSigningKey = "signing_key.promote"
    case retireSigningKey = "signing_key.retire"
    case listSigningKeys = "signing_key.list"

    case listPlans = "plan.list"
    case showPlan = "plan.show"
    case listLog = "log.list"

    case createBackup = "backup.create"
    case showStatus = "directory.status"
    case exportDirectory = "directory.export"
    case importDirectory = "directory.import"

    case showLedger = "ledger.status"
    case createSnapshot = "snapshot.create"
    case listSnapshots = "snapshot.list"
    case listUsage = "usage.closed"
    case pruneUsage = "usage.prune"

    case listAlerts = "alert.list"
    case acknowledgeAlert = "alert.ack"
    case testAlerts = "alert.test"
    case createSilence = "silence.create"
    case listSilences = "silence.list"
    case removeSilence = "silence.remove"

    case showTop = "top.show"

    /// Who may make a call: Protocol.md, "Roles".
    public enum Role: Sendable { case issue, admin, watch }

    /// Those of `issue` and `watch` are taken on the data socket too; an admin may make them all.
    public var role: Role {
        switch self {
        case .issueTokens, .refreshTokens, .endSession: .issue
        case .showTop: .watch
        default: .admin
        }
    }

    /// Whether it leaves everything as it is, so that it may be asked again when its answer was
    /// lost.
    public var onlyReads: Bool {
        switch self {
        case .listOrganizations, .showOrganization, .listUsers, .showUser, .listKeys, .showKey,
            .listSessions, .showSession, .listRevocations, .listOverrides, .listCredits,
            .listSigningKeys, .listPlans, .showPlan, .listLog, .showStatus, .exportDirectory,
            .showLedger, .listSnapshots, .listUsage, .listAlerts, .listSilences, .showTop:
            true
        default: false
        }
    }

    /// Whether it is about usage and needs no directory.
    public var isOfLedger: Bool {
        switch self {
        case .showLedger, .createSnapshot, .listSnapshots, .listUsage, .pruneUsage: true
        default: false
        }
    }

    /// Whether it is about alerts and needs no directory.
    public var isOfAlerts: Bool {
        switch self {
        case .listAlerts, .acknowledgeAlert, .testAlerts, .createSilence, .listSilences,
            .removeSilence:
            true
        default: false
        }
    }

    /// Whether it is for who answers those that watch, where `hasAlerts` of alerts too.
    public func isForDesk(hasAlerts: Bool) -> Bool {
        self == .showTop || (hasAlerts && isOfAlerts)
    }
}
