import CLinux
import Foundation
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// A reset of quotas that was acknowledged, and that a start has to carry out again before there is
/// anybody to tell: the rules of alerts learn of it late.
@Suite struct AlertResetTests {
    private static let log = Log(level: .error, isJSON: false, hasPriorities: false)

    /// A decision by which the organization has used 90 of the 100 units of its day.
    private static func observe(_ alerts: AlertService, _ policy: PolicyImage, at boot: UInt64) {
        let limits = policy.alertNames.names.limits
        var head = AuditHead()
        head.kind = AuditKind.check.rawValue
        head.generation = UInt32(truncatingIfNeeded: policy.generation)
        head.wallMilliseconds = tg_walltime()
        head.bootNanoseconds = boot
        head.quota = limits.firstIndex { $0.name == "daily" }.map { UInt16($0) } ?? AuditHead.none
        (head.quotaUsed, head.quotaLimit) = (90, 100)
        let names = Array("acmeada".utf8)
        (head.organizationBytes, head.userBytes) = (4, 3)
        head.bytes = UInt32((AuditEntry.unpaddedBytes(head) + 7) & ~7)
        var bytes = withUnsafeBytes(of: head) { Array($0) } + names
        bytes += [UInt8](repeating: 0, count: Int(head.bytes) - bytes.count)
        bytes.withUnsafeBytes { raw in
            if let entry = AuditEntry(raw) { alerts.observe(entry) }
        }
        alerts.settle(now: tg_walltime())
    }

    private static func links(_ policy: PolicyImage, _ alerts: AlertService) -> DirectoryLinks {
        DirectoryLinks(
            mailboxes: [], policy: { policy }, republish: { .success(0) }, ledger: nil,
            desk: nil, hasAlerts: false, bringRoom: { false }, ledgerMark: { nil },
            alerts: alerts, onStorageFailure: {})
    }

    /// What was decided before the reset was carried out says nothing of the quotas as they are;
    /// what was decided since does, told or not.
    @Test func whatWasChargedBetweenAResetAndItsTellingCountsAsAfterIt() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        try harness.call(
            .changePlan, ["organization": "acme", "plan": "free_tier", "mode": "reset"]
        ).expectOK()
        harness.stopServer()
        let folder = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let rule = AlertRule("quota_threshold", .quotaThreshold)
        // Each start learns of it late, and what the rules remember of it outlives them.
        for start in 0..<3 {
            let service = try DirectoryService(
                DirectoryPlan(
                    path: harness.folder, signingKeysPath: harness.folder + "/signing",
                    peppers: [try DirectoryHarness.pepper(1)], zone: { _ in .utc }),
                definition: DirectoryHarness.policy(),
                engine: Engine(EngineConfiguration(hashKey: (5, 6))), log: Self.log)
            let policy = try PolicyImage(compiling: DirectoryHarness.policy(), generation: 1)
            let alerts = try AlertService(
                directory: folder, rules: AlertRules([rule]), sampleOneIn: 1, log: Self.log)
            alerts.add(policy)
            let before = tg_boottime()
            try service.beginServing()
            var carriedOut: [UInt64] = []
            service.onKeeper { carriedOut = Array($0.resetsDone.values) }
            let done = try #require(carriedOut.first)
            #expect(carriedOut.count == 1 && before <= done)
            let between = done + 1
            // Told at another instant than it was carried out at.
            while tg_boottime() <= between {}
            try service.start(Self.links(policy, alerts))
            Self.observe(alerts, policy, at: before)
            #expect(alerts.status.fired == 0, "start \(start)")
            Self.observe(alerts, policy, at: done)
            #expect(alerts.status.fired == 0, "start \(start)")
            Self.observe(alerts, policy, at: between)
            // What fired in a life before is not told twice.
            #expect(alerts.status.fired == (start == 0 ? 1 : 0), "start \(start)")
            Self.observe(alerts, policy, at: tg_boottime())
            #expect(alerts.status.fired == (start == 0 ? 1 : 0), "start \(start)")
            service.end()
            service.close(noting: nil)
            alerts.end(now: tg_walltime())
        }
    }
}
