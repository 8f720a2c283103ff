import CSQLite

/// Brings a directory to the schema of this version, one numbered step and one transaction at a
/// time: a step that is cut short was not taken.
enum Migration {
    /// Whether the file is whole and ours. Every page is read: trees, cells, types, and that no
    /// page is used twice or lost. Left out is whether each row stands in each index and the other
    /// way about: with that, a million keys (760 MB) take 6 s instead of 1.8 s.
    /// `DirectoryStore.checkAll` looks for it when asked. That rows lead to rows which are there is
    /// seen as they are loaded.
    static func check(_ database: Database) throws(StorageFault) {
        try verify(database, "PRAGMA quick_check(1)")
        let id = try number("application_id", database)
        let version = try number("user_version", database)
        let tables = try database.text("SELECT count(*) FROM sqlite_schema") ?? ""
        let isNew = id == 0 && version == 0 && tables == "0"
        guard isNew || id == Schema.applicationID else {
            throw DirectoryPlace.unfit(
                database.path, "an SQLite database of another program; name another directory")
        }
    }

    /// Everything that SQLite can check, indexes and foreign keys too.
    static func checkAll(_ database: Database) throws(StorageFault) {
        try verify(database, "PRAGMA integrity_check(1)")
        guard try database.text("PRAGMA foreign_key_check") == nil else {
            throw damaged(database, "rows lead to rows that are not there")
        }
    }

    private static func verify(_ database: Database, _ sql: String) throws(StorageFault) {
        guard let found = try database.text(sql), found == "ok" else {
            throw damaged(database, "its pages do not fit together")
        }
    }

    static func damaged(_ database: Database, _ words: String) -> StorageFault {
        StorageFault(
            kind: .damaged, path: database.path, code: SQLITE_CORRUPT,
            words: words + "; put a backup in its place")
    }

    static func run(_ database: Database, steps: [String]) throws(StorageFault) {
        let version = Int(try number("user_version", database))
        guard (0...steps.count).contains(version) else {
            throw DirectoryPlace.unfit(
                database.path,
                "schema \(version) was made by a newer Tollgate, this one knows \(steps.count):"
                    + " install that version again, or restore the backup made before the upgrade")
        }
        for step in version..<steps.count {
            let sql =
                "BEGIN IMMEDIATE;\n" + steps[step]
                + "PRAGMA application_id = \(Schema.applicationID);"
                + "PRAGMA user_version = \(step + 1);\nCOMMIT;"
            do throws(StorageFault) {
                try database.execute(sql)
            } catch {
                database.rollBack()
                throw error
            }
        }
    }

    private static func number(_ name: String, _ database: Database) throws(StorageFault) -> Int64 {
        try database.text("PRAGMA \(name)").flatMap { Int64($0) } ?? -1
    }
}
