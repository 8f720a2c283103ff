/// Who calls: a verified credential's identity and rights under one policy, with everything the
/// tenant stage looks up by. The views borrow memory that lives as long as the request.
struct Principal: BitwiseCopyable {
    var user: UnsafeRawBufferPointer
    var organization: UnsafeRawBufferPointer
    /// The organization is the user's own.
    var isPersonal: Bool
    var plan: Int
    /// What the plan grants, narrowed or widened by the credential.
    var permissions: PermissionSet
    var organizationHash: UInt64
    var fingerprint: UInt32
    var userHash: UInt64

    @inline(__always)
    var organizationKey: RowKey {
        RowKey(
            kind: isPersonal ? .personalOrganization : .organization, owner: 0, id: organization,
            hash: organizationHash)
    }

    @inline(__always)
    var userKey: RowKey { RowKey(kind: .user, owner: fingerprint, id: user, hash: userHash) }

    /// Fills in the hashes of an identity.
    init(
        user: UnsafeRawBufferPointer, organization: UnsafeRawBufferPointer, isPersonal: Bool,
        plan: Int, permissions: PermissionSet, hash: KeyedHash
    ) {
        self.user = user
        self.organization = organization
        self.isPersonal = isPersonal
        self.plan = plan
        self.permissions = permissions
        let kind: RowKind = isPersonal ? .personalOrganization : .organization
        let wide = hash.wideHash(organization, tweak: UInt64(kind.rawValue))
        organizationHash = wide.hash
        fingerprint = wide.fingerprint
        userHash = user.count == 0 ? 0 : hash.hash(user, tweak: wide.hash)
    }
}
