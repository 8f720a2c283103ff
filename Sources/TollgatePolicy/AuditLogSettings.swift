/// Where every decision is recorded, and for how long: the `audit` part of a policy file. Nothing
/// of it is opened or looked at when the policy is read.
package struct AuditLogSettings: Sendable, Equatable {
    /// What becomes of a request that finds no room in the log.
    package enum Overload: Sendable {
        /// It waits, and is refused after a second: nothing is decided unrecorded.
        case block
        /// It is decided, left out and counted.
        case drop
    }

    /// A directory of the log's own.
    package var path: String
    package var overload = Overload.block
    /// Of allowed CHECKs one in so many is recorded; of everything else all.
    package var sampleAllowed: UInt64 = 1
    /// Of one reactor's ring.
    package var ringBytes = 4 << 20
    package var segmentBytes = 64 << 20
    package var segmentAgeMilliseconds: UInt64 = 86_400_000
    /// Segments whose last decision is older are removed; `nil`: none is, for its age.
    package var keepMilliseconds: UInt64?
    /// The oldest segments are removed while there is more than this; `nil`: none is, for that.
    package var bytesMax: UInt64?
    /// Segments that have ended are compressed.
    package var compress = false

    package static let ringBytesRange: ClosedRange<UInt64> = (1 << 18)...(1 << 28)
    /// What a log's own storage takes.
    package static let segmentBytesRange: ClosedRange<UInt64> = (1 << 20)...(1 << 30)
    package static let segmentAgeRange: ClosedRange<UInt64> = 60_000...2_678_400_000
    package static let keepRange: ClosedRange<UInt64> = 3_600_000...315_360_000_000
    package static let bytesMaxRange: ClosedRange<UInt64> = (1 << 22)...(1 << 50)
    package static let sampleRange: ClosedRange<UInt64> = 1...1_000_000

    package init(path: String) { self.path = path }

    /// `others`: paths that belong to something else, by name.
    init?(_ node: YAMLNode, others: [(name: String, path: String)], _ reader: SchemaReader) {
        let values = reader.mapping(node, "audit", known: PolicySchema.auditKeys)
        let place = reader.required(values, "path", node)
        let read = place.flatMap { DirectorySettings.path($0, reader) }
        path = read ?? ""
        overload =
            reader.choice(values["overload"], "overload", [("block", .block), ("drop", .drop)])
            ?? overload
        sampleAllowed =
            reader.integer(values["sample_allowed"], "sample_allowed", Self.sampleRange)
            ?? sampleAllowed
        if let bytes = reader.integer(values["ring_bytes"], "ring_bytes", Self.ringBytesRange) {
            ringBytes = Int(bytes)
            if bytes & (bytes &- 1) != 0, let node = values["ring_bytes"] {
                reader.fail(node, "ring_bytes is a power of two")
            }
        }
        segmentBytes =
            reader.integer(values["segment_bytes"], "segment_bytes", Self.segmentBytesRange)
            .map { Int($0) } ?? segmentBytes
        segmentAgeMilliseconds =
            reader.milliseconds(
                values["segment_age"], "segment_age", Self.segmentAgeRange, "1m to 31d")
            ?? segmentAgeMilliseconds
        keepMilliseconds = reader.milliseconds(
            values["keep"], "keep", Self.keepRange, "1h to 3650d")
        bytesMax = reader.integer(values["bytes_max"], "bytes_max", Self.bytesMaxRange)
        if let bytesMax, bytesMax < 2 &* UInt64(segmentBytes), let node = values["bytes_max"] {
            reader.fail(node, "bytes_max is at least twice segment_bytes, \(segmentBytes)")
        }
        compress = reader.boolean(values["compress"], "compress") ?? compress
        guard let place, let read else { return nil }
        func names(_ path: String) -> [Substring] { path.split(separator: "/") }
        for other in others where names(other.path) == names(read) {
            reader.fail(
                place, "audit and \(other.name) each have a directory of their own: choose another"
                    + " path, such as \(read)/audit")
        }
    }
}
