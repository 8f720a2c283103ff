/// Where the books are kept, and how: the `ledger` part of a policy file. Nothing of it is opened
/// or looked at when the policy is read.
package struct LedgerSettings: Sendable, Equatable {
    /// What a power cut may take.
    package enum Durability: Sendable {
        /// The last second.
        case second
        /// Nothing: a reply leaves when what it says is on the disk.
        case always
    }

    /// What becomes of charges while the journal cannot be written.
    package enum OnFailure: Sendable {
        case refuse
        /// They are counted in memory alone.
        case allow
    }

    /// A directory of the daemon's own.
    package var path: String
    package var durability = Durability.second
    package var snapshotIntervalMilliseconds: UInt64 = 300_000
    /// Of a file of the journal.
    package var segmentBytes = 16 << 20
    package var onFailure = OnFailure.refuse
    /// Open ones, and ended ones that are still remembered.
    package var reservationsMax = 1_000_000

    package static let reservationsRange: ClosedRange<UInt64> = 1...50_000_000
    package static let segmentBytesRange: ClosedRange<UInt64> = (1 << 20)...(1 << 30)
    package static let snapshotIntervalRange: ClosedRange<UInt64> = 1_000...86_400_000
    private static let pageBytes = 4_096

    package init(path: String) { self.path = path }

    init?(_ node: YAMLNode, _ directory: DirectorySettings?, _ reader: SchemaReader) {
        let values = reader.mapping(node, "ledger", known: PolicySchema.ledgerKeys)
        let place = reader.required(values, "path", node)
        let read = place.flatMap { DirectorySettings.path($0, reader) }
        path = read ?? ""
        durability =
            reader.choice(
                values["durability"], "durability", [("second", .second), ("always", .always)])
            ?? durability
        snapshotIntervalMilliseconds =
            reader.milliseconds(
                values["snapshot_interval"], "snapshot_interval", Self.snapshotIntervalRange,
                "1s to 24h")
            ?? snapshotIntervalMilliseconds
        if let bytes = reader.integer(
            values["segment_bytes"], "segment_bytes", Self.segmentBytesRange)
        {
            segmentBytes = Int(bytes)
            if !segmentBytes.isMultiple(of: Self.pageBytes), let node = values["segment_bytes"] {
                reader.fail(node, "segment_bytes is a multiple of \(Self.pageBytes)")
            }
        }
        onFailure =
            reader.choice(
                values["on_failure"], "on_failure", [("refuse", .refuse), ("allow", .allow)])
            ?? onFailure
        reservationsMax =
            reader.integer(
                values["reservations_max"], "reservations_max", Self.reservationsRange
            ).map { Int($0) } ?? reservationsMax
        guard let place, let read else { return nil }
        func names(_ path: String) -> [Substring] { path.split(separator: "/") }
        if let directory, names(directory.path) == names(read) {
            reader.fail(
                place, "ledger and directory each have a directory of their own: choose another"
                    + " path, such as \(read)/ledger")
        }
    }
}
