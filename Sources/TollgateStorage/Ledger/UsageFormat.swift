import TollgateCore
import TollgateWire

/// Closed periods that left memory, version 1; files that are appended to. Little-endian.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGUSAGE` and a zero |
/// | 8 | 2 | version |
/// | 10 | 6 | spare, 0 |
/// | 16 | 8 | number of the file, as in its name |
/// | 24 | 8 | ledger id |
/// | 32 | 8 | files up to this number do not count: this one holds what was not pruned |
/// | 40 | 8 | spare, 0 |
/// | 48 | 512 | by shard: closed periods up to this sequence number stood in the files before |
/// | 560 | 12 | spare, 0 |
/// | 572 | 4 | CRC-32C of bytes 0 to 571 |
/// | 576 | | blocks |
///
/// A block:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | `TGUB`, or `TGUC`: the next block goes on with entries of the same number |
/// | 4 | 2 | shard; 65535: kept by a pruning, of any shard |
/// | 6 | 2 | spare, 0 |
/// | 8 | 8 | sequence number in the journal of the last entry; 0 when kept by a pruning |
/// | 16 | 4 | entries |
/// | 20 | 4 | bytes of its content |
/// | 24 | 4 | spare, 0 |
/// | 28 | 4 | CRC-32C of bytes 0 to 27 and the content, begun with the CRC before (header's) |
/// | 32 | | entries: u16 bytes of the counter's name, u16 of the period, name, `ClosedPeriod` |
///
/// Blocks `TGUC` count together with the `TGUB` that ends them, all of one shard and number and
/// in one file, or not at all: what is archived is known by its number, so a part of one number
/// would be archived again. A writer begins another block at half a MiB; who reads takes longer
/// ones as well, for an earlier writer put all of one number into one block.
///
/// Of a file that another follows, blocks behind what the next one's table says do not count:
/// they were written once more there, because their sync had failed.
enum UsageFormat {
    static let version: UInt16 = 1
    static let headerBytes = 576
    static let blockHeaderBytes = 32
    /// Of a block that is written: then another begins.
    static let contentBytesFull = 512 * 1024
    static let keptShard: UInt16 = .max
    static let magic: UInt64 = 0x0045_4741_5355_4754
    static let blockMagic: UInt32 = 0x4255_4754
    static let continuedMagic: UInt32 = 0x4355_4754
}

struct UsageHeader: Sendable, Equatable {
    var number: UInt64
    var ledger: UInt64
    var replaces: UInt64
    var through: [UInt64]

    init(number: UInt64, ledger: UInt64, replaces: UInt64, through: [UInt64]) {
        self.number = number
        self.ledger = ledger
        self.replaces = replaces
        self.through = through
    }

    /// Into zeroed bytes; the CRC.
    func write(to bytes: UnsafeMutableRawBufferPointer) -> UInt32 {
        bytes.storeLittle(UsageFormat.magic, at: 0)
        bytes.storeLittle(UsageFormat.version, at: 8)
        bytes.storeLittle(number, at: 16)
        bytes.storeLittle(ledger, at: 24)
        bytes.storeLittle(replaces, at: 32)
        for (shard, sequence) in through.enumerated() {
            bytes.storeLittle(sequence, at: 48 &+ 8 &* shard)
        }
        let checksum = ledgerChecksum(
            0, UnsafeRawBufferPointer(bytes).slice(at: 0, length: 572))
        bytes.storeLittle(checksum, at: 572)
        return checksum
    }

    init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(LedgerFailure) {
        guard bytes.count >= UsageFormat.headerBytes,
            bytes.loadLittle(at: 0, as: UInt64.self) == UsageFormat.magic
        else { throw LedgerFailure(.damaged, path, offset: 0, "holds no closed periods") }
        guard
            bytes.loadLittle(at: 572, as: UInt32.self)
                == ledgerChecksum(0, bytes.slice(at: 0, length: 572))
        else {
            throw LedgerFailure(.damaged, path, offset: 0, "the checksum of its header is wrong")
        }
        let version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard version == UsageFormat.version else { throw .unknownVersion(path, version) }
        number = bytes.loadLittle(at: 16, as: UInt64.self)
        ledger = bytes.loadLittle(at: 24, as: UInt64.self)
        replaces = bytes.loadLittle(at: 32, as: UInt64.self)
        through = (0..<Engine.shardCount).map {
            bytes.loadLittle(at: 48 &+ 8 &* $0, as: UInt64.self)
        }
    }
}

/// A closed period as the archive has it, with the name of its counter.
package struct ArchivedPeriod: Sendable, Equatable {
    /// `q NAME METER PERIOD`: the counter's stable identity.
    package var counter: String
    package var period: ClosedPeriod

    package init(counter: String, period: ClosedPeriod) {
        self.counter = counter
        self.period = period
    }
}

/// Entries that become one block.
struct UsageBlock {
    var shard: UInt16
    var through: UInt64 = 0
    /// The next block goes on with entries of the number `through`.
    var isContinued = false
    var count = 0
    private(set) var content: [UInt8] = []

    init(shard: UInt16) { self.shard = shard }

    var isFull: Bool { content.count >= UsageFormat.contentBytesFull }

    mutating func add(_ name: String, _ period: [UInt8]) {
        let (a, b) = (UInt16(clamping: name.utf8.count), UInt16(clamping: period.count))
        content += [UInt8(truncatingIfNeeded: a), UInt8(truncatingIfNeeded: a >> 8)]
        content += [UInt8(truncatingIfNeeded: b), UInt8(truncatingIfNeeded: b >> 8)]
        content += Array(name.utf8)
        content += period
        count &+= 1
    }

    /// The whole block; its CRC.
    func encoded(after seed: UInt32) -> (Block, UInt32) {
        let block = Block(UsageFormat.blockHeaderBytes &+ content.count)
        defer { block.keep() }
        block.bytes.storeLittle(
            isContinued ? UsageFormat.continuedMagic : UsageFormat.blockMagic, at: 0)
        block.bytes.storeLittle(shard, at: 4)
        block.bytes.storeLittle(through, at: 8)
        block.bytes.storeLittle(UInt32(truncatingIfNeeded: count), at: 16)
        block.bytes.storeLittle(UInt32(truncatingIfNeeded: content.count), at: 20)
        content.withUnsafeBytes { block.bytes.copy($0, to: UsageFormat.blockHeaderBytes) }
        let checksum = Self.checksum(block.read, seed)
        block.bytes.storeLittle(checksum, at: 28)
        return (block, checksum)
    }

    static func checksum(_ block: UnsafeRawBufferPointer, _ seed: UInt32) -> UInt32 {
        let head = ledgerChecksum(seed, block.slice(at: 0, length: 28))
        let rest = block.count &- UsageFormat.blockHeaderBytes
        return ledgerChecksum(
            head, block.slice(at: UsageFormat.blockHeaderBytes, length: rest))
    }
}

/// A file of closed periods that is read, as far as it is whole.
struct UsageFile {
    static let bytesMax = 1024 * 1024 * 1024

    struct Part {
        var shard: UInt16
        var through: UInt64
        var count: Int
        var offset: Int
        var bytes: Int
    }

    let path: String
    let header: UsageHeader
    private let block: Block
    private(set) var parts: [Part] = []
    /// Behind the last whole block, and the CRC there.
    private(set) var end = UsageFormat.headerBytes
    private(set) var checksum: UInt32
    /// What it holds, with the files before: by shard, up to this sequence number.
    private(set) var through: [UInt64]

    /// `ledger` `nil`: of whichever it says.
    init(_ path: String, number: UInt64, ledger: UInt64?, _ disk: any Disk) throws(LedgerFailure)
    {
        self.path = path
        block = try onDisk { () throws(DiskError) in
            try disk.read(path, bytesMax: Self.bytesMax)
        }
        header = try UsageHeader(block.read, path)
        guard header.number == number, ledger == nil || header.ledger == ledger else {
            throw LedgerFailure(.damaged, path, offset: 16, "of another place or ledger")
        }
        checksum = block.read.loadLittle(
            at: UsageFormat.headerBytes &- 4, as: UInt32.self)
        through = header.through
        while let group = nextGroup() { parts += group }
    }

    /// Throws when it lacks what a later file says to stand here.
    func check(before next: [UInt64]) throws(LedgerFailure) {
        for (shard, sequence) in next.enumerated() where through[shard] < sequence {
            throw LedgerFailure(
                .damaged, path, offset: end, "closed periods are missing that stood there once")
        }
    }

    /// Whether there is anything behind the last whole block.
    var isTorn: Bool { end < block.used }

    var bytes: Int { block.used }

    /// The next block with those that it goes on in; `nil`, and nothing is read, when not all of
    /// them are whole.
    private mutating func nextGroup() -> [Part]? {
        var (group, place, seed) = ([Part](), end, checksum)
        while let (part, isContinued) = wholePart(at: &place, &seed) {
            if let first = group.first, first.shard != part.shard || first.through != part.through {
                return nil
            }
            group.append(part)
            if isContinued { continue }
            (end, checksum) = (place, seed)
            if part.shard != UsageFormat.keptShard {
                through[Int(part.shard)] = max(through[Int(part.shard)], part.through)
            }
            return group
        }
        return nil
    }

    /// The block at `place`, which is then behind it; `nil` when there is none that is whole.
    private func wholePart(
        at place: inout Int, _ seed: inout UInt32
    ) -> (part: Part, isContinued: Bool)? {
        let all = block.read
        let left = all.count &- place
        guard left >= UsageFormat.blockHeaderBytes else { return nil }
        let magic = all.loadLittle(at: place, as: UInt32.self)
        let whole =
            UsageFormat.blockHeaderBytes &+ Int(all.loadLittle(at: place &+ 20, as: UInt32.self))
        guard magic == UsageFormat.blockMagic || magic == UsageFormat.continuedMagic, whole <= left
        else { return nil }
        let own = all.slice(at: place, length: whole)
        let computed = UsageBlock.checksum(own, seed)
        let shard = own.loadLittle(at: 4, as: UInt16.self)
        guard own.loadLittle(at: 28, as: UInt32.self) == computed,
            shard == UsageFormat.keptShard || Int(shard) < Engine.shardCount
        else { return nil }
        let part = Part(
            shard: shard, through: own.loadLittle(at: 8, as: UInt64.self),
            count: Int(own.loadLittle(at: 16, as: UInt32.self)),
            offset: place &+ UsageFormat.blockHeaderBytes,
            bytes: whole &- UsageFormat.blockHeaderBytes)
        seed = computed
        place &+= whole
        return (part, magic == UsageFormat.continuedMagic)
    }

    /// What a block holds; its checksum was right, so what cannot be read is a defect that is told.
    func entries(_ part: Part) throws(LedgerFailure) -> [ArchivedPeriod] {
        try Self.entries(block.read.slice(at: part.offset, length: part.bytes), part, path)
    }

    static func entries(
        _ content: UnsafeRawBufferPointer, _ part: Part, _ path: String
    ) throws(LedgerFailure) -> [ArchivedPeriod] {
        var reader = ByteReader(content, at: 0)
        var found: [ArchivedPeriod] = []
        while reader.remaining > 0 {
            guard let nameBytes = reader.read(UInt16.self),
                let periodBytes = reader.read(UInt16.self),
                let name = reader.take(Int(nameBytes)),
                let bytes = reader.take(Int(periodBytes)), let period = ClosedPeriod(bytes)
            else { throw LedgerFailure(.damaged, path, offset: part.offset, "no closed period") }
            found.append(
                ArchivedPeriod(counter: String(decoding: name, as: UTF8.self), period: period))
        }
        guard found.count == part.count else {
            throw LedgerFailure(.damaged, path, offset: part.offset, "periods are missing")
        }
        return found
    }
}
