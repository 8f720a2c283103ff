import Foundation
import Testing

@testable import TollgateCore
@testable import TollgateServer
@testable import TollgateStorage

@Suite struct AlertServiceTests {
    /// A change, and a round, hold the lock while they wait for the disk; reactors answer STATS
    /// meanwhile.
    @Test func whatIsReadForStatisticsWaitsForNoDisk() throws {
        let path = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        let log = Log(level: .error, isJSON: false, hasPriorities: false)
        let service = try AlertService(
            directory: path, rules: AlertRules(), sampleOneIn: 1, log: log)
        #expect(service.status == AlertService.Status())
        let isRead = DispatchSemaphore(value: 0)
        var wasRead = false
        let test = try service.change(saying: { _ in "a test" }) { engine in
            Thread.detachNewThread {
                _ = service.status
                isRead.signal()
            }
            wasRead = isRead.wait(timeout: .now() + 10) == .success
            return engine.fireTest(rule: nil, now: 1_700_000_000_000)
        }
        #expect(test != nil && wasRead)
        #expect(service.status == AlertService.Status(tests: 1))
    }

    /// What the status says is what the engine holds, once a round is over.
    @Test func whatIsCountedIsThereAfterTheRound() throws {
        let path = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        let log = Log(level: .error, isJSON: false, hasPriorities: false)
        let rules = AlertRules([AlertRule("daemon_trouble", .daemonTrouble)])
        let service = try AlertService(directory: path, rules: rules, sampleOneIn: 1, log: log)
        let now: Int64 = 1_700_000_000_000
        service.observe(.trouble(name: "disk", isOn: true, words: "is full"), now: now)
        // No disk that takes anything: it waits.
        try FileManager.default.removeItem(atPath: path)
        service.settle(now: now)
        #expect(service.status.waiting == 1 && service.status.fired == 0)
        #expect(service.status.writeFailures == 1 && service.status.isFailing)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        service.settle(now: now + 2_000)
        #expect(service.status == AlertService.Status(fired: 1, writeFailures: 1))
    }

    /// Of what fires while no disk takes anything, the newest wait, which the list has too; what
    /// was lost is counted, and told to nobody, now or after a start.
    @Test func whatWaitsForADiskIsBoundedAndWhatIsLostIsCounted() throws {
        let path = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        let logged = LogPipe()
        let rules = AlertRules([AlertRule("daemon_trouble", .daemonTrouble)])
        let service = try AlertService(
            directory: path, rules: rules, sampleOneIn: 1, log: logged.log)
        var now: Int64 = 1_700_000_000_000
        try FileManager.default.removeItem(atPath: path)
        let (most, all) = (AlertService.untoldMax, AlertService.untoldMax + 500)
        for number in 0..<all {
            now += 10
            service.observe(.trouble(name: "t\(number)", isOn: true, words: "is bad"), now: now)
            service.settle(now: now)
            let status = service.status
            #expect(status.waiting == UInt64(min(number + 1, most)))
            #expect(status.lost == UInt64(max(0, number + 1 - most)))
        }
        #expect(service.status.isFailing && service.status.fired == 0)
        #expect(logged.text.split(separator: "\n").filter { $0.contains("are lost") }.count == 1)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        service.settle(now: now + 2_000)
        let status = service.status
        #expect(!status.isFailing && status.waiting == 0 && status.fired == UInt64(most))
        #expect(service.recent.map(\.id) == Array(UInt64(501)...UInt64(1_500)))
        let again = try AlertService(
            directory: path, rules: rules, sampleOneIn: 1, log: logged.log)
        again.settle(now: now + 3_000)
        #expect(again.status.waiting == 0 && again.status.fired == 0)
    }

    /// Sinks that a reload brings, and takes away: what waits stays, and ids are nobody's twice.
    @Test func aReloadTakesRulesAndASpoolAndLosesNothingThatWaits() throws {
        let path = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        let logged = LogPipe()
        let trouble = AlertRule("daemon_trouble", .daemonTrouble)
        let service = try AlertService(
            directory: path, rules: AlertRules([trouble]), sampleOneIn: 1, log: logged.log)
        var now: Int64 = 1_700_000_000_000
        func fire(_ name: String) {
            now += 10
            service.observe(.trouble(name: name, isOn: true, words: "is bad"), now: now)
            service.settle(now: now)
        }
        fire("a")
        #expect(service.spoolStatistics.isEmpty)
        let spool = AlertSpool(path + "/spool")
        #expect(try spool.reloadMark() == nil)
        let plan = AlertPlan(
            rules: AlertRules([trouble]),
            spool: AlertSpoolPlan(directory: path + "/spool", alertsMax: 2))
        try service.prepare(plan)
        fire("b")
        #expect(try spool.entries().isEmpty)
        service.take(plan)
        let first = try #require(try spool.reloadMark())
        for name in ["c", "d", "e"] { fire(name) }
        #expect(try spool.entries().map(\.id) == [3, 4])
        #expect(service.spoolStatistics.map(\.value) == [2, 1, 1])
        // More room.
        var wider = plan
        wider.spool?.alertsMax = 10
        try service.prepare(wider)
        service.take(wider)
        #expect(try #require(try spool.reloadMark()) != first)
        fire("f")
        #expect(try spool.entries().map(\.id) == [3, 4, 6])
        // No sinks, and other rules.
        service.take(AlertPlan(rules: AlertRules(), spool: nil))
        fire("g")
        #expect(try spool.entries().count == 3 && service.spoolStatistics.isEmpty)
        #expect(service.lookAtSpool() == nil && service.hasRule("quota_threshold"))
        for name in ["a", "g"] {
            service.observe(.trouble(name: name, isOn: true, words: "is bad"), now: now)
        }
        service.settle(now: now)
        #expect(service.status.fired == 7 && logged.text.contains("alerts: rules changed: "))
    }

    @Test func aSpoolThatCannotBeMadeIsSaidBeforeAnythingChanges() throws {
        let path = NSTemporaryDirectory() + "tollgate-alerts-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        let log = Log(level: .error, isJSON: false, hasPriorities: false)
        let service = try AlertService(
            directory: path, rules: AlertRules([]), sampleOneIn: 1, log: log)
        #expect(FileManager.default.createFile(atPath: path + "/spool", contents: nil))
        #expect(throws: AuditFailure.self) {
            try service.prepare(
                AlertPlan(
                    rules: AlertRules(),
                    spool: AlertSpoolPlan(directory: path + "/spool", alertsMax: 2)))
        }
        #expect(!service.hasRule("quota_threshold") && service.spoolStatistics.isEmpty)
    }
}
