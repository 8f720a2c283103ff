import Testing
import TollgateCore

@testable import TollgateStorage

/// A plan that is changed within a period, and what is left of the old one's numbers.
@Suite struct PlanChangeTests {
    static func bench() throws -> DirectoryStoreTests.Bench {
        let bench = try DirectoryStoreTests.Bench()
        _ = try bench.tenant.subscribe(
            to: PlanName("pro"), status: .active, anchor: Sample.time(0), zone: "UTC",
            by: Sample.change())
        return bench
    }

    static func limit(_ name: String, _ units: UInt64, until: Int64) throws -> ProratedLimit {
        ProratedLimit(limit: try LimitName(name), units: units, expires: Sample.time(until))
    }

    static func shown(_ bench: DirectoryStoreTests.Bench) throws -> [String] {
        try bench.tenant.overrides(of: nil).map {
            "\($0.limit)=\($0.units)" + ($0.isProrated ? " prorated" : "")
                + ($0.expires.map { " \($0.milliseconds - Sample.time(0).milliseconds)" } ?? "")
        }
    }

    @Test func proratedLimitsComeWithThePlanAndLeaveWithTheNext() throws {
        let bench = try Self.bench()
        let changed = try bench.tenant.changePlan(
            to: PlanName("big"),
            prorated: [Self.limit("rpd", 5, until: 100), Self.limit("tpd", 7, until: 100)],
            by: Sample.change(1))
        #expect(changed.plan.text == "big")
        #expect(try Self.shown(bench) == ["rpd=5 prorated 100", "tpd=7 prorated 100"])
        _ = try bench.tenant.changePlan(
            to: PlanName("huge"), prorated: [Self.limit("tpd", 9, until: 90)], by: Sample.change(2))
        #expect(try Self.shown(bench) == ["tpd=9 prorated 90"])
        _ = try bench.tenant.changePlan(to: PlanName("free"), by: Sample.change(3))
        #expect(try Self.shown(bench).isEmpty)
    }

    @Test func theOperatorsOwnNumberIsKeptWhileItHolds() throws {
        let bench = try Self.bench()
        let tenant = bench.tenant
        for (name, expires) in [("a", nil), ("b", Sample.time(50)), ("c", Sample.time(2))] {
            _ = try tenant.setOverride(
                LimitName(name), user: nil, units: 1, expires: expires, by: Sample.change(1))
        }
        _ = try tenant.setOverride(
            LimitName("a"), user: bench.user, units: 8, expires: nil, by: Sample.change(1))
        let limits = try ["a", "b", "c"].map { try Self.limit($0, 7, until: 100) }
        _ = try tenant.changePlan(to: PlanName("big"), prorated: limits, by: Sample.change(2))
        // "c" was over, at that very instant.
        #expect(try Self.shown(bench) == ["a=1", "b=1 50", "c=7 prorated 100"])
        #expect(try tenant.overrides(of: bench.user).map(\.units) == [8])
        // Set anew by the operator, it is the operator's.
        _ = try tenant.setOverride(
            LimitName("c"), user: nil, units: 2, expires: nil, by: Sample.change(3))
        _ = try tenant.changePlan(to: PlanName("free"), by: Sample.change(4))
        #expect(try Self.shown(bench) == ["a=1", "b=1 50", "c=2"])
    }

    @Test func planAndLimitsAreOneChange() throws {
        let bench = try Self.bench()
        _ = try bench.tenant.changePlan(
            to: PlanName("big"), prorated: [Self.limit("rpd", 5, until: 100)],
            by: Sample.change(1))
        let before = try CrashTests.content(bench.store)
        var cut: [String] = []
        let folder = bench.folder
        bench.store.atStep = { step in
            guard step != .committed else { return }
            do { cut.append(try CrashTests.content(folder.copied().store())) } catch {
                Issue.record("\(error)")
            }
        }
        // The last of them cannot be: nothing is.
        let limits = try [
            Self.limit("tpd", 7, until: 100), Self.limit("x", 1 << 63, until: 100),
        ]
        for bad in [limits, [try Self.limit("tpd", 7, until: 2)]] {
            guard case .invalid = refusal({
                _ = try bench.tenant.changePlan(
                    to: PlanName("huge"), prorated: bad, by: Sample.change(2))
            }) else {
                Issue.record("\(bad)")
                continue
            }
            #expect(try CrashTests.content(bench.store) == before)
        }
        _ = try bench.tenant.changePlan(
            to: PlanName("huge"), prorated: [limits[0]], by: Sample.change(2))
        #expect(cut.count > 9 && cut.allSatisfy { $0 == before })
        #expect(
            try bench.tenant.adminLog().items.prefix(3).map(\.action)
                == ["override.prorate", "override.remove", "plan.change"])
    }

    @Test func proratedLimitsAreForgottenWhenTheyAreOver() throws {
        let bench = try Self.bench()
        _ = try bench.tenant.setOverride(
            LimitName("own"), user: nil, units: 1, expires: Sample.time(5), by: Sample.change(1))
        _ = try bench.tenant.changePlan(
            to: PlanName("big"), prorated: [Self.limit("rpd", 5, until: 100)], by: Sample.change(1))
        #expect(try bench.store.forgetExpired(at: Sample.time(99)) == 0)
        #expect(try bench.store.forgetExpired(at: Sample.time(100)) == 1)
        #expect(try Self.shown(bench) == ["own=1 5"])
    }
}
