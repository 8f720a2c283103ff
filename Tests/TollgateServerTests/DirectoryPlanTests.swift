import CLinux
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Changes of plans, overrides, and the plans as they are told.
@Suite struct DirectoryPlanTests {
    private func withTenant(_ body: (DirectoryHarness, String) throws -> Void) throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let key = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        try body(harness, key.text("secret"))
    }

    private func change(
        _ harness: DirectoryHarness, _ more: JSONObject
    ) throws -> CallAnswer {
        var members: JSONObject = ["organization": "acme"]
        members.members += more.members
        return try harness.call(.changePlan, members)
    }

    private func preview(_ answer: CallAnswer) throws -> PlanChangePreview {
        answer.expectOK()
        return try PlanChange(json: answer.json).preview
    }

    /// How many of so many requests are allowed.
    private func allowed(_ count: Int, _ key: String, _ harness: DirectoryHarness) throws -> Int {
        try (0..<count).reduce(0) { sum, _ in
            sum + (try harness.check(.apiKey, key).0 == .allow ? 1 : 0)
        }
    }

    @Test func aPreviewTellsWhatChangesAndWhoIsOverAndChangesNothing() throws {
        try withTenant { harness, key in
            #expect(try allowed(15, key, harness) == 15)
            let answer = try change(harness, ["plan": "free_tier", "preview": .bool(true)])
            let told = try preview(answer)
            #expect(told.from == "pro_tier" && told.to == "free_tier" && told.mode == .carry)
            #expect(told.permissionsLost == ["write"] && told.permissionsGained == [])
            let limits = told.limits.map { "\($0.name) \($0.before ?? 0) \($0.after ?? 0)" }
            #expect(limits == ["per_minute 100 10", "daily 100 10"])
            #expect(told.overCount == 2 && told.over.map(\.user) == [nil, "ada"])
            #expect(told.over.map(\.used) == [15, 15] && told.over.map(\.limitAfter) == [10, 10])
            let until = try #require(told.over[0].untilAt)
            #expect(until.milliseconds % 86_400_000 == 0)
            let shown = try harness.call(.showOrganization, ["organization": "acme"])
            #expect(shown.text("organization", "subscription", "plan") == "pro_tier")
            #expect(answer.text("organization", "subscription", "plan") == "pro_tier")
            #expect(try allowed(1, key, harness) == 1)
        }
    }

    @Test func carryKeepsWhatWasUsedAndResetForgetsIt() throws {
        try withTenant { harness, key in
            #expect(try allowed(6, key, harness) == 6)
            #expect(try preview(change(harness, ["plan": "free_tier"])).overCount == 0)
            #expect(try allowed(10, key, harness) == 4)
            try change(harness, ["plan": "pro_tier", "mode": "reset"]).expectOK()
            // The window of another user is empty, the quota is of both.
            try harness.call(.createUser, ["organization": "acme", "id": "bob"]).expectOK()
            let other = try harness.call(.createKey, ["organization": "acme", "user": "bob"])
            #expect(try allowed(101, other.text("secret"), harness) == 100)
            #expect(try preview(
                change(harness, ["plan": "free_tier", "mode": "reset", "preview": .bool(true)])
            ).over.map(\.user) == ["bob"])
        }
    }

    @Test func prorationGivesEachPlanItsPartOfThePeriodUnlessTheOperatorSetANumber() throws {
        try withTenant { harness, key in
            let day: Int64 = 86_400_000
            let answer = try change(harness, ["plan": "free_tier", "mode": "prorate"])
            let after = tg_walltime()
            let told = try #require(preview(answer).limits.first { $0.name == "daily" }?.after)
            // Of the larger plan the moments since they signed up, rounded up; of the day before
            // that nothing.
            #expect((10...11).contains(told))
            let listed = try DirectoryPage<LimitOverride>(
                json: harness.call(.listOverrides, ["organization": "acme"]).json)
            #expect(listed.items.map(\.units) == [told])
            #expect(listed.items[0].expiresAt?.milliseconds == (after / day + 1) * day)
            try harness.call(
                .setOverride, ["organization": "acme", "limit": "daily", "units": 77]
            ).expectOK()
            let again = try preview(change(harness, ["plan": "pro_tier", "mode": "prorate"]))
            #expect(again.limits.first { $0.name == "daily" }?.after == 77)
        }
    }

    @Test func aChangeAtThePeriodsEndWaitsAndCanBeTakenBack() throws {
        try withTenant { harness, _ in
            let answer = try change(
                harness, ["plan": "free_tier", "mode": "reset", "when": "period_end"])
            let changed = try PlanChange(json: answer.json)
            let pending = try #require(changed.organization.subscription?.pending)
            #expect(pending.plan == "free_tier" && pending.mode == .reset)
            #expect(pending.at == changed.effectiveAt)
            #expect(changed.effectiveAt.milliseconds > tg_walltime())
            #expect(changed.organization.subscription?.plan == "pro_tier")
            let acme: JSONObject = ["organization": "acme"]
            let taken = try harness.call(.cancelPlanChange, acme)
            #expect(taken["organization", "subscription", "pending"] == .null)
            // Terms are amended without a word about the plan.
            try change(harness, ["plan": "free_tier", "when": "period_end"]).expectOK()
            let amended = try harness.call(
                .setSubscription, ["organization": "acme", "status": "past_due"])
            #expect(amended.text("organization", "subscription", "pending", "plan") == "free_tier")
        }
    }

    @Test func aPlanWhoseTimeHasComeTakesTheOthersPlace() throws {
        try withTenant { harness, key in
            #expect(try allowed(10, key, harness) == 10)
            try change(harness, ["plan": "free_tier", "mode": "reset", "when": "period_end"])
                .expectOK()
            // As if the month had ended: the record says so, and a second looks at it.
            harness.stopServer()
            do {
                let store = try DirectoryStore(folder: harness.folder)
                let by = Change(uid: 0, pid: 1, at: WallTime(milliseconds: 1_000))
                _ = try store.acting(for: OrganizationID("acme")).schedulePlan(
                    PendingPlan(
                        plan: PlanName("free_tier"), mode: .reset,
                        at: WallTime(milliseconds: tg_walltime() + 1_500)), by: by)
            }
            try harness.restart()
            var plan = ""
            while plan != "free_tier" {
                plan = try harness.call(.showOrganization, ["organization": "acme"])
                    .text("organization", "subscription", "plan")
            }
            #expect(try allowed(20, key, harness) == 10)
            let log = try harness.call(.listLog, ["organization": "acme", "limit": 1])
            #expect(log.items.first?.text.contains("plan.change") == true)
        }
    }

    @Test func withoutASubscriptionAChangeBeginsOne() throws {
        try withTenant { harness, _ in
            try harness.call(.createOrganization, ["id": "late"]).expectOK()
            let none = try harness.call(.setSubscription, ["organization": "late"])
            #expect(none.status == .conflict || none.status == .notFound)
            #expect(
                try harness.call(.cancelPlanChange, ["organization": "late"]).status == .conflict)
            let begun = try harness.call(
                .changePlan,
                ["organization": "late", "plan": "free_tier", "when": "period_end"])
            #expect(begun.text("organization", "subscription", "plan") == "free_tier")
            #expect(try preview(begun).from == nil)
        }
    }

    @Test func anOverrideHoldsAtOnceForTheOrganizationOrForOneUser() throws {
        try withTenant { harness, key in
            try harness.call(
                .setOverride, ["organization": "acme", "limit": "daily", "units": 5]).expectOK()
            #expect(try allowed(8, key, harness) == 5)
            let removed = try harness.call(
                .removeOverride, ["organization": "acme", "limit": "daily"])
            #expect(try removed.document("override", LimitOverride.self).units == 5)
            #expect(try allowed(3, key, harness) == 3)
            try harness.call(
                .setOverride,
                ["organization": "acme", "user": "ada", "limit": "per_minute", "units": 8]
            ).expectOK()
            #expect(try allowed(1, key, harness) == 0)
            try harness.restart()
            #expect(try allowed(9, key, harness) == 8)
        }
    }

    @Test func anOverrideThatMeansNothingIsRefused() throws {
        try withTenant { harness, _ in
            let cases: [(JSONObject, String)] = [
                (["limit": "none", "units": 1], "limit:"),
                (["limit": "daily", "units": 1, "user": "ada"], "user:"),
                (["limit": "per_minute", "units": .integer(1 << 53)], "units: is at most"),
                (["limit": "daily", "units": 1, "expires_at": 1_000], "expires_at:"),
            ]
            for (members, detail) in cases {
                var all: JSONObject = ["organization": "acme"]
                all.members += members.members
                let answer = try harness.call(.setOverride, all)
                #expect(answer.status == .invalidValue && answer.detail.hasPrefix(detail))
            }
            let unknown = try harness.call(
                .setOverride,
                ["organization": "acme", "user": "eve", "limit": "per_minute", "units": 1])
            #expect(unknown.status == .notFound)
            let absent = try harness.call(
                .removeOverride, ["organization": "acme", "limit": "daily"])
            #expect(absent.status == .notFound)
        }
    }

    @Test func plansAreToldAsThePolicyHasThem() throws {
        try withTenant { harness, _ in
            let first = try DirectoryPage<PlanInfo>(
                json: harness.call(.listPlans, ["limit": 1]).json)
            #expect(first.items.map(\.name) == ["free_tier"])
            let rest = try DirectoryPage<PlanInfo>(
                json: harness.call(
                    .listPlans, ["after": .string(try #require(first.next))]).json)
            #expect(rest.items.map(\.name) == ["pro_tier"] && rest.next == nil)
            let shown = try harness.call(.showPlan, ["plan": "pro_tier"])
            let plan = try shown.document("plan", PlanInfo.self)
            #expect(plan == rest.items[0] && plan.permissions == ["read", "write"])
            #expect(plan.limits.map(\.windowMilliseconds) == [60_000, nil])
            #expect(plan.limits.map(\.period) == [nil, .day])
            #expect(try harness.call(.showPlan, ["plan": "x"]).status == .notFound)
        }
    }

    @Test func aPolicyWithoutAPlanThatIsSubscribedToIsToldOfWithTheCount() throws {
        var policy = DirectoryHarness.policy()
        let harness = try DirectoryHarness(definition: policy)
        defer { harness.stop() }
        try harness.makeTenant()
        policy.plans.removeLast()
        policy.tokens = nil
        harness.nextPolicy(policy)
        guard case .success = harness.server.server.reload() else {
            Issue.record("not reloaded")
            return
        }
        var log = ""
        while !log.contains("1 subscriptions are to plan pro_tier") { log = harness.logged.text }
        #expect(log.contains("does not issue tokens as https://tollgate.test any more"))
    }
}
