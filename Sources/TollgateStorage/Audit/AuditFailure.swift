/// Why an audit log cannot be opened, read or written: where, what, and what to do.
package struct AuditFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// Another process writes it.
        case locked
        /// The kernel refused.
        case disk
        /// The bytes are not those that were written.
        case damaged
        /// Of a version that this one does not know.
        case version
        /// The settings, or the place, are not fit for a log.
        case unfit
    }

    package var kind: Kind
    package var path: String
    /// Where in the file, when it is known.
    package var offset: Int?
    package var message: String
    /// Of the kernel, 0 when it is not its fault.
    package var errno: Int32 = 0

    package init(_ kind: Kind, _ path: String, offset: Int? = nil, _ message: String) {
        self.kind = kind
        self.path = path
        self.offset = offset
        self.message = message
    }

    package init(_ error: DiskError) {
        kind = error.isLocked && error.call == .lock ? .locked : .disk
        path = error.path
        offset = nil
        errno = error.errno
        message =
            kind == .locked
            ? "another process writes the audit log; stop it first" : error.words
    }

    /// sysexits.h, as RELIABILITY section 5 deals them out.
    package var exitCode: Int32 {
        switch kind {
        case .disk: 74
        case .locked: 75
        case .damaged, .version, .unfit: 78
        }
    }

    package var description: String {
        let place = offset.map { "\(path), byte \($0)" } ?? path
        return "\(place): \(message)"
    }
}

/// Runs calls of a disk where failures of the audit log are thrown.
func onAuditDisk<T>(_ body: () throws(DiskError) -> T) throws(AuditFailure) -> T {
    do { return try body() } catch { throw AuditFailure(error) }
}
