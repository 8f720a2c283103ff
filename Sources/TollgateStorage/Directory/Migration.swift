import CSQLite

/// Brings a directory to the schema of this version, one numbered step and one transaction at a
/// time: a step that is cut short was not taken.
enum Migration {
    /// Whether the file is whole and ours.
    static func check(_ database: Database) throws(StorageFault) {
        guard let found = try database.text("PRAGMA quick_check(1)"), found == "ok" else {
            throw StorageFault(
                kind: .damaged, path: database.path, code: SQLITE_CORRUPT,
                words: "its pages do not fit together; put a backup in its place")
        }
        let id = try number("application_id", database)
        let version = try number("user_version", database)
        let tables = try database.text("SELECT count(*) FROM sqlite_schema") ?? ""
        let isNew = id == 0 && version == 0 && tables == "0"
        guard isNew || id == Schema.applicationID else {
            throw DirectoryPlace.unfit(
                database.path, "an SQLite database of another program; name another directory")
        }
        guard try database.text("PRAGMA foreign_key_check") == nil else {
            throw StorageFault(
                kind: .damaged, path: database.path, code: SQLITE_CORRUPT,
                words: "rows lead to rows that are not there; put a backup in its place")
        }
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
