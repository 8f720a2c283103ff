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
        guard tg_end_on_bus_error() == 0 else {
            throw StartError("sigaction: \(errorText(errno))", exitCode: 71)
        }
        var options = LedgerOptions(path: settings.path, bootID: try bootID())
        options.segmentBytes = settings.segmentBytes
        options.allowsUnjournaled = settings.onFailure == .allow
        options.threads = max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        var plan = LedgerPlan(options)
        plan.durability = settings.durability == .always ? .always : .second
        plan.snapshotNanoseconds = settings.snapshotIntervalMilliseconds * 1_000_000
        // Drawn here, where running out of randomness can be told.
        var numbers: [UInt64] = []
        for _ in 0..<4 { numbers.append(try randomKey().0) }
        do throws(LedgerFailure) {
            let ledger = try Ledger(options, SystemDisk()) { numbers.popLast() ?? 0 }
            return (plan, ledger)
        } catch { throw StartError(error) }
    }

    /// Boottimes of two starts of the host are not compared.
    private func bootID() throws(StartError) -> (UInt64, UInt64) {
        let path = "/proc/sys/kernel/random/boot_id"
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw StartError("\(path): \(errorText(errno))", exitCode: 71)
        }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor, &text, text.count)
        let digits = text.prefix(max(0, count)).compactMap { byte -> UInt64? in
            switch byte {
            case 0x30...0x39: UInt64(byte - 0x30)
            case 0x61...0x66: UInt64(byte - 0x61 + 10)
            default: nil
            }
        }
        guard digits.count == 32 else {
            throw StartError("\(path): not 32 hexadecimal digits", exitCode: 71)
        }
        let number = { (part: ArraySlice<UInt64>) in part.reduce(0) { $0 << 4 | $1 } }
        return (number(digits[..<16]), number(digits[16...]))
    }
}
