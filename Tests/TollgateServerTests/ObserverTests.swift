import Testing

@testable import TollgateServer

@Suite struct ObserverTests {
    @Test func whatLastsIsToldAtOnceAndThenNowAndAgainWithAllThatCameBetween() {
        let settings = ServerSettings(
            data: .init(path: "/d", mode: 0), admin: .init(path: "/a", mode: 0))
        var observer = Observer(settings, level: .info)
        func look(_ total: UInt64, at seconds: UInt64) -> [String] {
            let value = Statistic(
                name: "tollgate_connections_refused_total", value: total, isGauge: false)
            return observer.lines([value], seconds: seconds).map(\.words)
        }
        #expect(look(0, at: 1).isEmpty)
        #expect(look(3, at: 2).first?.hasPrefix("3 connections refused") == true)
        #expect(look(9, at: 3).isEmpty)
        #expect(look(20, at: 11).isEmpty)
        #expect(look(20, at: 12).first?.hasPrefix("17 connections refused") == true)
        #expect(look(20, at: 99).isEmpty)
    }

    @Test func everyNameThatIsWatchedExists() throws {
        let harness = try ServerHarness()
        let names = Set(harness.server.statistics().map(\.name))
        harness.stop()
        let settings = harness.settings
        let watched = Observer(settings, level: .debug).names
        #expect(watched.count > 20 && watched.allSatisfy { names.contains($0) })
    }
}
