import TollgateCore

@testable import TollgateStorage

/// What is cut short.
extension CrashTests {
    static func tenantWorks() throws -> [Work] {
        let change = Sample.change(5)
        return [
            Work(name: "create organization") { store, _ in
                _ = try store.createOrganization(OrganizationID("b"), name: "B", by: change)
            },
            Work(name: "create user") { store, _ in
                _ = try tenant(store).createUser(
                    UserID("eve"), name: "Eve", role: .admin, by: change)
            },
            Work(name: "delete user") { store, _ in
                _ = try tenant(store).deleteUser(
                    UserID("ada"), tokensExpire: Sample.time(99), by: change)
            },
            Work(name: "delete organization") { store, _ in
                _ = try tenant(store).delete(tokensExpire: Sample.time(99), by: change)
            },
            Work(name: "seat") { store, _ in
                _ = try tenant(store).seat(UserID("bob"), as: .owner, by: change)
            },
            Work(name: "change plan") { store, _ in
                _ = try tenant(store).changePlan(to: PlanName("free_tier"), by: change)
            },
            Work(name: "prorate") { store, _ in
                _ = try tenant(store).changePlan(
                    to: PlanName("big_tier"),
                    prorated: [
                        ProratedLimit(
                            limit: LimitName("rpd"), units: 4, expires: Sample.time(99))
                    ], by: change)
            },
            Work(name: "import") { store, fixture in
                try store.together { () throws(DirectoryError) in
                    let id = OrganizationID(unchecked: "c")
                    _ = try store.importRecord(
                        .organization(
                            OrganizationRecord(
                                id: id, name: "C", isPersonal: true, status: .active,
                                created: change.at), nil), by: change)
                    _ = try store.importRecord(
                        .user(
                            UserRecord(
                                organization: id, id: UserID(unchecked: "c"), name: "C",
                                status: .active, created: change.at, role: .owner)), by: change)
                }
            },
            Work(name: "override") { store, _ in
                _ = try tenant(store).setOverride(
                    LimitName("rpm"), user: UserID("bob"), units: 9, expires: nil, by: change)
            },
        ]
    }

    static func credentialWorks() throws -> [Work] {
        let change = Sample.change(5)
        return [
            Work(name: "rehash") { store, fixture in
                _ = try tenant(store).rehashKey(
                    fixture.key.id, from: fixture.key.digest.digest,
                    to: KeptDigest(digest: fixture.other.digest.digest, pepper: 4))
            },
            Work(name: "create key") { store, fixture in
                _ = try tenant(store).createKey(
                    fixture.other.id, user: UserID("bob"), environment: "live",
                    digest: fixture.other.digest, scope: KeyScope(name: "o"), creator: "x",
                    by: change)
            },
            Work(name: "rotate key") { store, fixture in
                _ = try tenant(store).rotateKey(
                    fixture.key.id, to: fixture.other.digest, overlapMilliseconds: 60_000,
                    by: change)
            },
            Work(name: "revoke key") { store, fixture in
                _ = try tenant(store).revokeKey(fixture.key.id, by: change)
            },
            Work(name: "refresh") { store, fixture in _ = try fixture.refresh(store) },
            Work(name: "reuse") { store, fixture in
                _ = try fixture.refresh(store)
                _ = try fixture.refresh(store, at: 50_000)
            },
            Work(name: "revoke user") { store, _ in
                _ = try tenant(store).revokeUser(
                    UserID("ada"), tokensExpire: Sample.time(99), by: change)
            },
            Work(name: "promote signing key") { store, _ in
                _ = try store.promoteSigningKey(SigningKeyID("k1"), by: change)
            },
            Work(name: "forget") { store, _ in
                _ = try store.forgetExpired(at: Sample.time(99_999_999))
            },
        ]
    }
}
