import TollgateCore
import TollgateWire

/// A segment, for whoever lists them.
package struct AuditSegmentInfo: Sendable, Equatable {
    package var number: UInt64
    package var path: String
    package var bytes: Int
    package var created: WallTime
    package var isSealed: Bool
    /// `nil`, or how many bytes it would have if it were not compressed.
    package var bytesBefore: Int?
    /// Of a sealed one: decisions, and between which wall clocks.
    package var records: UInt32?
    package var first: WallTime?
    package var last: WallTime?
}

/// Reads a log, offline or beside the daemon that writes it: takes no lock, changes nothing.
package final class AuditReader: Sendable {
    package let directory: String
    let disk: any Disk

    package convenience init(directory: String) { self.init(directory, SystemDisk()) }

    init(_ directory: String, _ disk: any Disk) {
        self.directory = directory
        self.disk = disk
    }

    /// Ascending.
    func numbers() throws(AuditFailure) -> [UInt64] {
        try onAuditDisk { () throws(DiskError) in try disk.list(directory) }
            .compactMap(AuditFiles.segmentNumber).sorted()
    }

    /// The key that the log was made with, if the caller may read it.
    package func key() throws(AuditFailure) -> AuditKey {
        try key(path: directory + "/" + AuditFiles.key)
    }

    package func key(path: String) throws(AuditFailure) -> AuditKey {
        let block = try onAuditDisk { () throws(DiskError) in
            try disk.read(path, bytesMax: 4_096)
        }
        defer { block.keep() }
        guard block.used == AuditFiles.keyBytes, let key = AuditKey(block.read) else {
            throw AuditFailure(.damaged, path, "not a key of \(AuditFiles.keyBytes) bytes")
        }
        return key
    }

    package func segments() throws(AuditFailure) -> [AuditSegmentInfo] {
        var infos: [AuditSegmentInfo] = []
        for file in try files() {
            var info = AuditSegmentInfo(
                number: file.number, path: file.path,
                bytes: file.isPacked ? file.storedBytes : file.bytes,
                created: WallTime(milliseconds: file.header.created), isSealed: false)
            if file.isPacked { info.bytesBefore = file.bytes }
            if let seal = try file.seal() {
                info.isSealed = true
                info.records = seal.head.count
                info.first = WallTime(milliseconds: seal.head.first)
                info.last = WallTime(milliseconds: seal.head.last)
            }
            infos.append(info)
        }
        return infos
    }

    /// All segments, ascending, each with as much of it as is meant. One that is removed meanwhile
    /// is left out, and one that is damaged where `leavesOut` says so.
    func files(
        _ leavesOut: (UInt64, AuditFailure) -> Bool = { _, _ in false }
    ) throws(AuditFailure) -> [AuditSegmentFile] {
        // Before the segments: what it says must be there by then.
        let head = try AuditHeadPlaces(disk, directory, nil).newest
        var files: [AuditSegmentFile] = []
        for number in try numbers() {
            do throws(AuditFailure) {
                files.append(try AuditSegmentFile(disk, directory, number))
            } catch {
                if error.kind == .damaged, leavesOut(number, error) { continue }
                guard error.kind == .disk, error.errno == DiskError.absent, files.isEmpty else {
                    throw error
                }
            }
        }
        for (file, next) in zip(files, files.dropFirst()) where next.number == file.number &+ 1 {
            file.limit(to: next.header.previousBytes)
        }
        if let head, let last = files.last, last.number == head.end.segment,
            last.header.log == head.log
        {
            last.noteDurable(head.end.offset)
        }
        return files
    }

    // MARK: queries

    /// Gives each wanted decision to `body`, until it says no or there are enough.
    @discardableResult
    package func run(
        _ query: AuditQuery, _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> AuditScan {
        var scan = AuditScan()
        var files = try files { number, failure in
            guard query.skipsDamaged else { return false }
            scan.leftOut.append(
                AuditLeftOut(segment: number, path: failure.path, offset: failure.offset))
            return true
        }
        if query.isNewestFirst { files.reverse() }
        for file in files {
            var segment = try AuditSegmentQuery(file, query)
            defer { scan.leftOut.append(contentsOf: segment.leftOut) }
            guard try segment.run(&scan, body) else { break }
        }
        return scan
    }

    package func count(_ query: AuditQuery) throws(AuditFailure) -> Int {
        try run(query) { _ in true }.matched
    }

    /// The decision of an id, and what was meant by its indices.
    package func decision(
        _ id: UInt64
    ) throws(AuditFailure) -> (record: AuditRecord, names: AuditNames?)? {
        var query = AuditQuery()
        query.id = id
        query.limit = 1
        query.isNewestFirst = true
        var found: AuditRecord?
        try run(query) { record in
            found = record
            return false
        }
        guard let record = found else { return nil }
        let file = try AuditSegmentFile(disk, directory, record.segment)
        var names: AuditNames?
        for entry in try AuditSegmentQuery(file, query).names
        where entry.names.generation == record.generation && entry.number < record.block {
            names = entry.names
        }
        return (record, names)
    }
}
