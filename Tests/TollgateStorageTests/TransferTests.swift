import Testing
import TollgateCore

@testable import TollgateStorage

/// Export of one directory and import into another.
@Suite struct TransferTests {
    /// Three tenants, two of them with everything; ids that begin alike.
    static func filled(_ folder: TestFolder) throws -> DirectoryStore {
        let store = try folder.store()
        var random = SeededRandom(seed: 12)
        let pepper = try Sample.pepper()
        for (name, isPersonal) in [("a", true), ("a b", false), ("zoë", false)] {
            let tenant = store.acting(for: try OrganizationID(name))
            _ = try store.createOrganization(
                tenant.organization, name: "of \(name)", personal: isPersonal, by: Sample.change(1))
            _ = try tenant.revokeToken(jti: "j", expires: Sample.time(9), by: Sample.change(2))
            guard name != "zoë" else { continue }
            _ = try tenant.subscribe(
                to: PlanName("pro"), status: .trialing, anchor: Sample.time(-5), zone: "Asia/Tokyo",
                by: Sample.change(3))
            _ = try tenant.schedulePlan(
                PendingPlan(plan: PlanName("free"), mode: .prorate, at: Sample.time(99)),
                by: Sample.change(4))
            for text in ["a", "b"] {
                let user = try tenant.createUser(
                    UserID(text), name: text, role: text == "a" ? .owner : nil,
                    by: Sample.change(5)
                ).id
                _ = try tenant.setOverride(
                    LimitName("rpm"), user: user, units: 1 << 60, expires: nil,
                    by: Sample.change(6))
                try addKeys(tenant, user, pepper, &random)
            }
            _ = try tenant.changePlan(
                to: PlanName("big"),
                prorated: [
                    ProratedLimit(limit: LimitName("rpd"), units: 4, expires: Sample.time(50))
                ], by: Sample.change(7))
            _ = try tenant.setUserStatus(UserID("b"), .suspended, by: Sample.change(8))
        }
        let unknown = store.acting(for: try OrganizationID("nobody"))
        _ = try unknown.revokeUser(
            UserID("u"), tokensExpire: Sample.time(9), personal: true, by: Sample.change(9))
        return store
    }

    private static func addKeys(
        _ tenant: TenantDirectory, _ user: UserID, _ pepper: APIKeyPepper,
        _ random: inout SeededRandom
    ) throws {
        for index in 0..<3 {
            let made = try Sample.key(&random, pepper: pepper)
            _ = try tenant.createKey(
                made.id, user: user, environment: "test1", digest: made.digest,
                scope: KeyScope(
                    name: "k\(index)", permissions: index == 0 ? nil : [],
                    addresses: ["192.0.2.0/24", "2001:db8::1"],
                    rate: KeyRate(units: 5, seconds: 3_600), expires: Sample.time(1 << 30)),
                creator: "uid 7", by: Sample.change(6))
            if index == 1 {
                _ = try tenant.rotateKey(
                    made.id, to: Sample.key(&random, pepper: pepper).digest,
                    overlapMilliseconds: 60_000, by: Sample.change(7))
            }
            if index == 2 { _ = try tenant.revokeKey(made.id, by: Sample.change(8)) }
        }
    }

    static func all(_ store: DirectoryStore, limit: Int = 1_000) throws -> [PortableRecord] {
        try TenantIsolationTests.all(limit) { try store.export(after: $0, limit: limit) }
    }

    @Test func anImportOfAnExportIsTheSameDirectory() throws {
        let source = TestFolder()
        let store = try Self.filled(source)
        let records = try Self.all(store)
        // 3 organizations, 4 users, 4 overrides + 2 of a changed plan, 12 keys, 3 + 1 revocations.
        #expect(records.count == 29)
        let target = TestFolder()
        let copy = try target.store()
        for record in records {
            #expect(try copy.importRecord(record, by: Sample.change(77)) == .created)
        }
        #expect(try Self.all(copy) == records)
        // But for the log, and what is counted anew, the same to the byte.
        func kept(_ store: DirectoryStore) throws -> String {
            try CrashTests.content(store, without: ["admin_log"])
        }
        #expect(try kept(copy) == kept(store))
        #expect(try copy.adminLog(limit: 1_000).items.count == records.count)
        let before = try CrashTests.content(copy)
        try copy.together { () throws(DirectoryError) in
            for record in records {
                let again = try copy.importRecord(record, by: Sample.change(78))
                #expect(again == .unchanged)
            }
        }
        #expect(try CrashTests.content(copy) == before)
    }

    @Test(arguments: 1...30)
    func aPartOfAnySizeGoesOnBehindAnyRecord(_ limit: Int) throws {
        let folder = TestFolder()
        let store = try Self.filled(folder)
        let records = try Self.all(store)
        #expect(try Self.all(store, limit: limit) == records)
        // The reader may take fewer than it was given.
        for (index, record) in records.enumerated() {
            let rest = try store.export(after: record.cursor, limit: limit).items
            #expect(rest == Array(records.dropFirst(index + 1).prefix(limit)))
        }
    }

    @Test func whatDiffersIsToldAndLeftAlone() throws {
        let folder = TestFolder()
        let store = try Self.filled(folder)
        let before = try CrashTests.content(store)
        var tried = 0
        for record in try Self.all(store) {
            for other in Self.altered(record) {
                tried += 1
                let result = try store.importRecord(other, by: Sample.change(99))
                #expect(result == .differs, "\(other)")
            }
        }
        #expect(tried > 60)
        #expect(try CrashTests.content(store) == before)
    }

    /// The same record with one thing changed.
    private static func altered(_ record: PortableRecord) -> [PortableRecord] {
        let later = WallTime(milliseconds: 1)
        func each<T>(_ value: T, _ edits: [(inout T) -> Void]) -> [T] {
            edits.map { edit in
                var copy = value
                edit(&copy)
                return copy
            }
        }
        switch record {
        case .organization(let made, let plan):
            let organizations = each(
                made,
                [
                    { $0.name += "x" }, { $0.isPersonal.toggle() }, { $0.created = later },
                    { $0.status = .suspended },
                ])
            let plans = plan.map {
                each(
                    $0,
                    [
                        { $0.zone = "UTC" }, { $0.anchor = later }, { $0.since = later },
                        { $0.status = .canceled }, { $0.plan = PlanName(unchecked: "x") },
                        {
                            $0.pending = PendingPlan(
                                plan: PlanName(unchecked: "y"), mode: .reset, at: later)
                        },
                    ])
            }
            return organizations.map { .organization($0, plan) }
                + (plans ?? []).map { .organization(made, $0) }
                + (plan == nil ? [] : [.organization(made, nil)])
        case .user(let user):
            return each(
                user,
                [
                    { $0.name += "x" }, { $0.role = .admin }, { $0.created = later },
                    { $0.status = $0.status == .active ? .suspended : .active },
                ]
            ).map { .user($0) }
        case .grant(let made):
            return each(
                made,
                [
                    { $0.units += 1 }, { $0.meter += "x" }, { $0.priority = 7 },
                    { $0.note += "x" }, { $0.created = later }, { $0.effective = later },
                    { $0.voided = later }, { $0.burnt = 1 },
                ]
            ).map { .grant($0) }
        case .override(let made):
            return each(
                made, [{ $0.units = 1 }, { $0.expires = later }, { $0.isProrated.toggle() }]
            ).map { .override($0) }
        case .key(let key): return each(key, Self.keyEdits).map { .key($0) }
        case .revocation(let made):
            return each(made, [{ $0.at = later }, { $0.expires = later }]).map { .revocation($0) }
        }
    }

    private static var keyEdits: [(inout APIKeyRecord) -> Void] {
        let later = WallTime(milliseconds: 1)
        return [
            { $0.name += "x" }, { $0.environment = "x" }, { $0.creator = "x" },
            { $0.permissions = ["x"] }, { $0.addresses = nil }, { $0.rate = nil },
            { $0.created = later }, { $0.expires = nil }, { $0.revoked = later },
            { $0.current.pepper = 9 }, { $0.user = UserID(unchecked: "x") },
            {
                $0.previous = KeptDigest(digest: $0.current.digest, pepper: 1)
                $0.previousUntil = later
            },
        ]
    }

    @Test func aKeysLastUseIsNoDifference() throws {
        let folder = TestFolder()
        let store = try Self.filled(folder)
        let records = try Self.all(store)
        for case .key(let key) in records {
            try store.noteUses([
                KeyUse(organization: key.organization, id: key.id, at: Sample.time(500))
            ])
            #expect(try store.importRecord(.key(key), by: Sample.change()) == .unchanged)
        }
        #expect(try Self.all(store) != records)
    }

    @Test func whatARecordLeadsToMustBeThere() throws {
        let source = TestFolder()
        let records = try Self.all(Self.filled(source))
        let folder = TestFolder()
        let store = try folder.store()
        var keys = 0
        for record in records {
            switch record {
            case .organization, .revocation: continue
            case .user, .override, .grant, .key:
                let error = refusal { _ = try store.importRecord(record, by: Sample.change()) }
                #expect(error == .notFound)
            }
        }
        // An id that another tenant's key has.
        let full = try Self.filled(folder: store, records)
        for case .key(var key) in records where key.organization.text == "a" {
            key.organization = OrganizationID(unchecked: "a b")
            keys += 1
            let error = refusal { _ = try full.importRecord(.key(key), by: Sample.change()) }
            #expect(error == .exists)
        }
        #expect(keys == 6)
    }

    private static func filled(
        folder store: DirectoryStore, _ records: [PortableRecord]
    ) throws -> DirectoryStore {
        for record in records { _ = try store.importRecord(record, by: Sample.change()) }
        return store
    }

    @Test func whatCouldNotHaveBeenMadeIsNotImported() throws {
        let folder = TestFolder()
        let store = try Self.filled(folder)
        let before = try CrashTests.content(store)
        var bad: [PortableRecord] = []
        for record in try Self.all(store) {
            switch record {
            case .organization(var made, var plan):
                plan?.zone = ""
                if plan != nil { bad.append(.organization(made, plan)) }
                plan?.zone = "UTC"
                plan?.organization = OrganizationID(unchecked: "other")
                if plan != nil { bad.append(.organization(made, plan)) }
                made.name = "a\nb"
                bad.append(.organization(made, nil))
            case .user(var user):
                user.name = ""
                bad.append(.user(user))
            case .grant(var grant):
                grant.units = 0
                bad.append(.grant(grant))
                (grant.units, grant.burnt) = (5, 6)
                bad.append(.grant(grant))
                (grant.burnt, grant.id) = (nil, "a b")
                bad.append(.grant(grant))
                (grant.id, grant.expires) = ("g", grant.effective)
                bad.append(.grant(grant))
            case .override(var override):
                override.units = 1 << 63
                bad.append(.override(override))
            case .key(let key): bad += Self.badKeys(key).map { .key($0) }
            case .revocation(var revocation):
                revocation.subject = ""
                bad.append(.revocation(revocation))
                revocation.kind = .organization
                revocation.subject = "other"
                bad.append(.revocation(revocation))
            }
        }
        #expect(bad.count > 100)
        for record in bad {
            guard case .invalid = refusal({
                _ = try store.importRecord(record, by: Sample.change())
            }) else {
                Issue.record("\(record)")
                continue
            }
        }
        #expect(try CrashTests.content(store) == before)
        for cursor in ["", "user", "user\na", "user\na\nb\nc", "key\na\nb", "cat\na", "x"] {
            guard case .invalid("cursor", _) = refusal({ _ = try store.export(after: cursor) })
            else {
                Issue.record("\(cursor)")
                continue
            }
        }
        for limit in [0, -1, 1_001, .max] {
            #expect(refusal { _ = try store.export(limit: limit) } != nil)
        }
    }

    private static func badKeys(_ key: APIKeyRecord) -> [APIKeyRecord] {
        let edits: [(inout APIKeyRecord) -> Void] = [
            { $0.name = "" }, { $0.creator = "" }, { $0.environment = "Live" },
            { $0.environment = "sevenxx" }, { $0.environment = "" }, { $0.environment = "1a" },
            { $0.addresses = ["192.0.2.1/24"] }, { $0.addresses = ["localhost"] },
            { $0.addresses = [""] }, { $0.permissions = ["a\nb"] },
            { $0.rate = KeyRate(units: 1, seconds: 2) },
            { $0.rate = KeyRate(units: 0, seconds: 1) },
            { $0.previousUntil = $0.previous == nil ? WallTime(milliseconds: 5) : nil },
        ]
        return edits.map { edit in
            var copy = key
            edit(&copy)
            return copy
        }
    }

    @Test func noDigestReachesTheLog() throws {
        let source = TestFolder()
        let records = try Self.all(Self.filled(source))
        let folder = TestFolder()
        let store = try Self.filled(folder: folder.store(), records)
        let log = try store.adminLog(limit: 1_000).items.map {
            $0.subject + ($0.before ?? "") + ($0.after ?? "")
        }.joined()
        var digests = 0
        for case .key(let key) in records {
            for digest in [key.current, key.previous].compactMap({ $0 }) {
                digests += 1
                let hex = digest.digest.withBytes { $0.map { String($0, radix: 16) }.joined() }
                let encoded = digest.digest.withBytes { Base64URL.encode(Array($0)) }
                #expect(!log.contains(hex))
                #expect(!log.contains(String(decoding: encoded, as: UTF8.self)))
            }
        }
        #expect(digests == 16 && log.contains("tg_test1_"))
    }
}
