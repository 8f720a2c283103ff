import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Deploy/tollgate.yaml shows every setting, and what it says of defaults is so.
@Suite struct PolicyReferenceTests {
    /// The reference with everything taken in that stands behind a "#": settings, and what is
    /// indented below one that has nothing behind it.
    private func complete(_ reference: [UInt8]) -> String {
        let lines = String(decoding: reference, as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
        // The indent of the setting whose block is being taken in.
        var block: Int?
        return lines.map { line in
            let indent = line.prefix { $0 == " " }
            let rest = line.dropFirst(indent.count)
            guard rest.hasPrefix("# ") else {
                block = nil
                return String(line)
            }
            let setting = rest.dropFirst(2)
            if let outer = block, indent.count > outer { return String(indent + setting) }
            let entry = setting.hasPrefix("- {") ? setting.dropFirst(3) : setting
            let key = entry.prefix { $0.isLetter || $0 == "_" }
            let isKnown = PolicySchema.all.contains(String(key))
            let behind = entry.dropFirst(key.count)
            block = isKnown && behind == ":" ? indent.count : nil
            return isKnown && (behind == ":" || behind.hasPrefix(": "))
                ? String(indent + setting) : ""
        }.joined(separator: "\n")
    }

    private func keys(_ node: YAMLNode) -> Set<String> {
        switch node.content {
        case .scalar: return []
        case .sequence(let elements): return elements.reduce(into: []) { $0.formUnion(keys($1)) }
        case .mapping(let entries):
            return entries.reduce(into: []) {
                $0.insert($1.key.text ?? "")
                $0.formUnion(keys($1.value))
            }
        }
    }

    @Test func everySettingIsShown() throws {
        let text = complete(try PolicyDirectory().reference)
        let root = try YAMLReader.read(
            Array(text.utf8), schema: SchemaReader(file: "tollgate.yaml"))
        #expect(Set(PolicySchema.all).subtracting(keys(root)) == [])
    }

    /// With every "#" taken away it still loads, and what stands there are the defaults.
    @Test func whatItSaysOfDefaultsIsSo() throws {
        let directory = try PolicyDirectory()
        var text = complete(directory.reference)
        // Groups are examples; they differ between systems.
        let loaded = try directory.load(Array(text.utf8))
        var daemon = DaemonSettings()
        #expect(loaded.daemon.dataSocket.group != nil && loaded.daemon.adminSocket.group != nil)
        daemon.dataSocket.group = loaded.daemon.dataSocket.group
        daemon.adminSocket.group = loaded.daemon.adminSocket.group
        let roles = loaded.daemon.roles
        #expect(roles.check != nil && roles.issue != .init() && roles.admin != .init())
        #expect(roles.observe != .init())
        daemon.roles = roles
        daemon.threads = 4
        daemon.connectionsPerUserMax = 1_000
        #expect(loaded.daemon == daemon)
        let policy = loaded.definition
        #expect(!policy.revealsCredentialFailures && policy.credentialBytesMax == 8_192)
        let limit = policy.plans[1].rateLimits[1]
        #expect(limit.subBuckets == RateLimitDefinition.subBucketsDefault)
        #expect(limit.mode == .strict && limit.classes == ["chat"])
        let issuer = policy.issuers[0]
        #expect(issuer.types == ["JWT", "at+jwt"] && issuer.keys[0].organization == "acme")
        #expect(issuer.claims.roles == "roles" && issuer.claims.permissionMode == .restrict)
        #expect(issuer.claims.plansByRole == ["admin": "enterprise_tier"])
        #expect(limit.overrideMax != nil && policy.tokens?.audience != nil)
        #expect(loaded.directory?.peppers.count == 2)
        checkLedger(loaded)
        // As it is: the same, without what is left out.
        text = String(decoding: directory.reference, as: UTF8.self)
        let plain = try directory.load(Array(text.utf8))
        #expect(plain.daemon == DaemonSettings())
        #expect(plain.definition.issuers[0].types == issuer.types)
        #expect(plain.definition.plans[1].rateLimits[1].subBuckets == limit.subBuckets)
        #expect(plain.definition.issuers[0].keys[0].organization == nil)
        #expect(plain.definition.issuers[0].planSource == issuer.planSource)
        #expect(plain.definition.issuers[0].unknownOrganizations == issuer.unknownOrganizations)
        #expect(plain.ledger == loaded.ledger)
        checkAudit(loaded, plain)
        #expect(plain.definition.idempotency == policy.idempotency)
        #expect(plain.definition.plans[1].holds == policy.plans[1].holds)
        var terms = policy.tokens
        terms?.audience = nil
        #expect(plain.definition.tokens == terms)
        #expect(plain.directory?.path == loaded.directory?.path)
        #expect(plain.directory?.signingKeysPath == loaded.directory?.signingKeysPath)
    }

    private func checkAudit(_ loaded: LoadedPolicy, _ plain: LoadedPolicy) {
        var audit = AuditLogSettings(path: "/var/lib/tollgate/audit")
        #expect(plain.audit == audit)
        audit.keepMilliseconds = 90 * 86_400_000
        audit.bytesMax = 20 << 30
        #expect(loaded.audit == audit)
    }

    private func checkLedger(_ loaded: LoadedPolicy) {
        #expect(loaded.ledger == LedgerSettings(path: "/var/lib/tollgate/ledger"))
        #expect(loaded.definition.idempotency == IdempotencyTerms())
        let plan = loaded.definition.plans[1]
        #expect(plan.holds == HoldTerms())
        let quota = plan.quotas[1]
        #expect(quota.isSoft && quota.overageMax == 5_000_000)
        #expect(loaded.definition.plans[2].quotas[0].timeZone == .utc)
        #expect(quota.rolloverMax == 10_000_000)
        #expect(quota.memberMin == 1_000 && quota.memberMax == 5_000_000)
    }

    /// What the issue asks the reference to show.
    @Test func itShowsTheTiersAndLimitsOfAService() throws {
        let directory = try PolicyDirectory()
        let policy = try directory.load(directory.reference).definition
        #expect(policy.plans.map(\.name) == ["free_tier", "pro_tier", "enterprise_tier"])
        let permissions = Set(policy.operations.compactMap(\.permission))
        #expect(permissions == ["can_use_gpt4o", "can_access_batch_api"])
        #expect(policy.plans[2].permissions == ["can_use_gpt4o", "can_access_batch_api"])
        let weights = policy.operations.flatMap(\.charges).filter { $0.meter == "tokens" }
        #expect(weights.contains { $0.weight == 10 })
        let scopes = Set(policy.plans.flatMap(\.rateLimits).map(\.scope))
        #expect(scopes == [.user, .organization] && !policy.addressLimits.isEmpty)
        let periods = Set(policy.plans.flatMap(\.quotas).map(\.period))
        #expect(periods == [.day, .month, .billingMonth] && policy.invalidCredentialLimit != nil)
        #expect(policy.plans[2].prices == ["tokens": 15])
        #expect(policy.plans[2].quotas.map(\.isUnlimited) == [true, false])
    }
}
