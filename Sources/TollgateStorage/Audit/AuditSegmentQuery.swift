import TollgateCore
import TollgateWire

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
    /// Of version 2.
    private var owners: AuditOwners?
    private var wanted = AuditWanted()

    init(_ file: AuditSegmentFile, _ query: AuditQuery) throws(AuditFailure) {
        self.file = file
        self.query = query
        if try !openSealed() {
            try walk()
            try finish(nil)
        }
    }

    /// False: nothing seals it.
    private mutating func openSealed() throws(AuditFailure) -> Bool {
        if file.header.version > 1 {
            guard let pieces = try file.sealPieces() else { return false }
            guard let seal = try AuditSeal(pieces) else { throw damaged(pieces.offset) }
            blocks = seal.blocks
            try finish(seal)
        } else {
            guard let block = try file.seal() else { return false }
            defer { block.keep() }
            guard let seal = try AuditSeal(block, version: 1) else { throw damaged(block.offset) }
            blocks = seal.blocks
            try finish(seal)
        }
        return true
    }

    private mutating func finish(_ seal: AuditSeal?) throws(AuditFailure) {
        if let seal { try find(seal) }
        if file.header.version > 1 {
            let owners = AuditOwners(file, blocks)
            self.owners = owners
            for (kind, name) in query.names {
                guard let number = try owners.number(kind, name, in: places(seal, kind, name))
                else {
                    candidates = []
                    return
                }
                wanted[kind] = number
            }
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

    private func damaged(_ offset: Int) -> AuditFailure { file.damaged(offset) }

    /// Blocks that may say a name: in an index the first of them that has it does.
    private func places(
        _ seal: AuditSeal?, _ kind: AuditNameKind, _ name: [UInt8]
    ) throws(AuditFailure) -> [Int]? {
        guard let seal else { return nil }
        let hash = name.withUnsafeBytes { AuditIndexKeys.hash($0) }
        return try seal.places(kind, hash: hash)
    }

    private mutating func find(_ seal: AuditSeal) throws(AuditFailure) {
        for (kind, name) in query.names {
            guard let places = try places(seal, kind, name) else { throw damaged(file.bytes) }
            let known = candidates.map(Set.init)
            candidates = places.filter { known?.contains($0) ?? true }
        }
    }

    /// The open segment, or one that was given up: as far as it is whole.
    private mutating func walk() throws(AuditFailure) {
        var walk = AuditWalk(file)
        while case .block(let block) = try walk.next() {
            var indexed = block.indexed
            if block.head.kind == .records, file.header.version > 1 {
                guard let page = try file.page(block) else { throw damaged(block.offset) }
                indexed.fresh = page.fresh
            }
            blocks.append(indexed)
        }
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
            guard let page = try file.page(block, organization: wanted.organization) else {
                throw damaged(block.offset)
            }
            defer { page.keep() }
            scan.blocks &+= 1
            let number = file.header.firstBlock &+ UInt64(truncatingIfNeeded: place)
            guard page.number == number else { throw damaged(block.offset) }
            guard try run(page, block.offset, number, &scan, body) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }

    private func run(
        _ page: AuditPage, _ offset: Int, _ number: UInt64, _ scan: inout AuditScan,
        _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> Bool {
        guard let wanted = page.isFirstVersion ? page.wanted(query) : wanted else { return true }
        guard var found = try page.all(organization: wanted.organization) else {
            throw damaged(offset)
        }
        if query.isNewestFirst { found.reverse() }
        for one in found where query.matches(one, wanted) {
            let meaning = names.last {
                $0.names.generation == one.head.generation && $0.number < number
            }
            let owner = try owners.map { (all) throws(AuditFailure) in try all.owner(one) }
            let record = AuditRecord(
                one, life: page.rings[one.ring].life, owner ?? page.owner(one), meaning?.names,
                segment: file.number, block: number)
            guard query.matches(record) else { continue }
            if let limit = query.limit, scan.matched >= limit { return false }
            scan.matched &+= 1
            guard body(record) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }
}

extension AuditPage {
    /// Of version 1; `nil`: it has not all the names that are asked for.
    func wanted(_ query: AuditQuery) -> AuditWanted? {
        var wanted = AuditWanted()
        for (kind, name) in query.names {
            let place = names[kind.rawValue].firstIndex { $0.elementsEqual(name) }
            guard let place else { return nil }
            wanted[kind] = place
        }
        return wanted
    }

    /// Of version 1.
    func owner(_ record: AuditPageRecord) -> AuditRecord.Owner {
        func text(_ kind: AuditNameKind, _ place: Int) -> String {
            String(decoding: names[kind.rawValue][place], as: UTF8.self)
        }
        return AuditRecord.Owner(
            organization: text(.organizations, record.organization),
            user: text(.users, record.user), keyID: record.key.map { text(.keys, $0) })
    }
}
