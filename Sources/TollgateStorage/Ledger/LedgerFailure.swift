/// Why a ledger cannot be opened, read or written: where, what, and what to do.
package struct LedgerFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// Another process has it open.
        case locked
        /// The kernel refused.
        case disk
        /// The bytes are not those that were written, and no other state is whole.
        case damaged
        /// Of a version that this one does not know.
        case version
        /// The place is not fit to hold a ledger, or holds something else.
        case unfit
        /// A place in a list that is no more: whoever reads it begins anew.
        case gone
    }

    package var kind: Kind
    package var path: String
    /// Where in the file, when it is known.
    package var offset: Int?
    package var words: String
    /// Of the kernel, 0 when it is not its fault.
    package var errno: Int32 = 0

    package init(_ kind: Kind, _ path: String, offset: Int? = nil, _ words: String) {
        self.kind = kind
        self.path = path
        self.offset = offset
        self.words = words
    }

    package init(_ error: DiskError) {
        kind = error.isLocked && error.call == .lock ? .locked : .disk
        path = error.path
        offset = nil
        errno = error.errno
        words =
            kind == .locked
            ? "another process has the ledger open; stop it first" : error.words
    }

    /// There is no room or no right to write: it may come back without a restart.
    package var isRefusal: Bool { kind == .disk && DiskError.isRefusal(errno) }

    /// sysexits.h, as RELIABILITY section 5 deals them out.
    package var exitCode: Int32 {
        switch kind {
        case .disk: 74
        case .locked: 75
        case .damaged, .version, .unfit, .gone: 78
        }
    }

    package var description: String {
        let place = offset.map { "\(path), byte \($0)" } ?? path
        return "\(place): \(words)"
    }

    /// Of a journal, which is without gaps, and whose files say what was made behind them.
    static func missingFile(_ path: String, offset: Int? = nil) -> LedgerFailure {
        LedgerFailure(.damaged, path, offset: offset, "the file is missing")
    }

    /// The same, naming the command that repairs.
    func named(repairing ledger: String) -> LedgerFailure {
        guard kind == .damaged, !words.contains("tollgate ledger repair") else { return self }
        var named = self
        named.words +=
            "; put a backup in its place, or, to go on with what is left, run: tollgate ledger"
            + " repair \(shellWord(ledger))"
        return named
    }
}

/// Runs calls of a disk where failures of the ledger are thrown.
package func onDisk<T>(_ body: () throws(DiskError) -> T) throws(LedgerFailure) -> T {
    do { return try body() } catch { throw LedgerFailure(error) }
}
