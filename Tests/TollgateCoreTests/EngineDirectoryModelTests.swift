import Testing
import TollgateWire

@testable import TollgateCore

/// Random changes to a directory of a few tenants, and after each the verdict on every credential,
/// against a plain model of dictionaries. Prints its seed.
@Suite struct EngineDirectoryModelTests {
    private struct Tenant: Hashable {
        var id: String
        var isPersonal: Bool
    }

    /// The rules once more, in the plainest words.
    private struct Model {
        var organizations: [Tenant: OrganizationEntry] = [:]
        var users: [Tenant: [String: UserEntry]] = [:]
        var keys: [String: APIKeyEntry] = [:]
        var revoked: Set<String> = []
        var secrets: [String: String] = [:]

        func judge(_ tenant: Tenant, _ user: String, mustExist: Bool) -> (Reason, String) {
            let known = users[tenant]?[user]
            if known == nil ? mustExist : known?.isActive == false {
                return (.credentialRevoked, "")
            }
            guard let found = organizations[tenant], found.isActive,
                let subscription = found.subscription, subscription.isServed
            else { return (.subscriptionInactive, "") }
            return (.none, subscription.plan)
        }

        func judge(key id: String) -> (Reason, String) {
            guard let key = keys[id] else { return (.keyUnknown, "") }
            if key.isRevoked { return (.credentialRevoked, "") }
            return judge(
                Tenant(id: key.organization, isPersonal: key.isPersonal), key.user,
                mustExist: true)
        }

        func judge(token tenant: Tenant, _ user: String, _ session: String) -> (Reason, String) {
            let marks = [
                "session \(tenant) \(session)", "user \(tenant) \(user)", "all \(tenant)",
            ]
            if marks.contains(where: revoked.contains) { return (.credentialRevoked, "") }
            return judge(tenant, user, mustExist: false)
        }
    }

    private static let tenants = [
        Tenant(id: "acme", isPersonal: false), Tenant(id: "ada", isPersonal: false),
        Tenant(id: "ada", isPersonal: true), Tenant(id: "globex", isPersonal: false),
    ]

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func whateverChangesTheNextVerdictIsThatOfTheModel(seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        var policy = PolicyDefinition.withDirectory()
        policy.addressLimits = []
        policy.invalidCredentialLimit = nil
        for index in policy.plans.indices {
            policy.plans[index].rateLimits = []
            policy.plans[index].quotas = []
        }
        let harness = try DirectoryHarness(policy, seed: seed)
        harness.image.removeOrganization("acme", isPersonal: false)
        var model = Model()
        var keys: [DirectoryHarness.Made] = []
        for step in 0..<600 {
            let tenant = try #require(Self.tenants.randomElement(using: &random))
            let users = tenant.isPersonal ? ["ada"] : ["ada", "bob"]
            let user = try #require(users.randomElement(using: &random))
            let action = Int.random(in: 0..<9, using: &random)
            try Self.change(action, tenant, user, harness, &model, &keys, &random)
            for key in keys {
                let (reason, plan) = model.judge(key: key.entry.id.description)
                let answer = harness.check(key.text, "models")
                #expect(answer.reason == reason, "seed \(seed), step \(step), action \(action)")
                if reason == .none { #expect(answer.texts[2] == plan) }
            }
            for tenant in Self.tenants {
                for user in tenant.isPersonal ? ["ada"] : ["ada", "bob"] {
                    let token = DirectoryHarness.token(
                        user: user, organization: tenant.isPersonal ? nil : tenant.id,
                        session: "s-\(user)")
                    let (reason, plan) = model.judge(token: tenant, user, "s-\(user)")
                    let answer = harness.check(token, "models")
                    #expect(answer.reason == reason, "seed \(seed), step \(step), \(tenant)")
                    if reason == .none { #expect(answer.texts[2] == plan) }
                }
            }
        }
        #expect(keys.count > 20)
    }

    private static func change(
        _ action: Int, _ tenant: Tenant, _ user: String, _ harness: DirectoryHarness,
        _ model: inout Model, _ keys: inout [DirectoryHarness.Made], _ random: inout SeededRandom
    ) throws {
        let image = harness.image
        switch action {
        case 0, 1:
            let plan = ["free_tier", "pro_tier", "open_tier"].randomElement(using: &random)
            let entry = OrganizationEntry(
                id: tenant.id, isPersonal: tenant.isPersonal,
                isActive: Int.random(in: 0..<5, using: &random) > 0,
                subscription: plan.map {
                    SubscriptionEntry(plan: $0, isServed: Int.random(in: 0..<5, using: &random) > 0)
                })
            model.organizations[tenant] = entry
            image.put(entry)
        case 2, 3:
            let entry = UserEntry(
                organization: tenant.id, isPersonal: tenant.isPersonal, id: user,
                isActive: Int.random(in: 0..<4, using: &random) > 0)
            model.users[tenant, default: [:]][user] = entry
            image.put(entry)
        case 4:
            let made = try harness.add(tenant.id, user) { $0.isPersonal = tenant.isPersonal }
            model.keys[made.entry.id.description] = made.entry
            keys.append(made)
            if keys.count > 40 { keys.removeFirst() }
        case 5:
            guard let key = keys.randomElement(using: &random),
                var entry = model.keys[key.entry.id.description]
            else { return }
            entry.isRevoked.toggle()
            model.keys[key.entry.id.description] = entry
            image.put(entry)
        case 6: revoke(tenant, user, image, &model, &random)
        case 7, 8: remove(action, tenant, user, image, &model, &random)
        default: break
        }
    }

    /// Seldom, so that some stay good; else all that was revoked is forgotten.
    private static func revoke(
        _ tenant: Tenant, _ user: String, _ image: DirectoryImage, _ model: inout Model,
        _ random: inout SeededRandom
    ) {
        guard Int.random(in: 0..<6, using: &random) == 0 else {
            _ = image.forgetRevocations(expiredAt: .start(2_000))
            model.revoked = []
            return
        }
        let kind: RevokedKind = Bool.random(using: &random) ? .session : .user
        let subject = kind == .session ? "s-\(user)" : user
        model.revoked.insert("\(kind) \(tenant) \(subject)")
        image.put(
            RevocationEntry(
                kind: kind, organization: tenant.id, isPersonal: tenant.isPersonal,
                subject: subject, at: .start(), expires: .start(1_000)))
    }

    private static func remove(
        _ action: Int, _ tenant: Tenant, _ user: String, _ image: DirectoryImage,
        _ model: inout Model, _ random: inout SeededRandom
    ) {
        guard Int.random(in: 0..<4, using: &random) == 0 else { return }
        let isAll = action == 7
        model.keys = model.keys.filter {
            $1.organization != tenant.id || $1.isPersonal != tenant.isPersonal
                || (!isAll && $1.user != user)
        }
        if isAll {
            model.organizations[tenant] = nil
            model.users[tenant] = nil
            image.removeOrganization(tenant.id, isPersonal: tenant.isPersonal)
        } else {
            model.users[tenant]?[user] = nil
            image.removeUser(user, organization: tenant.id, isPersonal: tenant.isPersonal)
        }
    }
}
