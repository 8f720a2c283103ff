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
    private(set) var leftOut: [AuditLeftOut] = []

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
            guard let seal = try AuditSeal(pieces) else {
                try leaveOut(damaged(pieces.offset))
                return false
            }
            blocks = seal.blocks
            try finish(seal)
        } else {
            guard let block = try file.seal() else { return false }
            defer { block.keep() }
            guard let seal = try AuditSeal(block, version: 1) else {
                try leaveOut(damaged(block.offset))
                return false
            }
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
                guard let number = try number(kind, name, owners, seal) else {
                    candidates = []
                    return
                }
                wanted[kind] = number
            }
        }
        for block in blocks where block.kind == .names {
            guard let read = try file.block(at: block.offset) else {
                try leaveOut(damaged(block.offset))
                continue
            }
            defer { read.keep() }
            guard let names = AuditNames(decoding: read.payload) else {
                try leaveOut(damaged(block.offset))
                continue
            }
            self.names.append((read.head.number, names))
        }
    }

    private func damaged(_ offset: Int) -> AuditFailure { file.damaged(offset) }

    /// Throws what ends the answer; notes what is to be left out of it.
    private mutating func leaveOut(
        _ failure: AuditFailure, toEnd: Bool = false
    ) throws(AuditFailure) {
        guard query.skipsDamaged, failure.kind == .damaged else { throw failure }
        let place = blocks.firstIndex { $0.offset == failure.offset }
        let one = AuditLeftOut(
            segment: file.number,
            block: place.map { file.header.firstBlock &+ UInt64(truncatingIfNeeded: $0) },
            path: failure.path, offset: failure.offset, isPacked: file.isPacked, isToEnd: toEnd)
        if !leftOut.contains(where: { $0.offset == one.offset }) { leftOut.append(one) }
    }

    /// The number of a name that is asked for; `nil`: no block that is whole says it.
    private mutating func number(
        _ kind: AuditNameKind, _ name: [UInt8], _ owners: AuditOwners, _ seal: AuditSeal?
    ) throws(AuditFailure) -> Int? {
        do throws(AuditFailure) {
            return try owners.number(kind, name, in: places(seal, kind, name))
        } catch { try leaveOut(error) }
        for place in blocks.indices {
            do throws(AuditFailure) {
                if let number = try owners.number(kind, name, in: [place]) { return number }
            } catch { try leaveOut(error) }
        }
        return nil
    }

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
            guard let places = try places(seal, kind, name) else {
                try leaveOut(damaged(file.bytes))
                continue
            }
            let known = candidates.map(Set.init)
            candidates = places.filter { known?.contains($0) ?? true }
        }
    }

    /// The open segment, or one that was given up: as far as it goes.
    private mutating func walk() throws(AuditFailure) {
        var walk = AuditWalk(file)
        var said = AuditNameCounts()
        /// Of the last block that was left out: its place.
        var hole: Int?
        while true {
            switch try walk.next() {
            case .end: return
            case .block(let block):
                var indexed = block.indexed
                if block.head.kind == .records, file.header.version > 1 {
                    guard let page = try file.page(block) else { throw damaged(block.offset) }
                    indexed.fresh = page.fresh
                    // Names that were said there have their numbers all the same.
                    if let hole { blocks[hole].fresh = page.before - said }
                    hole = nil
                    said = page.before + page.fresh
                }
                blocks.append(indexed)
            case .broken:
                let place = walk.end
                // What was being written when its daemon was killed; an index.
                guard place.offset < file.durable,
                    try file.head(at: place.offset)?.kind != .seal
                else { return }
                guard let next = try behind(place) else {
                    return try leaveOut(damaged(place.offset), toEnd: true)
                }
                hole = blocks.count
                blocks.append(
                    AuditIndexBlock(
                        kind: .gap, offset: place.offset, bytes: next.offset &- place.offset,
                        count: 0, first: 0, last: 0))
                try leaveOut(damaged(place.offset))
                walk = AuditWalk(file, from: next)
            }
        }
    }

    /// Where the chain goes on behind a block that is not whole, by what its head says; `nil`: not
    /// there. Never looked for among the bytes: what callers chose stands there too.
    private func behind(_ end: AuditEnd) throws(AuditFailure) -> AuditEnd? {
        guard let head = try file.head(at: end.offset), head.number == end.block,
            file.bytes &- end.offset >= head.blockBytes
        else { return nil }
        var next = end
        next.offset = end.offset &+ head.blockBytes
        next.block = end.block &+ 1
        guard next.offset < file.bytes else { return next }
        guard let block = try file.block(at: next.offset), block.head.number == next.block else {
            return nil
        }
        next.head = block.head.previous
        return next
    }

    /// False: no more is wanted.
    mutating func run(
        _ scan: inout AuditScan, _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> Bool {
        scan.segments &+= 1
        var places = candidates ?? Array(blocks.indices)
        if query.isNewestFirst { places.reverse() }
        for place in places where place < blocks.count {
            let block = blocks[place]
            guard block.kind == .records, query.mayMatch(first: block.first, last: block.last)
            else { continue }
            let number = file.header.firstBlock &+ UInt64(truncatingIfNeeded: place)
            guard let page = try file.page(block, organization: wanted.organization),
                page.number == number
            else {
                try leaveOut(damaged(block.offset))
                continue
            }
            defer { page.keep() }
            scan.blocks &+= 1
            guard try run(page, block.offset, number, &scan, body) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }

    private mutating func run(
        _ page: AuditPage, _ offset: Int, _ number: UInt64, _ scan: inout AuditScan,
        _ body: (AuditRecord) -> Bool
    ) throws(AuditFailure) -> Bool {
        guard let wanted = page.isFirstVersion ? page.wanted(query) : wanted else { return true }
        guard var found = try page.all(organization: wanted.organization) else {
            try leaveOut(damaged(offset))
            return true
        }
        if query.isNewestFirst { found.reverse() }
        for one in found where query.matches(one, wanted) {
            let meaning = names.last {
                $0.names.generation == one.head.generation && $0.number < number
            }
            let record = AuditRecord(
                one, life: page.rings[one.ring].life, try owner(one, page), meaning?.names,
                segment: file.number, block: number)
            guard query.matches(record) else { continue }
            if let limit = query.limit, scan.matched >= limit { return false }
            scan.matched &+= 1
            guard body(record) else { return false }
        }
        return query.limit.map { scan.matched < $0 } ?? true
    }

    private mutating func owner(
        _ one: AuditPageRecord, _ page: AuditPage
    ) throws(AuditFailure) -> AuditRecord.Owner {
        guard let owners else { return page.owner(one) }
        do throws(AuditFailure) { return try owners.owner(one) } catch { try leaveOut(error) }
        func name(_ kind: AuditNameKind, _ number: Int) -> String {
            do throws(AuditFailure) { return try owners.name(kind, number) } catch {
                return "#\(number)"
            }
        }
        return AuditRecord.Owner(
            organization: name(.organizations, one.organization), user: name(.users, one.user),
            keyID: one.key.map { name(.keys, $0) })
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
