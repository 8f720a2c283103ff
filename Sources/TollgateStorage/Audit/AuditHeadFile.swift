import TollgateCore
import TollgateWire

/// `audit.head`: how far the log was durable, written and synced after each sync, and before each
/// segment is begun: so that a log whose end is missing, or was made anew, is found. By the hash in
/// it, its signature is one of all the chain before. It is there before the first segment is.
///
/// Two places take turns, at 0 and 512, so that one of them is whole; both are written when the
/// file is made, which is by renaming it into its place.
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
/// | 112 | 400 | spare, 0 |
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

    /// A place that is as it was written, signed when there is a key; else `nil`.
    fileprivate init?(_ place: UnsafeRawBufferPointer, at offset: Int, _ key: AuditKey?) {
        guard place.loadLittle(at: 0, as: UInt64.self) == Self.magic,
            let bytes = Int(exactly: place.loadLittle(at: 32, as: UInt64.self)),
            place.dropFirst(Self.covered &+ AuditHash.bytes).allSatisfy({ $0 == 0 })
        else { return nil }
        round = place.loadLittle(at: 8, as: UInt64.self)
        guard round > 0, round & 1 == (offset == 0 ? 1 : 0) else { return nil }
        log = place.loadLittle(at: 16, as: UInt64.self)
        end = AuditEnd()
        end.segment = place.loadLittle(at: 24, as: UInt64.self)
        end.offset = bytes
        end.block = place.loadLittle(at: 40, as: UInt64.self)
        end.head = AuditHash(place, at: 48)
        if let key,
            key.sign(place.slice(at: 0, length: Self.covered))
                != AuditHash(place, at: Self.covered)
        {
            return nil
        }
    }
}

/// What `audit.head` says, and what of it is not as it was written.
struct AuditHeadPlaces: Sendable, Equatable {
    static let bytesMax = 64 << 10

    private(set) var isThere = false
    /// The later one of those that are signed; without a key, of those that look like one.
    private(set) var newest: AuditHeadFile?
    /// Where a place begins that nobody wrote so.
    private(set) var damaged: [Int] = []

    /// Of the directory's; none when there is no such file.
    init(
        _ disk: any Disk, _ directory: String, _ key: AuditKey?
    ) throws(AuditFailure) {
        let block: Block
        do throws(DiskError) {
            block = try disk.read(directory + "/" + AuditFiles.head, bytesMax: Self.bytesMax)
        } catch {
            if error.isAbsent { return }
            throw AuditFailure(error)
        }
        defer { block.keep() }
        isThere = true
        read(block.read, key)
    }

    private mutating func read(_ bytes: UnsafeRawBufferPointer, _ key: AuditKey?) {
        var unwritten: Int?
        for at in [0, AuditHeadFile.placeBytes] {
            guard bytes.count >= at &+ AuditHeadFile.placeBytes else {
                if bytes.count > at { damaged.append(at) } else { unwritten = at }
                continue
            }
            let place = bytes.slice(at: at, length: AuditHeadFile.placeBytes)
            if let one = AuditHeadFile(place, at: at, key) {
                if one.round > newest?.round ?? 0 { newest = one }
            } else if place.allSatisfy({ $0 == 0 }) {
                unwritten = at
            } else {
                damaged.append(at)
            }
        }
        // The second round writes it, if no earlier one has.
        if let unwritten, newest?.round != 1 { damaged.append(unwritten) }
        if bytes.count > AuditHeadFile.bytes { damaged.append(AuditHeadFile.bytes) }
        damaged.sort()
    }

    /// What is wrong with the file as such; `nil`: nothing.
    var words: String? {
        if !isThere { return "is missing: nothing says how far the log went" }
        if newest == nil { return "neither of its places is signed with audit.key" }
        return damaged.isEmpty ? nil : Self.damagedWords
    }

    static let damagedWords = "this place is not as it was written"
}
