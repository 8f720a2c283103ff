import TollgateCore

/// What an audit log is kept with.
package struct AuditSettings: Sendable, Equatable {
    package static let segmentBytesMin = 64 << 10
    package static let segmentBytesMax = 1 << 30

    /// The one above it stands already.
    package var directory: String
    /// Capacity of one ring, a power of two (`AuditRing.isCapacity`).
    package var ringBytes = 4 << 20
    /// A segment is closed when it has grown to so much, or is so old.
    package var segmentBytes = 64 << 20
    package var segmentSeconds: Int64 = 86_400
    /// Also when the names in it take so much memory: they are kept while it is written.
    package var namesBytesMax = 64 << 20
    /// Segments that ended longer ago are removed; `nil`: none.
    package var keepSeconds: Int64?
    /// The oldest segments are removed while all have more bytes; `nil`: none.
    package var bytesMax: Int64?

    /// Sealed segments are compressed.
    package var compresses = false

    package init(directory: String) { self.directory = directory }
}
