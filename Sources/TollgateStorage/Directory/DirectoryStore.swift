import CSQLite
import Glibc
import TollgateCore

/// Where a change can be cut short. Tests stop there, and look at what a start finds.
package enum DirectoryStep: String, Sendable, CaseIterable {
    case began, changed, logged, committed
}

/// The durable records: organizations, users, subscriptions, credentials, revocations, and the log
/// of changes to them.
///
/// A change is one transaction: when it returns, its record is on the disk, and is then published
/// to the image in memory; when it throws, nothing was changed. Every change writes its line of the
/// log in its own transaction. What belongs to a tenant is reached by `acting(for:)` alone.
///
/// Used by one thread at a time, which the owner sees to; readers use the image.
package final class DirectoryStore {
    let database: Database
    private let place: DirectoryPlace
    /// Called at each step of every change: `committed` once what it is part of is on the disk, and
    /// not where nothing was to be written, as at most of the looks that the clock asks for.
    package var atStep: ((DirectoryStep) -> Void)?

    /// Opens the directory in `folder`, and makes it when the folder holds none. Ends what was cut
    /// short, checks every page (`Migration.check`), and brings the schema up to date.
    package init(folder: String) throws(StorageFault) {
        place = try DirectoryPlace(folder)
        database = try Database(place.file)
        try database.configure()
        try Migration.check(database)
        try Migration.run(database, steps: Schema.steps)
        // The file's own name, when this start made it.
        try DirectoryPlace.sync(folder)
        try place.markMade()
    }

    package var path: String { place.file }

    /// What a start has no time for (`Migration.check`): every index against its table, and every
    /// row that leads to another. Changes wait meanwhile, some seconds for a million keys.
    package func checkAll() throws(StorageFault) { try Migration.checkAll(database) }

    /// Runs several changes as one: all of them or none. A change that is refused undoes itself
    /// alone, unless its refusal is let out: so many calls share one commit, and each is answered
    /// for itself after it. When this throws, none of them was made, whatever each returned.
    package func together<T>(
        _ body: () throws(DirectoryError) -> T
    ) throws(DirectoryError) -> T {
        let before = database.changes
        let result = try database.transaction(body)
        if !database.isInTransaction, database.changes != before { atStep?(.committed) }
        return result
    }

    /// One change with its line in the log.
    func change<T>(
        _ by: Change, _ action: String, of organization: OrganizationID?, _ subject: String,
        _ body: () throws(DirectoryError) -> Changed<T>
    ) throws(DirectoryError) -> T {
        try together { () throws(DirectoryError) -> T in
            atStep?(.began)
            let changed = try body()
            atStep?(.changed)
            if changed.isChange ?? !Self.isSame(changed.before, changed.after) {
                try run(
                    """
                    INSERT INTO admin_log
                      (at, uid, pid, organization, action, subject, before, after)
                    VALUES(?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                    [
                        .integer(by.at.milliseconds), .integer(Int64(by.uid)),
                        .integer(Int64(by.pid)), .optional(organization?.text), .text(action),
                        .text(subject), .optional(changed.before), .optional(changed.after),
                    ])
            }
            atStep?(.logged)
            return changed.result
        }
    }

    /// Byte by byte: Swift's == of texts takes canonical equivalents for the same.
    private static func isSame(_ one: String?, _ other: String?) -> Bool {
        guard let one, let other else { return one == nil && other == nil }
        return one.utf8.elementsEqual(other.utf8)
    }

    @discardableResult
    func run(_ sql: String, _ values: [SQLiteValue]) throws(DirectoryError) -> Int {
        do throws(StorageFault) {
            return try database.run(sql, values)
        } catch {
            throw Self.refusal(error)
        }
    }

    func rows<T>(
        _ sql: String, _ values: [SQLiteValue], _ read: (Statement) throws(StorageFault) -> T
    ) throws(DirectoryError) -> [T] {
        do throws(StorageFault) {
            return try database.rows(sql, values, read)
        } catch {
            throw Self.refusal(error)
        }
    }

    func row<T>(
        _ sql: String, _ values: [SQLiteValue], _ read: (Statement) throws(StorageFault) -> T
    ) throws(DirectoryError) -> T? {
        do throws(StorageFault) {
            return try database.row(sql, values, read)
        } catch {
            throw Self.refusal(error)
        }
    }

    /// A part of a list: one row more than asked for says that there is a next part.
    func page<T>(
        _ sql: String, _ values: [SQLiteValue], limit: Int, cursor: (T) -> String,
        _ read: (Statement) throws(StorageFault) -> T
    ) throws(DirectoryError) -> Page<T> {
        guard (1...Page<T>.itemsMax).contains(limit) else {
            throw .invalid(field: "limit", why: "is 1 to \(Page<T>.itemsMax)")
        }
        var items = try rows(sql, values + [.integer(Int64(limit) + 1)], read)
        guard items.count > limit else { return Page(items: items, next: nil) }
        items.removeLast()
        return Page(items: items, next: items.last.map(cursor))
    }

    /// A broken rule of the schema is an answer, not a failure.
    private static func refusal(_ fault: StorageFault) -> DirectoryError {
        switch fault.code {
        case 787: .notFound  // SQLITE_CONSTRAINT_FOREIGNKEY
        case 1_555, 2_067: .exists  // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE
        default: .storage(fault)
        }
    }
}

/// What a change made, and what the log says of it: nothing when it is none. The texts tell unless
/// `isChange` does: they do not hold everything.
struct Changed<T> {
    var result: T
    var before: String? = nil
    var after: String? = nil
    var isChange: Bool? = nil
}

extension SQLiteValue {
    static func optional(_ text: String?) -> SQLiteValue { text.map { .text($0) } ?? .null }
    static func flag(_ flag: Bool) -> SQLiteValue { .integer(flag ? 1 : 0) }
    static func optional(_ time: WallTime?) -> SQLiteValue {
        time.map { .integer($0.milliseconds) } ?? .null
    }
}

extension Statement {
    /// Within 2^53 milliseconds of 1970, so that sums with it stay far from 2^63: an instant
    /// outside, which we never write, is taken for the nearest inside.
    func time(_ column: Int32) -> WallTime {
        let most: Int64 = 1 << 53
        return WallTime(milliseconds: min(max(integer(column), -most), most))
    }
    func flag(_ column: Int32) -> Bool { integer(column) != 0 }
    func optionalTime(_ column: Int32) -> WallTime? { isNull(column) ? nil : time(column) }
    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }

    /// A list that `SQLiteValue.lines` wrote.
    func optionalLines(_ column: Int32) -> [String]? {
        optionalText(column).map { text in
            text.isEmpty ? [] : text.split(separator: "\n").map(String.init)
        }
    }

    func word<T: RawRepresentable<String>>(
        _ column: Int32, _ type: T.Type
    ) throws(StorageFault) -> T {
        guard let word = T(rawValue: text(column)) else { throw damaged("a \(T.self)") }
        return word
    }
}
