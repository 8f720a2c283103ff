import Synchronization
import TollgateCore

/// A snapshot of a ledger's directory, as its header says.
package struct SnapshotSummary: Sendable, Equatable {
    package var generation: UInt64
    /// When it was begun.
    package var at: WallTime
    package var bytes: Int
}

extension Ledger {
    /// The snapshots that are kept, the oldest first. Only their headers are read.
    package func snapshots() throws(LedgerFailure) -> [SnapshotSummary] {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        var found: [SnapshotSummary] = []
        for number in LedgerFiles.numbers(names, .snapshot) {
            let path = options.file(LedgerFiles.name(.snapshot, number))
            let file: any DiskFile
            do throws(DiskError) { file = try disk.open(path, writable: false) } catch {
                // Of the oldest, that made room for a newer one since it was listed.
                if error.isAbsent { continue }
                throw LedgerFailure(error)
            }
            let head = Block(SnapshotHeader.bytes)
            defer { head.keep() }
            head.used = try onDisk { () throws(DiskError) in
                try file.read(into: head.bytes, at: 0)
            }
            let header = try SnapshotHeader(head.read, path)
            found.append(
                SnapshotSummary(generation: number, at: header.now.wall, bytes: file.bytes))
        }
        return found
    }
}

extension Ledger {
    /// How often a sync failed, and the state had to be written anew from memory.
    package var journalsGivenUp: UInt64 { epoch.load(ordering: .acquiring) }

    /// How often a group log could not be written, and segments were synced in its stead; why the
    /// last time, until another was made.
    package var groupLogsGivenUp: (count: UInt64, last: LedgerFailure?) {
        withRecord { ($0.logsGivenUp, $0.logFailure) }
    }
}
