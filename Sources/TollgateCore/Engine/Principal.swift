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
    /// Members of the organization, by the directory.
    var members = PoolMembers()
    /// Of the subscription, in `DirectoryImage.calendars`; 0: the policy's.
    var calendar: UInt16 = 0
    /// The organization is suspended, or has no subscription that is served.
    var isInactive = false
    /// The key's own limit is of `KeyWindows` this one; -1: it has none.
    var keyWindow: Int8 = -1
    /// The key is good from some addresses only: asked at each use.
    var hasAddressList = false
    var keyUnits: UInt64 = 0
    var keyHash: UInt64 = 0
    /// Of an API key; lives as long as the principal.
    var keyID: UnsafePointer<APIKeyID>?
    /// Other numbers for some limits; `nil`: none.
    var overrides: UnsafePointer<OverrideSet>?
    var organizationHash: UInt64
    var fingerprint: UInt32
    var userHash: UInt64

    @inline(__always)
    var organizationKey: RowKey {
        RowKey(
            kind: isPersonal ? .personalOrganization : .organization, owner: 0, id: organization,
            hash: organizationHash)
    }

    /// Of the row of the key's own counters.
    var credentialKey: RowKey {
        RowKey(
            kind: .credential, owner: fingerprint,
            id: UnsafeRawBufferPointer(start: keyID, count: keyID == nil ? 0 : APIKeyID.bytes),
            hash: keyHash)
    }

    var tenant: TenantHash {
        TenantHash(
            kind: isPersonal ? .personalOrganization : .organization, hash: organizationHash,
            fingerprint: fingerprint)
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
