import TollgateCore

extension PolicyReader {
    func issuer(
        _ key: YAMLNode, _ node: YAMLNode, plans: [String], hasDirectory: Bool
    ) -> IssuerDefinition? {
        guard let name = reader.text(key, "an issuer's name") else { return nil }
        let values = reader.mapping(node, "issuer \(name)", known: PolicySchema.issuerKeys)
        guard
            let issuer = reader.required(values, "issuer", key).flatMap({
                reader.text($0, "issuer")
            }),
            let list = reader.required(values, "keys", key)
        else { return nil }
        let keys = reader.filledList(list, "keys", "an issuer has at least one")
            .compactMap { signingKey($0) }
        var definition = IssuerDefinition(name: name, issuer: issuer, keys: keys)
        let audiences = reader.filledList(
            values["audiences"], "audiences", "leave it out to not look at \"aud\"")
        definition.audiences = reader.texts(audiences, "audiences")
        if let leeway = seconds(values["leeway"], "leeway", 0...IssuerTable.leewaySecondsMax) {
            definition.leewaySeconds = leeway
        }
        let longest = IssuerTable.lifetimeSecondsCeiling
        if let lifetime = seconds(values["lifetime_max"], "lifetime_max", 0...longest) {
            definition.lifetimeMaxSeconds = lifetime
        }
        if let types = values["types"] {
            let types = reader.filledList(types, "types", "leave it out for JWT and at+jwt")
            definition.types = reader.texts(types, "types")
        }
        definition.defaultPlan = plan(values["default_plan"], "default_plan", plans)
        directoryUse(values, hasDirectory: hasDirectory, of: &definition)
        if let claims = values["claims"] { definition.claims = mapping(claims, plans) }
        return definition
    }

    private func plan(_ node: YAMLNode?, _ what: String, _ plans: [String]) -> String? {
        guard let node, let name = reader.text(node, what) else { return nil }
        if !plans.contains(name) {
            reader.fail(node, "no plan \"\(name)\"" + reader.meant(name, plans))
        }
        return name
    }

    private func mapping(_ node: YAMLNode, _ plans: [String]) -> ClaimsMapping {
        let values = reader.mapping(node, "claims", known: PolicySchema.claimKeys)
        var claims = ClaimsMapping()
        claims.user = reader.text(values["user"], "user") ?? claims.user
        for (key, claim) in [("organization", \ClaimsMapping.organization), ("plan", \.plan)] {
            guard let node = values[key] else { continue }
            // null: tokens have no such claim, and one that does is not believed in this.
            claims[keyPath: claim] = node.isNothing ? nil : reader.text(node, key)
        }
        claims.roles = reader.text(values["roles"], "roles")
        claims.permissions = reader.text(values["permissions"], "permissions")
        let modes: [(String, PermissionClaimMode)] = [("restrict", .restrict), ("grant", .grant)]
        claims.permissionMode =
            reader.choice(values["permission_mode"], "permission_mode", modes) ?? .restrict
        if let roles = values["plans_by_role"] {
            if claims.roles == nil {
                reader.fail(roles, "plans_by_role without roles: name the claim that holds them")
            }
            for (role, plan) in reader.entries(roles, "plans_by_role") {
                guard let role = role.text,
                    let name = self.plan(plan, "a role's plan", plans)
                else { continue }
                claims.plansByRole[role] = name
            }
        }
        return claims
    }

    private func signingKey(_ node: YAMLNode) -> SigningKeyDefinition? {
        for (key, _) in reader.entries(node, "a key")
        where ["secret", "key", "k", "value"].contains(key.text) {
            reader.fail(key, "\(key.shown): keys stand in files, not in policies; use file")
        }
        let values = reader.mapping(node, "a key", known: PolicySchema.keyKeys)
        let algorithms: [(String, TokenAlgorithm)] = [
            ("HS256", .hs256), ("HS384", .hs384), ("HS512", .hs512),
        ]
        let algorithm = reader.required(values, "algorithm", node).flatMap {
            reader.choice($0, "algorithm", algorithms)
        }
        let formats: [(String, KeyFiles.Format)] = [("jwk", .jwk), ("base64url", .base64url)]
        let format = reader.choice(values["format"], "format", formats) ?? .base64url
        guard let algorithm, let file = reader.required(values, "file", node),
            let path = reader.text(file, "file")
        else { return nil }
        do throws(KeyFileFault) {
            let secret = try keyFiles.secret(
                path, format: format, algorithm: algorithm, keyID: values["id"]?.text)
            return SigningKeyDefinition(
                keyID: reader.text(values["id"], "id"), algorithm: algorithm, secret: secret,
                organization: reader.text(values["organization"], "organization"))
        } catch {
            reader.fail(file, error.message)
            return nil
        }
    }
}
