import TollgateCore
import TollgateWire

/// The names of a segment of version 2, by number. A block's are read when one of them is asked
/// for, and kept.
final class AuditOwners {
    private typealias Names = [[String]]

    private let file: AuditSegmentFile
    private let blocks: [AuditIndexBlock]
    /// Places of blocks that say names for the first time, and how many have been said before.
    private var places: [AuditNameKind: (places: [Int], before: [Int])] = [:]
    private var known: [Int: Names] = [:]

    init(_ file: AuditSegmentFile, _ blocks: [AuditIndexBlock]) {
        self.file = file
        self.blocks = blocks
        for kind in AuditNameKind.allCases {
            var (own, before, count): ([Int], [Int], Int) = ([], [], 0)
            for (place, block) in blocks.enumerated() where block.fresh[kind] > 0 {
                own.append(place)
                before.append(count)
                count &+= block.fresh[kind]
            }
            places[kind] = (own, before)
        }
    }

    func owner(_ record: AuditPageRecord) throws(AuditFailure) -> AuditRecord.Owner {
        var owner = AuditRecord.Owner(
            organization: try name(.organizations, record.organization),
            user: try name(.users, record.user))
        if let key = record.key { owner.keyID = try name(.keys, key) }
        return owner
    }

    func name(_ kind: AuditNameKind, _ number: Int) throws(AuditFailure) -> String {
        guard let (own, before) = places[kind], !own.isEmpty else { throw file.damaged(file.bytes) }
        // The last whose names begin at or below the number.
        var (low, high) = (0, own.count)
        while high &- low > 1 {
            let middle = (low &+ high) / 2
            if before[middle] <= number { low = middle } else { high = middle }
        }
        let names = try names(own[low])[kind.rawValue]
        let index = number &- before[low]
        guard index >= 0, index < names.count else { throw file.damaged(blocks[own[low]].offset) }
        return names[index]
    }

    private func names(_ place: Int) throws(AuditFailure) -> Names {
        if let names = known[place] { return names }
        let names = try read(place) { $0.map { list in
            list.map { String(decoding: $0, as: UTF8.self) } }
        }
        known[place] = names
        return names
    }

    private func read<T>(
        _ place: Int, _ body: ([[UnsafeRawBufferPointer]]) -> T
    ) throws(AuditFailure) -> T {
        let block = blocks[place]
        guard let page = try file.page(block), let pieces = page.pieces,
            page.fresh == block.fresh, let names = try page.newNames(pieces)
        else { throw file.damaged(block.offset) }
        defer { page.keep() }
        return body(names)
    }

    /// The number of a name, said in one of those blocks, or in any; `nil`: in none.
    func number(
        _ kind: AuditNameKind, _ name: [UInt8], in candidates: [Int]?
    ) throws(AuditFailure) -> Int? {
        guard let (own, before) = places[kind] else { return nil }
        let wanted = candidates.map(Set.init)
        for (place, start) in zip(own, before) where wanted?.contains(place) ?? true {
            let index = try read(place) { names in
                names[kind.rawValue].firstIndex { $0.elementsEqual(name) }
            }
            if let index { return start &+ index }
        }
        return nil
    }
}
