import TollgateCore
import TollgateWire

/// A segment, for whoever lists them.
package struct AuditSegmentInfo: Sendable, Equatable {
    package var number: UInt64
    package var path: String
    package var bytes: Int
    package var created: WallTime
    package var isSealed: Bool
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
                number: file.number, path: file.path, bytes: file.bytes,
                created: WallTime(milliseconds: file.header.created), isSealed: false)
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
    /// is left out.
    func files() throws(AuditFailure) -> [AuditSegmentFile] {
        var files: [AuditSegmentFile] = []
        for number in try numbers() {
            do throws(AuditFailure) {
                files.append(try AuditSegmentFile(disk, directory, number))
            } catch {
                guard error.kind == .disk, error.errno == DiskError.absent, files.isEmpty else {
                    throw error
                }
            }
        }
        for (file, next) in zip(files, files.dropFirst()) where next.number == file.number &+ 1 {
            file.limit(to: next.header.previousBytes)
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
        var files = try files()
        if query.isNewestFirst { files.reverse() }
        for file in files {
            let segment = try AuditSegmentQuery(file, query)
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

/// A query of one segment.
struct AuditSegmentQuery {
    let file: AuditSegmentFile
    let query: AuditQuery
    /// Blocks, by the seal's index or as they were found.
    private(set) var blocks: [AuditIndexBlock] = []
    /// Places of blocks that may have what is wanted; `nil`: any.
    private var candidates: [Int]?
    /// Ascending: from its block on, the generation means this.
    private(set) var names: [(number: UInt64, names: AuditNames)] = []

    init(_ file: AuditSegmentFile, _ query: AuditQuery) throws(AuditFailure) {
        self.file = file
        self.query = query
        if let seal = try file.seal() {
            try open(seal)
        } else {
            try walk()
        }
        for block in blocks where block.kind == .names {
            guard let read = try file.block(at: block.offset) else { throw damaged(block.offset) }
            defer { read.keep() }
            guard let names = AuditNames(decoding: read.payload) else {
                throw damaged(block.offset)
            }
            self.names.append((read.head.number, names))
        }
    }

    private func damaged(_ offset: Int) -> AuditFailure {
        AuditFailure(
            .damaged, file.path, offset: offset,
            "not the block that was written there; run: tollgate audit verify")
    }

    private mutating func open(_ block: AuditReadBlock) throws(AuditFailure) {
        defer { block.keep() }
        guard let seal = AuditSeal(block.payload) else { throw damaged(block.offset) }
        blocks = seal.blocks
        for (name, list) in [
            (query.organization, AuditSeal.List.organizations), (query.user, .users),
            (query.keyID, .keys),
        ] {
            guard var name else { continue }
            let hash = name.withUTF8 { AuditIndexKeys.hash(UnsafeRawBufferPointer($0)) }
            guard let places = seal.places(list, hash: hash) else { throw damaged(block.offset) }
            let known = candidates.map(Set.init)
            candidates = places.filter { known?.contains($0) ?? true }
        }
    }

    /// The open segment, or one that was given up: as far as it is whole.
    private mutating func walk() throws(AuditFailure) {
        var walk = AuditWalk(file)
        while case .block(let block) = try walk.next() { blocks.append(block.indexed) }
    }

    /// False: no more is wanted.
    func run(
        _ scan: inout AuditScan, _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> Bool {
        scan.segments &+= 1
        var places = candidates ?? Array(blocks.indices)
        if query.isNewestFirst { places.reverse() }
        for place in places where place < blocks.count {
            let block = blocks[place]
            guard block.kind == .records, query.mayMatch(first: block.first, last: block.last)
            else { continue }
            guard let read = try file.block(at: block.offset) else { throw damaged(block.offset) }
            scan.blocks &+= 1
            guard try run(read, &scan, body) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }

    private func run(
        _ block: AuditReadBlock, _ scan: inout AuditScan, _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> Bool {
        defer { block.keep() }
        guard let page = AuditPage(block.payload, count: block.head.count),
            var found = records(page)
        else { throw damaged(block.offset) }
        if query.isNewestFirst { found.reverse() }
        for one in found {
            let meaning = names.last {
                $0.names.generation == one.head.generation && $0.number < block.head.number
            }
            let record = AuditRecord(
                one, page, meaning?.names, segment: file.number, block: block.head.number)
            guard query.matches(record) else { continue }
            if let limit = query.limit, scan.matched >= limit { return false }
            scan.matched &+= 1
            guard body(record) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }

    /// Those of a page that are wanted, ascending; `nil` when it is damaged.
    private func records(_ page: AuditPage) -> [AuditPageRecord]? {
        guard let organization = query.organization else {
            var found: [AuditPageRecord] = []
            var at = 0
            for _ in 0..<page.count {
                guard let record = page.record(at: at) else { return nil }
                if query.matches(record, page) { found.append(record) }
                at = record.end
            }
            return at == page.records.count ? found : nil
        }
        guard let place = page.place(ofOrganization: Array(organization.utf8)) else { return [] }
        // Along its chain, from the last: the others are not decoded.
        var found: [AuditPageRecord] = []
        var at = page.lastRecords[place]
        for _ in 0..<page.count {
            guard let record = page.record(at: at), record.organization == place else {
                return nil
            }
            if query.matches(record, page) { found.append(record) }
            if record.back == 0 { return found.reversed() }
            at = at &- record.back
        }
        return nil
    }
}
