import CLinux
import Glibc
import TollgateCore

/// What is told of replies before they leave: how long they took, and their entries in the audit
/// log, where there is one.
extension Reactor {
    /// A request waits at most so long for room; then, until there is some, the worker refuses.
    private static let auditWaitNanoseconds: UInt64 = 1_000_000_000
    private static let auditNapMicroseconds: UInt32 = 200

    /// Before replies leave: how long their frames took, and their entries.
    @inline(__always)
    func tellOfReplies() {
        let frames = counters.frames.load(ordering: .relaxed)
        guard frames != framesTold else { return }
        let end = tg_boottime()
        counters.latency.add(
            nanoseconds: end &- min(now, end), frames: frames &- framesTold)
        framesTold = frames
        publishAudit(end)
    }

    /// Hands over the entries since the last call.
    @inline(__always)
    func publishAudit(_ end: @autoclosure () -> UInt64 = tg_boottime()) {
        guard let audit else { return }
        worker.publishAudit(now: BootTime(nanoseconds: end()))
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
