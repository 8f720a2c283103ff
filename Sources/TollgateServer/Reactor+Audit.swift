import CLinux
import Glibc
import TollgateCore

/// The audit log: entries are the reading thread's before the replies that they tell of leave.
/// Without a log nothing here runs.
extension Reactor {
    /// A request waits at most so long for room; then, until there is some, the worker refuses.
    private static let auditWaitNanoseconds: UInt64 = 1_000_000_000
    private static let auditNapMicroseconds: UInt32 = 200

    @inline(__always)
    func publishAudit() {
        guard let audit else { return }
        worker.publishAudit(now: BootTime(nanoseconds: tg_boottime()))
        // Else it comes by itself, in a moment.
        if worker.isAuditFilling { audit.ring() }
    }

    /// Before each request: where nothing may be left out, waits until there is room.
    @inline(__always)
    func tendAudit() {
        guard let audit, worker.isAuditBlocking else { return }
        if worker.hasAuditRoom {
            isAuditStuck = false
        } else if !isAuditStuck {
            waitForAudit(audit)
        }
    }

    @inline(never)
    private func waitForAudit(_ bell: Bell) {
        // What stands there must be visible to be taken out. Its replies are still here, and leave
        // behind it.
        publishAudit()
        let end = tg_boottime() &+ Self.auditWaitNanoseconds
        while !worker.hasAuditRoom {
            guard tg_boottime() < end else {
                isAuditStuck = true
                return
            }
            bell.ring()
            usleep(Self.auditNapMicroseconds)
        }
    }
}
