import Synchronization
import TollgateWire

extension DecisionWorker {
    /// Who the credential says calls, or `nil` with the reason set.
    @inline(__always)
    func authenticate(
        _ request: CheckRequest, _ address: AddressKey?, _ binding: PolicyBinding,
        _ decision: inout Decision
    ) -> Principal? {
        guard request.credentialKind != .none else {
            decision.reason = .credentialMissing
            return nil
        }
        if let address, isInvalidCredentialLimited(address, binding, &decision) { return nil }
        if request.credentialKind == .accessToken,
            let known = cache.find(request.credential, clock, now.wall)
        {
            return known
        }
        let reason = verify(request, binding.policy)
        guard reason == .none else {
            decision.reason = reason
            if request.flags & RequestFlags.dryRun == 0 {
                recordInvalidCredential(address, binding)
            }
            return nil
        }
        let principal = resolve(binding.policy)
        guard principal.plan >= 0 else { return principal }
        let leeway = binding.policy.issuers.issuer(verifier.claims.issuerIndex).leewayMilliseconds
        return cache.insert(
            request.credential, principal,
            goodUntil: verifier.claims.expirySeconds &* 1_000 &+ leeway, verifiedAt: now.wall)
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
