/// Every key that a policy file may have, by the mapping that it stands in. Deploy/tollgate.yaml
/// shows each of them.
enum PolicySchema {
    static let policyKeys = [
        "version", "daemon", "time_zone", "meters", "plans", "operations", "address_limits",
        "invalid_credentials", "issuers", "reveal_credential_failures", "credential_bytes_max",
    ]
    static let daemonKeys = [
        "data_socket", "admin_socket", "threads", "connections_max", "connections_per_user_max",
        "frame_bytes_max", "organizations_max", "users_max", "addresses_max", "log_level",
        "log_format",
    ]
    static let socketKeys = ["path", "mode", "group"]
    static let operationKeys = ["permission", "routes", "class", "charges"]
    static let chargeKeys = ["units", "weight"]
    static let planKeys = ["permissions", "rate_limits", "quotas"]
    static let addressLimitKeys = ["meter", "limit", "window", "mode", "sub_buckets", "classes"]
    static let rateLimitKeys = ["scope"] + addressLimitKeys
    static let quotaKeys = ["scope", "meter", "limit", "period", "time_zone"]
    static let invalidCredentialKeys = ["limit", "window"]
    static let issuerKeys = [
        "issuer", "audiences", "keys", "leeway", "lifetime_max", "types", "claims", "default_plan",
    ]
    static let keyKeys = ["id", "algorithm", "file", "format", "organization"]
    static let claimKeys = [
        "user", "organization", "plan", "roles", "plans_by_role", "permissions", "permission_mode",
    ]

    static let all = [
        policyKeys, daemonKeys, socketKeys, operationKeys, chargeKeys, planKeys, rateLimitKeys,
        quotaKeys, invalidCredentialKeys, issuerKeys, keyKeys, claimKeys,
    ].flatMap { $0 }
}
