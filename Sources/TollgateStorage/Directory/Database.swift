import CSQLite
import Glibc

/// One connection to one SQLite file. Owned by the directory's only writer; not for two threads.
///
/// SQLite 3.7.0 to 3.51.2 can damage a file in WAL mode that several connections use, so WAL is
/// never used and there is one connection. `synchronous=EXTRA` also syncs the directory after the
/// rollback journal is gone: what was committed is there after a power cut.
final class Database {
    /// The oldest library whose behaviour was looked at: STRICT tables, RETURNING.
    static let libraryVersionMin: Int32 = 3_037_000

    let path: String
    private let handle: OpaquePointer
    /// Set once a sync has failed: what the kernel then forgot is not known, so nothing is written
    /// any more until a start has read the file anew.
    private var failedSync: StorageFault?
    /// How many transactions are open, one within the other.
    private var depth = 0
    /// What ended the outermost before its time.
    private var brokenOff: StorageFault?
    /// By their text, which is one of a fixed set in this folder.
    private var prepared: [String: Statement] = [:]

    /// Opens a file that is there. The caller holds the lock of the directory.
    init(_ path: String) throws(StorageFault) {
        try Self.checkLibrary(sqlite3_libversion_number(), path: path)
        var opened: OpaquePointer?
        let flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
            | SQLITE_OPEN_PRIVATECACHE
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let opened else {
            sqlite3_close_v2(opened)
            throw Self.fault(code, path: path, words: String(cString: sqlite3_errstr(code)))
        }
        self.path = path
        handle = opened
        sqlite3_busy_timeout(handle, 0)
        sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0)
    }

    deinit {
        prepared.removeAll()
        sqlite3_close_v2(handle)
    }

    static func checkLibrary(_ version: Int32, path: String) throws(StorageFault) {
        guard version >= libraryVersionMin else {
            throw StorageFault(
                kind: .unfit, path: path, code: 0,
                words: "the SQLite library is version \(version), at least \(libraryVersionMin) is"
                    + " needed; install a newer libsqlite3-0")
        }
    }

    /// The settings that DESIGN.md, "Durability contract", asks for; read back where they can be.
    func configure() throws(StorageFault) {
        for (name, value) in [
            ("trusted_schema", "0"), ("foreign_keys", "1"), ("journal_mode", "truncate"),
            ("synchronous", "3"), ("cell_size_check", "1"), ("temp_store", "2"),
        ] {
            _ = try text("PRAGMA \(name)=\(value)")
            let set = try text("PRAGMA \(name)")
            guard set == value else {
                throw StorageFault(
                    kind: .unfit, path: path, code: 0,
                    words: "\(name) is \(set ?? "nothing") and cannot be made \(value); if another"
                        + " program has the file open, close it")
            }
        }
    }

    /// Runs statements that give no rows and take no values.
    func execute(_ sql: String) throws(StorageFault) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw fault(code) }
    }

    /// First column of the first row as text.
    func text(_ sql: String) throws(StorageFault) -> String? {
        let statement = try Statement(sql, in: self, handle: handle)
        guard try statement.step() else { return nil }
        return statement.text(0)
    }

    /// The statement of that text, prepared once, without values.
    func statement(_ sql: String) throws(StorageFault) -> Statement {
        if let known = prepared[sql] {
            known.reset()
            return known
        }
        let made = try Statement(sql, in: self, handle: handle)
        prepared[sql] = made
        return made
    }

    /// Whether what is changed now can still be undone with more.
    var isInTransaction: Bool { depth > 0 }

    /// Rows changed since it was opened, those included that were rolled back.
    var changes: Int64 { sqlite3_total_changes64(handle) }

    /// Binds, runs to the end, and says how many rows were changed.
    @discardableResult
    func run(_ sql: String, _ values: [SQLiteValue]) throws(StorageFault) -> Int {
        let statement = try statement(sql)
        defer { statement.reset() }
        try statement.bind(values)
        while try statement.step() {}
        return Int(sqlite3_changes64(handle))
    }

    /// Every row, as `read` makes it.
    func rows<T>(
        _ sql: String, _ values: [SQLiteValue], _ read: (Statement) throws(StorageFault) -> T
    ) throws(StorageFault) -> [T] {
        let statement = try statement(sql)
        defer { statement.reset() }
        try statement.bind(values)
        var found: [T] = []
        while try statement.step() { found.append(try read(statement)) }
        return found
    }

    func row<T>(
        _ sql: String, _ values: [SQLiteValue], _ read: (Statement) throws(StorageFault) -> T
    ) throws(StorageFault) -> T? {
        let statement = try statement(sql)
        defer { statement.reset() }
        try statement.bind(values)
        return try statement.step() ? try read(statement) : nil
    }

    /// All of `body`, or nothing. A failure to commit rolls back too: what was not committed is not
    /// there, though a reader that has the file locked was all that hindered it. Within another
    /// transaction: a part of that one, which can be undone by itself.
    ///
    /// SQLite rolls back the whole of a transaction when the disk fails within it, also when only a
    /// part was asked for: no later part begins then, and the outermost fails with that failure.
    func transaction<T>(
        _ body: () throws(DirectoryError) -> T
    ) throws(DirectoryError) -> T {
        if depth == 0 { brokenOff = nil }
        let isOutermost = depth == 0 && sqlite3_get_autocommit(handle) != 0
        if let failed = failedSync ?? brokenOff { throw .storage(failed) }
        try begin(isOutermost ? "BEGIN IMMEDIATE" : "SAVEPOINT part")
        depth += 1
        defer { depth -= 1 }
        do throws(DirectoryError) {
            let result = try body()
            if let brokenOff { throw .storage(brokenOff) }
            try begin(isOutermost ? "COMMIT" : "RELEASE part")
            return result
        } catch {
            if isOutermost { rollBack() } else { undoPart(after: error) }
            throw error
        }
    }

    /// A part that cannot be undone by itself takes the whole with it: it was refused.
    private func undoPart(after error: DirectoryError) {
        let undone = sqlite3_exec(handle, "ROLLBACK TO part; RELEASE part", nil, nil, nil)
        guard undone != SQLITE_OK, brokenOff == nil else { return }
        let failed = if case .storage(let fault) = error { fault } else { fault(undone) }
        brokenOff = failed
        rollBack()
    }

    private func begin(_ sql: String) throws(DirectoryError) {
        do throws(StorageFault) {
            try run(sql, [])
        } catch {
            throw .storage(error)
        }
    }

    /// What SQLite has not rolled back by itself. When that fails, the journal is still there, and
    /// the next use of the file plays it back.
    func rollBack() {
        guard sqlite3_get_autocommit(handle) == 0 else { return }
        sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
    }

    /// A copy of the whole file as it is between two changes, into one that is made anew.
    func copy(to target: String) throws(StorageFault) {
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        var code = sqlite3_open_v2(target, &opened, flags, nil)
        defer { sqlite3_close_v2(opened) }
        guard code == SQLITE_OK, let opened else {
            throw Self.fault(code, path: target, words: String(cString: sqlite3_errstr(code)))
        }
        guard let backup = sqlite3_backup_init(opened, "main", handle, "main") else {
            code = sqlite3_extended_errcode(opened)
            throw Self.fault(code, path: target, words: String(cString: sqlite3_errmsg(opened)))
        }
        code = sqlite3_backup_step(backup, -1)
        let finished = sqlite3_backup_finish(backup)
        guard code == SQLITE_DONE, finished == SQLITE_OK else {
            let failed = code == SQLITE_DONE ? finished : code
            throw Self.fault(failed, path: target, words: String(cString: sqlite3_errstr(failed)))
        }
    }

    func fault(_ code: Int32) -> StorageFault {
        var fault = Self.fault(code, path: path, words: String(cString: sqlite3_errmsg(handle)))
        // SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC: never tried again on what is open
        // (RELIABILITY, "Facts"; D7).
        if code == 1_034 || code == 1_290 {
            fault.words += "; no change is made until the daemon is started again"
            failedSync = fault
        }
        return fault
    }

    static func fault(_ code: Int32, path: String, words: String) -> StorageFault {
        let kind: StorageFault.Kind
        var words = words
        switch code & 0xff {
        case SQLITE_BUSY, SQLITE_LOCKED:
            kind = .locked
            words += "; another program has the file open: close it and try again"
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            kind = .damaged
            words += "; put a backup in its place"
        case SQLITE_FULL:
            kind = .disk
            words += "; nothing was changed: make room and try again"
        case SQLITE_IOERR where code == 1_034 || code == 1_290:
            kind = .disk
            words += "; a sync failed, so what is on the disk is not known"
        case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM, SQLITE_NOMEM:
            kind = .disk
            words += "; nothing was changed"
        default: kind = .defect
        }
        return StorageFault(kind: kind, path: path, code: code, words: words)
    }
}
