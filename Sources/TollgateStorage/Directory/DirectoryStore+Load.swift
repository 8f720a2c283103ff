import CSQLite
import TollgateCore

/// What decisions need of the directory, in the order that an image of it is made.
package enum DirectoryRecord: Sendable, Equatable {
    /// With the overrides of the organization itself.
    case organization(OrganizationRecord, SubscriptionRecord?, [OverrideRecord])
    case user(UserRecord, isPersonal: Bool, [OverrideRecord])
    case key(APIKeyRecord, isPersonal: Bool)
    case revocation(RevocationRecord)
    case signingKey(SigningKeyRecord)
}

extension DirectoryStore {
    /// Gives every record once: an organization, then each of its users with that user's keys
    /// behind it; revocations and signing keys last. Holds one organization and one user. Fails
    /// when a row leads to none that is there.
    package func load(_ take: (DirectoryRecord) -> Void) throws(DirectoryError) {
        do throws(StorageFault) {
            try TenantReader(database).read(take)
            try each(RevocationRecord.select, RevocationRecord.read) { take(.revocation($0)) }
            try each(SigningKeyRecord.select, SigningKeyRecord.read) { take(.signingKey($0)) }
        } catch {
            throw .storage(error)
        }
    }

    private func each<T>(
        _ sql: String, _ read: (Statement) throws(StorageFault) -> T, _ take: (T) -> Void
    ) throws(StorageFault) {
        let rows = try SortedRows(sql, database)
        while rows.isAtRow { take(try rows.next(read)) }
    }
}

/// The tables of tenants read side by side, each in the order of its key, which begins with the
/// organization and the user: a row is looked up nowhere, and one that belongs to nobody is left
/// over.
private struct TenantReader {
    private let database: Database
    private let organizations, subscriptions, overrides, users, keys: SortedRows

    init(_ database: Database) throws(StorageFault) {
        self.database = database
        organizations = try SortedRows(OrganizationRecord.select + " ORDER BY id", database)
        subscriptions = try SortedRows(
            SubscriptionRecord.select + " ORDER BY organization", database)
        overrides = try SortedRows(
            OverrideRecord.select + " ORDER BY organization, user, limit_name", database)
        users = try SortedRows(UserRecord.select + " ORDER BY organization, id", database)
        keys = try SortedRows(APIKeyRecord.select + " ORDER BY organization, user, id", database)
    }

    func read(_ take: (DirectoryRecord) -> Void) throws(StorageFault) {
        while organizations.isAtRow {
            let record = try organizations.next(OrganizationRecord.read)
            let id = record.id.text
            let subscription =
                subscriptions.isAt(id) ? try subscriptions.next(SubscriptionRecord.read) : nil
            take(.organization(record, subscription, try overrides(of: id, user: "")))
            while users.isAt(id) { try readUser(of: record, take) }
        }
        for rest in [subscriptions, overrides, users, keys] where rest.isAtRow {
            throw Migration.damaged(database, "rows lead to rows that are not there")
        }
    }

    private func readUser(
        of organization: OrganizationRecord, _ take: (DirectoryRecord) -> Void
    ) throws(StorageFault) {
        let user = try users.next { row throws(StorageFault) in
            try UserRecord.read(row, of: organization.id)
        }
        let held = try overrides(of: organization.id.text, user: user.id.text)
        take(.user(user, isPersonal: organization.isPersonal, held))
        while keys.isAt(organization.id.text, user.id.text) {
            let key = try keys.next { row throws(StorageFault) in
                try APIKeyRecord.read(row, of: organization.id, user: user.id)
            }
            take(.key(key, isPersonal: organization.isPersonal))
        }
    }

    private func overrides(
        of organization: String, user: String
    ) throws(StorageFault) -> [OverrideRecord] {
        var found: [OverrideRecord] = []
        while overrides.isAt(organization, user) {
            found.append(try overrides.next(OverrideRecord.read))
        }
        return found
    }
}

/// The rows of one statement, of which the next is looked at before it is read.
private final class SortedRows {
    private let statement: Statement
    private(set) var isAtRow: Bool

    init(_ sql: String, _ database: Database) throws(StorageFault) {
        statement = try database.statement(sql)
        isAtRow = try statement.step()
    }

    deinit { statement.reset() }

    /// Whether the next row begins with these texts.
    func isAt(_ organization: String, _ user: String? = nil) -> Bool {
        guard isAtRow, statement.isText(0, organization) else { return false }
        guard let user else { return true }
        return statement.isText(1, user)
    }

    func next<T>(_ read: (Statement) throws(StorageFault) -> T) throws(StorageFault) -> T {
        let record = try read(statement)
        isAtRow = try statement.step()
        return record
    }
}
