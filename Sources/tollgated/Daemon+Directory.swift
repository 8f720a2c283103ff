import Glibc
import TollgateCore
import TollgatePolicy
import TollgateServer

/// What the policy says of the directory and of roles, as the server takes it.
extension Daemon {
    func peppers(of loaded: LoadedPolicy) throws(StartError) -> [APIKeyPepper] {
        do throws(PolicyErrors) {
            return try loaded.peppers(credentials: environment("CREDENTIALS_DIRECTORY"))
        } catch { throw StartError("\(error)", exitCode: 78) }
    }

    /// Opens and loads it; `nil` when the policy has none.
    func directory(
        _ loaded: LoadedPolicy, _ peppers: [APIKeyPepper], _ engine: Engine, _ log: Log
    ) throws(StartError) -> DirectoryService? {
        guard let settings = loaded.directory else { return nil }
        let zones = TimeZones()
        var plan = DirectoryPlan(
            path: settings.path, signingKeysPath: settings.signingKeysPath, peppers: peppers,
            zone: { zones.rules($0) })
        plan.logRetentionMilliseconds = Int64(clamping: settings.logRetentionMilliseconds)
        plan.spentRetentionMilliseconds = Int64(clamping: settings.spentRetentionMilliseconds)
        plan.sessionsPerUserMax = settings.sessionsPerUserMax
        plan.fault = FaultPoint.asked(environment)
        return try DirectoryService(plan, definition: loaded.definition, engine: engine, log: log)
    }

    /// Names to numbers; throws the names that the system does not know.
    static func rules(_ settings: RoleSettings) throws(StartError) -> RoleRules {
        var rules = RoleRules()
        if let check = settings.check { rules.check = try members(check) }
        rules.issue = try members(settings.issue)
        rules.admin = try members(settings.admin)
        rules.observe = try members(settings.observe)
        rules.watch = try members(settings.watch)
        return rules
    }

    private static func members(
        _ settings: RoleSettings.Members
    ) throws(StartError) -> RoleRules.Members {
        var members = RoleRules.Members()
        for account in settings.users {
            members.users.append(
                try number(account, "user") { getpwnam($0).map { $0.pointee.pw_uid } })
        }
        for account in settings.groups {
            members.groups.append(
                try number(account, "group") { getgrnam($0).map { $0.pointee.gr_gid } })
        }
        return members
    }

    private static func number(
        _ account: RoleSettings.Account, _ kind: String, _ find: (String) -> UInt32?
    ) throws(StartError) -> UInt32 {
        switch account {
        case .number(let number): return number
        case .name(let name):
            guard let number = find(name) else {
                throw StartError(
                    "roles: no \(kind) \"\(name)\"; create it first", exitCode: 78)
            }
            return number
        }
    }
}
