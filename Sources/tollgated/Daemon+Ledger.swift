import CLinux
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateServer
import TollgateStorage

/// What the policy says of the ledger, as the server takes it.
extension Daemon {
    /// Locks the ledger and reads its key; `nil` when the policy has none.
    func openLedger(
        _ loaded: LoadedPolicy, _ log: Log
    ) throws(StartError) -> (plan: LedgerPlan, ledger: Ledger)? {
        guard let settings = loaded.ledger else {
            log.warning(
                "the policy has no ledger: what is used is forgotten when the daemon ends; name a"
                    + " directory under ledger: to keep it")
            return nil
        }
        if loaded.directory == nil {
            log.info(
                "ledger: no directory: in the policy to remember how far it had come: an old copy,"
                    + " put back in its place, would not be noticed")
        }
        guard tg_end_on_bus_error() == 0 else {
            throw StartError("sigaction: \(errorText(errno))", exitCode: 71)
        }
        let bootID: (UInt64, UInt64)
        do throws(DiskError) { bootID = try HostBoot.id() } catch {
            throw StartError("\(error)", exitCode: 71)
        }
        var options = LedgerOptions(path: settings.path, bootID: bootID)
        options.segmentBytes = settings.segmentBytes
        options.keepsGroupLog = settings.durability == .always
        options.allowsUnjournaled = settings.onFailure == .allow
        options.threads = max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        var plan = LedgerPlan(options)
        plan.durability = settings.durability == .always ? .always : .second
        plan.snapshotNanoseconds = settings.snapshotIntervalMilliseconds * 1_000_000
        // Drawn here, where running out of randomness can be told.
        var numbers: [UInt64] = []
        for _ in 0..<4 { numbers.append(try randomKey().0) }
        do throws(LedgerFailure) {
            try LedgerPermissions.check(options.path)
            let ledger = try Ledger(options, SystemDisk()) { numbers.popLast() ?? 0 }
            return (plan, ledger)
        } catch { throw StartError(error) }
    }
}
