import Testing
import TollgateCore

@testable import TollgateStorage

extension TenantIsolationTests {
    /// With a number for the rest of the period, which the operator's own keeps out.
    static func changePlan(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let known = bench.model[name]
        var record = known?.subscription
        record?.plan = try PlanName("big_tier")
        record?.since = Sample.time(bench.now)
        let limit = ProratedLimit(
            limit: try LimitName(bench.pick(limits)), units: UInt64(bench.now),
            expires: Sample.time(bench.now + 40))
        let isProrating = Bool.random(using: &bench.random)
        let expected = record.map { Result<SubscriptionRecord, DirectoryError>.success($0) }
        let made = bench.same("plan", expected ?? .failure(.notFound)) {
            try tenant.changePlan(
                to: PlanName("big_tier"), prorated: isProrating ? [limit] : [],
                by: Sample.change(bench.now))
        }
        guard made != nil, var after = known else { return }
        after.subscription = record
        after.overrides = after.overrides.filter { !$0.value.isProrated }
        let override = OverrideRecord(
            organization: tenant.organization, user: nil, limit: limit.limit, units: limit.units,
            expires: limit.expires, isProrated: true)
        let own = after.overrides[override.cursor]
        let holds = own.map { $0.expires.map { $0 > Sample.time(bench.now) } ?? true } ?? false
        if isProrating, !holds { after.overrides[override.cursor] = override }
        bench.model[name] = after
    }

    /// A user as some tenant has them, into this one.
    static func importUser(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let owner = bench.pick(tenants)
        let id = bench.pick(users)
        guard var record = bench.model[owner]?.users[id] else { return }
        record.organization = tenant.organization
        record.name = "\(id) of \(name)"
        let expected: Result<Imported, DirectoryError> =
            switch bench.model[name] {
            case .none: .failure(.notFound)
            case .some(let known):
                .success(known.users[id].map { $0 == record ? .unchanged : .differs } ?? .created)
            }
        let result = bench.same("import", expected) {
            try bench.store.importRecord(.user(record), by: Sample.change(bench.now))
        }
        if result == .created { bench.model[name]?.users[id] = record }
    }
}
