/// Why the directory refused or failed.
package enum DirectoryError: Error, Sendable, Equatable {
    /// There is none of that id, or it is another tenant's: the two look the same.
    case notFound
    /// The id is taken, within the tenant.
    case exists
    /// What was asked for cannot be.
    case invalid(field: String, why: String)
    /// It cannot be now.
    case conflict(String)
    case storage(StorageFault)
}

/// What an operator needs to know of a failure below: where, what SQLite or the kernel said, and
/// what to do. Holds nothing of what was written.
package struct StorageFault: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// Another process has the directory open.
        case locked
        /// Reading, writing or syncing failed; the disk is full or may not be written.
        case disk
        /// The bytes are not those that were written.
        case damaged
        /// The place, the library or the schema is not fit to be used.
        case unfit
        /// Our own statement is wrong.
        case defect
    }

    package var kind: Kind
    package var path: String
    /// SQLite's extended result code, 0 when it was not SQLite that failed.
    package var code: Int32
    package var words: String

    /// A sync failed, so what is on the disk is not known: SQLITE_IOERR_FSYNC,
    /// SQLITE_IOERR_DIR_FSYNC.
    package var isFailedSync: Bool { code == 1_034 || code == 1_290 }

    /// sysexits.h, as RELIABILITY section 5 deals them out.
    package var exitCode: Int32 {
        switch kind {
        case .disk, .damaged: 74
        case .locked: 75
        case .unfit: 78
        case .defect: 70
        }
    }

    package var description: String {
        code == 0 ? "\(path): \(words)" : "\(path): \(words) (SQLite \(code))"
    }
}
