import Synchronization
import TollgateWire

/// What the directory's thread publishes, once it is on the disk. In force when it returns.
extension DirectoryImage {
    package func put(_ organization: OrganizationEntry) {
        let plan = Array((organization.subscription?.plan ?? "").utf8)
        let isPending =
            organization.subscription?.pendingPlan != nil
            && organization.subscription?.pendingAt != nil
        let pending = isPending ? Array((organization.subscription?.pendingPlan ?? "").utf8) : []
        precondition(plan.count <= 255 && pending.count <= 255)
        var record = OrganizationRow(
            isActive: organization.isActive, hasSubscription: organization.subscription != nil,
            isServed: organization.subscription?.isServed ?? false,
            calendar: organization.subscription.map { calendars.number(of: $0.calendar) } ?? 0,
            planBytes: UInt8(plan.count), pendingBytes: UInt8(pending.count),
            pendingAt: organization.subscription?.pendingAt?.milliseconds ?? .max,
            overrides: OverrideList.make(organization.overrides))
        withTenant(organization.id, organization.isPersonal) { tenant, id in
            put(
                tenant.organizationKey(id), in: tenantShard(tenant.hash),
                bytes: MemoryLayout<OrganizationRow>.stride + plan.count + pending.count,
                organizations,
                replacing: { old in
                    let before = old.payload(OrganizationRow.self).pointee
                    record.memberCount = before.memberCount
                    record.joinedCount = before.joinedCount
                }
            ) { row in
                row.payload(OrganizationRow.self).initialize(to: record)
                Self.copy(
                    plan + pending, behind: MemoryLayout<OrganizationRow>.stride, of: row)
            }
        }
    }

    package func put(_ user: UserEntry) {
        let record = UserRow(
            isActive: user.isActive, overrides: OverrideList.make(user.overrides))
        withTenant(user.organization, user.isPersonal) { tenant, organization in
            let shard = tenantShard(tenant.hash)
            var wasActive = false
            Self.withBytes(user.id) { id in
                put(
                    tenant.userKey(id, hash), in: shard, bytes: MemoryLayout<UserRow>.stride,
                    users,
                    replacing: { wasActive = $0.payload(UserRow.self).pointee.isActive }
                ) {
                    $0.payload(UserRow.self).initialize(to: record)
                    Self.countMember(
                        of: tenant.organizationKey(organization), in: shard,
                        from: wasActive, to: record.isActive)
                }
            }
        }
    }

    /// An organization has a member more, or less. Under the shard's lock.
    private static func countMember(
        of organization: RowKey, in shard: Shard, from: Bool, to isActive: Bool
    ) {
        let handle = shard.table.pointee.find(organization)
        guard handle != .none, from != isActive else { return }
        let record = shard.table.pointee.row(handle).payload(OrganizationRow.self)
        if isActive {
            record.pointee.memberCount &+= 1
            record.pointee.joinedCount &+= 1
        } else if record.pointee.memberCount > 0 {
            record.pointee.memberCount &-= 1
        }
    }

    package func put(_ key: APIKeyEntry) {
        let names = (Array(key.organization.utf8), Array(key.user.utf8))
        precondition(names.0.count <= 255 && names.1.count <= 255)
        let record = KeyRow(
            digest: key.digest, expires: key.expires?.milliseconds ?? .max,
            lastUsed: key.lastUsed?.milliseconds ?? 0, details: KeyDetails.make(key),
            pepper: key.pepper, organizationBytes: UInt8(names.0.count),
            userBytes: UInt8(names.1.count), isPersonal: key.isPersonal, isRevoked: key.isRevoked)
        withUnsafeBytes(of: key.id) { id in
            let rowKey = keyKey(id)
            put(
                rowKey, in: keyShard(rowKey.hash),
                bytes: MemoryLayout<KeyRow>.stride + names.0.count + names.1.count, keys
            ) { row in
                row.payload(KeyRow.self).initialize(to: record)
                Self.copy(names.0 + names.1, behind: MemoryLayout<KeyRow>.stride, of: row)
            }
        }
    }

    package func put(_ revocation: RevocationEntry) {
        let record = RevocationRow(
            at: revocation.at.milliseconds, expires: revocation.expires.milliseconds)
        withRevocation(
            revocation.kind, revocation.organization, revocation.isPersonal, revocation.subject
        ) { tenant, key in
            put(
                key, in: tenantShard(tenant.hash), bytes: MemoryLayout<RevocationRow>.stride,
                revocations
            ) { $0.payload(RevocationRow.self).initialize(to: record) }
        }
    }

    /// Takes out an organization with its users and keys. Linear in the directory.
    package func removeOrganization(_ id: String, isPersonal: Bool) {
        withTenant(id, isPersonal) { tenant, id in
            let shard = tenantShard(tenant.hash)
            // First the organization: without it none of its keys is good.
            remove(tenant.organizationKey(id), in: shard, organizations)
            _ = removeAll(in: shard, users) {
                $0.kind == RowKind.user.rawValue && tenant.owns($0, hash)
            }
            removeKeys { row in Self.isOf(id, isPersonal: isPersonal, row) }
        }
        raiseEpoch()
    }

    /// Takes out a user with its keys. Linear in the directory.
    package func removeUser(_ id: String, organization: String, isPersonal: Bool) {
        withTenant(organization, isPersonal) { tenant, organization in
            Self.withBytes(id) { user in
                let shard = tenantShard(tenant.hash)
                remove(tenant.userKey(user, hash), in: shard, users) { row in
                    Self.countMember(
                        of: tenant.organizationKey(organization), in: shard,
                        from: row.payload(UserRow.self).pointee.isActive, to: false)
                }
                removeKeys { row in
                    Self.isOf(organization, isPersonal: isPersonal, row)
                        && equalBytes(KeyRow.user(row), user)
                }
            }
        }
        raiseEpoch()
    }

    package func removeKey(_ id: APIKeyID) {
        withUnsafeBytes(of: id) { bytes in
            let key = keyKey(bytes)
            remove(key, in: keyShard(key.hash), keys)
        }
    }

    /// Marks the keys of a user, or of the whole organization, as revoked. Linear in the directory.
    package func revokeKeys(organization: String, isPersonal: Bool, user: String?) {
        Self.withBytes(organization) { organization in
            Self.withBytes(user ?? "") { named in
                for index in 0..<Self.shardCount {
                    let shard = shard(Self.shardCount + index)
                    shard.lock.pointee.lock()
                    shard.table.pointee.forEach { row in
                        guard Self.isOf(organization, isPersonal: isPersonal, row),
                            user == nil || equalBytes(KeyRow.user(row), named)
                        else { return }
                        row.payload(KeyRow.self).pointee.isRevoked = true
                    }
                    shard.lock.pointee.unlock()
                }
            }
        }
        raiseEpoch()
    }

    /// Takes out what no live token can meet any more; how many. Nothing becomes good by it, so
    /// nobody has to look again.
    package func forgetRevocations(expiredAt now: WallTime) -> Int {
        guard revocations.load(ordering: .relaxed) > 0 else { return 0 }
        return (0..<Self.shardCount).reduce(0) { sum, index in
            sum
                + removeAll(in: shard(index), revocations) { row in
                    RevokedKind.of(row) != nil
                        && row.payload(RevocationRow.self).pointee.expires <= now.milliseconds
                }
        }
    }

    private func removeKeys(where isGone: (Row) -> Bool) {
        for index in 0..<Self.shardCount {
            _ = removeAll(in: shard(Self.shardCount + index), keys, where: isGone)
        }
    }

    private static func isOf(
        _ organization: UnsafeRawBufferPointer, isPersonal: Bool, _ row: Row
    ) -> Bool {
        row.payload(KeyRow.self).pointee.isPersonal == isPersonal
            && equalBytes(KeyRow.organization(row), organization)
    }

    private static func copy(_ bytes: [UInt8], behind offset: Int, of row: Row) {
        bytes.withUnsafeBytes { source in
            guard let from = source.baseAddress else { return }
            (row.counters + offset).copyMemory(from: from, byteCount: source.count)
        }
    }

    static func withBytes<R>(_ text: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        var text = text
        return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }

    private func withTenant(
        _ organization: String, _ isPersonal: Bool,
        _ body: (TenantHash, UnsafeRawBufferPointer) -> Void
    ) {
        Self.withBytes(organization) { id in
            body(TenantHash(id, isPersonal: isPersonal, hash), id)
        }
    }

    private func withRevocation(
        _ kind: RevokedKind, _ organization: String, _ isPersonal: Bool, _ subject: String,
        _ body: (TenantHash, RowKey) -> Void
    ) {
        withTenant(organization, isPersonal) { tenant, _ in
            Self.withBytes(kind == .organization ? "" : subject) { subject in
                let digest = SubjectDigest(subject, kind, of: tenant.hash, hash)
                withUnsafeBytes(of: digest) { body(tenant, digest.key(kind, tenant, $0)) }
            }
        }
    }
}

extension DirectoryImage {
    /// What a key's row is looked up by; `id` is borrowed.
    @inline(__always)
    func keyKey(_ id: UnsafeRawBufferPointer) -> RowKey {
        RowKey(
            kind: .key, owner: 0, id: id,
            hash: hash.hash(id, tweak: UInt64(RowKind.key.rawValue)))
    }
}

extension RevokedKind {
    var rowKind: RowKind {
        switch self {
        case .token: .revokedToken
        case .session: .revokedSession
        case .user: .revokedUser
        case .organization: .revokedOrganization
        }
    }

    static func of(_ row: Row) -> RevokedKind? {
        allCases.first { $0.rowKind.rawValue == row.kind }
    }
}

/// The subject of a revocation, in 128 bits of two keyed hashes: what workers keep of a token's
/// `jti` and `sid`, however long they are. Nobody outside can make two that agree.
struct SubjectDigest: BitwiseCopyable, Equatable {
    var first: UInt64 = 0
    var second: UInt64 = 0

    init() {}

    init(
        _ subject: UnsafeRawBufferPointer, _ kind: RevokedKind, of organization: UInt64,
        _ keyed: KeyedHash
    ) {
        let tweak = organization ^ (UInt64(kind.rowKind.rawValue) &<< 48)
        first = keyed.hash(subject, tweak: tweak)
        second = keyed.hash(subject, tweak: ~tweak)
    }

    /// `bytes` are this digest's own, borrowed.
    func key(_ kind: RevokedKind, _ tenant: TenantHash, _ bytes: UnsafeRawBufferPointer) -> RowKey {
        RowKey(kind: kind.rowKind, owner: tenant.fingerprint, id: bytes, hash: first)
    }
}
