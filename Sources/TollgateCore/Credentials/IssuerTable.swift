import Synchronization
import TollgateWire

/// Who may mint tokens, compiled for the check path. Immutable: part of a policy image, shared by
/// all threads, replaced as a whole by a reload.
package final class IssuerTable: Sendable {
    package static let issuersMax = 1_024
    package static let keysMax = 16_384
    package static let keyIDBytesMax = 128
    package static let leewaySecondsMax: Int64 = 60
    /// Ten years: no deployment needs more, and sums with it stay small.
    package static let lifetimeSecondsCeiling: Int64 = 315_360_000
    /// Bytes of an issuer, an audience, a type, a claim's name.
    package static let nameBytesMax = 1_024

    /// Never given twice in a process: what was learned under another table is not used with this.
    let id: UInt64
    // Written once in init, read-only until deinit: safe to share.
    private nonisolated(unsafe) let pool: UnsafeMutableRawPointer
    private nonisolated(unsafe) let compiledIssuers: UnsafeMutableBufferPointer<CompiledIssuer>
    private nonisolated(unsafe) let compiledKeys: UnsafeMutableBufferPointer<CompiledKey>
    private nonisolated(unsafe) let names: UnsafeMutableBufferPointer<ByteRange>
    private nonisolated(unsafe) let rolePlans: UnsafeMutableBufferPointer<RolePlan>
    /// Open addressing over the hash of issuer and key id, at most half full; -1 is free.
    private nonisolated(unsafe) let keySlots: UnsafeMutableBufferPointer<Int32>
    private let ownedKeys: [HMACKey]

    private static let lastID = Atomic<UInt64>(0)

    /// Checks and compiles. The order of `definitions` is that of `TokenClaims.issuerIndex`.
    package init(_ definitions: [IssuerDefinition]) throws(IssuerTableError) {
        var builder = IssuerTableBuilder()
        try builder.add(definitions)
        id = Self.lastID.add(1, ordering: .relaxed).newValue
        pool = .allocate(byteCount: max(builder.pool.count, 1), alignment: 16)
        builder.pool.withUnsafeBytes { [pool] in
            UnsafeMutableRawBufferPointer(start: pool, count: $0.count).copyMemory(from: $0)
        }
        compiledIssuers = Self.copied(builder.issuers)
        compiledKeys = Self.copied(builder.keys)
        names = Self.copied(builder.names)
        rolePlans = Self.copied(builder.rolePlans)
        keySlots = Self.copied(builder.keySlots())
        ownedKeys = builder.ownedKeys
    }

    deinit {
        pool.deallocate()
        compiledIssuers.deallocate()
        compiledKeys.deallocate()
        names.deallocate()
        rolePlans.deallocate()
        keySlots.deallocate()
    }

    private static func copied<T>(_ array: [T]) -> UnsafeMutableBufferPointer<T> {
        let buffer = UnsafeMutableBufferPointer<T>.allocate(capacity: array.count)
        _ = buffer.initialize(from: array)
        return buffer
    }

    package var count: Int { compiledIssuers.count }

    // Indices below come from this table itself and are in range (trapped in debug builds by the
    // buffers, and never taken from a peer).

    @inline(__always)
    func issuer(_ index: Int) -> CompiledIssuer { compiledIssuers[index] }
    @inline(__always)
    func key(_ index: Int) -> CompiledKey { compiledKeys[index] }
    @inline(__always)
    func name(_ index: Int) -> UnsafeRawBufferPointer { view(names[index]) }
    @inline(__always)
    func rolePlan(_ index: Int) -> RolePlan { rolePlans[index] }

    @inline(__always)
    func view(_ range: ByteRange) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: pool + Int(range.offset), count: Int(range.length))
    }

    /// The issuer with exactly that `iss`. Linear: issuers are few, and the usual one is remembered
    /// by `HeaderMemo`.
    func findIssuer(_ value: UnsafeRawBufferPointer) -> Int? {
        for index in 0..<compiledIssuers.count
        where equalBytes(view(compiledIssuers[index].issuer), value) {
            return index
        }
        return nil
    }

    /// The issuer's key with exactly that key id; without one, the only key if it has none either.
    func findKey(issuer: Int, keyID: UnsafeRawBufferPointer?) -> Int? {
        guard let keyID else {
            let only = compiledIssuers[issuer].keyWithoutID
            return only >= 0 ? only : nil
        }
        let mask = keySlots.count &- 1
        var slot = Self.slot(issuer, keyID, mask)
        while keySlots[slot] >= 0 {
            let index = Int(keySlots[slot])
            if compiledKeys[index].issuer == issuer,
                equalBytes(view(compiledKeys[index].keyID), keyID)
            {
                return index
            }
            slot = (slot &+ 1) & mask
        }
        return nil
    }

    /// FNV-1a. Key ids in the table are the operator's; a peer's only look up.
    static func slot(_ issuer: Int, _ keyID: UnsafeRawBufferPointer, _ mask: Int) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(truncatingIfNeeded: issuer)
        for byte in keyID { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        return Int(truncatingIfNeeded: hash ^ (hash &>> 32)) & mask
    }
}
