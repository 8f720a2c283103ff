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
/// Direct-mapped; memory is taken from the system as entries are first used.
final class PrincipalCache {
    private static let entryBytes = 1_024
    private static let entryCount = 16_384
    /// Longer tokens are verified each time.
    private static let tokenBytesMax =
        entryBytes - MemoryLayout<Entry>.stride - 2 * WireLimits.identifierBytesMax

    /// Followed in memory by the token, the user and the organization.
    private struct Entry: BitwiseCopyable {
        var tag: UInt64
        var goodUntil: Int64
        var verifiedAt: Int64
        /// Which life of the cache it belongs to; others are empty.
        var era: UInt32
        var tokenBytes: UInt16
        var userBytes: UInt8
        var organizationBytes: UInt8
        var principal: Principal
    }

    private let memory: UnsafeMutableRawPointer
    private var era: UInt32 = 1

    init() {
        guard let memory = calloc(Self.entryCount, Self.entryBytes) else {
            preconditionFailure("out of memory at start")
        }
        self.memory = memory
    }

    deinit {
        tg_clear()
        free(memory)
    }

    private func tg_clear() {
        // Tokens are secrets: nothing of them stays behind in freed memory.
        for index in 0..<Self.entryCount {
            let entry = memory + index &* Self.entryBytes
            if entry.load(as: Entry.self).era != 0 { explicit_bzero(entry, Self.entryBytes) }
        }
    }

    /// Forgets everything.
    func clear() {
        tg_clear()
        era &+= 1
        if era == 0 { era = 1 }
    }

    @inline(__always)
    private func slot(_ token: UnsafeRawBufferPointer) -> (UnsafeMutableRawPointer, UInt64)? {
        guard token.count >= 64, token.count <= Self.tokenBytesMax else { return nil }
        let a = token.loadLittle(at: token.count &- 16, as: UInt64.self)
        let b = token.loadLittle(at: token.count &- 8, as: UInt64.self)
        let mixed = (a ^ (b &<< 32 | b &>> 32)) &* 0x9e37_79b9_7f4a_7c15
        let index = Int(truncatingIfNeeded: mixed &>> 50)
        return (memory + index &* Self.entryBytes, a ^ (b &* 0xff51_afd7_ed55_8ccd))
    }

    @inline(__always)
    func find(
        _ token: UnsafeRawBufferPointer, _ clock: BillingClock.Reading, _ wall: WallTime
    ) -> Principal? {
        guard let (place, tag) = slot(token), let bytes = token.baseAddress else { return nil }
        let entry = place.assumingMemoryBound(to: Entry.self)
        guard entry.pointee.tag == tag, entry.pointee.era == era,
            Int(entry.pointee.tokenBytes) == token.count,
            clock.expiry.milliseconds < entry.pointee.goodUntil,
            wall.milliseconds >= entry.pointee.verifiedAt,
            memcmp(place + MemoryLayout<Entry>.stride, bytes, token.count) == 0
        else { return nil }
        return entry.pointee.principal
    }

    /// Remembers, and returns the principal with views into the cache's own memory: valid until
    /// the worker's next request. Tokens too long are handed back as they are.
    func insert(
        _ token: UnsafeRawBufferPointer, _ principal: Principal, goodUntil: Int64,
        verifiedAt: WallTime
    ) -> Principal {
        guard let (place, tag) = slot(token), let bytes = token.baseAddress,
            let user = principal.user.baseAddress,
            let organization = principal.organization.baseAddress
        else { return principal }
        let tokenAt = place + MemoryLayout<Entry>.stride
        let userAt = tokenAt + token.count
        let organizationAt = userAt + principal.user.count
        tokenAt.copyMemory(from: bytes, byteCount: token.count)
        userAt.copyMemory(from: user, byteCount: principal.user.count)
        organizationAt.copyMemory(from: organization, byteCount: principal.organization.count)
        var kept = principal
        kept.user = UnsafeRawBufferPointer(start: userAt, count: principal.user.count)
        kept.organization = UnsafeRawBufferPointer(
            start: organizationAt, count: principal.organization.count)
        let entry = Entry(
            tag: tag, goodUntil: goodUntil, verifiedAt: verifiedAt.milliseconds, era: era,
            tokenBytes: UInt16(token.count), userBytes: UInt8(truncatingIfNeeded: kept.user.count),
            organizationBytes: UInt8(truncatingIfNeeded: kept.organization.count), principal: kept)
        place.storeBytes(of: entry, as: Entry.self)
        return kept
    }
}
