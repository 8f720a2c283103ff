import TollgateCore
import TollgateWire

/// The content of a block's payload of version 2. Of a file no more of it is read, and its
/// checksums compared, than is asked for: who asks for one organization's records needs neither
/// the others' nor the hash of all. The payload:
///
/// | what | how |
/// |---|---|
/// | checksums | CRC-32C of each 1,024 bytes of the content, the last of what is left; u32 each |
/// | content | one byte at least |
final class AuditPieces {
    static let pieceBytes = 1_024
    /// What is read at first: the block's head, its checksums, and mostly its tables.
    private static let firstBytes = 4_096

    let head: AuditBlockHead
    let offset: Int
    /// What was not asked for is not there.
    let content: UnsafeRawBufferPointer
    private let memory: Block
    private let file: AuditSegmentFile?
    /// Where the content begins in the block.
    private let start: Int
    /// So many bytes of the content are in memory from its beginning.
    private var filled: Int
    /// By piece: it is in memory and its checksum right.
    private var isSound: [Bool]

    /// Of a block that is in memory whole; `nil`: it has no such payload.
    init?(_ block: AuditReadBlock) {
        guard let sizes = Self.sizes(block.head.payloadBytes) else { return nil }
        head = block.head
        offset = block.offset
        memory = block.memory
        file = nil
        start = AuditBlockHead.bytes &+ sizes.list
        content = memory.read.slice(at: start, length: sizes.content)
        filled = sizes.content
        isSound = [Bool](repeating: false, count: sizes.list / 4)
    }

    /// Of a block that the index says stands there; `nil`: it does not.
    init?(_ file: AuditSegmentFile, _ block: AuditIndexBlock) throws(AuditFailure) {
        let covered = block.bytes &- AuditHash.bytes
        guard block.offset >= AuditSegmentHeader.bytes, covered >= AuditBlockHead.bytes,
            block.bytes <= AuditBlockHead.sealMax, file.bytes &- block.offset >= block.bytes,
            let sizes = Self.sizes(covered &- AuditBlockHead.bytes)
        else { return nil }
        start = AuditBlockHead.bytes &+ sizes.list
        let memory = Block(unfilled: covered)
        let first = min(covered, max(Self.firstBytes, start))
        guard
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<first]),
                at: block.offset) == first,
            let head = AuditBlockHead(memory.read.slice(at: 0, length: AuditBlockHead.bytes)),
            head.blockBytes == block.bytes, head.kind == block.kind, head.count == block.count,
            head.first == block.first, head.last == block.last
        else { return nil }
        self.head = head
        self.file = file
        self.memory = memory
        offset = block.offset
        content = memory.read.slice(at: start, length: sizes.content)
        filled = first &- start
        isSound = [Bool](repeating: false, count: sizes.list / 4)
    }

    func keep() { withExtendedLifetime(self) {} }

    /// Of a payload: its checksums, and the content; `nil`: none has so many bytes.
    static func sizes(_ payload: Int) -> (list: Int, content: Int)? {
        guard payload > 4, payload <= AuditBlockHead.sealMax else { return nil }
        let pieces = (payload &+ pieceBytes &+ 3) / (pieceBytes &+ 4)
        let content = payload &- pieces &* 4
        guard content > 0, (content &+ pieceBytes &- 1) / pieceBytes == pieces else { return nil }
        return (pieces &* 4, content)
    }

    /// Of a payload with so much content.
    static func payloadBytes(_ content: Int) -> Int {
        content &+ (content &+ pieceBytes &- 1) / pieceBytes &* 4
    }

    /// Whether that range of the content is there and right; it is read where it is not in memory.
    /// False as well for a range that does not lie inside.
    func need(_ range: Range<Int>) throws(AuditFailure) -> Bool {
        guard range.lowerBound >= 0, range.upperBound <= content.count else { return false }
        guard !range.isEmpty else { return true }
        var piece = range.lowerBound / Self.pieceBytes
        let last = (range.upperBound &- 1) / Self.pieceBytes
        while piece <= last {
            if isSound[piece] {
                piece &+= 1
                continue
            }
            var end = piece &+ 1
            while end <= last, !isSound[end] { end &+= 1 }
            guard try fetch(piece..<end) else { return false }
            for one in piece..<end {
                guard isRight(one) else { return false }
                isSound[one] = true
            }
            piece = end
        }
        return true
    }

    private func bounds(_ piece: Int) -> Range<Int> {
        let from = piece &* Self.pieceBytes
        return from..<min(from &+ Self.pieceBytes, content.count)
    }

    private func isRight(_ piece: Int) -> Bool {
        let place = bounds(piece)
        let wanted = memory.read.loadLittle(
            at: AuditBlockHead.bytes &+ piece &* 4, as: UInt32.self)
        return wanted == ledgerChecksum(0, content.slice(at: place.lowerBound, length: place.count))
    }

    private func fetch(_ pieces: Range<Int>) throws(AuditFailure) -> Bool {
        let from = max(filled, bounds(pieces.lowerBound).lowerBound)
        let end = bounds(pieces.upperBound &- 1).upperBound
        guard from < end, let file else { return from >= end }
        let into = UnsafeMutableRawBufferPointer(
            rebasing: memory.bytes[(start &+ from)..<(start &+ end)])
        guard try file.read(into: into, at: offset &+ start &+ from) == into.count else {
            return false
        }
        if from == filled { filled = end }
        return true
    }

    /// All of the content.
    func needAll() throws(AuditFailure) -> Bool { try need(0..<content.count) }

    // MARK: writing

    static func put(_ value: UInt32, to bytes: inout [UInt8]) {
        for shift in [UInt32(0), 8, 16, 24] {
            bytes.append(UInt8(truncatingIfNeeded: value &>> shift))
        }
    }

    /// The content, with its checksums before it.
    static func payload(_ content: [UInt8]) -> [UInt8] {
        content.withUnsafeBytes { payload([$0]) }
    }

    /// The same of content that stands in several places, one after the other.
    static func payload(_ parts: [UnsafeRawBufferPointer]) -> [UInt8] {
        let count = parts.reduce(0) { $0 &+ $1.count }
        let bytes = payloadBytes(count)
        return [UInt8](unsafeUninitializedCapacity: bytes) { memory, filled in
            let memory = UnsafeMutableRawBufferPointer(memory)
            var at = bytes &- count
            for part in parts {
                memory.copy(part, to: at)
                at &+= part.count
            }
            let content = UnsafeRawBufferPointer(memory).slice(at: bytes &- count, length: count)
            for piece in 0..<((count &+ pieceBytes &- 1) / pieceBytes) {
                let from = piece &* pieceBytes
                let length = min(pieceBytes, count &- from)
                let sum = ledgerChecksum(0, content.slice(at: from, length: length))
                memory.storeLittle(sum, at: piece &* 4)
            }
            filled = bytes
        }
    }
}
