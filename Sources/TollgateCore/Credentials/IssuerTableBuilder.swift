import TollgateWire

/// Checks issuers and lays them out as an `IssuerTable` keeps them. Lives for one `init`.
struct IssuerTableBuilder {
    var pool: [UInt8] = []
    var issuers: [CompiledIssuer] = []
    var keys: [CompiledKey] = []
    var names: [ByteRange] = []
    var rolePlans: [RolePlan] = []
    var ownedKeys: [HMACKey] = []

    mutating func add(_ definitions: [IssuerDefinition]) throws(IssuerTableError) {
        guard definitions.count <= IssuerTable.issuersMax else {
            throw .tooManyIssuers(definitions.count)
        }
        for (index, definition) in definitions.enumerated() {
            try check(definition)
            // Compared by bytes: Swift's == of strings would merge canonical equivalents.
            for other in definitions[..<index]
            where other.issuer.utf8.elementsEqual(definition.issuer.utf8) {
                throw .duplicateIssuer(definition.issuer)
            }
            try add(definition, index)
        }
    }

    private func check(_ definition: IssuerDefinition) throws(IssuerTableError) {
        guard !definition.issuer.isEmpty else { throw .emptyIssuer(name: definition.name) }
        let issuer = definition.issuer
        guard !definition.keys.isEmpty else { throw .noKeys(issuer: issuer) }
        guard (0...IssuerTable.leewaySecondsMax).contains(definition.leewaySeconds) else {
            throw .leewayOutOfRange(issuer: issuer, seconds: definition.leewaySeconds)
        }
        guard (1...IssuerTable.lifetimeSecondsCeiling).contains(definition.lifetimeMaxSeconds)
        else {
            throw .lifetimeOutOfRange(issuer: issuer, seconds: definition.lifetimeMaxSeconds)
        }
        try length(issuer, issuer, "`iss`")
        for audience in definition.audiences { try length(audience, issuer, "an audience") }
        for type in definition.types { try length(type, issuer, "a type") }
        let mapping = definition.claims
        try length(mapping.user, issuer, "a claim's name")
        let optional = [mapping.organization, mapping.plan, mapping.roles, mapping.permissions]
        for name in optional.compactMap(\.self) { try length(name, issuer, "a claim's name") }
        for (role, plan) in mapping.plansByRole {
            try length(role, issuer, "a role")
            try length(plan, issuer, "a role's plan")
        }
    }

    private func length(
        _ text: String, _ issuer: String, _ what: String
    ) throws(IssuerTableError) {
        guard (1...IssuerTable.nameBytesMax).contains(text.utf8.count) else {
            throw .identifierLength(issuer: issuer, what: what)
        }
    }

    private mutating func add(
        _ definition: IssuerDefinition, _ index: Int
    ) throws(IssuerTableError) {
        let keysBefore = keys.count
        guard keysBefore + definition.keys.count <= IssuerTable.keysMax else {
            throw .tooManyKeys(issuer: definition.issuer, keysBefore + definition.keys.count)
        }
        var keyIDs: Set<[UInt8]> = []
        for key in definition.keys {
            if let keyID = key.keyID, !keyIDs.insert(Array(keyID.utf8)).inserted {
                throw .duplicateKeyID(issuer: definition.issuer, keyID: keyID)
            }
            try add(key, definition, index)
        }
        let audiences = add(definition.audiences)
        let types = add(definition.types)
        let rolesBefore = rolePlans.count
        let mapping = definition.claims
        // Sorted, so that the layout does not follow the hash order of a dictionary.
        for (role, plan) in mapping.plansByRole.sorted(by: { $0.key < $1.key }) {
            rolePlans.append(RolePlan(role: intern(role), plan: intern(plan)))
        }
        issuers.append(
            CompiledIssuer(
                issuer: intern(definition.issuer), audiences: audiences, types: types,
                rolePlans: rolesBefore..<rolePlans.count,
                leewayMilliseconds: definition.leewaySeconds * 1_000,
                lifetimeMaxSeconds: definition.lifetimeMaxSeconds,
                keyWithoutID: definition.keys[0].keyID == nil ? keysBefore : -1,
                user: claim(mapping.user), organization: claim(mapping.organization),
                plan: claim(mapping.plan), roles: claim(mapping.roles),
                permissions: claim(mapping.permissions), permissionMode: mapping.permissionMode))
    }

    private mutating func add(
        _ key: SigningKeyDefinition, _ definition: IssuerDefinition, _ issuer: Int
    ) throws(IssuerTableError) {
        let least = key.algorithm.digestBytes
        guard key.secret.count >= least else {
            throw .secretTooShort(issuer: definition.issuer, bytes: key.secret.count, least: least)
        }
        var keyID = ByteRange(0, 0)
        if let text = key.keyID {
            guard (1...IssuerTable.keyIDBytesMax).contains(text.utf8.count) else {
                throw .keyIDLength(issuer: definition.issuer)
            }
            keyID = intern(text)
        } else if definition.keys.count > 1 {
            throw .keyWithoutID(issuer: definition.issuer)
        }
        if let organization = key.organization {
            guard (1...WireLimits.identifierBytesMax).contains(organization.utf8.count) else {
                throw .identifierLength(issuer: definition.issuer, what: "a key's organization")
            }
        }
        guard let owned = HMACKey(key.algorithm, key.secret) else { throw .memoryShort }
        ownedKeys.append(owned)
        keys.append(
            CompiledKey(
                issuer: issuer, keyID: keyID, algorithm: key.algorithm, handle: owned.handle,
                organization: key.organization.map { intern($0) } ?? ByteRange(0, 0)))
    }

    /// Every key with an id, where `IssuerTable.findKey` looks for it.
    func keySlots() -> [Int32] {
        var capacity = 8
        while capacity < keys.count * 2 { capacity *= 2 }
        var slots = [Int32](repeating: -1, count: capacity)
        for (index, key) in keys.enumerated() where key.keyID.length > 0 {
            var slot = Array(bytes(key.keyID)).withUnsafeBytes {
                IssuerTable.slot(key.issuer, $0, capacity - 1)
            }
            while slots[slot] >= 0 { slot = (slot + 1) & (capacity - 1) }
            slots[slot] = Int32(index)
        }
        return slots
    }

    private func bytes(_ range: ByteRange) -> ArraySlice<UInt8> {
        pool[Int(range.offset)..<Int(range.offset + range.length)]
    }

    private mutating func intern(_ text: String) -> ByteRange {
        let offset = pool.count
        pool += Array(text.utf8)
        return ByteRange(offset, pool.count - offset)
    }

    private mutating func add(_ texts: [String]) -> Range<Int> {
        let before = names.count
        for text in texts { names.append(intern(text)) }
        return before..<names.count
    }

    private mutating func claim(_ name: String?) -> ClaimName {
        guard let name else {
            var none = MemberName("x", "x", "x")
            none.length = -1
            return ClaimName(name: none, bytes: ByteRange(0, 0))
        }
        let member = Array(name.utf8).withUnsafeBytes { MemberName($0) }
        return ClaimName(name: member, bytes: intern(name))
    }
}
