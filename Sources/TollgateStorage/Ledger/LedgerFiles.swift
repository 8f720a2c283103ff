import CChecksum
import TollgateCore
import TollgateWire

/// Names of a ledger's files. `ledger.path` has mode 0700, its files 0600.
///
/// | file | |
/// |---|---|
/// | `ledger.id` | the marker: there is a ledger here (`LedgerMarker`) |
/// | `ledger.making` | the marker of one whose making has not ended: nothing was ever served |
/// | `lock` | locked while the ledger is open |
/// | `journal-%012d.tgj` | journal segments (`SegmentFile`) |
/// | `group.tgg` | what group commits made durable since the segments were synced (`GroupLog`) |
/// | `snapshot-%012d.tgs` | generations of the whole state (`SnapshotFormat`) |
/// | `usage-%012d.tgu` | closed periods (`UsageFormat`) |
/// | `*.part` | a file that is being written; removed at the next start |
/// | `quarantine/` | what was cut off or replaced, kept for whoever wants to look |
package enum LedgerFiles {
    static let marker = "ledger.id"
    static let making = "ledger.making"
    static let lock = "lock"
    static let groupLog = "group.tgg"
    static let quarantine = "quarantine"
    static let partSuffix = ".part"
    private static let digits = 12

    package enum Kind: String, Sendable, CaseIterable {
        case journal, snapshot, usage

        var suffix: String {
            switch self {
            case .journal: ".tgj"
            case .snapshot: ".tgs"
            case .usage: ".tgu"
            }
        }
    }

    package static func name(_ kind: Kind, _ number: UInt64) -> String {
        let text = String(number)
        let zeros = String(repeating: "0", count: max(0, digits &- text.utf8.count))
        return kind.rawValue + "-" + zeros + text + kind.suffix
    }

    /// The number in a file's name; `nil` when it is no name of that kind.
    package static func number(_ name: String, _ kind: Kind) -> UInt64? {
        let prefix = kind.rawValue + "-"
        guard name.hasPrefix(prefix), name.hasSuffix(kind.suffix) else { return nil }
        let middle = name.dropFirst(prefix.utf8.count).dropLast(kind.suffix.utf8.count)
        guard middle.utf8.count >= digits, middle.utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        return UInt64(middle)
    }

    /// Whether a directory that holds a file of that name holds a ledger, or what is left of one.
    package static func isOfLedger(_ name: String) -> Bool {
        name == marker || name == making || isData(name)
    }

    /// Whether a file of that name holds anything of what a ledger was told.
    static func isData(_ name: String) -> Bool {
        name == groupLog || Kind.allCases.contains { number(name, $0) != nil }
    }

    /// Whether it is another file or folder that a start needs.
    package static func isOther(_ name: String) -> Bool { name == lock || name == quarantine }

    /// Numbers of the files of one kind, ascending.
    static func numbers(_ names: [String], _ kind: Kind) -> [UInt64] {
        names.compactMap { number($0, kind) }.sorted()
    }
}

/// CRC-32C of bytes, going on from `seed`.
func ledgerChecksum(_ seed: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    guard let base = bytes.baseAddress else { return seed }
    return tg_crc32c(seed, base, bytes.count)
}

/// What a ledger is opened with.
package struct LedgerOptions: Sendable {
    package static let segmentBytesMin = 64 * 1024
    package static let segmentBytesMax = 1024 * 1024 * 1024

    /// The directory. The one above it stands already.
    package var path: String
    /// Of a journal segment; a multiple of 4096, between the two bounds.
    package var segmentBytes = 16 * 1024 * 1024
    /// Rounds of syncs write to a group log what was journaled since the last (`durability:
    /// always`), instead of syncing the segments each time.
    package var keepsGroupLog = false
    /// Of the group log; a multiple of 4096, at least `GroupLogHeader.leastBytes`.
    package var groupLogBytes = 4 * 1024 * 1024
    /// Charges go on without a journal when it cannot be written, instead of being refused.
    package var allowsUnjournaled = false
    /// A snapshot is wanted when the journal has grown by so much since the last.
    package var journalBytesMax = 256 * 1024 * 1024
    /// A file of closed periods that is larger is followed by another.
    package var archiveFileBytesMax = 16 * 1024 * 1024
    /// What the kernel calls this start of the host: boottimes of two are not compared.
    package var bootID: (UInt64, UInt64)
    /// Threads that put shards together; 1: none but the caller's.
    package var threads = 2

    package init(path: String, bootID: (UInt64, UInt64)) {
        self.path = path
        self.bootID = bootID
    }

    func file(_ name: String) -> String { path + "/" + name }

    var parent: String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
