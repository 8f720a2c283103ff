import TollgateCore
import TollgateWire

/// `audit.head`: how far the log was durable, written after each sync, so that a log whose end is
/// missing is found. Two places take turns, at 0 and 512, so that one of them is whole.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | "TGAUHEAD" |
/// | 8 | 8 | round, counted from 1 |
/// | 16 | 8 | id of the log |
/// | 24 | 8 | segment |
/// | 32 | 8 | bytes of it that are durable |
/// | 40 | 8 | number of the next block |
/// | 48 | 32 | hash of the last block |
/// | 80 | 32 | HMAC-SHA-256 of bytes 0 to 79, by `audit.key` |
package struct AuditHeadFile: Sendable, Equatable {
    static let placeBytes = 512
    static let bytes = 1_024
    private static let covered = 80
    private static let magic: UInt64 = 0x4441_4548_5541_4754

    package var round: UInt64
    package var log: UInt64
    package var end: AuditEnd

    init(round: UInt64, log: UInt64, end: AuditEnd) {
        self.round = round
        self.log = log
        self.end = end
    }

    /// What is to be written, and where.
    func encoded(_ key: AuditKey) -> (bytes: Block, offset: Int) {
        let block = Block(Self.placeBytes)
        defer { block.keep() }
        block.bytes.storeLittle(Self.magic, at: 0)
        block.bytes.storeLittle(round, at: 8)
        block.bytes.storeLittle(log, at: 16)
        block.bytes.storeLittle(end.segment, at: 24)
        block.bytes.storeLittle(UInt64(truncatingIfNeeded: end.offset), at: 32)
        block.bytes.storeLittle(end.block, at: 40)
        end.head.store(to: block.bytes, at: 48)
        key.sign(block.read.slice(at: 0, length: Self.covered))
            .store(to: block.bytes, at: Self.covered)
        return (block, round & 1 == 1 ? 0 : Self.placeBytes)
    }

    /// The later of the two places, of those that are signed when there is a key; `nil` when there
    /// is none.
    init?(_ bytes: UnsafeRawBufferPointer, _ key: AuditKey?) {
        var found: AuditHeadFile?
        for at in [0, Self.placeBytes] {
            guard bytes.count >= at &+ Self.placeBytes else { break }
            let place = bytes.slice(at: at, length: Self.placeBytes)
            guard place.loadLittle(at: 0, as: UInt64.self) == Self.magic,
                let offset = Int(exactly: place.loadLittle(at: 32, as: UInt64.self))
            else { continue }
            var end = AuditEnd()
            end.segment = place.loadLittle(at: 24, as: UInt64.self)
            end.offset = offset
            end.block = place.loadLittle(at: 40, as: UInt64.self)
            end.head = AuditHash(place, at: 48)
            let one = AuditHeadFile(
                round: place.loadLittle(at: 8, as: UInt64.self),
                log: place.loadLittle(at: 16, as: UInt64.self), end: end)
            if let key,
                key.sign(place.slice(at: 0, length: Self.covered))
                    != AuditHash(place, at: Self.covered)
            {
                continue
            }
            if one.round > found?.round ?? 0 { found = one }
        }
        guard let found else { return nil }
        self = found
    }
}
