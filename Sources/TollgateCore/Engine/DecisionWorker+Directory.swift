import Synchronization
import TollgateWire

/// Whom a credential stands for, by the directory as it is.
struct Resolved {
    var principal: Principal
    /// Why it stands for nobody.
    var reason = Reason.none
    /// The first instant from which the directory may say something else by itself.
    var until = Int64.max

    init(_ principal: Principal) { self.principal = principal }
}

extension DecisionWorker {
    var nobody: Principal {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        return Principal(
            user: none, organization: none, isPersonal: false, plan: -1,
            permissions: PermissionSet(), hash: engine.hash)
    }

    /// What the claims of the token just verified mean. A plan that is not defined, or none, is
    /// plan -1.
    func readToken(
        _ policy: PolicyImage, _ claimed: inout Claimed, _ goodUntil: inout Int64
    ) -> Resolved {
        let claims = verifier.claims
        let leeway = policy.issuers.issuer(claims.issuerIndex).leewayMilliseconds
        goodUntil = claims.expirySeconds &* 1_000 &+ leeway
        claimed.kind = .accessToken
        claimed.issuer = Int32(truncatingIfNeeded: claims.issuerIndex)
        let plan =
            claims.hasPlan
            ? policy.plans.find(claims.plan) ?? -1 : policy.defaultPlans[claims.issuerIndex]
        claimed.plan = Int32(truncatingIfNeeded: plan)
        claimed.issued = claims.issuedMilliseconds
        if claims.hasPermissions {
            claimed.hasPermissions = true
            claimed.permissionMode = claims.permissionMode
            for name in claims.permissions {
                if let index = policy.permissions.find(name) { claimed.permissions.insert(index) }
            }
        }
        let organization = claims.hasOrganization ? claims.organization : claims.user
        let tenant = TenantHash(
            organization, isPersonal: !claims.hasOrganization, engine.hash)
        if claims.tokenID.count > 0 {
            claimed.hasToken = true
            claimed.token = SubjectDigest(claims.tokenID, .token, of: tenant.hash, engine.hash)
        }
        if claims.session.count > 0 {
            claimed.hasSession = true
            claimed.session = SubjectDigest(
                claims.session, .session, of: tenant.hash, engine.hash)
        }
        return resolveToken(
            claimed, user: claims.user, organization: organization,
            isPersonal: !claims.hasOrganization, policy)
    }

    func resolveToken(
        _ claimed: Claimed, user: UnsafeRawBufferPointer, organization: UnsafeRawBufferPointer,
        isPersonal: Bool, _ policy: PolicyImage
    ) -> Resolved {
        var resolved = Resolved(
            Principal(
                user: user, organization: organization, isPersonal: isPersonal,
                plan: Int(claimed.plan), permissions: PermissionSet(), hash: engine.hash))
        let issuer = Int(claimed.issuer)
        if engine.directory.isEmpty {
            resolved.principal.isInactive = policy.unknownOrganizations[issuer] == .refuse
        } else {
            resolved.reason = look(
                &resolved, claimed, source: policy.planSources[issuer],
                unknown: policy.unknownOrganizations[issuer], policy)
        }
        let plan = resolved.principal.plan
        var permissions = plan >= 0 ? policy.compiledPlans[plan].permissions : PermissionSet()
        if claimed.hasPermissions {
            switch claimed.permissionMode {
            case .restrict: permissions.formIntersection(claimed.permissions)
            case .grant: permissions.formUnion(claimed.permissions)
            }
        }
        resolved.principal.permissions = permissions
        return resolved
    }

    /// Asks the directory about the principal's user and organization: under one lock, so as they
    /// are at one moment.
    func look(
        _ resolved: inout Resolved, _ claimed: Claimed, source: PlanSource,
        unknown: UnknownOrganizations, _ policy: PolicyImage
    ) -> Reason {
        let tenant = resolved.principal.tenant
        let shard = engine.directory.tenantShard(tenant.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let isToken = claimed.kind == .accessToken
        if isToken, engine.directory.revocations.load(ordering: .relaxed) > 0,
            isRevoked(
                claimed, resolved.principal, tenant, shard,
                skew: policy.clockSkews[Int(claimed.issuer)])
        {
            return .credentialRevoked
        }
        var lists: (user: OverrideList.Reference, shared: OverrideList.Reference) = (0, 0)
        let user = shard.table.pointee.find(resolved.principal.userKey)
        if user != .none {
            let record = shard.table.pointee.row(user).payload(UserRow.self).pointee
            guard record.isActive else { return .credentialRevoked }
            lists.user = record.overrides
        } else if !isToken {
            return .credentialRevoked
        }
        let found = shard.table.pointee.find(resolved.principal.organizationKey)
        guard found != .none else {
            resolved.principal.isInactive = unknown == .refuse
            return .none
        }
        let row = shard.table.pointee.row(found)
        let record = row.payload(OrganizationRow.self).pointee
        lists.shared = record.overrides
        if record.hasSubscription { resolved.principal.calendar = record.calendar }
        resolved.principal.members = record.members(isStranger: user == .none)
        resolved.principal.isInactive =
            !record.isActive || (record.hasSubscription && !record.isServed)
            || (source == .directory && !record.hasSubscription)
        if source != .claims, record.hasSubscription {
            let plan = OrganizationRow.plan(row, at: now.wall)
            resolved.principal.plan = policy.plans.find(plan.name) ?? -1
            resolved.until = plan.until
        }
        addOverrides(lists, to: &resolved, policy, in: overrideScratch)
        return .none
    }

    /// Under the shard's lock. `skew`: what an issuer's clock may be ahead, so that what it issued
    /// before the revocation may say.
    private func isRevoked(
        _ claimed: Claimed, _ principal: Principal, _ tenant: TenantHash, _ shard: Shard,
        skew: Int64
    ) -> Bool {
        func covers(_ found: RevocationRow) -> Bool {
            let (end, overflow) = found.at.addingReportingOverflow(skew)
            return overflow || claimed.issued <= end
        }
        func find(_ kind: RevokedKind, _ digest: SubjectDigest) -> RevocationRow? {
            let handle = withUnsafeBytes(of: digest) {
                shard.table.pointee.find(digest.key(kind, tenant, $0))
            }
            guard handle != .none else { return nil }
            return shard.table.pointee.row(handle).payload(RevocationRow.self).pointee
        }
        if claimed.hasToken, find(.token, claimed.token) != nil { return true }
        if claimed.hasSession, find(.session, claimed.session) != nil { return true }
        let user = SubjectDigest(principal.user, .user, of: tenant.hash, engine.hash)
        if let found = find(.user, user), covers(found) { return true }
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let all = SubjectDigest(none, .organization, of: tenant.hash, engine.hash)
        if let found = find(.organization, all), covers(found) { return true }
        return false
    }

    private func addOverrides(
        _ lists: (user: OverrideList.Reference, shared: OverrideList.Reference),
        to resolved: inout Resolved, _ policy: PolicyImage,
        in set: UnsafeMutablePointer<OverrideSet>
    ) {
        let plan = resolved.principal.plan
        guard plan >= 0, lists.user != 0 || lists.shared != 0 else { return }
        set.pointee = OverrideSet()
        var until = resolved.until
        for (reference, isOfUser) in [(lists.user, true), (lists.shared, false)] {
            _ = withObject(reference, OverrideList.self) { list in
                policy.add(
                    list, ofUser: isOfUser, plan: plan, at: now.wall,
                    to: &set.pointee, until: &until)
            }
        }
        resolved.until = until
        if set.pointee.count > 0 { resolved.principal.overrides = UnsafePointer(set) }
    }

    /// Adds the numbers and the calendar that hold for a subject that was named, not proved.
    /// `overrides`: where the numbers are put, and how long they are valid.
    ///
    /// Inactive is whom nobody serves: the directory does not know the organization, and there is
    /// no issuer whose claims would do.
    func complete(
        _ principal: inout Principal, _ policy: PolicyImage,
        _ overrides: UnsafeMutablePointer<OverrideSet>
    ) {
        principal.isInactive = !policy.servesUnknownOrganizations
        guard !engine.directory.isEmpty else { return }
        var resolved = Resolved(principal)
        let shard = engine.directory.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        var lists: (user: OverrideList.Reference, shared: OverrideList.Reference) = (0, 0)
        let user = shard.table.pointee.find(principal.userKey)
        var isMember = false
        if principal.user.count > 0, user != .none {
            let record = shard.table.pointee.row(user).payload(UserRow.self).pointee
            lists.user = record.overrides
            isMember = record.isActive
        }
        let shared = shard.table.pointee.find(principal.organizationKey)
        if shared != .none {
            let record = shard.table.pointee.row(shared).payload(OrganizationRow.self).pointee
            lists.shared = record.overrides
            principal.isInactive = false
            if record.hasSubscription { principal.calendar = record.calendar }
            principal.members = record.members(isStranger: !isMember)
        }
        addOverrides(lists, to: &resolved, policy, in: overrides)
        principal.overrides = resolved.principal.overrides
    }

    /// The plan that the organization is subscribed to; -1 when the directory knows none.
    func subscribedPlan(_ principal: Principal, _ policy: PolicyImage) -> Int {
        guard !engine.directory.isEmpty else { return -1 }
        let shard = engine.directory.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let found = shard.table.pointee.find(principal.organizationKey)
        guard found != .none else { return -1 }
        let row = shard.table.pointee.row(found)
        guard row.payload(OrganizationRow.self).pointee.hasSubscription else { return -1 }
        return policy.plans.find(OrganizationRow.plan(row, at: now.wall).name) ?? -1
    }
}
