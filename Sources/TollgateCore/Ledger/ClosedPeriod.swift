import Glibc
import TollgateWire

/// What somebody used of one quota in a period that is over, or in the part of one before its
/// counter was reset: parts of a period add up.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 2 | number of the counter |
/// | 2 | 1 | 1 a user's, 2 an organization's |
/// | 3 | 1 | flags: bit 0, a personal organization; bit 1, credits burnt |
/// | 4 | 1 | bytes of the organization |
/// | 5 | 1 | bytes of the user |
/// | 6 | 2 | spare, 0 |
/// | 8 | 8 | units used |
/// | 16 | 8 | end of the period, seconds since 1970 |
/// | 24 | 4 | local date of its start: days since 1970 |
/// | 28 | 4 | tag of the plan last decided with |
/// | 32 | | organization, user; with bit 1, then 8 bytes: units of those used that credits paid |
package struct ClosedPeriod: Sendable, Equatable {
    package static let headerBytes = 32
    package static let bytesMax = headerBytes + 2 * WireLimits.identifierBytesMax + 8
    private static let personalFlag: UInt8 = 1
    private static let creditsFlag: UInt8 = 2

    package var counter: UInt16
    package var organization: String
    package var isPersonal: Bool
    /// `nil`: of the organization itself.
    package var user: String?
    package var used: UInt64
    package var endSeconds: Int64
    package var startDay: UInt32
    package var planTag: UInt32
    /// Units of those used that credits paid.
    package var credits: UInt64

    /// `nil` when the bytes are not those of one.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.headerBytes, bytes[2] == 1 || bytes[2] == 2, bytes[3] <= 3
        else { return nil }
        let (organization, user) = (Int(bytes[4]), Int(bytes[5]))
        let hasCredits = bytes[3] & Self.creditsFlag != 0
        let names = Self.headerBytes
        let all = names + organization + user + (hasCredits ? 8 : 0)
        guard bytes.count == all, organization > 0, (user > 0) == (bytes[2] == 1) else {
            return nil
        }
        counter = bytes.loadLittle(at: 0, as: UInt16.self)
        isPersonal = bytes[3] & Self.personalFlag != 0
        credits = hasCredits ? bytes.loadLittle(at: all - 8, as: UInt64.self) : 0
        used = bytes.loadLittle(at: 8, as: UInt64.self)
        endSeconds = Int64(bitPattern: bytes.loadLittle(at: 16, as: UInt64.self))
        startDay = bytes.loadLittle(at: 24, as: UInt32.self)
        planTag = bytes.loadLittle(at: 28, as: UInt32.self)
        self.organization = String(
            decoding: bytes.slice(at: names, length: organization), as: UTF8.self)
        self.user =
            user == 0
            ? nil
            : String(decoding: bytes.slice(at: names + organization, length: user), as: UTF8.self)
    }

    /// Whose period it is. Borrows the names.
    struct Subject {
        var organization: UnsafeRawBufferPointer
        /// Empty: of the organization itself.
        var user: UnsafeRawBufferPointer
        var isPersonal: Bool
        var planTag: UInt32

        /// How long the period is that is closed without credits.
        var bytes: Int { headerBytes &+ organization.count &+ user.count }
    }

    /// Writes what stands in a row's cell. Under the shard's lock; `into` has room for `bytesMax`.
    static func write(
        _ cell: QuotaCell, _ counter: UInt16, of row: Row, isPersonal: Bool, credits: UInt64,
        into bytes: UnsafeMutableRawBufferPointer
    ) -> Int {
        let isUser = row.kind == RowKind.user.rawValue
        let subject = Subject(
            organization: isUser ? row.ownerName : row.id,
            user: isUser ? row.id : UnsafeRawBufferPointer(start: nil, count: 0),
            isPersonal: isPersonal, planTag: row.planTag)
        return write(cell, counter, of: subject, credits: credits, into: bytes)
    }

    /// The same of a cell that stands in no row.
    static func write(
        _ cell: QuotaCell, _ counter: UInt16, of subject: Subject, credits: UInt64 = 0,
        into bytes: UnsafeMutableRawBufferPointer
    ) -> Int {
        let (organization, user) = (subject.organization, subject.user)
        bytes.storeLittle(counter, at: 0)
        bytes[2] = user.count > 0 ? 1 : 2
        bytes[3] = (subject.isPersonal ? personalFlag : 0) | (credits > 0 ? creditsFlag : 0)
        bytes[4] = UInt8(organization.count)
        bytes[5] = UInt8(user.count)
        bytes.storeLittle(UInt16(0), at: 6)
        bytes.storeLittle(cell.used, at: 8)
        bytes.storeLittle(UInt64(bitPattern: cell.endSeconds), at: 16)
        bytes.storeLittle(cell.startDay, at: 24)
        bytes.storeLittle(subject.planTag, at: 28)
        bytes.copy(organization, to: headerBytes)
        bytes.copy(user, to: headerBytes + organization.count)
        guard credits > 0 else { return subject.bytes }
        bytes.storeLittle(credits, at: subject.bytes)
        return subject.bytes + 8
    }
}

/// Closed periods of one shard that wait to be archived, in the order of the journal. Guarded by
/// the shard's lock. It grows as it must: usage that is to be billed is not dropped.
///
/// | offset | bytes | field of an entry |
/// |---|---|---|
/// | 0 | 8 | sequence number of its item in the journal |
/// | 8 | 4 | bytes of the period |
/// | 12 | | `ClosedPeriod` |
struct ClosedQueue {
    static let entryBytes = 12

    private var memory: UnsafeMutableRawPointer?
    private var capacity = 0
    private(set) var bytes = 0
    private(set) var count = 0
    /// The highest sequence number that was given to it.
    private(set) var newest: UInt64 = 0

    mutating func append(_ period: UnsafeRawBufferPointer, sequence: UInt64) {
        let needed = bytes + Self.entryBytes + period.count
        if needed > capacity { grow(to: needed) }
        guard let memory else { return }
        let all = UnsafeMutableRawBufferPointer(start: memory, count: capacity)
        all.storeLittle(sequence, at: bytes)
        all.storeLittle(UInt32(period.count), at: bytes + 8)
        all.copy(period, to: bytes + Self.entryBytes)
        bytes = needed
        count += 1
        newest = max(newest, sequence)
    }

    /// A copy of all that waits.
    var entries: [UInt8] {
        Array(UnsafeRawBufferPointer(start: memory, count: bytes))
    }

    /// Drops what was archived: the first `bytes`, which hold `count` entries.
    mutating func drop(bytes dropped: Int, count droppedCount: Int) {
        precondition(dropped <= bytes && droppedCount <= count)
        if let memory { memmove(memory, memory + dropped, bytes - dropped) }
        bytes -= dropped
        count -= droppedCount
        if bytes == 0 { free() }
    }

    mutating func free() {
        memory?.deallocate()
        memory = nil
        capacity = 0
        bytes = 0
        count = 0
    }

    private mutating func grow(to needed: Int) {
        let larger = max(4_096, max(needed, capacity * 2))
        let made = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
        if let memory {
            made.copyMemory(from: memory, byteCount: bytes)
            memory.deallocate()
        }
        memory = made
        capacity = larger
    }
}
