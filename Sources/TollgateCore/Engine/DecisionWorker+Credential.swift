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
        // Before anything is looked up: a change that comes meanwhile raises it.
        let epoch = engine.directory.epoch
        // First what is known to be good: who shares an address with a guesser is not locked out.
        if let known = cache.find(request.credential, clock, now.wall),
            known.pointee.claimed.kind == request.credentialKind
        {
            if known.pointee.epoch == epoch, now.wall.milliseconds < known.pointee.resolvedUntil {
                let principal = PrincipalCache.principal(of: known)
                if principal.pointee.keyID == nil { return principal }
                return use(principal, known, request, address, binding, &decision)
            }
            return lookAgain(known, request, address, binding, epoch, &decision)
        }
        if let address, isShutOut(request, address, binding, &decision) { return nil }
        return verify(request, address, binding, epoch, &decision)
    }

    /// Whether a credential that is not remembered here is not looked at, for what others sent from
    /// its address; another worker may know it to be good.
    @inline(never)
    private func isShutOut(
        _ request: CheckRequest, _ address: AddressKey, _ binding: PolicyBinding,
        _ decision: inout Decision
    ) -> Bool {
        let before = decision
        guard isInvalidCredentialLimited(address, binding, &decision) else { return false }
        guard engine.verified.contains(request.credential) else { return true }
        decision = before
        return false
    }

    /// A credential that is not remembered.
    @inline(never)
    private func verify(
        _ request: CheckRequest, _ address: AddressKey?, _ binding: PolicyBinding,
        _ epoch: UInt64, _ decision: inout Decision
    ) -> UnsafePointer<Principal>? {
        let policy = binding.policy
        var reason = Reason.credentialMalformed
        var goodUntil: Int64 = 0
        var resolved = Resolved(nobody)
        var claimed = Claimed()
        if request.credential.count <= policy.credentialBytesMax {
            switch request.credentialKind {
            case .none: break
            case .accessToken:
                reason = verifier.verify(
                    request.credential, issuers: policy.issuers, expiryNow: clock.expiry,
                    notBeforeNow: now.wall)
                if reason == .none {
                    resolved = readToken(policy, &claimed, &goodUntil)
                    reason = resolved.reason
                }
            case .apiKey:
                reason = readKey(request.credential, policy, &claimed, &resolved, &goodUntil)
            }
        }
        guard reason == .none else {
            // Looked at again, and no longer good: from now on it counts as a guess.
            cache.forgetCurrent()
            engine.verified.remove(request.credential)
            refuse(reason, request, address, binding, &decision)
            return nil
        }
        if policy.invalidCredentialStep != nil { engine.verified.add(request.credential) }
        scratch.pointee = resolved.principal
        scratchKey.pointee = claimed.key
        if claimed.kind == .apiKey { scratch.pointee.keyID = UnsafePointer(scratchKey) }
        let kept = cache.insert(
            request.credential, resolved, claimed, goodUntil: goodUntil, verifiedAt: now.wall,
            epoch: epoch)
        guard claimed.kind == .apiKey else { return kept ?? UnsafePointer(scratch) }
        return use(
            kept ?? UnsafePointer(scratch), cache.current, request, address, binding, &decision)
    }

    /// A credential that was verified, and that the directory may say something else of now.
    @inline(never)
    private func lookAgain(
        _ entry: UnsafeMutablePointer<PrincipalCache.Entry>, _ request: CheckRequest,
        _ address: AddressKey?, _ binding: PolicyBinding, _ epoch: UInt64,
        _ decision: inout Decision
    ) -> UnsafePointer<Principal>? {
        // A key's secret may be another now: it is compared anew.
        if request.credentialKind == .apiKey {
            return verify(request, address, binding, epoch, &decision)
        }
        let before = entry.pointee.principal
        let resolved = resolveToken(
            entry.pointee.claimed, user: before.user, organization: before.organization,
            isPersonal: before.isPersonal, binding.policy)
        guard resolved.reason == .none else {
            cache.forgetCurrent()
            engine.verified.remove(request.credential)
            refuse(resolved.reason, request, address, binding, &decision)
            return nil
        }
        cache.update(resolved, epoch: epoch)
        return PrincipalCache.principal(of: entry)
    }

    /// A key that is good: from that address, and its use is noted.
    @inline(never)
    private func use(
        _ principal: UnsafePointer<Principal>,
        _ entry: UnsafeMutablePointer<PrincipalCache.Entry>?, _ request: CheckRequest,
        _ address: AddressKey?, _ binding: PolicyBinding, _ decision: inout Decision
    ) -> UnsafePointer<Principal>? {
        guard let keyID = principal.pointee.keyID else { return principal }
        if principal.pointee.hasAddressList {
            let from = address.map { $0.isIPv4 ? $0.key.id : request.address }
            guard engine.directory.isAllowed(keyID.pointee, from: from) else {
                refuse(.addressNotAllowed, request, address, binding, &decision)
                return nil
            }
        }
        let wall = now.wall.milliseconds
        let last = entry?.pointee.notedAt ?? 0
        if wall &- last >= Self.notedMilliseconds || wall < last,
            request.flags & RequestFlags.dryRun == 0
        {
            entry?.pointee.notedAt = wall
            engine.directory.noteUse(keyID.pointee, at: now.wall)
        }
        return principal
    }

    /// A use within this time of the last one that was noted is not noted.
    static let notedMilliseconds: Int64 = 60_000

    private func refuse(
        _ reason: Reason, _ request: CheckRequest, _ address: AddressKey?,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        decision.reason = reason
        if request.flags & RequestFlags.dryRun == 0 { recordInvalidCredential(address, binding) }
    }
}
