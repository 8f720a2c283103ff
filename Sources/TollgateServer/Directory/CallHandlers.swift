import TollgateStorage
import TollgateWire

/// What carries calls of the directory out: a function each, in the files `Calls+…`.
enum CallHandlers {
    /// Throws what refuses the call: then nothing of it is done.
    typealias Run = (CallArguments, inout CallContext) throws(DirectoryError) -> JSONValue

    static func handler(of call: CallName) -> Run {
        switch call {
        case .createOrganization: createOrganization
        case .listOrganizations: listOrganizations
        case .showOrganization: showOrganization
        case .renameOrganization: renameOrganization
        case .suspendOrganization: suspendOrganization
        case .resumeOrganization: resumeOrganization
        case .deleteOrganization: deleteOrganization
        case .changePlan: changePlan
        case .cancelPlanChange: cancelPlanChange
        case .setSubscription: setSubscription
        case .createUser: createUser
        case .listUsers: listUsers
        case .showUser: showUser
        case .renameUser: renameUser
        case .setUserRole: setUserRole
        case .suspendUser: suspendUser
        case .resumeUser: resumeUser
        case .deleteUser: deleteUser
        case .createKey: createKey
        case .listKeys: listKeys
        case .showKey: showKey
        case .rotateKey: rotateKey
        case .editKey: editKey
        case .revokeKey: revokeKey
        case .issueTokens: issueTokens
        case .refreshTokens: refreshTokens
        case .endSession: endSession
        case .listSessions: listSessions
        case .showSession: showSession
        case .revokeSession: revokeSession
        case .revokeToken: revokeToken
        case .revokeUser: revokeUser
        case .revokeOrganization: revokeOrganization
        case .listRevocations: listRevocations
        case .setOverride: setOverride
        case .removeOverride: removeOverride
        case .listOverrides: listOverrides
        case .grantCredits: grantCredits
        case .voidCredits: voidCredits
        case .listCredits: listCredits
        case .addSigningKey: addSigningKey
        case .promoteSigningKey: promoteSigningKey
        case .retireSigningKey: retireSigningKey
        case .listSigningKeys: listSigningKeys
        case .listPlans: listPlans
        case .showPlan: showPlan
        case .listLog: listLog
        case .createBackup: createBackup
        case .showStatus: showStatus
        case .exportDirectory: exportDirectory
        case .importDirectory: importDirectory
        case .showLedger, .createSnapshot, .listSnapshots, .listUsage, .pruneUsage: ofLedger
        case .listAlerts, .acknowledgeAlert, .testAlerts, .createSilence, .listSilences,
            .removeSilence:
            ofAlerts
        case .showTop: ofTop
        }
    }
}
