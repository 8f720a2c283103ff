// The plain values that an `IssuerTable` is made of: names are ranges of its pool.

/// A claim to look for, or none (`length` -1).
struct ClaimName: BitwiseCopyable {
    var name: MemberName
    var bytes: ByteRange

    var isMapped: Bool { name.length >= 0 }
}

/// An issuer's rules. Plain bytes: copying it costs no reference counting.
struct CompiledIssuer {
    var issuer: ByteRange
    /// Ranges of `IssuerTable.names`.
    var audiences: Range<Int>
    var types: Range<Int>
    /// Range of `IssuerTable.rolePlans`.
    var rolePlans: Range<Int>
    var leewayMilliseconds: Int64
    var lifetimeMaxSeconds: Int64
    /// The only key, where it has no key id; else -1.
    var keyWithoutID: Int
    var user: ClaimName
    var organization: ClaimName
    var plan: ClaimName
    var roles: ClaimName
    var permissions: ClaimName
    var permissionMode: PermissionClaimMode
}

/// A key's rules. The handle is kept alive by `IssuerTable.ownedKeys`.
struct CompiledKey: BitwiseCopyable {
    var issuer: Int
    /// Empty when it has none.
    var keyID: ByteRange
    var algorithm: TokenAlgorithm
    var handle: OpaquePointer
    /// Empty when it is good for every organization.
    var organization: ByteRange
}

/// Tokens with this role have this plan.
struct RolePlan: BitwiseCopyable {
    var role: ByteRange
    var plan: ByteRange
}
