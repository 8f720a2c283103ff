import CChecksum
import TollgateWire

/// The journal's bytes, version 2: regions of slots. All integers are little-endian.
///
/// A region begins with its header (`JournalRegionHeader`). A slot has 32 bytes:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | CRC-32C of bytes 4 to 31, begun with the CRC of the slot before (region: header's) |
/// | 4 | 4 | low 32 bits of the shard's sequence number, one more with each slot |
/// | 8 | 1 | `JournalKind` |
/// | 9 | 1 | flags: bit 0, last of its transaction; bit 1, goes on with the item before |
/// | 10 | 22 | payload |
///
/// 32 zero bytes are the end of what was written in the region. A transaction holds whole items,
/// lies in one region, and is replayed wholly or not at all. An item of one slot is its 22 bytes
/// of payload; a longer item's first slot has its bytes (u16), then 20 of them, and further slots
/// of the same kind, marked by bit 1, 22 each, the rest zero.
///
/// Version 1 is the same without the kinds `hold` and `settled`; it is read, and written no more.
package enum JournalFormat {
    package static let version: UInt16 = 2
    package static let versionsRead: ClosedRange<UInt16> = 1...2
    package static let slotBytes = 32
    /// Of a slot: what a CRC does not cover is the CRC.
    static let checksumBytes = 4
    package static let headerBytes = 64
    package static let payloadBytes = 22
    /// Of an item's first slot, behind its length.
    static let firstPieceBytes = 20
    static let payloadOffset = 10
    /// The longest item of several slots; a length of 16 bits.
    package static let itemBytesMax = 65_535
    /// Regions are multiples of a slot, of at least and at most so many bytes.
    package static let regionBytesMin = 128
    package static let regionBytesMax = 1 << 30

    package static let lastFlag: UInt8 = 1
    package static let continuedFlag: UInt8 = 2

    /// Slots that an item of several slots takes.
    package static func slots(itemBytes: Int) -> Int {
        itemBytes <= firstPieceBytes
            ? 1 : 1 &+ (itemBytes &- firstPieceBytes &+ payloadBytes &- 1) / payloadBytes
    }

    static func checksum(
        _ seed: UInt32, _ bytes: UnsafeRawPointer, _ count: Int
    ) -> UInt32 {
        tg_crc32c(seed, bytes, count)
    }

    /// Of a slot; `seed` is the checksum before it.
    @inline(__always)
    static func checksum(_ seed: UInt32, ofSlot slot: UnsafeRawPointer) -> UInt32 {
        tg_crc32c_slot(seed, slot)
    }

    /// Writes and seals slots that go on with an item, `payloadBytes` of `from` each; the last
    /// one's checksum. `seed` is the checksum before them.
    @inline(__always)
    static func writeSlots(
        _ count: Int, at slot: UnsafeMutableRawPointer, _ from: UnsafeRawPointer,
        after seed: UInt32, sequence: UInt64, _ kindAndFlags: UInt16
    ) -> UInt32 {
        guard count > 0 else { return seed }
        return tg_crc32c_slots(
            seed, slot, from, count, UInt32(truncatingIfNeeded: sequence), kindAndFlags)
    }
}

/// What a slot says. The number is the format's: it never changes its meaning.
package enum JournalKind: UInt8, Sendable, CaseIterable {
    /// u16 counter, u32 row, u64 used, then `PeriodBytes`.
    case quota = 1
    /// Defines a row's number; where its key had another number, all its counters become 0.
    case row = 2
    /// Defines a counter's number: u16, then the bytes of its identity.
    case counter = 3
    /// u64 sequence below and at which everything was known to be synced, i64 billing time in
    /// milliseconds, 6 zero bytes.
    case mark = 4
    /// Image of a reservation, its id first, as its row stands in memory; replaces what was known
    /// of it. In version 2 of one that is settled alone, and that the journal has nowhere else.
    case reservation = 5
    /// Image of an idempotency record; replaces.
    case idempotency = 6
    /// A quota's closed period, with all names.
    case closed = 7
    /// u8 1 for a personal organization, then its name: all of it is forgotten.
    case forget = 8
    /// u16 counter, u32 row, u64 units carried over from the period before, 8 zero bytes.
    case carried = 9
    /// What burnt of credits: u32 row of a `CreditAccount`, then of one of its periods u64 tag, i64
    /// end in seconds and u64 units burnt, then u64 units burnt of a grant and the grant's id. No
    /// id: of the period alone. Units of all ones: the grant is forgotten.
    case credit = 10
    /// u8 flags, then an organization's name: bit 0, a personal one; bit 1 not set, a reset of its
    /// quotas begins, which recovery ends if need be; set, it is done.
    case reset = 11
    /// A reservation that is not settled, packed (`PackedReservation`); replaces what was known of
    /// it. From version 2 on.
    case hold = 12
    /// What a SETTLE changed of a reservation (`UnpackedReservation`). From version 2 on.
    case settled = 13

    /// `nil`: the version of the journal has no such kind.
    init?(_ raw: UInt8, version: UInt16) {
        self.init(rawValue: raw)
        if version < 2, self == .hold || self == .settled { return nil }
    }

    /// Whether items of this kind may take several slots, and begin with their length.
    package var isLong: Bool {
        switch self {
        case .quota, .mark, .carried: false
        case .row, .counter, .reservation, .idempotency, .closed, .forget, .credit, .reset, .hold,
            .settled: true
        }
    }
}

/// A quota's period in 8 bytes: its end in seconds since 1970 (40 bits, all ones: never) and the
/// local date of its start in days since 1970 (24 bits).
package struct PeriodBytes: Equatable, BitwiseCopyable, Sendable {
    private static let never: UInt64 = 1 << 40 - 1
    package var word: UInt64

    package init(word: UInt64) { self.word = word }

    /// What does not fit is brought to the nearest that does; the calendar makes nothing that
    /// does not.
    @inline(__always)
    package init(endSeconds: Int64, startDay: UInt32) {
        let end = min(UInt64(bitPattern: max(endSeconds, 0)), Self.never)
        word = end | UInt64(min(startDay, 1 << 24 - 1)) &<< 40
    }

    package var endSeconds: Int64 {
        let end = word & Self.never
        return end == Self.never ? .max : Int64(bitPattern: end)
    }
    package var startDay: UInt32 { UInt32(truncatingIfNeeded: word &>> 40) }
}

/// Why 64 bytes are no region's header.
package enum JournalHeaderFault: Error, Equatable {
    /// All zero: the region was never begun.
    case unused
    case tooShort
    case noMagic
    /// Of another format, which has magic, version and CRC in the same places.
    case unknownVersion(UInt16)
    case badChecksum
    /// Fewer or more bytes than a region can have, or no multiple of a slot.
    case badSize
}

/// The first 64 bytes of a region.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGREGION` |
/// | 8 | 2 | version |
/// | 10 | 2 | shard |
/// | 12 | 4 | bytes of the region, this header among them |
/// | 16 | 8 | sequence number of its first slot |
/// | 24 | 8 | lower half of the ledger's id |
/// | 32 | 8 | life: one more with each start of the ledger |
/// | 40 | 8 | spare, 0 |
/// | 48 | 8 | number of the file that it lies in |
/// | 56 | 4 | spare, 0 |
/// | 60 | 4 | CRC-32C of bytes 0 to 59: begins the chain of the slots' |
package struct JournalRegionHeader: Equatable, Sendable {
    private static let magic: UInt64 = 0x4e4f_4947_4552_4754
    package static let firstSequenceOffset = 16

    package var shard: UInt16
    package var bytes: UInt32
    package var firstSequence: UInt64
    package var ledger: UInt64
    package var life: UInt64
    package var file: UInt64
    /// As it was read; what is written is of the newest.
    package private(set) var version = JournalFormat.version

    package init(
        shard: UInt16, bytes: UInt32, firstSequence: UInt64, ledger: UInt64, life: UInt64,
        file: UInt64
    ) {
        self.shard = shard
        self.bytes = bytes
        self.firstSequence = firstSequence
        self.ledger = ledger
        self.life = life
        self.file = file
    }

    /// Writes it into 64 zeroed bytes, the CRC last; returns the CRC.
    @discardableResult
    package func write(to region: UnsafeMutableRawBufferPointer) -> UInt32 {
        region.storeLittle(Self.magic, at: 0)
        region.storeLittle(JournalFormat.version, at: 8)
        region.storeLittle(shard, at: 10)
        region.storeLittle(bytes, at: 12)
        region.storeLittle(firstSequence, at: 16)
        region.storeLittle(ledger, at: 24)
        region.storeLittle(life, at: 32)
        region.storeLittle(file, at: 48)
        let covered = UnsafeRawBufferPointer(region).slice(at: 0, length: 60)
        guard let base = covered.baseAddress else { return 0 }
        let checksum = JournalFormat.checksum(0, base, covered.count)
        region.storeLittle(checksum, at: 60)
        return checksum
    }

    /// Reads it from a region's beginning. Traps on no bytes.
    package init(_ region: UnsafeRawBufferPointer) throws(JournalHeaderFault) {
        guard region.count >= JournalFormat.headerBytes, let base = region.baseAddress else {
            throw .tooShort
        }
        let head = region.slice(at: 0, length: JournalFormat.headerBytes)
        if head.allSatisfy({ $0 == 0 }) { throw .unused }
        guard head.loadLittle(at: 0, as: UInt64.self) == Self.magic else { throw .noMagic }
        guard
            head.loadLittle(at: 60, as: UInt32.self) == JournalFormat.checksum(0, base, 60)
        else { throw .badChecksum }
        version = head.loadLittle(at: 8, as: UInt16.self)
        guard JournalFormat.versionsRead.contains(version) else { throw .unknownVersion(version) }
        shard = head.loadLittle(at: 10, as: UInt16.self)
        bytes = head.loadLittle(at: 12, as: UInt32.self)
        firstSequence = head.loadLittle(at: 16, as: UInt64.self)
        ledger = head.loadLittle(at: 24, as: UInt64.self)
        life = head.loadLittle(at: 32, as: UInt64.self)
        file = head.loadLittle(at: 48, as: UInt64.self)
        guard (JournalFormat.regionBytesMin...JournalFormat.regionBytesMax).contains(Int(bytes)),
            Int(bytes) % JournalFormat.slotBytes == 0
        else { throw .badSize }
    }
}
