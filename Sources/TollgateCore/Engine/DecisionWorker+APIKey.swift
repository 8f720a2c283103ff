import TollgateWire

/// What a key's row says, copied from under its lock. The names stand in the worker's memory.
package struct KeptKey: BitwiseCopyable {
    package var isKnown = false
    package var digest: APIKeyDigest
    package var pepper: UInt32
    var hasPrevious = false
    var previous = APIKeyDigest.none
    var previousPepper: UInt32 = 0
    var previousUntil: Int64 = 0
    var expires: Int64 = 0
    var isRevoked = false
    var isPersonal = false
    var hasPermissions = false
    var permissions = PermissionSet()
    var hasAddressList = false
    var keyWindow: Int8 = -1
    var keyUnits: UInt64 = 0
    var organizationBytes = 0
    var userBytes = 0

    /// Of nobody: compared as one of that pepper.
    package init(pepper: UInt32) {
        digest = .none
        self.pepper = pepper
    }

    /// Which of the key's secrets it is. Every digest is made and compared whatever the others
    /// say, and of a key that is not known as of one that is.
    package func compare(
        _ key: APIKey, newest: APIKeyPepper, pepper find: (UInt32) -> APIKeyPepper?
    ) -> (isCurrent: Bool, isPrevious: Bool) {
        let own = find(pepper)
        let digest = (own ?? newest).digest(of: key)
        var (before, beforePepper) = (digest, own)
        if hasPrevious, previousPepper != pepper {
            beforePepper = find(previousPepper)
            before = (beforePepper ?? newest).digest(of: key)
        }
        let isCurrent = digest == self.digest
        let isPrevious = before == previous
        // Under a pepper that is not there, no secret is right.
        return (
            isCurrent && isKnown && own != nil, isPrevious && hasPrevious && beforePepper != nil
        )
    }
}

extension DecisionWorker {
    /// Verifies an API key, and looks up whom it stands for: `.none`, or the reason with the lowest
    /// number. Junk costs no look-up, an unknown id the same hash and comparison as a known one.
    func readKey(
        _ text: UnsafeRawBufferPointer, _ policy: PolicyImage, _ claimed: inout Claimed,
        _ resolved: inout Resolved, _ goodUntil: inout Int64
    ) -> Reason {
        guard let newest = engine.directory.notes.pepper else { return .credentialKindUnsupported }
        guard let key = APIKey(text) else { return .credentialMalformed }
        let kept = keptKey(key.id, newest, policy)
        let notes = engine.directory.notes
        let secret = kept.compare(key, newest: newest) { notes.pepper($0) }
        guard kept.isKnown else { return .keyUnknown }
        guard secret.isCurrent || secret.isPrevious else { return .signatureInvalid }
        goodUntil = secret.isCurrent ? kept.expires : min(kept.expires, kept.previousUntil)
        guard clock.expiry.milliseconds < goodUntil else { return .tokenExpired }
        guard !kept.isRevoked else { return .credentialRevoked }
        let organization = UnsafeRawBufferPointer(start: names, count: kept.organizationBytes)
        let user = UnsafeRawBufferPointer(
            start: names + kept.organizationBytes, count: kept.userBytes)
        if secret.isCurrent, kept.pepper != newest.generation {
            engine.directory.notes.note(
                KeyRehash(
                    id: key.id, organization: String(decoding: organization, as: UTF8.self),
                    from: kept.digest, to: newest.digest(of: key), pepper: newest.generation))
        }
        claimed.kind = .apiKey
        claimed.key = key.id
        resolved = Resolved(
            Principal(
                user: user, organization: organization, isPersonal: kept.isPersonal, plan: -1,
                permissions: PermissionSet(), hash: engine.hash))
        let reason = look(&resolved, claimed, source: .directory, unknown: .refuse, policy)
        guard reason == .none else { return reason }
        complete(&resolved.principal, key.id, kept, policy)
        return .none
    }

    private func complete(
        _ principal: inout Principal, _ id: APIKeyID, _ kept: KeptKey, _ policy: PolicyImage
    ) {
        if principal.plan >= 0 {
            principal.permissions = policy.compiledPlans[principal.plan].permissions
        }
        if kept.hasPermissions { principal.permissions.formIntersection(kept.permissions) }
        principal.hasAddressList = kept.hasAddressList
        principal.keyWindow = kept.keyWindow
        principal.keyUnits = kept.keyUnits
        withUnsafeBytes(of: id) {
            principal.keyHash = engine.hash.hash($0, tweak: principal.organizationHash)
        }
    }

    /// Under the key's lock, for as long as it takes to copy.
    private func keptKey(
        _ id: APIKeyID, _ newest: APIKeyPepper, _ policy: PolicyImage
    ) -> KeptKey {
        withUnsafeBytes(of: id) { bytes in
            let rowKey = engine.directory.keyKey(bytes)
            let shard = engine.directory.keyShard(rowKey.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let handle = shard.table.pointee.find(rowKey)
            guard handle != .none else { return KeptKey(pepper: newest.generation) }
            return copied(shard.table.pointee.row(handle), policy)
        }
    }

    private func copied(_ row: Row, _ policy: PolicyImage) -> KeptKey {
        let record = row.payload(KeyRow.self).pointee
        var kept = KeptKey(pepper: record.pepper)
        kept.isKnown = true
        kept.digest = record.digest
        kept.expires = record.expires
        kept.isRevoked = record.isRevoked
        kept.isPersonal = record.isPersonal
        kept.organizationBytes = Int(record.organizationBytes)
        kept.userBytes = Int(record.userBytes)
        names.copyMemory(
            from: UnsafeRawPointer(row.payload(KeyRow.self) + 1),
            byteCount: kept.organizationBytes &+ kept.userBytes)
        _ = withObject(record.details, KeyDetails.self) { details in
            if let previous = details.previous {
                kept.hasPrevious = true
                kept.previous = previous
                kept.previousPepper = details.previousPepper
                kept.previousUntil = details.previousUntil
            }
            if let list = details.permissions {
                kept.hasPermissions = true
                for name in list {
                    let index = name.withUnsafeBytes { policy.permissions.find($0) }
                    if let index { kept.permissions.insert(index) }
                }
            }
            kept.hasAddressList = details.addresses != nil
            if let limit = details.limit {
                kept.keyWindow = engine.keyWindows.index(of: limit)
                kept.keyUnits = limit.units
            }
        }
        return kept
    }
}

extension DirectoryImage {
    /// Whether the key may be used from an address: 4 or 16 bytes, `nil` when it is not known.
    func isAllowed(_ id: APIKeyID, from address: UnsafeRawBufferPointer?) -> Bool {
        withKey(id) { row in
            withObject(row.payload(KeyRow.self).pointee.details, KeyDetails.self) { details in
                guard let blocks = details.addresses else { return true }
                guard let address else { return false }
                return blocks.contains { $0.contains(address) }
            } ?? true
        } ?? false
    }
}
