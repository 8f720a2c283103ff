import TollgateCore
import TollgatePolicy
import TollgateServer
import TollgateStorage

/// What the policy says of the audit log, as the server takes it.
extension Daemon {
    /// Opens the log and takes over what the last life left; `nil` when the policy has none.
    func openAudit(
        _ loaded: LoadedPolicy, reactors: Int, _ log: Log
    ) throws(StartError) -> AuditService? {
        guard let wanted = loaded.audit else { return nil }
        var settings = AuditSettings(directory: wanted.path)
        settings.ringBytes = wanted.ringBytes
        settings.segmentBytes = wanted.segmentBytes
        settings.segmentSeconds = Int64(clamping: wanted.segmentAgeMilliseconds / 1_000)
        settings.keepSeconds = wanted.keepMilliseconds.map { Int64(clamping: $0 / 1_000) }
        settings.bytesMax = wanted.bytesMax.map { Int64(clamping: $0) }
        settings.compresses = wanted.compress
        var plan = AuditPlan(settings)
        plan.isBlocking = wanted.overload == .block
        plan.sampleOneIn = wanted.sampleAllowed
        let boot: (UInt64, UInt64)
        do throws(DiskError) { boot = try HostBoot.id() } catch {
            throw StartError("\(error)", exitCode: 71)
        }
        var alerts: AlertService?
        if let wanted = loaded.alerts, let first = Self.alertPlan(loaded, startedWith: loaded) {
            alerts = try AlertService(
                directory: wanted.path, rules: first.rules, sampleOneIn: plan.sampleOneIn,
                spool: first.spool, log: log)
        }
        return try AuditService(plan, reactors: reactors, boot: boot, log: log, alerts: alerts)
    }

    /// What a policy says of alerts, in the directory that they have had since the start; `nil`
    /// where it says nothing of them, or there are none.
    static func alertPlan(
        _ loaded: LoadedPolicy, startedWith started: LoadedPolicy
    ) -> AlertPlan? {
        guard let wanted = loaded.alerts, let place = started.alerts?.path else { return nil }
        let spool =
            wanted.sinks.sinks.isEmpty
            ? nil
            : AlertSpoolPlan(
                directory: AlertSinks.spool(place),
                alertsMax: Int(clamping: wanted.sinks.spoolMax))
        return AlertPlan(rules: wanted.rules, spool: spool)
    }

    /// What of alerts is in force only after a restart, by its name in the policy.
    static func alertChanges(
        _ loaded: LoadedPolicy, startedWith started: LoadedPolicy
    ) -> [String] {
        guard let before = started.alerts?.path, let now = loaded.alerts?.path else {
            return (started.alerts == nil) == (loaded.alerts == nil) ? [] : ["alerts"]
        }
        return before == now ? [] : ["alerts.path"]
    }
}
