import COpenSSL
import Glibc
import TollgateWire

/// Verified access tokens and who they stand for, so that a token seen again costs a compare
/// instead of a signature. Owned by one worker; emptied when the policy changes.
///
/// An entry answers only for the very same bytes, all of them (stricter than any hash), and only
/// from the moment it was verified until its expiry, judged anew at each use. It is found by 128
/// bits of the token's end, which is its signature: for a token that is not known there is nothing
/// to compare, so how long a compare takes tells nobody anything. Not needed for correctness.
///
/// Sets of four, the tags of a set side by side; memory is taken from the system as entries are
/// first used.
final class PrincipalCache {
    /// Not a power of two, so that the entries' first lines spread over the processor's cache.
    private static let entryBytes = 1_024 + 64
    private static let ways = 4
    private static let setCount = 8_192
    private static let entryCount = ways * setCount
    /// Longer tokens are verified each time.
    private static let tokenBytesMax =
        1_024 - MemoryLayout<Entry>.stride - 2 * WireLimits.identifierBytesMax

    /// Followed in memory by the token, the user and the organization.
    private struct Entry: BitwiseCopyable {
        var goodUntil: Int64
        var verifiedAt: Int64
        var tokenBytes: Int
        var principal: Principal
        /// Where the rows last stood: for `prefetch`, which may miss, never for access.
        var near = Near()
    }

    /// Places of memory that a principal's request reads: its rows, and where they are looked up.
    struct Near: BitwiseCopyable {
        var user: UInt = 0
        var userSlot: UInt = 0
        var organization: UInt = 0
        var organizationSlot: UInt = 0
        var address: UInt = 0
        var addressSlot: UInt = 0
    }

    private let memory: UnsafeMutableRawPointer
    /// By set, then way; 0 is empty.
    private let tags: UnsafeMutablePointer<UInt64>
    /// By set: the way that gives place next.
    private let victims: UnsafeMutablePointer<UInt8>
    /// The entry of the last `find` or `insert`; for `remember`.
    private var current: UnsafeMutablePointer<Entry>?

    init() {
        let bytes = Self.entryCount * Self.entryBytes
        let made = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let made, made != MAP_FAILED else {
            preconditionFailure("out of memory at start")
        }
        memory = made
        // Thousands of entries in turn: small pages would miss the processor's table of pages too.
        _ = madvise(made, bytes, MADV_HUGEPAGE)
        tags = .allocate(capacity: Self.entryCount)
        tags.initialize(repeating: 0, count: Self.entryCount)
        victims = .allocate(capacity: Self.setCount)
        victims.initialize(repeating: 0, count: Self.setCount)
    }

    deinit {
        clear()
        munmap(memory, Self.entryCount * Self.entryBytes)
        tags.deallocate()
        victims.deallocate()
    }

    /// Forgets everything. Tokens are secrets: nothing of them stays behind.
    func clear() {
        current = nil
        for index in 0..<Self.entryCount where tags[index] != 0 {
            explicit_bzero(memory + index &* Self.entryBytes, Self.entryBytes)
            tags[index] = 0
        }
    }

    @inline(__always)
    private func entry(_ index: Int) -> UnsafeMutablePointer<Entry> {
        (memory + index &* Self.entryBytes).assumingMemoryBound(to: Entry.self)
    }

    /// The first entry of a token's set, and its tag, which is never 0.
    @inline(__always)
    private func place(_ token: UnsafeRawBufferPointer) -> (first: Int, tag: UInt64)? {
        guard token.count >= 64, token.count <= Self.tokenBytesMax else { return nil }
        let a = token.loadLittle(at: token.count &- 16, as: UInt64.self)
        let b = token.loadLittle(at: token.count &- 8, as: UInt64.self)
        let mixed = (a ^ (b &<< 32 | b &>> 32)) &* 0x9e37_79b9_7f4a_7c15
        let set = Int(truncatingIfNeeded: mixed &>> 51)
        return (set &* Self.ways, (a ^ (b &* 0xff51_afd7_ed55_8ccd)) | 1)
    }

    @inline(__always)
    private func way(_ first: Int, _ tag: UInt64) -> Int {
        if tags[first] == tag { return first }
        if tags[first &+ 1] == tag { return first &+ 1 }
        if tags[first &+ 2] == tag { return first &+ 2 }
        return tags[first &+ 3] == tag ? first &+ 3 : -1
    }

    @inline(__always)
    func find(
        _ token: UnsafeRawBufferPointer, _ clock: BillingClock.Reading, _ wall: WallTime
    ) -> UnsafePointer<Principal>? {
        current = nil
        guard let (first, tag) = place(token), let bytes = token.baseAddress else { return nil }
        let index = way(first, tag)
        guard index >= 0 else { return nil }
        let entry = entry(index)
        guard entry.pointee.tokenBytes == token.count,
            clock.expiry.milliseconds < entry.pointee.goodUntil,
            wall.milliseconds >= entry.pointee.verifiedAt,
            memcmp(UnsafeRawPointer(entry + 1), bytes, token.count) == 0
        else { return nil }
        current = entry
        return Self.principal(of: entry)
    }

    @inline(__always)
    private static func principal(
        of entry: UnsafeMutablePointer<Entry>
    ) -> UnsafePointer<Principal> {
        // `principal` stands in the entry, which is not moved while the request lasts.
        let offset = MemoryLayout<Entry>.offset(of: \.principal) ?? 0
        return (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: Principal.self)
    }

    /// Remembers; `nil` when the token is too long. What it returns is valid until the worker's
    /// next request.
    func insert(
        _ token: UnsafeRawBufferPointer, _ principal: Principal, goodUntil: Int64,
        verifiedAt: WallTime
    ) -> UnsafePointer<Principal>? {
        guard let (first, tag) = place(token), let bytes = token.baseAddress,
            let user = principal.user.baseAddress,
            let organization = principal.organization.baseAddress
        else { return nil }
        var index = way(first, tag)
        if index < 0 { index = way(first, 0) }
        if index < 0 {
            let set = first / Self.ways
            index = first &+ Int(victims[set] & 3)
            victims[set] &+= 1
        }
        tags[index] = tag
        let entry = entry(index)
        let tokenAt = UnsafeMutableRawPointer(entry + 1)
        let userAt = tokenAt + token.count
        let organizationAt = userAt + principal.user.count
        tokenAt.copyMemory(from: bytes, byteCount: token.count)
        userAt.copyMemory(from: user, byteCount: principal.user.count)
        organizationAt.copyMemory(from: organization, byteCount: principal.organization.count)
        var kept = principal
        kept.user = UnsafeRawBufferPointer(start: userAt, count: principal.user.count)
        kept.organization = UnsafeRawBufferPointer(
            start: organizationAt, count: principal.organization.count)
        entry.initialize(
            to: Entry(
                goodUntil: goodUntil, verifiedAt: verifiedAt.milliseconds,
                tokenBytes: token.count, principal: kept))
        current = entry
        return Self.principal(of: entry)
    }

    /// Notes where the rows of the request's principal stand.
    @inline(__always)
    func remember(user: Row?, userSlot: UInt, organization: Row?, organizationSlot: UInt) {
        guard let current else { return }
        current.pointee.near.user = UInt(bitPattern: user?.base)
        current.pointee.near.userSlot = userSlot
        current.pointee.near.organization = UInt(bitPattern: organization?.base)
        current.pointee.near.organizationSlot = organizationSlot
    }

    /// Notes where the row of the request's address stands.
    @inline(__always)
    func remember(address: Row?, slot: UInt) {
        guard let current else { return }
        current.pointee.near.address = UInt(bitPattern: address?.base)
        current.pointee.near.addressSlot = slot
    }

    // Two steps, one request apart, so that the second finds what the first asked for.

    /// Asks for the lines that `find` will read for a token.
    @inline(__always)
    func prefetchEntry(_ token: UnsafeRawBufferPointer) {
        guard let (first, tag) = place(token) else { return }
        let index = way(first, tag)
        guard index >= 0 else { return }
        let entry = UnsafeRawPointer(entry(index))
        let bytes = MemoryLayout<Entry>.stride &+ token.count
        var offset = 0
        while offset < bytes {
            tg_prefetch(entry + offset)
            offset &+= 64
        }
    }

    /// Asks for the first lines of the rows that a token's request will charge.
    @inline(__always)
    func prefetchRows(_ token: UnsafeRawBufferPointer) {
        guard let (first, tag) = place(token) else { return }
        let index = way(first, tag)
        guard index >= 0 else { return }
        let entry = entry(index)
        let near = entry.pointee.near
        Self.prefetch(near.addressSlot, lines: 1)
        Self.prefetch(near.address, lines: 2)
        Self.prefetch(near.organizationSlot, lines: 1)
        Self.prefetch(near.organization, lines: 2)
        Self.prefetch(near.userSlot, lines: 1)
        Self.prefetch(near.user, lines: 4)
    }

    @inline(__always)
    private static func prefetch(_ address: UInt, lines: Int) {
        guard let place = UnsafeRawPointer(bitPattern: address) else { return }
        for line in 0..<lines { tg_prefetch(place + line &* 64) }
    }
}
