import Testing
import TollgateCore

@testable import TollgateStorage

/// The store against plain dictionaries, with tenants and callers drawn at random: no answer,
/// list, log or error carries another tenant's data, and an id of another tenant looks exactly
/// like one that does not exist.
@Suite struct TenantIsolationTests {
    /// What the store should hold.
    struct Tenant {
        var record: OrganizationRecord
        var users: [String: UserRecord] = [:]
        var keys: [String: APIKeyRecord] = [:]
        var overrides: [String: OverrideRecord] = [:]
        var subscription: SubscriptionRecord?
        var sessions: [String: SessionRecord] = [:]
    }

    final class Bench {
        let folder = TestFolder()
        let store: DirectoryStore
        var random: SeededRandom
        let pepper: APIKeyPepper
        var model: [String: Tenant] = [:]
        /// Also of organizations that are not there, by tenant and cursor.
        var revoked: [String: [String: RevocationRecord]] = [:]
        var now: Int64 = 0
        var reached: [String: Int] = [:]

        init(_ random: SeededRandom) throws {
            self.random = random
            pepper = try Sample.pepper()
            store = try folder.store()
            try store.database.execute("PRAGMA synchronous=OFF")
        }

        /// What was revoked before stays so for as long.
        func merged(_ record: RevocationRecord) -> RevocationRecord {
            var record = record
            let known = revoked[record.organization.text]?[record.cursor]
            record.expires = max(record.expires, known?.expires ?? record.expires)
            return record
        }

        func revoke(_ record: RevocationRecord) {
            revoked[record.organization.text, default: [:]][record.cursor] = merged(record)
        }

        func pick(_ names: [String]) -> String {
            names[Int.random(in: 0..<names.count, using: &random)]
        }

        /// An error that both give, or the same record, or a defect.
        func same<T: Equatable>(
            _ what: String, _ expected: Result<T, DirectoryError>, _ body: () throws -> T
        ) -> T? {
            let found: Result<T, DirectoryError>
            do { found = .success(try body()) } catch let error as DirectoryError {
                found = .failure(error)
            } catch {
                Issue.record("\(what): \(error)")
                return nil
            }
            if found != expected { Issue.record("\(what): \(found), expected \(expected)") }
            switch expected {
            case .success(let record):
                reached[what, default: 0] += 1
                return record
            case .failure(let error):
                reached["\(what) \(error)", default: 0] += 1
                return nil
            }
        }
    }

    static let tenants = (0..<5).map { "tenant-\($0)" }
    static let users = ["ada", "bob", "eve", "zoë"]
    static let limits = ["rpm", "tokens"]

    @Test func theStoreIsThePlainDictionariesWhoeverAsks() throws {
        let bench = try Bench(.printed("tenants"))
        let wanted = [
            "user", "user notFound", "user exists", "key", "key notFound", "revoke",
            "revoke notFound", "log in", "log in notFound", "override notFound", "edit notFound",
            "token", "revoke user", "plan", "plan notFound", "import",
        ]
        var round = -1
        // Of the rarest, some 20 are to be expected: on until each was seen often enough.
        while round < 3_000 * testScale - 1
            || round < 30_000 * testScale
                && !wanted.allSatisfy({ bench.reached[$0, default: 0] > 10 })
        {
            round += 1
            bench.now += 1
            let name = bench.pick(Self.tenants)
            let tenant = bench.store.acting(for: try OrganizationID(name))
            switch Int.random(in: 0..<16, using: &bench.random) {
            case 0: try Self.createTenant(bench, name)
            case 1, 2, 3: try Self.createUser(bench, name, tenant)
            case 4: try Self.editUser(bench, name, tenant)
            case 5: try Self.deleteUser(bench, name, tenant)
            case 6, 7, 8: try Self.createKey(bench, name, tenant)
            case 9: try Self.revokeKey(bench, name, tenant)
            case 10: try Self.setOverride(bench, name, tenant)
            case 11: try Self.subscribe(bench, name, tenant)
            case 12: try Self.revokeTokens(bench, name, tenant)
            case 13: try Self.changePlan(bench, name, tenant)
            case 14: try Self.importUser(bench, name, tenant)
            default: try Self.logIn(bench, name, tenant)
            }
            if round % 50 == 49 { try Self.compare(bench) }
            if round % 500 == 499, let gone = bench.model.keys.sorted().last {
                let id = try OrganizationID(gone)
                let revoked = try bench.store.acting(for: id).delete(
                    tokensExpire: Sample.time(1 << 40), by: Sample.change(bench.now))
                #expect(revoked.isPersonal == bench.model[gone]?.record.isPersonal)
                // What its counters held is forgotten: the id is free again.
                for left in try bench.store.leftovers() { try bench.store.remove(left) }
                bench.revoke(revoked)
                bench.model[gone] = nil
                #expect(refusal { _ = try bench.store.acting(for: id).record() } == .notFound)
            }
        }
        for what in wanted {
            #expect((bench.reached[what] ?? 0) > 10, "\(what) was hardly reached")
        }
    }

    static func createTenant(_ bench: Bench, _ name: String) throws {
        let record = OrganizationRecord(
            id: try OrganizationID(name), name: "of \(name)",
            isPersonal: Bool.random(using: &bench.random), status: .active,
            created: Sample.time(bench.now))
        let expected: Result<OrganizationRecord, DirectoryError> =
            bench.model[name] == nil ? .success(record) : .failure(.exists)
        let made = bench.same("org", expected) {
            try bench.store.createOrganization(
                record.id, name: record.name, personal: record.isPersonal,
                by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name] = Tenant(record: record) }
    }

    static func createUser(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let id = bench.pick(users)
        let record = UserRecord(
            organization: tenant.organization, id: try UserID(id), name: "\(id) of \(name)",
            status: .active, created: Sample.time(bench.now),
            role: MemberRole.allCases.randomElement(using: &bench.random))
        let expected: Result<UserRecord, DirectoryError> =
            if let known = bench.model[name] {
                known.users[id] == nil ? .success(record) : .failure(.exists)
            } else {
                .failure(.notFound)
            }
        let made = bench.same("user", expected) {
            try tenant.createUser(
                record.id, name: record.name, role: record.role, by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.users[id] = record }
    }

    static func editUser(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let id = bench.pick(users)
        var record = bench.model[name]?.users[id]
        record?.role = nil
        let expected = record.map { Result<UserRecord, DirectoryError>.success($0) }
        let made = bench.same("edit", expected ?? .failure(.notFound)) {
            try tenant.seat(UserID(id), as: nil, by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.users[id] = record }
    }

    static func deleteUser(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let id = bench.pick(users)
        let record = bench.merged(
            RevocationRecord(
                organization: tenant.organization,
                isPersonal: bench.model[name]?.record.isPersonal ?? false, kind: .user, subject: id,
                at: Sample.time(bench.now), expires: Sample.time(bench.now + 1)))
        let isKnown = bench.model[name]?.users[id] != nil
        let made = bench.same("delete", isKnown ? .success(record) : .failure(.notFound)) {
            try tenant.deleteUser(
                UserID(id), tokensExpire: Sample.time(bench.now + 1), by: Sample.change(bench.now))
        }
        guard made != nil, var known = bench.model[name] else { return }
        bench.revoke(record)
        known.users[id] = nil
        known.keys = known.keys.filter { $0.value.user.text != id }
        known.sessions = known.sessions.filter { $0.value.user.text != id }
        known.overrides = known.overrides.filter { $0.value.user?.text != id }
        bench.model[name] = known
    }

    static func createKey(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let user = bench.pick(users)
        let key = try Sample.key(&bench.random, pepper: bench.pepper)
        let lists: [[String]?] = [nil, [], ["a"], ["can_use_gpt4o", "b"]]
        let blocks: [[String]?] = [nil, [], ["192.0.2.7"], ["10.0.0.0/8", "2001:db8::/32"]]
        let record = APIKeyRecord(
            organization: tenant.organization, id: key.id, user: try UserID(user),
            name: "k\(bench.now)", environment: "live", current: key.digest, previous: nil,
            previousUntil: nil, permissions: lists.randomElement(using: &bench.random) ?? nil,
            addresses: blocks.randomElement(using: &bench.random) ?? nil,
            rate: Bool.random(using: &bench.random) ? KeyRate(units: 9, seconds: 60) : nil,
            created: Sample.time(bench.now), creator: "root", expires: nil, revoked: nil,
            lastUsed: nil)
        let isKnown = bench.model[name]?.users[user] != nil
        let made = bench.same("key", isKnown ? .success(record) : .failure(.notFound)) {
            try tenant.createKey(
                key.id, user: record.user, environment: "live", digest: key.digest,
                scope: KeyScope(
                    name: record.name, permissions: record.permissions,
                    addresses: record.addresses, rate: record.rate), creator: "root",
                by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.keys[key.id.description] = record }
    }

    /// Of any tenant's keys, mostly of others.
    static func revokeKey(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let all = bench.model.values.flatMap { $0.keys.values.map(\.id) }
        let sorted = all.sorted { $0.description < $1.description }
        guard let id = sorted.randomElement(using: &bench.random) else { return }
        var record = bench.model[name]?.keys[id.description]
        if record?.revoked == nil { record?.revoked = Sample.time(bench.now) }
        let expected = record.map { Result<APIKeyRecord, DirectoryError>.success($0) }
        let made = bench.same("revoke", expected ?? .failure(.notFound)) {
            try tenant.revokeKey(id, by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.keys[id.description] = record }
        guard record == nil else { return }
        // Nor with the right digest, which the caller has who presented the secret.
        let kept = bench.model.values.compactMap { $0.keys[id.description] }.first
        if let kept = kept?.current {
            let newer = KeptDigest(digest: kept.digest, pepper: kept.pepper + 1)
            #expect(try !tenant.rehashKey(id, from: kept.digest, to: newer))
        }
        // As one that there is nowhere, in everything that is asked.
        let never = try Sample.key(&bench.random, pepper: bench.pepper).id
        let digest = KeptDigest(
            digest: try Sample.key(&bench.random, pepper: bench.pepper).digest.digest, pepper: 1)
        for ask: (APIKeyID) throws -> Void in [
            { _ = try tenant.key($0) },
            {
                _ = try tenant.rotateKey(
                    $0, to: digest, overlapMilliseconds: 1, by: Sample.change(bench.now))
            },
            {
                _ = try tenant.setKeyScope(
                    $0, KeyScope(name: "n"), by: Sample.change(bench.now))
            },
        ] {
            #expect(refusal { try ask(id) } == .notFound && refusal { try ask(never) } == .notFound)
        }
    }

    static func setOverride(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let user = Bool.random(using: &bench.random) ? bench.pick(users) : nil
        let record = OverrideRecord(
            organization: tenant.organization, user: try user.map { try UserID($0) },
            limit: try LimitName(bench.pick(limits)), units: UInt64(bench.now),
            expires: Bool.random(using: &bench.random) ? Sample.time(bench.now) : nil)
        let known = bench.model[name]
        let isKnown = known != nil && (user.map { known?.users[$0] != nil } ?? true)
        let made = bench.same("override", isKnown ? .success(record) : .failure(.notFound)) {
            try tenant.setOverride(
                record.limit, user: record.user, units: record.units, expires: record.expires,
                by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.overrides[record.cursor] = record }
    }

    static func subscribe(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let record = SubscriptionRecord(
            organization: tenant.organization, plan: try PlanName("pro_tier"),
            status: SubscriptionStatus.allCases.randomElement(using: &bench.random) ?? .active,
            anchor: Sample.time(1), zone: "Europe/Vienna", since: Sample.time(bench.now),
            pending: nil)
        let isKnown = bench.model[name] != nil
        let made = bench.same("subscribe", isKnown ? .success(record) : .failure(.notFound)) {
            try tenant.subscribe(
                to: record.plan, status: record.status, anchor: record.anchor, zone: record.zone,
                by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.subscription = record }
    }

    /// Of a token or a user, known or not.
    static func revokeTokens(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let isToken = Bool.random(using: &bench.random)
        let subject = isToken ? bench.pick(["jti-1", "jti-2"]) : bench.pick(users)
        let asked = Bool.random(using: &bench.random)
        let known = bench.model[name]
        let isMeant = known?.record.isPersonal == asked
        let isKnown = isMeant && (isToken || known?.users[subject] != nil)
        let record = bench.merged(
            RevocationRecord(
                organization: tenant.organization, isPersonal: asked,
                kind: isToken ? .jti : .user, subject: subject, at: Sample.time(bench.now),
                expires: Sample.time(bench.now + 5)))
        bench.revoke(record)
        _ = bench.same(
            isToken ? "token" : "revoke user", .success(Revoked(record: record, isKnown: isKnown))
        ) {
            let expires = Sample.time(bench.now + 5)
            let by = Sample.change(bench.now)
            return isToken
                ? try tenant.revokeToken(jti: subject, expires: expires, personal: asked, by: by)
                : try tenant.revokeUser(
                    UserID(subject), tokensExpire: expires, personal: asked, by: by)
        }
        guard !isToken, isMeant, var after = known else { return }
        for (id, key) in after.keys where key.user.text == subject {
            after.keys[id]?.revoked = key.revoked ?? Sample.time(bench.now)
        }
        for (id, session) in after.sessions where session.user.text == subject {
            guard session.revoked == nil else { continue }
            after.sessions[id]?.revoked = Sample.time(bench.now)
            after.sessions[id]?.reason = .asked
        }
        bench.model[name] = after
    }

    static func logIn(_ bench: Bench, _ name: String, _ tenant: TenantDirectory) throws {
        let user = bench.pick(users)
        let token = try RefreshToken.make(random: bench.random.source())
        let record = SessionRecord(
            organization: tenant.organization, session: try Sample.session(&bench.random),
            user: try UserID(user), created: Sample.time(bench.now),
            expires: Sample.time(bench.now + 1 << 30), idleMilliseconds: 1 << 20, revoked: nil,
            reason: nil)
        let isKnown = bench.model[name]?.users[user] != nil
        let made = bench.same("log in", isKnown ? .success(record) : .failure(.notFound)) {
            try tenant.logIn(
                record.user, session: record.session, token: token.hash, expires: record.expires,
                idleMilliseconds: record.idleMilliseconds, by: Sample.change(bench.now))
        }
        if made != nil { bench.model[name]?.sessions[record.session.text] = record }
    }
}
