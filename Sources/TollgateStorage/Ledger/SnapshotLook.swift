import TollgateCore

/// A generation read to its end, whatever is wrong with it.
package struct SnapshotLook {
    package private(set) var finding: LedgerFinding
    package private(set) var summary: GenerationSummary
    /// When every block is as it was written.
    let whole: SnapshotFile?

    /// A file anywhere: of whichever generation and ledger it says. It may be one that a daemon
    /// has, for a snapshot is never written to once it has its name.
    package init(file path: String, _ disk: any Disk, threads: Int) {
        var number: UInt64 = 0
        // What it throws, it throws again below.
        do { number = try SnapshotHeader.read(path, disk).header.generation } catch {}
        self.init(path, number, nil, disk, threads: threads)
    }

    init(
        _ path: String, _ number: UInt64, _ marker: LedgerMarker?, _ disk: any Disk, threads: Int
    ) {
        var finding = LedgerFinding(path, "")
        var summary = GenerationSummary(number: number, path: path)
        do throws(LedgerFailure) {
            let (header, bytes) = try SnapshotHeader.read(path, disk)
            summary.life = header.life
            summary.at = header.now.wall
            summary.bytes = bytes
            summary.segmentsFrom = header.segmentsFrom
            let file = try SnapshotFile(path, generation: number, disk)
            if let marker, file.header.marker != marker {
                throw LedgerFailure(.damaged, path, offset: 24, "of another ledger")
            }
            summary.rowBytes = file.totals.rowBytes
            summary.closed = file.totals.closed
            for failure in try Self.check(file, threads) { finding.note(failure) }
            whole = finding.failures.isEmpty ? file : nil
            finding.summary =
                finding.failures.isEmpty
                ? "generation \(number) of life \(header.life), \(summary.rowBytes) bytes of rows,"
                    + " \(summary.closed) closed periods" : finding.summary
        } catch {
            finding.note(error)
            whole = nil
        }
        summary.failure = finding.failure
        self.finding = finding
        self.summary = summary
    }

    /// The first bad place of each shard.
    private static func check(
        _ file: SnapshotFile, _ threads: Int
    ) throws(LedgerFailure) -> [LedgerFailure] {
        let shards = try inParallel(Engine.shardCount, threads: threads) {
            (shard) throws(LedgerFailure) -> (checksums: [UInt32], failure: LedgerFailure?) in
            do throws(LedgerFailure) {
                return (try file.blocks(of: shard) { _, _ in }, nil)
            } catch { return ([], error) }
        }
        let failures = shards.compactMap(\.failure)
        if failures.isEmpty { try file.check(shards.map(\.checksums)) }
        return failures
    }
}

extension SnapshotHeader {
    /// The header alone, and how many bytes the file has.
    static func read(
        _ path: String, _ disk: any Disk
    ) throws(LedgerFailure) -> (header: SnapshotHeader, bytes: Int) {
        let file = try onDisk { () throws(DiskError) in try disk.open(path, writable: false) }
        let head = Block(SnapshotHeader.bytes)
        defer { head.keep() }
        head.used = try onDisk { () throws(DiskError) in try file.read(into: head.bytes, at: 0) }
        return (try SnapshotHeader(head.read, path), file.bytes)
    }
}
