import CLinux
import Glibc
import TollgateCore
import TollgateStorage

/// What the ledger's disk refuses now, by what was being done: for the log, `tollgate health` and
/// the statistics. Any thread.
final class LedgerTrouble: Sendable {
    enum Work: Int, CaseIterable {
        /// Making files of the journal ahead.
        case supply
        case sync
        case snapshot
        case archive
        /// Removing what a newer snapshot has made needless.
        case removal

        var words: String {
            switch self {
            case .supply: "files of the journal cannot be made"
            case .sync: "the journal cannot be synced"
            case .snapshot: "no snapshot can be written"
            case .archive: "closed periods cannot be archived"
            case .removal: "files that are needed no more cannot be removed, and take up room"
            }
        }
    }

    struct Entry: Sendable {
        var failure: LedgerFailure
        var words: String
        var advice: String
        var since: WallTime
    }

    private let log: Log
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var entries: [Work: Entry] = [:]

    init(log: Log) { self.log = log }

    /// Told once, until it is over or something else is wrong: the next file that fails in the
    /// same way is not, as each try has one of its own.
    func meet(_ failure: LedgerFailure, at work: Work) {
        let words = "\(work.words): \(failure)"
        let advice = Self.advice(failure)
        lock.lock()
        let known = entries[work]
        let isNew = known?.failure.errno != failure.errno || known?.failure.words != failure.words
        let since = known?.since ?? WallTime(milliseconds: tg_walltime())
        entries[work] = Entry(failure: failure, words: words, advice: advice, since: since)
        lock.unlock()
        if isNew { log.error("ledger: \(words); \(advice)") }
    }

    func end(_ work: Work) {
        lock.lock()
        let wasThere = entries.removeValue(forKey: work) != nil
        lock.unlock()
        if wasThere { log.info("ledger: over: \(work.words)") }
    }

    func has(_ work: Work) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        return entries[work] != nil
    }

    /// The gravest.
    var worst: Entry? {
        lock.lock()
        defer { lock.unlock() }
        return [Work.sync, .supply, .archive, .snapshot, .removal].lazy
            .compactMap { self.entries[$0] }.first
    }

    /// What an operator is to do.
    static func advice(_ failure: LedgerFailure) -> String {
        switch failure.errno {
        case ENOSPC, EDQUOT: "make room on the disk of that file; it goes on by itself"
        case EFBIG:
            "raise the limit on the size of files (LimitFSIZE=, ulimit -f); it goes on by itself"
        case EROFS: "make that file system writable again; it goes on by itself"
        case ENOMEM:
            "give the daemon more memory (MemoryMax=, LimitAS=, ulimit -v); it goes on by itself"
        case EMFILE, ENFILE: "raise the limit on open files (LimitNOFILE=)"
        case EACCES, EPERM: "give the daemon's user that directory"
        case EIO: "the disk fails: look at the kernel's log, and move the ledger"
        default: "look at the daemon's log and at that disk"
        }
    }
}
