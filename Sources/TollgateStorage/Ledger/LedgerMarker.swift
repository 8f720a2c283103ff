import TollgateWire

/// What makes a directory a ledger: its id, and the secret key by which names find their shard.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGLEDGER` |
/// | 8 | 2 | version |
/// | 10 | 6 | spare, 0 |
/// | 16 | 8 | ledger id |
/// | 24 | 16 | hash key |
/// | 40 | 20 | spare, 0 |
/// | 60 | 4 | CRC-32C of bytes 0 to 59 |
struct LedgerMarker: Sendable, Equatable {
    static let bytes = 64
    static let version: UInt16 = 1
    private static let magic: UInt64 = 0x5245_4744_454c_4754

    var ledger: UInt64
    var key0: UInt64
    var key1: UInt64

    init(ledger: UInt64, key0: UInt64, key1: UInt64) {
        self.ledger = ledger
        self.key0 = key0
        self.key1 = key1
    }

    var encoded: Block {
        let block = Block(Self.bytes)
        defer { block.keep() }
        block.bytes.storeLittle(Self.magic, at: 0)
        block.bytes.storeLittle(Self.version, at: 8)
        block.bytes.storeLittle(ledger, at: 16)
        block.bytes.storeLittle(key0, at: 24)
        block.bytes.storeLittle(key1, at: 32)
        block.bytes.storeLittle(ledgerChecksum(0, block.read.slice(at: 0, length: 60)), at: 60)
        return block
    }

    init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(LedgerFailure) {
        guard bytes.count == Self.bytes, bytes.loadLittle(at: 0, as: UInt64.self) == Self.magic
        else { throw LedgerFailure(.damaged, path, offset: 0, "not the marker of a ledger") }
        let checksum = ledgerChecksum(0, bytes.slice(at: 0, length: 60))
        guard bytes.loadLittle(at: 60, as: UInt32.self) == checksum else {
            throw LedgerFailure(.damaged, path, offset: 0, "its checksum is wrong")
        }
        let version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard version == Self.version else { throw .unknownVersion(path, version) }
        ledger = bytes.loadLittle(at: 16, as: UInt64.self)
        key0 = bytes.loadLittle(at: 24, as: UInt64.self)
        key1 = bytes.loadLittle(at: 32, as: UInt64.self)
    }
}

extension LedgerFailure {
    static func unknownVersion(_ path: String, _ version: UInt16) -> LedgerFailure {
        LedgerFailure(
            .version, path,
            "of version \(version), which this build does not know; start the one that wrote it")
    }
}
