import COpenSSL
import Glibc
import TollgateWire

/// Verified access tokens and who they stand for, so that a token seen again costs a digest
/// instead of a signature. Owned by one worker; emptied when the policy changes.
///
/// An entry answers only for a token of the same length and `TokenDigest`, which is over all its
/// bytes, and only from the moment it was verified until its expiry, judged anew at each use. The
/// token itself is not kept. A set is chosen by 128 bits of the token's end, which is its
/// signature. Not needed for correctness.
///
/// Sets of four, the tags of a set side by side; memory is taken from the system as entries are
/// first used.
final class PrincipalCache {
    /// A multiple of 64 and no power of two, so that the entries' first lines spread over the
    /// processor's cache.
    private static let entryBytes = 448
    private static let ways = 4
    private static let setCount = 8_192
    private static let entryCount = ways * setCount

    /// Followed in memory by the user and the organization.
    private struct Entry: BitwiseCopyable {
        var goodUntil: Int64
        var verifiedAt: Int64
        var digest: TokenDigest
        var tokenBytes: Int
        /// Where the rows last stood: hints, to be checked before they are believed.
        var near = Near()
        var principal: Principal
    }

    /// Where a principal's rows stood: hints for a look-up, which checks that the row there is
    /// the one asked for.
    struct Near: BitwiseCopyable {
        var user: RowHint = .none
        var organization: RowHint = .none
        var address: RowHint = .none
        /// The address that it is the row of; its hash also names the shard.
        var addressHash: UInt64 = 0
    }

    private let memory: UnsafeMutableRawPointer
    private let key: TokenDigestKey
    /// By set, then way; 0 is empty.
    private let tags: UnsafeMutablePointer<UInt64>
    /// By set: the way that gives place next.
    private let victims: UnsafeMutablePointer<UInt8>
    /// The entry of the last `find` or `insert`; for `near`.
    private var current: UnsafeMutablePointer<Entry>?

    init(_ hash: KeyedHash) {
        precondition(
            MemoryLayout<Entry>.stride + 2 * WireLimits.identifierBytesMax <= Self.entryBytes)
        key = TokenDigestKey(hash)
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
        munmap(memory, Self.entryCount * Self.entryBytes)
        tags.deallocate()
        victims.deallocate()
    }

    /// Forgets everything.
    func clear() {
        current = nil
        tags.update(repeating: 0, count: Self.entryCount)
    }

    @inline(__always)
    private func entry(_ index: Int) -> UnsafeMutablePointer<Entry> {
        (memory + index &* Self.entryBytes).assumingMemoryBound(to: Entry.self)
    }

    /// The first entry of a token's set, and its tag, which is never 0.
    @inline(__always)
    private func place(_ token: UnsafeRawBufferPointer) -> (first: Int, tag: UInt64)? {
        guard token.count >= 64, token.count <= TokenDigestKey.tokenBytesMax else { return nil }
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
        guard let (first, tag) = place(token) else { return nil }
        let index = way(first, tag)
        guard index >= 0 else { return nil }
        let entry = entry(index)
        guard entry.pointee.tokenBytes == token.count,
            clock.expiry.milliseconds < entry.pointee.goodUntil,
            wall.milliseconds >= entry.pointee.verifiedAt,
            key.digest(token) == entry.pointee.digest
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
        guard let (first, tag) = place(token), let user = principal.user.baseAddress,
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
        let userAt = UnsafeMutableRawPointer(entry + 1)
        let organizationAt = userAt + principal.user.count
        userAt.copyMemory(from: user, byteCount: principal.user.count)
        organizationAt.copyMemory(from: organization, byteCount: principal.organization.count)
        var kept = principal
        kept.user = UnsafeRawBufferPointer(start: userAt, count: principal.user.count)
        kept.organization = UnsafeRawBufferPointer(
            start: organizationAt, count: principal.organization.count)
        entry.initialize(
            to: Entry(
                goodUntil: goodUntil, verifiedAt: verifiedAt.milliseconds,
                digest: key.digest(token), tokenBytes: token.count, principal: kept))
        current = entry
        return Self.principal(of: entry)
    }

    /// Where the rows of the request's principal stood; `nil` when it is not remembered. Valid
    /// until the worker's next request.
    @inline(__always)
    var near: UnsafeMutablePointer<Near>? {
        guard let current else { return nil }
        let offset = MemoryLayout<Entry>.offset(of: \.near) ?? 0
        return (UnsafeMutableRawPointer(current) + offset).assumingMemoryBound(to: Near.self)
    }

    // Three steps, a request or more apart, so that each finds what the one before asked for.

    /// Asks for the tags that a token is looked up among.
    @inline(__always)
    func prefetchTags(_ token: UnsafeRawBufferPointer) {
        guard let (first, _) = place(token) else { return }
        tg_prefetch(tags + first)
    }

    /// Asks for the lines that `find` will read for a token.
    @inline(__always)
    func prefetchEntry(_ token: UnsafeRawBufferPointer) {
        guard let (first, tag) = place(token) else { return }
        let index = way(first, tag)
        guard index >= 0 else { return }
        let entry = UnsafeRawPointer(entry(index))
        tg_prefetch(entry)
        tg_prefetch(entry + 64)
        tg_prefetch(entry + 128)
        tg_prefetch(entry + 192)
    }

    /// Asks for the first lines of the rows that a token's request will charge.
    @inline(__always)
    func prefetchRows(_ token: UnsafeRawBufferPointer) {
        guard let (first, tag) = place(token) else { return }
        let index = way(first, tag)
        guard index >= 0 else { return }
        let entry = entry(index)
        entry.pointee.near.address.prefetch(lines: 3)
        entry.pointee.near.organization.prefetch(lines: 3)
        entry.pointee.near.user.prefetch(lines: 4)
    }
}
