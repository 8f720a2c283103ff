import TollgateCore
import TollgatePolicy

/// A policy as it is in force, as JSON; names as in the policy file. Shows of keys what names
/// them, and no secret.
enum PolicyJSON {
    static func value(_ loaded: LoadedPolicy) -> JSON {
        let policy = loaded.definition
        return .object([
            ("shadow", .bool(policy.isShadow)),
            ("time_zone", .text(policy.timeZone.name)), ("meters", .texts(policy.meters)),
            ("plans", .object(policy.plans.map { ($0.name, plan($0)) })),
            ("operations", .object(policy.operations.map { ($0.name, operation($0)) })),
            ("address_limits", .object(policy.addressLimits.map { ($0.name, limit($0)) })),
            ("invalid_credentials", policy.invalidCredentialLimit.map(limit) ?? .null),
            ("issuers", .object(policy.issuers.map { ($0.name, issuer($0)) })),
            ("tokens", policy.tokens.map(tokens) ?? .null),
            ("reveal_credential_failures", .bool(policy.revealsCredentialFailures)),
            ("credential_bytes_max", .count(policy.credentialBytesMax)),
            ("daemon", daemon(loaded.daemon)),
            ("directory", loaded.directory.map(directory) ?? .null),
            ("ledger", loaded.ledger.map(ledger) ?? .null),
            ("audit", loaded.audit.map(audit) ?? .null),
            ("alerts", loaded.alerts.map(alerts) ?? .null),
            ("idempotency", idempotency(policy.idempotency)),
        ])
    }

    private static func plan(_ plan: PlanDefinition) -> JSON {
        .object([
            ("permissions", .texts(plan.permissions)),
            ("rate_limits", .object(plan.rateLimits.map { ($0.name, planLimit($0)) })),
            ("quotas", .object(plan.quotas.map { ($0.name, quota($0)) })),
            (
                "concurrency",
                .object(
                    plan.concurrency.map {
                        (
                            $0.name,
                            .object([
                                ("scope", .text("\($0.scope)")), ("limit", .count($0.limit)),
                                ("shadow", .bool($0.isShadow)),
                            ])
                        )
                    })
            ),
            ("holds", holds(plan.holds)),
            (
                "prices",
                .object(
                    plan.prices.sorted { $0.key < $1.key }.map { ($0.key, .count($0.value)) })
            ),
        ])
    }

    private static func planLimit(_ limit: RateLimitDefinition) -> JSON {
        .object(members(limit) + [("override_max", .optional(limit.overrideMax))])
    }

    private static func limit(_ limit: RateLimitDefinition) -> JSON { .object(members(limit)) }

    private static func members(_ limit: RateLimitDefinition) -> [(String, JSON)] {
        [
            ("scope", .text("\(limit.scope)")), ("meter", .text(limit.meter)),
            ("limit", .count(limit.limit)),
            ("window_ms", .count(limit.windowNanoseconds / 1_000_000)),
            ("mode", .text("\(limit.mode)")), ("sub_buckets", .count(limit.subBuckets)),
            ("classes", .texts(limit.classes)), ("shadow", .bool(limit.isShadow)),
        ]
    }

    private static func operation(_ operation: OperationDefinition) -> JSON {
        .object([
            ("permission", .optional(operation.permission)),
            ("class", .optional(operation.rateLimitClass)),
            ("routes", .texts(operation.routes.map { "\($0.method) \($0.path)" })),
            (
                "charges",
                .object(
                    operation.charges.map {
                        (
                            $0.meter,
                            .object([
                                ("units", .count($0.defaultUnits)), ("weight", .count($0.weight)),
                            ])
                        )
                    })
            ),
        ])
    }

    private static func issuer(_ issuer: IssuerDefinition) -> JSON {
        let claims = issuer.claims
        let plansByRole = claims.plansByRole.sorted { $0.key < $1.key }
        return .object([
            ("issuer", .text(issuer.issuer)), ("audiences", .texts(issuer.audiences)),
            (
                "keys",
                .list(
                    issuer.keys.map { key in
                        .object([
                            ("id", .optional(key.keyID)),
                            ("algorithm", .text(key.algorithm.headerName)),
                            ("organization", .optional(key.organization)),
                        ])
                    })
            ),
            ("leeway_s", .count(issuer.leewaySeconds)),
            ("lifetime_max_s", .count(issuer.lifetimeMaxSeconds)), ("types", .texts(issuer.types)),
            (
                "claims",
                .object([
                    ("user", .text(claims.user)), ("organization", .optional(claims.organization)),
                    ("plan", .optional(claims.plan)), ("roles", .optional(claims.roles)),
                    ("plans_by_role", .object(plansByRole.map { ($0.key, .text($0.value)) })),
                    ("permissions", .optional(claims.permissions)),
                    ("permission_mode", .text("\(claims.permissionMode)")),
                ])
            ),
            ("default_plan", .optional(issuer.defaultPlan)),
            ("plan_source", .text(word(issuer.planSource))),
            ("unknown_organizations", .text("\(issuer.unknownOrganizations)")),
        ])
    }

    private static func tokens(_ terms: TokenTerms) -> JSON {
        .object([
            ("issuer", .text(terms.issuer)), ("audience", .optional(terms.audience)),
            ("access_lifetime_s", .count(terms.accessSeconds)),
            ("refresh_lifetime_s", .count(terms.refreshSeconds)),
            ("refresh_idle_lifetime_s", .count(terms.refreshIdleSeconds)),
            ("refresh_grace_s", .count(terms.refreshGraceSeconds)),
            ("leeway_s", .count(terms.leewaySeconds)),
            ("plan_source", .text(word(terms.planSource))),
        ])
    }

    /// As the policy file has it.
    static func word(_ source: PlanSource) -> String {
        source == .directoryFirst ? "directory_first" : "\(source)"
    }

    private static func directory(_ directory: DirectorySettings) -> JSON {
        let peppers = directory.peppers.map { pepper in
            let source: (String, JSON) =
                switch pepper.source {
                case .file(let path): ("file", .text(path))
                case .credential(let name): ("credential", .text(name))
                }
            return JSON.object([("generation", .count(pepper.generation)), source])
        }
        return .object([
            ("path", .text(directory.path)), ("signing_keys", .text(directory.signingKeysPath)),
            ("peppers", .list(peppers)),
        ])
    }

    private static func roles(_ roles: RoleSettings) -> JSON {
        func accounts(_ accounts: [RoleSettings.Account]) -> JSON {
            .list(
                accounts.map { account in
                    switch account {
                    case .name(let name): .text(name)
                    case .number(let number): .count(number)
                    }
                })
        }
        func members(_ members: RoleSettings.Members) -> JSON {
            .object([("users", accounts(members.users)), ("groups", accounts(members.groups))])
        }
        return .object([
            ("check", roles.check.map(members) ?? .null), ("issue", members(roles.issue)),
            ("admin", members(roles.admin)), ("observe", members(roles.observe)),
            ("watch", members(roles.watch)),
        ])
    }

    private static func daemon(_ daemon: DaemonSettings) -> JSON {
        func socket(_ socket: DaemonSettings.Socket) -> JSON {
            let digits = String(socket.mode, radix: 8)
            return .object([
                ("path", .text(socket.path)), ("mode", .text("0" + digits)),
                ("group", .optional(socket.group)),
            ])
        }
        return .object([
            ("data_socket", socket(daemon.dataSocket)),
            ("admin_socket", socket(daemon.adminSocket)), ("roles", roles(daemon.roles)),
            ("threads", .optional(daemon.threads)),
            ("connections_max", .count(daemon.connectionsMax)),
            ("connections_per_user_max", .optional(daemon.connectionsPerUserMax)),
            ("frame_bytes_max", .count(daemon.frameBytesMax)),
            ("organizations_max", .count(daemon.organizationsMax)),
            ("users_max", .count(daemon.usersMax)), ("addresses_max", .count(daemon.addressesMax)),
            ("log_level", .text("\(daemon.logLevel)")),
            ("log_format", .text("\(daemon.logFormat)")),
        ])
    }
}
