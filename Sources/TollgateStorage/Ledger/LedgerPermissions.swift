import Glibc

/// Who may write to a ledger's files: whoever can may put any counter in them, and would not need
/// the daemon to be let in.
package enum LedgerPermissions {
    /// Throws `unfit`, with the command that mends it, where someone else may write to a directory
    /// of the kernel's or to a ledger's files in it. A directory that is yet to be made is fit.
    package static func check(_ path: String) throws(LedgerFailure) {
        guard let folder = try status(path) else { return }
        guard folder.st_mode & S_IFMT == S_IFDIR else {
            throw unfit(
                path, "is no directory, or a symbolic link to one: name the real one")
        }
        guard folder.st_uid == geteuid() else {
            throw unfit(
                path, "belongs to user \(folder.st_uid), not \(geteuid()); run: chown"
                    + " \(geteuid()) \(shellWord(path))")
        }
        guard folder.st_mode & 0o022 == 0 else {
            throw unfit(path, "others may write there; run: chmod go-w \(shellWord(path))")
        }
        let names = try onDisk { () throws(DiskError) in try SystemDisk().list(path) }
        for name in names where LedgerFiles.isOfLedger(name) || LedgerFiles.isOther(name) {
            try check(file: path + "/" + name)
        }
    }

    private static func check(file path: String) throws(LedgerFailure) {
        guard let file = try status(path) else { return }
        let kind = file.st_mode & S_IFMT
        guard kind == S_IFREG || kind == S_IFDIR && path.hasSuffix("/" + LedgerFiles.quarantine)
        else {
            throw unfit(
                path, "is no regular file: move it out of the ledger's directory, and put what the"
                    + " ledger had there in its place, from a backup")
        }
        // What root put there, as from a backup, nobody else can have changed.
        guard file.st_uid == geteuid() || file.st_uid == 0 else {
            throw unfit(
                path, "belongs to user \(file.st_uid), not \(geteuid()); run: chown"
                    + " \(geteuid()) \(shellWord(path))")
        }
        guard file.st_mode & 0o022 == 0 else {
            throw unfit(path, "others may write to it; run: chmod go-w \(shellWord(path))")
        }
    }

    /// `nil` where there is nothing.
    private static func status(_ path: String) throws(LedgerFailure) -> stat? {
        var status = stat()
        if lstat(path, &status) == 0 { return status }
        guard errno == ENOENT else { throw LedgerFailure(DiskError(.open, path, errno)) }
        return nil
    }

    private static func unfit(_ path: String, _ words: String) -> LedgerFailure {
        LedgerFailure(.unfit, path, words)
    }
}
