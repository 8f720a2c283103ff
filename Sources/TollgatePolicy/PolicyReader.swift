import TollgateCore
import TollgateWire

/// A tree to a `PolicyDefinition`: the schema of the policy file. Deploy/tollgate.yaml shows every
/// key with what it means.
struct PolicyReader {
    let reader: SchemaReader
    let keyFiles: KeyFiles
    let zones: TimeZones

    func policy(_ root: YAMLNode) -> LoadedPolicy {
        let values = reader.mapping(root, "the policy", known: PolicySchema.policyKeys)
        _ = reader.integer(reader.required(values, "version", root), "version", 1...1)
        var policy = PolicyDefinition()
        if let node = values["meters"] {
            policy.meters = reader.list(node, "meters").compactMap { self.name($0, "meters") }
        }
        if let zone = zone(values["time_zone"]) { policy.timeZone = zone }
        if let node = values["operations"] {
            policy.operations = reader.entries(node, "operations").compactMap {
                operation($0.key, $0.value, policy)
            }
        }
        if let node = reader.required(values, "plans", root) {
            policy.plans = reader.entries(node, "plans").compactMap {
                plan($0.key, $0.value, policy)
            }
        }
        policy.addressLimits = rateLimits(
            values["address_limits"], "address_limits", scope: .address, policy)
        if let node = values["invalid_credentials"] {
            policy.invalidCredentialLimit = invalidCredentials(node)
        }
        issuers(values, into: &policy)
        policy.revealsCredentialFailures =
            reader.boolean(values["reveal_credential_failures"], "reveal_credential_failures")
            ?? false
        policy.isShadow = reader.boolean(values["shadow"], "shadow") ?? false
        if let bytes = reader.integer(
            values["credential_bytes_max"], "credential_bytes_max", 64...8_192)
        {
            policy.credentialBytesMax = Int(bytes)
        }
        if let node = values["idempotency"] { policy.idempotency = idempotency(node) }
        let daemon = values["daemon"].map { DaemonSettings($0, reader) } ?? DaemonSettings()
        let directory = values["directory"].flatMap { DirectorySettings($0, reader) }
        let ledger = values["ledger"].flatMap { LedgerSettings($0, directory, reader) }
        let others = [("directory", directory?.path), ("ledger", ledger?.path)].compactMap {
            name, path in path.map { (name: name, path: $0) }
        }
        let audit = values["audit"].flatMap { AuditLogSettings($0, others: others, reader) }
        return LoadedPolicy(
            file: reader.file, definition: policy, daemon: daemon, directory: directory,
            ledger: ledger, audit: audit,
            alerts: alerts(
                values, others: others + (audit.map { [("audit", $0.path)] } ?? []), policy))
    }

    private func alerts(
        _ values: [String: YAMLNode], others: [(name: String, path: String)],
        _ policy: PolicyDefinition
    ) -> AlertSettings? {
        guard let node = values["alerts"] else { return nil }
        if values["audit"] == nil {
            reader.fail(node, "alerts without audit: rules look at what the audit log records")
        }
        return AlertSettings(node, others: others, policy, reader)
    }

    /// Who mints tokens: others, and the daemon.
    private func issuers(_ values: [String: YAMLNode], into policy: inout PolicyDefinition) {
        let hasDirectory = values["directory"] != nil
        let plans = policy.plans.map(\.name)
        let entries = values["issuers"].map { reader.entries($0, "issuers") } ?? []
        policy.issuers = entries.compactMap {
            issuer($0.key, $0.value, plans: plans, hasDirectory: hasDirectory)
        }
        guard let node = values["tokens"] else { return }
        policy.tokens = tokens(node, hasDirectory: hasDirectory, policy)
        for (key, _) in entries where key.text == TokenTerms.issuerName {
            reader.fail(key, "with tokens, \(key.shown) is the daemon itself: choose another name")
        }
        if policy.issuers.count >= IssuerTable.issuersMax {
            reader.fail(node, "with tokens, issuers are at most \(IssuerTable.issuersMax - 1)")
        }
    }

    func zone(_ node: YAMLNode?) -> ZoneRules? {
        guard let node, let name = reader.text(node, "time_zone") else { return nil }
        do { return try zones.load(name) } catch {
            reader.fail(node, error.message)
            return nil
        }
    }

    func name(_ key: YAMLNode, _ what: String) -> String? {
        guard reader.isSaid(key, "a name of \(what)") else { return nil }
        guard let name = key.text, (1...WireLimits.identifierBytesMax).contains(name.utf8.count),
            name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
        else {
            reader.fail(key, "a name of \(what) is 1 to 128 bytes without spaces or controls")
            return nil
        }
        return name
    }

    /// A limit's name; those of limits that a policy does not define are taken.
    func limitName(_ key: YAMLNode, _ what: String) -> String? {
        guard let name = name(key, what) else { return nil }
        if name == PolicySchema.credentialLimitName {
            reader.fail(key, "\"\(name)\" is the name of API keys' own rate limits: choose another")
        }
        return name
    }

    // MARK: operations

    private func operation(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> OperationDefinition? {
        guard let name = name(key, "operations") else { return nil }
        let values = reader.mapping(node, "operation \(name)", known: PolicySchema.operationKeys)
        var operation = OperationDefinition(
            name: name, permission: reader.text(values["permission"], "permission"),
            rateLimitClass: reader.text(values["class"], "class"))
        let routes = reader.list(values["routes"], "routes")
        operation.routes = routes.compactMap { route($0) }
        if let charges = values["charges"] {
            operation.charges = reader.entries(charges, "charges").compactMap {
                charge($0.key, $0.value, policy)
            }
        }
        return operation
    }

    private static let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ]

    private func route(_ node: YAMLNode) -> RouteDefinition? {
        guard let text = reader.text(node, "a route") else { return nil }
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].hasPrefix("/") else {
            reader.fail(node, "a route is a method, a space and a path: POST /v1/files/{id}")
            return nil
        }
        let capitals = parts[0].uppercased()
        if capitals != parts[0], Self.methods.contains(capitals) {
            reader.fail(
                node, "methods are told apart by case: \(parts[0]) (did you mean \(capitals)?)")
            return nil
        }
        let route = RouteDefinition(method: String(parts[0]), path: String(parts[1]))
        do throws(RouteConflict) {
            _ = try RouteTable([OperationDefinition(name: "x", routes: [route])])
        } catch {
            reader.fail(node, error.message)
            return nil
        }
        return route
    }

    private func charge(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> ChargeDefinition? {
        let values = reader.mapping(node, "a charge", known: PolicySchema.chargeKeys)
        guard let meter = meter(key, policy) else { return nil }
        var charge = ChargeDefinition(meter: meter)
        charge.defaultUnits =
            reader.integer(values["units"], "units", 0...WireLimits.unitsMax) ?? 1
        charge.weight = reader.integer(values["weight"], "weight", 0...1_000_000_000) ?? 1
        return charge
    }

    func meter(_ node: YAMLNode, _ policy: PolicyDefinition) -> String? {
        guard let name = reader.text(node, "a meter") else { return nil }
        guard policy.meters.contains(name) else {
            reader.fail(node, "no meter \"\(name)\"" + reader.meant(name, policy.meters))
            return nil
        }
        return name
    }
}
