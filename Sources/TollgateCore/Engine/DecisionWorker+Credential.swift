import Synchronization
import TollgateWire

extension DecisionWorker {
    /// Who the credential says calls, or `nil` with the reason set.
    @inline(__always)
    func authenticate(
        _ request: CheckRequest, _ address: AddressKey?, _ binding: PolicyBinding,
        _ decision: inout Decision
    ) -> UnsafePointer<Principal>? {
        guard request.credentialKind != .none else {
            decision.reason = .credentialMissing
            return nil
        }
        // First what is known to be good: who shares an address with a guesser is not locked out.
        if request.credentialKind == .accessToken,
            let known = cache.find(request.credential, clock, now.wall)
        {
            return known
        }
        if let address, isInvalidCredentialLimited(address, binding, &decision) { return nil }
        let reason = verify(request, binding.policy)
        guard reason == .none else {
            decision.reason = reason
            if request.flags & RequestFlags.dryRun == 0 {
                recordInvalidCredential(address, binding)
            }
            return nil
        }
        scratch.pointee = resolve(binding.policy)
        guard scratch.pointee.plan >= 0 else { return UnsafePointer(scratch) }
        let leeway = binding.policy.issuers.issuer(verifier.claims.issuerIndex).leewayMilliseconds
        return cache.insert(
            request.credential, scratch.pointee,
            goodUntil: verifier.claims.expirySeconds &* 1_000 &+ leeway, verifiedAt: now.wall)
            ?? UnsafePointer(scratch)
    }

    private func verify(_ request: CheckRequest, _ policy: PolicyImage) -> Reason {
        guard request.credentialKind == .accessToken else { return .credentialKindUnsupported }
        guard request.credential.count <= policy.credentialBytesMax else {
            return .credentialMalformed
        }
        return verifier.verify(
            request.credential, issuers: policy.issuers, expiryNow: clock.expiry,
            notBeforeNow: now.wall)
    }

    /// What the claims of the token just verified mean under the policy. A plan that is not
    /// defined, or none, gives plan -1.
    private func resolve(_ policy: PolicyImage) -> Principal {
        let claims = verifier.claims
        let plan =
            claims.hasPlan
            ? policy.plans.find(claims.plan) ?? -1 : policy.defaultPlans[claims.issuerIndex]
        var permissions = PermissionSet()
        if plan >= 0 { permissions = policy.compiledPlans[plan].permissions }
        if claims.hasPermissions {
            var claimed = PermissionSet()
            for name in claims.permissions {
                if let index = policy.permissions.find(name) { claimed.insert(index) }
            }
            switch claims.permissionMode {
            case .restrict: permissions.formIntersection(claimed)
            case .grant: permissions.formUnion(claimed)
            }
        }
        return Principal(
            user: claims.user,
            organization: claims.hasOrganization ? claims.organization : claims.user,
            isPersonal: !claims.hasOrganization, plan: plan, permissions: permissions,
            hash: engine.hash)
    }
}

extension DecisionWorker {
    /// Begins to bring near what the check of `body` will read: call it three requests ahead.
    @inline(__always)
    package func prefetchTags(_ body: UnsafeRawBufferPointer) {
        if let token = Self.token(of: body) { cache.prefetchTags(token) }
    }

    /// The same for the credential's entry: call it two requests ahead.
    @inline(__always)
    package func prefetchCredential(_ body: UnsafeRawBufferPointer) {
        if let token = Self.token(of: body) { cache.prefetchEntry(token) }
    }

    /// The same for the rows that it will charge: call it one request ahead.
    @inline(__always)
    package func prefetchRows(_ body: UnsafeRawBufferPointer) {
        if let token = Self.token(of: body) { cache.prefetchRows(token) }
    }

    /// The access token of a CHECK that may or may not be well-formed.
    @inline(__always)
    private static func token(of body: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard body.count > BodyBytes.checkRequest, body[0] == CredentialKind.accessToken.rawValue
        else { return nil }
        let bytes = Int(body.loadLittle(at: 6, as: UInt16.self))
        guard body.count &- BodyBytes.checkRequest >= bytes else { return nil }
        return body.slice(at: BodyBytes.checkRequest, length: bytes)
    }
}
