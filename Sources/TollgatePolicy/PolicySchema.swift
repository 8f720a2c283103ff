/// Every key that a policy file may have, by the mapping that it stands in. Deploy/tollgate.yaml
/// shows each of them.
enum PolicySchema {
    static let policyKeys = [
        "version", "daemon", "directory", "time_zone", "meters", "plans", "operations",
        "address_limits", "invalid_credentials", "issuers", "tokens",
        "reveal_credential_failures", "credential_bytes_max", "ledger", "idempotency",
        "audit", "alerts", "shadow",
    ]
    static let daemonKeys = [
        "data_socket", "admin_socket", "roles", "threads", "connections_max",
        "connections_per_user_max", "frame_bytes_max", "organizations_max", "users_max",
        "addresses_max", "log_level", "log_format",
    ]
    static let socketKeys = ["path", "mode", "group"]
    static let roleKeys = ["check", "issue", "admin", "observe", "watch"]
    static let memberKeys = ["users", "groups"]
    static let directoryKeys = [
        "path", "signing_keys", "peppers", "log_retention", "spent_retention",
        "sessions_per_user_max",
    ]
    static let pepperKeys = ["generation", "file", "credential"]
    static let operationKeys = ["permission", "routes", "class", "charges"]
    static let chargeKeys = ["units", "weight"]
    static let planKeys = [
        "permissions", "rate_limits", "quotas", "concurrency", "holds", "prices",
    ]
    static let concurrencyKeys = ["scope", "limit", "shadow"]
    static let holdKeys = ["ttl_default", "ttl_max", "cut_stream"]
    static let idempotencyKeys = ["lifetime", "records_max"]
    static let ledgerKeys = [
        "path", "durability", "snapshot_interval", "segment_bytes", "on_failure",
        "reservations_max",
    ]
    static let auditKeys = [
        "path", "overload", "sample_allowed", "ring_bytes", "segment_bytes", "segment_age", "keep",
        "bytes_max", "compress",
    ]
    static let addressLimitKeys = [
        "meter", "limit", "window", "mode", "sub_buckets", "classes", "shadow",
    ]
    static let rateLimitKeys = ["scope", "override_max"] + addressLimitKeys
    static let quotaKeys = [
        "scope", "meter", "limit", "period", "time_zone", "soft", "overage_max", "rollover_max",
        "member_min", "member_max", "credits", "shadow",
    ]
    static let invalidCredentialKeys = ["limit", "window"]
    static let issuerKeys = [
        "issuer", "audiences", "keys", "leeway", "lifetime_max", "types", "claims", "default_plan",
        "plan_source", "unknown_organizations",
    ]
    static let tokenKeys = [
        "issuer", "audience", "access_lifetime", "refresh_lifetime", "refresh_idle_lifetime",
        "refresh_grace", "leeway", "plan_source",
    ]
    static let keyKeys = ["id", "algorithm", "file", "format", "organization"]
    static let claimKeys = [
        "user", "organization", "plan", "roles", "plans_by_role", "permissions", "permission_mode",
    ]

    /// What replies call an API key's own rate limit.
    static let credentialLimitName = "credential_rate"

    static let all = [
        policyKeys, daemonKeys, socketKeys, roleKeys, memberKeys, directoryKeys, pepperKeys,
        operationKeys, chargeKeys, planKeys, rateLimitKeys, quotaKeys, invalidCredentialKeys,
        issuerKeys, keyKeys, claimKeys, tokenKeys, concurrencyKeys, holdKeys, idempotencyKeys,
        ledgerKeys, auditKeys, alertKeys, alertRuleKeys,
    ].flatMap { $0 }
}
