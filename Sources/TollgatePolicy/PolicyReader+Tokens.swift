import TollgateCore

extension PolicyReader {
    static let planSources: [(String, PlanSource)] = [
        ("claims", .claims), ("directory", .directory), ("directory_first", .directoryFirst),
    ]
    private static let accessSecondsMax: Int64 = 86_400
    private static let graceSecondsMax: Int64 = 60

    /// The tokens that the daemon issues itself. `policy` has its issuers.
    func tokens(
        _ node: YAMLNode, hasDirectory: Bool, _ policy: PolicyDefinition
    ) -> TokenTerms? {
        let values = reader.mapping(node, "tokens", known: PolicySchema.tokenKeys)
        guard hasDirectory else {
            reader.fail(node, "tokens without directory: it keeps the sessions of users")
            return nil
        }
        guard
            let issuer = reader.required(values, "issuer", node).flatMap({
                claimText($0, "issuer")
            })
        else { return nil }
        if let other = policy.issuers.first(where: {
            $0.issuer.utf8.elementsEqual(issuer.utf8)
        }) {
            reader.fail(
                values["issuer"] ?? node,
                "issuer \(other.name) has that \"iss\": tokens of the daemon need one of their own")
        }
        var terms = TokenTerms(issuer: issuer)
        terms.audience = values["audience"].flatMap { claimText($0, "audience") }
        lifetimes(values, into: &terms, node)
        terms.leewaySeconds =
            seconds(values["leeway"], "leeway", 0...IssuerTable.leewaySecondsMax)
            ?? terms.leewaySeconds
        terms.planSource =
            reader.choice(values["plan_source"], "plan_source", Self.planSources)
            ?? terms.planSource
        return terms
    }

    private func lifetimes(
        _ values: [String: YAMLNode], into terms: inout TokenTerms, _ parent: YAMLNode
    ) {
        func read(_ key: String, _ range: ClosedRange<Int64>, _ otherwise: Int64) -> Int64 {
            seconds(values[key], key, range) ?? otherwise
        }
        let (access, grace) = (1...Self.accessSecondsMax, 1...Self.graceSecondsMax)
        let any = 1...IssuerTable.lifetimeSecondsCeiling
        terms.accessSeconds = read("access_lifetime", access, terms.accessSeconds)
        terms.refreshSeconds = read("refresh_lifetime", any, terms.refreshSeconds)
        // Left out, it is no longer than the other.
        terms.refreshIdleSeconds = read(
            "refresh_idle_lifetime", any, min(terms.refreshIdleSeconds, terms.refreshSeconds))
        terms.refreshGraceSeconds = read("refresh_grace", grace, terms.refreshGraceSeconds)
        if let node = values["refresh_idle_lifetime"],
            terms.refreshIdleSeconds > terms.refreshSeconds
        {
            reader.fail(
                node,
                "refresh_idle_lifetime is at most refresh_lifetime, \(terms.refreshSeconds)s")
        }
        if terms.accessSeconds >= terms.refreshIdleSeconds {
            reader.fail(
                values["refresh_idle_lifetime"] ?? values["refresh_lifetime"] ?? parent,
                "refresh tokens live longer than access tokens, which live \(terms.accessSeconds)s")
        }
    }

    private func claimText(_ node: YAMLNode, _ what: String) -> String? {
        guard let text = reader.text(node, what) else { return nil }
        guard text.utf8.count <= IssuerTable.nameBytesMax else {
            reader.fail(node, "\(what) has at most \(IssuerTable.nameBytesMax) bytes")
            return nil
        }
        return text
    }

    /// What an issuer has from the directory, which has to be there for it.
    func directoryUse(
        _ values: [String: YAMLNode], hasDirectory: Bool, of definition: inout IssuerDefinition
    ) {
        let source = values["plan_source"]
        definition.planSource =
            reader.choice(source, "plan_source", Self.planSources) ?? .claims
        let unknown = values["unknown_organizations"]
        let choices: [(String, UnknownOrganizations)] = [("claims", .claims), ("refuse", .refuse)]
        definition.unknownOrganizations =
            reader.choice(unknown, "unknown_organizations", choices)
            ?? (definition.planSource == .claims ? .claims : .refuse)
        guard !hasDirectory else { return }
        if let source, definition.planSource != .claims {
            reader.fail(source, "plan_source \(source.shown) without directory")
        }
        if let unknown, definition.unknownOrganizations == .refuse {
            reader.fail(unknown, "without directory, every organization is unknown")
        }
    }

    /// Whole seconds; zero may be written `0s`.
    func seconds(_ node: YAMLNode?, _ what: String, _ range: ClosedRange<Int64>) -> Int64? {
        guard let node else { return nil }
        if node.text == "0s", range.contains(0) { return 0 }
        guard let nanoseconds = reader.duration(node, what) else { return nil }
        let seconds = Int64(nanoseconds / 1_000_000_000)
        guard nanoseconds % 1_000_000_000 == 0, range.contains(seconds) else {
            let least = range.lowerBound > 0 ? "\(range.lowerBound)s to " : "at most "
            reader.fail(node, "\(what) is in whole seconds, \(least)\(range.upperBound)s")
            return nil
        }
        return seconds
    }
}
