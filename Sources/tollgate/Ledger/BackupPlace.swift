import Glibc
import TollgateStorage

/// Where a backup goes: a directory beside it, `PATH.part`, which gets the name when it is whole.
///
/// While it is made the directory is locked, as many may at a time; who wants to take away what
/// was left there by one that was killed locks it alone.
final class BackupPlace {
    let path: String
    let part: String
    private let parent: String
    private let disk = SystemDisk()
    private var lock: (any DiskLock)?

    /// Throws when something is there already, or it lies in the ledger itself.
    init(_ given: String, of folder: LedgerFolder) throws {
        let path = LedgerFolder.trimmed(given)
        let slash = path.lastIndex(of: "/")
        parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        part = path + ".part"
        self.path = path
        guard !path.isEmpty, !path.hasSuffix("/."), !path.hasSuffix("/.."),
            ![".", ".."].contains(path)
        else {
            throw Failure(
                .usage, "\"\(given)\" names no new directory",
                next: "name one that is not there yet")
        }
        try checkIsFree()
        guard let whole = Self.resolved(parent), let ledger = Self.resolved(folder.path) else {
            throw refused(errno)
        }
        guard whole != ledger, !whole.hasPrefix(ledger == "/" ? ledger : ledger + "/") else {
            throw Failure(
                .usage, "\(path) lies in the ledger itself",
                next: "name a directory outside of it, best on another disk")
        }
    }

    private static func resolved(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }

    private func checkIsFree() throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        throw Failure(
            .notDone, "\(path) is there already", next: "name a directory that is not there yet")
    }

    private func refused(_ code: Int32) -> Failure {
        Failure(
            [EACCES, EPERM].contains(code) ? .forbidden : .output,
            "cannot make the directory \(part): \(systemText(code))",
            next: "name a path in a directory that is there and that you may write")
    }

    // MARK: from its beginning to its end

    func begin() throws {
        if mkdir(part, 0o700) != 0 {
            guard errno == EEXIST else { throw refused(errno) }
            try takeAwayLeft()
            guard mkdir(part, 0o700) == 0 else { throw refused(errno) }
        }
        do throws(DiskError) { lock = try disk.lockDirectory(part, looking: true) } catch {
            // Another backup took it for one that was left.
            throw error.isLocked || error.isAbsent ? busy : refused(error.errno)
        }
    }

    private var busy: Failure {
        Failure(
            .tryAgain, "another backup to \(path) is being made",
            next: "wait for it, or name another path")
    }

    /// Of a backup that was killed.
    private func takeAwayLeft() throws {
        var status = stat()
        let isOurs =
            lstat(part, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
            && status.st_uid == geteuid()
        do throws(DiskError) {
            guard isOurs, try disk.list(part).allSatisfy(LedgerFiles.isOfLedger) else {
                throw DiskError(.create, part, EEXIST)
            }
            let alone = try disk.lockDirectory(part, looking: false)
            try removePart()
            withExtendedLifetime(alone) {}
        } catch {
            if error.isLocked { throw busy }
            throw Failure(
                .notDone, "\(part) is in the way: \(systemText(error.errno))",
                next: "see what it is, and remove it, or name another path")
        }
    }

    private func removePart() throws(DiskError) {
        for name in try disk.list(part) where LedgerFiles.isOfLedger(name) {
            try disk.remove(part + "/" + name)
        }
        guard rmdir(part) == 0 else { throw DiskError(.remove, part, errno) }
    }

    /// It is whole: gives it its name, durably.
    func finish() throws {
        try checkIsFree()
        do throws(DiskError) {
            // Of what came meanwhile, an empty directory alone gives way.
            try disk.rename(part, to: path)
            try disk.syncDirectory(parent)
        } catch {
            throw Failure(
                .output, error.description, next: "see that \(parent) takes it, and run it again")
        }
        lock = nil
    }

    /// After a failure, of which is told; what cannot be removed the next backup there tries.
    func discard() {
        do throws(DiskError) { try removePart() } catch {}
        lock = nil
    }

    // MARK: what the copy says

    /// As `ledger verify` reads it; what a start would make of it.
    func verify(_ folder: LedgerFolder) throws -> LedgerSummary {
        let copy = try LedgerFolder(part)
        let inspection = try copy.open()
        let examination = try ask(folder) { () throws(LedgerFailure) in
            try inspection.examine(now: LedgerFolder.now)
        }
        return try ask(folder) { () throws(LedgerFailure) in
            if let failure = examination.failures.first { throw failure }
            guard let start = examination.start else {
                throw LedgerFailure(.unfit, folder.path, "there is no ledger in it")
            }
            return try start.get()
        }
    }

    func ask<T>(_ folder: LedgerFolder, _ body: () throws(LedgerFailure) -> T) throws -> T {
        do throws(LedgerFailure) { return try body() } catch { throw failure(error, folder) }
    }

    private func failure(_ error: LedgerFailure, _ folder: LedgerFolder) -> Failure {
        switch error.kind {
        case .gone:
            Failure(.tryAgain, error.description, next: "try again in a moment")
        case .damaged:
            Failure(
                .notDone, "the ledger \(folder.path) is not whole: \(error.description)",
                next: "a daemon that has it open writes its state anew with tollgate snapshot"
                    + " create; then back up again. With none, \(folder.command("ledger verify"))"
                    + " says what is wrong")
        case .disk where [EACCES, EPERM].contains(error.errno):
            Failure(
                .forbidden, error.description,
                next: "the ledger belongs to \(folder.ownerName): run this as that user, or as"
                    + " root")
        case .disk where error.path.hasPrefix(part):
            Failure(
                .output, error.description,
                next: error.isRefusal
                    ? "make room, or name a path on another disk"
                    : "the disk fails: name a path on another one")
        default: folder.failure(error)
        }
    }
}
