import Testing
import TollgateCore

@testable import TollgateStorage

extension TenantIsolationTests {
    /// Every page of a list, put together.
    static func all<T>(_ limit: Int, _ page: (String?) throws -> Page<T>) throws -> [T] {
        var items: [T] = []
        var cursor: String?
        repeat {
            let part = try page(cursor)
            #expect(part.items.count <= limit)
            #expect(part.next == nil || part.items.count == limit)
            items += part.items
            cursor = part.next
        } while cursor != nil
        return items
    }

    /// Everything that each tenant can list is its own, and all of it.
    static func compare(_ bench: Bench) throws {
        try compareExport(bench)
        for name in tenants {
            let tenant = bench.store.acting(for: try OrganizationID(name))
            let revoked = bench.revoked[name]?.values.sorted { $0.cursor < $1.cursor } ?? []
            #expect(try all(2) { try tenant.revocations(after: $0, limit: 2) } == revoked)
            #expect(
                try all(1) { try tenant.revocations(personal: true, after: $0, limit: 1) }
                    == revoked.filter(\.isPersonal))
            #expect(
                try all(3) { try tenant.revocations(kind: .user, after: $0, limit: 3) }
                    == revoked.filter { $0.kind == .user })
            guard let model = bench.model[name] else {
                #expect(refusal { _ = try tenant.record() } == .notFound)
                #expect(refusal { _ = try tenant.users() } == .notFound)
                #expect(refusal { _ = try tenant.keys() } == .notFound)
                #expect(refusal { _ = try tenant.overrides() } == .notFound)
                #expect(refusal { _ = try tenant.subscription() } == .notFound)
                #expect(refusal { _ = try tenant.overrides(of: nil) } == .notFound)
                continue
            }
            #expect(try tenant.record() == model.record)
            #expect(
                try all(2) { try tenant.users(after: $0, limit: 2) }
                    == model.users.values.sorted { $0.id.text < $1.id.text })
            #expect(
                try all(3) { try tenant.keys(after: $0, limit: 3) }
                    == model.keys.values.sorted { $0.id.description < $1.id.description })
            #expect(
                try all(1) { try tenant.overrides(after: $0, limit: 1) }
                    == model.overrides.values.sorted {
                        ($0.user?.text ?? "", $0.limit.text) < ($1.user?.text ?? "", $1.limit.text)
                    })
            #expect(
                try tenant.overrides(of: nil)
                    == model.overrides.values.filter { $0.user == nil }.sorted {
                        $0.limit.text < $1.limit.text
                    })
            for user in users { try compare(user, model, tenant) }
            if let subscription = model.subscription {
                #expect(try tenant.subscription() == subscription)
            } else {
                #expect(refusal { _ = try tenant.subscription() } == .notFound)
            }
            for entry in try all(500, { try tenant.adminLog(before: $0, limit: 500) }) {
                if entry.organization != tenant.organization { Issue.record("\(entry)") }
                let text = entry.subject + (entry.before ?? "") + (entry.after ?? "")
                for other in tenants where other != name && text.contains(other) {
                    Issue.record("\(name)'s log: \(text)")
                }
            }
        }
    }

    /// The operator's export is every tenant's records, each under its own name.
    private static func compareExport(_ bench: Bench) throws {
        let known = bench.model.sorted { $0.key < $1.key }.map(\.value)
        var expected: [PortableRecord] = known.map { .organization($0.record, $0.subscription) }
        for tenant in known {
            expected += tenant.users.values.sorted { $0.id.text < $1.id.text }.map { .user($0) }
        }
        for tenant in known {
            let sorted = tenant.overrides.values.sorted {
                ($0.user?.text ?? "", $0.limit.text) < ($1.user?.text ?? "", $1.limit.text)
            }
            expected += sorted.map { .override($0) }
        }
        for tenant in known {
            let sorted = tenant.keys.values.sorted {
                ($0.user.text, $0.id.description) < ($1.user.text, $1.id.description)
            }
            expected += sorted.map { .key($0) }
        }
        for (_, revoked) in bench.revoked.sorted(by: { $0.key < $1.key }) {
            let sorted = revoked.values.sorted { $0.cursor < $1.cursor }
            expected += sorted.map { .revocation($0) }
        }
        let limit = Int.random(in: 1...40, using: &bench.random)
        let found = try all(limit) { try bench.store.export(after: $0, limit: limit) }
        if found != expected { Issue.record("\(found), expected \(expected)") }
    }

    /// What the tenant is told of one user, who may be another tenant's too.
    private static func compare(
        _ user: String, _ model: Tenant, _ tenant: TenantDirectory
    ) throws {
        guard let record = model.users[user] else {
            #expect(refusal { _ = try tenant.user(UserID(user)) } == .notFound)
            #expect(refusal { _ = try tenant.keys(of: UserID(user)) } == .notFound)
            #expect(refusal { _ = try tenant.sessions(of: UserID(user)) } == .notFound)
            #expect(refusal { _ = try tenant.overrides(of: UserID(user)) } == .notFound)
            return
        }
        #expect(try tenant.user(UserID(user)) == record)
        #expect(
            try all(2) { try tenant.keys(of: UserID(user), after: $0, limit: 2) }
                == model.keys.values.filter { $0.user == record.id }.sorted {
                    $0.id.description < $1.id.description
                })
        #expect(
            try all(2) { try tenant.sessions(of: UserID(user), after: $0, limit: 2) }
                == model.sessions.values.filter { $0.user == record.id }.sorted {
                    $0.session.text < $1.session.text
                })
    }
}
