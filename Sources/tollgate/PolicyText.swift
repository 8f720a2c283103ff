import TollgateCore
import TollgatePolicy

/// A policy as it is in force, for people. Shows of keys what names them, and no secret.
struct PolicyText {
    let output: OutputOptions

    func text(_ loaded: LoadedPolicy) -> String {
        let policy = loaded.definition
        var blocks = policy.plans.map { plan($0, policy) }
        blocks.append(operations(policy))
        if !policy.addressLimits.isEmpty || policy.invalidCredentialLimit != nil {
            blocks.append(title("addresses") + "\n" + addressLimits(policy))
        }
        blocks += policy.issuers.map(issuer)
        if let terms = policy.tokens {
            blocks.append(title("tokens of the daemon") + "\n" + pairs(tokens(terms)))
        }
        blocks.append(title("all callers") + "\n" + pairs(general(policy)))
        blocks.append(title("daemon") + "\n" + pairs(daemon(loaded.daemon)))
        blocks.append(title("directory") + "\n" + directory(loaded.directory))
        blocks.append(title("ledger") + "\n" + ledger(loaded.ledger, policy))
        blocks.append(title("audit") + "\n" + audit(loaded.audit))
        blocks.append(title("alerts") + "\n" + alerts(loaded.alerts))
        return blocks.joined(separator: "\n\n")
    }

    private func title(_ text: String) -> String { output.paint(visible(text), .bold) }

    private func list(_ texts: [String]) -> String {
        texts.isEmpty ? "none" : texts.joined(separator: ", ")
    }

    // MARK: limits

    private static let header = ["LIMIT", "SCOPE", "METER", "AT MOST", "PER", "COUNTS"]

    private func plan(_ plan: PlanDefinition, _ policy: PolicyDefinition) -> String {
        let head =
            title("plan \(plan.name)") + "\n"
            + pairs([("permissions", list(plan.permissions))])
        let rows =
            plan.rateLimits.map(row) + plan.quotas.map { row($0, policy) }
            + plan.concurrency.map(row)
        return head + "\n" + (rows.isEmpty ? "  no limits" : table(Self.header, rows, indent: 2))
            + "\n" + pairs(Self.terms(plan))
    }

    private func row(_ limit: RateLimitDefinition) -> [String] {
        let classes = limit.classes.isEmpty ? "" : ", \(limit.classes.joined(separator: "+")) only"
        let most = limit.overrideMax.map { ", overridden up to \($0)" } ?? ""
        return [
            limit.name, "\(limit.scope)", limit.meter, "\(limit.limit)",
            span(limit.windowNanoseconds / 1_000_000),
            "\(limit.mode), in \(limit.subBuckets) parts\(classes)\(most)"
                + (limit.isShadow ? ", in shadow" : ""),
        ]
    }

    private func addressLimits(_ policy: PolicyDefinition) -> String {
        var rows = policy.addressLimits.map(row)
        if let limit = policy.invalidCredentialLimit {
            var cells = row(limit)
            cells[2] = "(refused credentials)"
            rows.append(cells)
        }
        return table(Self.header, rows, indent: 2)
    }

    // MARK: operations

    private func operations(_ policy: PolicyDefinition) -> String {
        let rows = policy.operations.map { operation in
            [
                operation.name, operation.permission ?? "-", operation.rateLimitClass ?? "-",
                operation.charges.map { charge in
                    "\(charge.meter) \(charge.defaultUnits)"
                        + (charge.weight == 1 ? "" : "×\(charge.weight)")
                }.joined(separator: ", "),
                operation.routes.map { "\($0.method) \($0.path)" }.joined(separator: ", "),
            ]
        }
        guard !rows.isEmpty else { return title("operations") + "\n  none" }
        let header = ["OPERATION", "PERMISSION", "CLASS", "CHARGES", "ROUTES"]
        return title("operations") + "\n" + table(header, rows, indent: 2)
    }

    // MARK: issuers, and the rest

    private func issuer(_ issuer: IssuerDefinition) -> String {
        let claims = issuer.claims
        var rows = [
            ("iss", issuer.issuer),
            ("audiences", issuer.audiences.isEmpty ? "not looked at" : list(issuer.audiences)),
            ("keys", list(issuer.keys.map(PolicyText.key))), ("types", list(issuer.types)),
            ("leeway", "\(issuer.leewaySeconds) s"),
            ("longest life", "\(issuer.lifetimeMaxSeconds) s"), ("user", claims.user),
            ("organization", claims.organization ?? "no claim"),
            ("plan", claims.plan ?? "no claim"),
        ]
        if let roles = claims.roles { rows.append(("roles", roles)) }
        if !claims.plansByRole.isEmpty {
            let plans = claims.plansByRole.sorted { $0.key < $1.key }
            rows.append(("plans by role", list(plans.map { "\($0.key): \($0.value)" })))
        }
        let permissions = claims.permissions.map { "\($0) (\(claims.permissionMode))" }
        rows.append(("permissions", permissions ?? "no claim"))
        rows.append(("default plan", issuer.defaultPlan ?? "none: a token without one is refused"))
        rows.append(("plan source", source(issuer.planSource)))
        let areServed = issuer.unknownOrganizations == .claims
        rows.append(("unknown organizations", areServed ? "served by their claims" : "refused"))
        return title("issuer \(issuer.name)") + "\n" + pairs(rows)
    }

    private func source(_ source: PlanSource) -> String {
        switch source {
        case .claims: "claims"
        case .directory: "directory"
        case .directoryFirst: "directory, else claims"
        }
    }

    private func tokens(_ terms: TokenTerms) -> [(String, String)] {
        [
            ("iss", terms.issuer), ("audience", terms.audience ?? "none"),
            ("access token", "\(terms.accessSeconds) s"),
            (
                "refresh token",
                "\(terms.refreshSeconds) s, unused \(terms.refreshIdleSeconds) s, presented again"
                    + " for \(terms.refreshGraceSeconds) s"
            ),
            ("leeway", "\(terms.leewaySeconds) s"), ("plan source", source(terms.planSource)),
        ]
    }

    static func key(_ key: SigningKeyDefinition) -> String {
        "\(key.keyID ?? "(no id)") \(key.algorithm.headerName)"
            + (key.organization.map { " for \($0) alone" } ?? "")
    }

    private func general(_ policy: PolicyDefinition) -> [(String, String)] {
        [
            (
                "limits and permissions",
                policy.isShadow ? "in shadow: they refuse nobody" : "are enforced"
            ),
            ("meters", list(policy.meters)), ("time zone", policy.timeZone.name),
            ("longest credential", "\(policy.credentialBytesMax) bytes"),
            (
                "refused credentials",
                policy.revealsCredentialFailures ? "are told why" : "are not told why"
            ),
        ]
    }

    private func daemon(_ daemon: DaemonSettings) -> [(String, String)] {
        func socket(_ socket: DaemonSettings.Socket) -> String {
            let mode = String(socket.mode, radix: 8)
            return "\(socket.path), mode 0\(mode)" + (socket.group.map { ", group \($0)" } ?? "")
        }
        let group = daemon.adminSocket.group.map { [RoleSettings.Account.name($0)] } ?? []
        var admin = daemon.roles.admin
        admin.groups = group.filter { !admin.groups.contains($0) } + admin.groups
        let administer = ["root", "the daemon's user"] + named(admin)
        return [
            ("data socket", socket(daemon.dataSocket)),
            ("admin socket", socket(daemon.adminSocket)),
            (
                "may check",
                daemon.roles.check.map { list(named($0)) } ?? "who may open the data socket"
            ),
            ("may issue tokens", list(named(daemon.roles.issue))),
            ("may administer", list(administer)),
            ("may read statistics", list(named(daemon.roles.observe))),
            ("may see who is busiest", list(named(daemon.roles.watch))),
            ("threads", daemon.threads.map { "\($0)" } ?? "one per core, at most 4"),
            ("connections", "\(daemon.connectionsMax)"),
            ("connections of a user", daemon.connectionsPerUserMax.map { "\($0)" } ?? "no bound"),
            ("frame", "\(daemon.frameBytesMax) bytes"),
            ("organizations", "\(daemon.organizationsMax)"), ("users", "\(daemon.usersMax)"),
            ("addresses", "\(daemon.addressesMax)"),
            ("log", "\(daemon.logLevel), \(daemon.logFormat)"),
        ]
    }

    private func named(_ members: RoleSettings.Members) -> [String] {
        func named(_ kind: String, _ accounts: [RoleSettings.Account]) -> [String] {
            accounts.map { account in
                switch account {
                case .name(let name): "\(kind) \(name)"
                case .number(let number): "\(kind) \(number)"
                }
            }
        }
        return named("user", members.users) + named("group", members.groups)
    }

    private func directory(_ directory: DirectorySettings?) -> String {
        guard let directory else { return "  none" }
        let peppers = directory.peppers.map { pepper in
            switch pepper.source {
            case .file(let path): "\(pepper.generation) in \(path)"
            case .credential(let name): "\(pepper.generation) from credential \(name)"
            }
        }
        return pairs([
            ("path", directory.path), ("signing keys", directory.signingKeysPath),
            ("peppers", list(peppers)),
        ])
    }
}
