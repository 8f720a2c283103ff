import COpenSSL
import Glibc
import TollgateWire

/// Verified credentials and who they stand for, so that one seen again costs a digest instead of a
/// signature. Owned by one worker; emptied when the policy changes.
///
/// What the directory said is good while its epoch is the one of the entry and no instant has come
/// at which something of it ends; after that it is looked up anew, without a signature.
///
/// An entry answers only for a credential of the same length and `TokenDigest`, which is over all
/// its bytes, and only from the moment it was verified until its expiry, judged anew at each use.
/// The credential itself is not kept. A set is chosen by 128 bits of its end: of a token its
/// signature, of an API key part of its secret and the check digits. Not needed for correctness.
///
/// Sets of four, the tags of a set side by side; memory is taken from the system as entries are
/// first used.
final class PrincipalCache {
    /// A multiple of 64 and no power of two, so that the entries' first lines spread over the
    /// processor's cache.
    private static let entryBytes = 640
    private static let ways = 4
    private static let setCount = 8_192
    private static let entryCount = ways * setCount

    /// In memory the user and the organization stand behind it.
    struct Entry: BitwiseCopyable {
        var goodUntil: Int64
        var verifiedAt: Int64
        var digest: TokenDigest
        var tokenBytes: Int
        /// What the directory said is good in this epoch, and before this instant.
        var epoch: UInt64
        var resolvedUntil: Int64
        var principal: Principal
        /// Where the rows last stood: hints, to be checked before they are believed.
        var near = Near()
        /// When a use of the key was last noted.
        var notedAt: Int64 = 0
        /// What `principal.overrides` points at is this entry's own.
        var ownsOverrides = false
        var claimed: Claimed
    }

    /// Where a principal's rows stood: hints for a look-up, which checks that the row there is
    /// the one asked for.
    struct Near: BitwiseCopyable {
        var user: RowHint = .none
        var organization: RowHint = .none
        var address: RowHint = .none
        var credential: RowHint = .none
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
    private(set) var current: UnsafeMutablePointer<Entry>?
    private var isUsed = false
    /// Entries that own overrides.
    private var overridesOwned = 0

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
        // Of zeros, and only taken from the system when touched.
        guard let empty = calloc(Self.entryCount, MemoryLayout<UInt64>.stride) else {
            preconditionFailure("out of memory at start")
        }
        tags = empty.assumingMemoryBound(to: UInt64.self)
        victims = .allocate(capacity: Self.setCount)
        victims.initialize(repeating: 0, count: Self.setCount)
    }

    deinit {
        releaseOverrides()
        munmap(memory, Self.entryCount * Self.entryBytes)
        free(tags)
        victims.deallocate()
    }

    /// Forgets everything.
    func clear() {
        current = nil
        guard isUsed else { return }
        releaseOverrides()
        tags.update(repeating: 0, count: Self.entryCount)
        isUsed = false
    }

    private func releaseOverrides() {
        guard overridesOwned > 0 else { return }
        for index in 0..<Self.entryCount where tags[index] != 0 { releaseOverrides(entry(index)) }
    }

    private func releaseOverrides(_ entry: UnsafeMutablePointer<Entry>) {
        guard entry.pointee.ownsOverrides else { return }
        entry.pointee.principal.overrides?.deallocate()
        entry.pointee.principal.overrides = nil
        entry.pointee.ownsOverrides = false
        overridesOwned &-= 1
    }

    @inline(__always)
    private func entry(_ index: Int) -> UnsafeMutablePointer<Entry> {
        (memory + index &* Self.entryBytes).assumingMemoryBound(to: Entry.self)
    }

    /// The first entry of a token's set, and its tag, which is never 0.
    @inline(__always)
    private func place(_ token: UnsafeRawBufferPointer) -> (first: Int, tag: UInt64)? {
        guard token.count >= 48, token.count <= TokenDigestKey.tokenBytesMax else { return nil }
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

    /// The entry of a credential that was verified, has not ended, and is to be judged by its
    /// `epoch` and `resolvedUntil`.
    @inline(__always)
    func find(
        _ token: UnsafeRawBufferPointer, _ clock: BillingClock.Reading, _ wall: WallTime
    ) -> UnsafeMutablePointer<Entry>? {
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
        return entry
    }

    /// Forgets the entry of the last `find` or `insert`, whose credential is refused now.
    func forgetCurrent() {
        guard let current else { return }
        releaseOverrides(current)
        let index = (UnsafeMutableRawPointer(current) - memory) / Self.entryBytes
        tags[index] = 0
        self.current = nil
    }

    @inline(__always)
    static func principal(
        of entry: UnsafeMutablePointer<Entry>
    ) -> UnsafePointer<Principal> {
        // `principal` stands in the entry, which is not moved while the request lasts.
        let offset = MemoryLayout<Entry>.offset(of: \.principal) ?? 0
        return (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: Principal.self)
    }

    /// Remembers; `nil` when the token is too long. What it returns is valid until the worker's
    /// next request.
    func insert(
        _ token: UnsafeRawBufferPointer, _ resolved: Resolved, _ claimed: Claimed,
        goodUntil: Int64, verifiedAt: WallTime, epoch: UInt64
    ) -> UnsafePointer<Principal>? {
        let principal = resolved.principal
        guard let (first, tag) = place(token), let user = principal.user.baseAddress,
            let organization = principal.organization.baseAddress,
            principal.user.count <= WireLimits.identifierBytesMax,
            principal.organization.count <= WireLimits.identifierBytesMax
        else { return nil }
        var index = way(first, tag)
        if index < 0 { index = way(first, 0) }
        if index < 0 {
            let set = first / Self.ways
            index = first &+ Int(victims[set] & 3)
            victims[set] &+= 1
        }
        let entry = entry(index)
        if tags[index] != 0 { releaseOverrides(entry) }
        tags[index] = tag
        isUsed = true
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
                digest: key.digest(token), tokenBytes: token.count, epoch: epoch,
                resolvedUntil: resolved.until, principal: kept, claimed: claimed))
        current = entry
        adopt(resolved, entry)
        return Self.principal(of: entry)
    }

    /// What the directory says now of the principal of the last `find`. Allocates when some limits
    /// have other numbers for it.
    func update(_ resolved: Resolved, epoch: UInt64) {
        guard let entry = current else { return }
        releaseOverrides(entry)
        var principal = resolved.principal
        // The names are the same, and stand here.
        principal.user = entry.pointee.principal.user
        principal.organization = entry.pointee.principal.organization
        entry.pointee.principal = principal
        entry.pointee.epoch = epoch
        entry.pointee.resolvedUntil = resolved.until
        adopt(resolved, entry)
    }

    /// Gives the entry what its principal points at.
    private func adopt(_ resolved: Resolved, _ entry: UnsafeMutablePointer<Entry>) {
        let offset = MemoryLayout<Entry>.offset(of: \.claimed.key) ?? 0
        entry.pointee.principal.keyID =
            entry.pointee.claimed.kind == .apiKey
            ? (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: APIKeyID.self) : nil
        guard let overrides = resolved.principal.overrides else { return }
        let own = UnsafeMutablePointer<OverrideSet>.allocate(capacity: 1)
        own.initialize(to: overrides.pointee)
        entry.pointee.principal.overrides = UnsafePointer(own)
        entry.pointee.ownsOverrides = true
        overridesOwned &+= 1
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
        // The names.
        tg_prefetch(entry + MemoryLayout<Entry>.stride)
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
        entry.pointee.near.credential.prefetch(lines: 2)
    }
}
