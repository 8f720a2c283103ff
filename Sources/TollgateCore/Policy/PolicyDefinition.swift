import TollgateWire

// The operator's configuration as plain values: what the YAML reader produces, what tests write
// by hand, and what `PolicyImage` compiles for the check path. Names, not indices.

/// All that decides: plans, operations, meters, issuers, limits.
package struct PolicyDefinition: Sendable {
    package var meters: [String] = ["calls"]
    package var plans: [PlanDefinition] = []
    package var operations: [OperationDefinition] = []
    package var issuers: [IssuerDefinition] = []
    /// Tokens that the daemon issues itself; `nil`: none.
    package var tokens: TokenTerms?
    /// Per source address (IPv6 by /64); scope `.address`.
    package var addressLimits: [RateLimitDefinition] = []
    /// Invalid credentials per source address; scope `.address`, meter ignored.
    package var invalidCredentialLimit: RateLimitDefinition?
    /// Where days and months of quotas without a zone of their own begin.
    package var timeZone: ZoneRules = .utc
    /// Replies carry the true reason of a refused credential instead of `credentialInvalid`.
    package var revealsCredentialFailures = false
    /// Bytes of the longest credential that is looked at; at most `WireLimits.credentialBytesMax`.
    package var credentialBytesMax = 8_192
    package var idempotency = IdempotencyTerms()
    /// Every limit, quota and permission is evaluated and counted, and refuses nobody: credentials
    /// and what the daemon itself lacks alone do.
    package var isShadow = false

    package init() {}
}

/// A named set of permissions, rate limits and quotas.
package struct PlanDefinition: Sendable {
    package var name: String
    package var permissions: [String]
    package var rateLimits: [RateLimitDefinition]
    package var quotas: [QuotaDefinition]
    package var concurrency: [ConcurrencyDefinition] = []
    package var holds = HoldTerms()
    /// Micro-units of money that one unit of a meter costs, before it is weighted. What they come
    /// to counts in the meter `cost`.
    package var prices: [String: UInt64] = [:]

    package init(
        name: String, permissions: [String] = [], rateLimits: [RateLimitDefinition] = [],
        quotas: [QuotaDefinition] = []
    ) {
        self.name = name
        self.permissions = permissions
        self.rateLimits = rateLimits
        self.quotas = quotas
    }

    /// The meter of money: there wherever a plan has prices, and charged by them alone.
    package static let costMeter = "cost"
}

/// How a window counts its oldest, partly expired sub-bucket.
package enum WindowMode: UInt8, Sendable, BitwiseCopyable {
    /// In full: never more than the limit in any true window.
    case strict = 0
    /// In proportion to the part still inside.
    case smooth = 1
}

/// At most `limit` units of `meter` in a sliding window.
package struct RateLimitDefinition: Sendable {
    package var name: String
    package var scope: LimitScope
    package var meter: String
    package var limit: UInt64
    package var windowNanoseconds: UInt64
    package var mode: WindowMode
    /// Sub-buckets of the window; more are finer and larger.
    package var subBuckets: Int
    /// Rate-limit classes of operations that it counts; empty means all.
    package var classes: [String]
    /// The most that an organization's override may set; `nil` or less than `limit`: what the
    /// cells that `limit` needs hold. A larger one has wider cells.
    package var overrideMax: UInt64?
    /// It is evaluated, and counts what it admits, but refuses nobody.
    package var isShadow = false

    package init(
        name: String, scope: LimitScope, meter: String = "calls", limit: UInt64,
        windowNanoseconds: UInt64, mode: WindowMode = .strict,
        subBuckets: Int = RateLimitDefinition.subBucketsDefault, classes: [String] = [],
        overrideMax: UInt64? = nil
    ) {
        self.name = name
        self.scope = scope
        self.meter = meter
        self.limit = limit
        self.windowNanoseconds = windowNanoseconds
        self.mode = mode
        self.subBuckets = subBuckets
        self.classes = classes
        self.overrideMax = overrideMax
    }

    /// What its cells must hold.
    var mostUnits: UInt64 { max(limit, overrideMax ?? 0) }

    /// Of an evenly paced load that equals the limit, `strict` gives away 1 / (k + 1), 4.2 % at 23;
    /// of a random one half as much: simulated against an exact log, 2.0 % for a limit of 100 in
    /// the window and 2.6 % for 1,000 (5.1 % and 6.9 % at 10, 0.7 % and 1.1 % at 50). And 24 cells
    /// of 2 bytes and the head of a window fill one cache line.
    package static let subBucketsDefault = 23
    package static let subBucketsMax = 120
}

/// What an operation charges one meter with.
package struct ChargeDefinition: Sendable {
    package var meter: String
    /// Units when the request names none.
    package var defaultUnits: UInt64
    /// Every unit of the request counts this much.
    package var weight: UInt64

    package init(meter: String = "calls", defaultUnits: UInt64 = 1, weight: UInt64 = 1) {
        self.meter = meter
        self.defaultUnits = defaultUnits
        self.weight = weight
    }
}

/// A method and a path template by which an operation is recognised: `/v1/files/{id}`,
/// `/v1/raw/{rest...}` (the rest of the path, only last). Method `*` is any.
package struct RouteDefinition: Sendable, Equatable {
    package var method: String
    package var path: String

    package init(method: String, path: String) {
        self.method = method
        self.path = path
    }
}

/// A thing callers do.
package struct OperationDefinition: Sendable {
    package var name: String
    package var routes: [RouteDefinition]
    package var permission: String?
    package var rateLimitClass: String?
    package var charges: [ChargeDefinition]

    package init(
        name: String, routes: [RouteDefinition] = [], permission: String? = nil,
        rateLimitClass: String? = nil, charges: [ChargeDefinition] = [ChargeDefinition()]
    ) {
        self.name = name
        self.routes = routes
        self.permission = permission
        self.rateLimitClass = rateLimitClass
        self.charges = charges
    }
}

/// The HMAC algorithms of RFC 7518 §3.2, and no others.
package enum TokenAlgorithm: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case hs256 = 0
    case hs384 = 1
    case hs512 = 2

    /// Bytes of the digest, and so the least bytes of a key.
    package var digestBytes: Int { [32, 48, 64][Int(rawValue)] }
}

/// A key that verifies an issuer's tokens. The secret has passed `SecretBytes`' checks.
package struct SigningKeyDefinition: Sendable {
    package var keyID: String?
    package var algorithm: TokenAlgorithm
    package var secret: SecretBytes
    /// Tokens signed with this key are good for this organization only.
    package var organization: String?

    package init(
        keyID: String?, algorithm: TokenAlgorithm, secret: SecretBytes, organization: String? = nil
    ) {
        self.keyID = keyID
        self.algorithm = algorithm
        self.secret = secret
        self.organization = organization
    }
}

/// What a token's permission claim means beside the plan's permissions.
package enum PermissionClaimMode: UInt8, Sendable, BitwiseCopyable {
    /// The token narrows: plan ∩ claim.
    case restrict = 0
    /// The token widens: plan ∪ claim.
    case grant = 1
}

/// Which claims carry what. Claim names are top-level members, compared exactly.
package struct ClaimsMapping: Sendable, Equatable {
    package var user = "sub"
    package var organization: String? = "org"
    /// A string that names a plan.
    package var plan: String? = "plan"
    /// A string or an array of strings; the first that `plansByRole` knows decides when there is
    /// no plan claim.
    package var roles: String?
    package var plansByRole: [String: String] = [:]
    /// An array of strings, or one string with spaces between (RFC 8693 §4.2).
    package var permissions: String?
    package var permissionMode: PermissionClaimMode = .restrict

    package init() {}
}

/// Who mints tokens, and with which keys.
package struct IssuerDefinition: Sendable {
    package var name: String
    /// The exact value of `iss`.
    package var issuer: String
    /// Exact values of `aud`, any of; empty means that `aud` is not looked at.
    package var audiences: [String]
    package var keys: [SigningKeyDefinition]
    package var leewaySeconds: Int64
    /// The longest `exp - iat` (or, without `iat`, `exp - now`).
    package var lifetimeMaxSeconds: Int64
    /// Accepted values of `typ`, compared without case; a token without `typ` is accepted.
    package var types: [String]
    package var claims: ClaimsMapping
    /// The plan of tokens that name none; `nil` refuses them.
    package var defaultPlan: String?
    package var planSource: PlanSource
    package var unknownOrganizations: UnknownOrganizations

    package init(
        name: String, issuer: String, audiences: [String] = [], keys: [SigningKeyDefinition],
        leewaySeconds: Int64 = 0, lifetimeMaxSeconds: Int64 = 86_400,
        types: [String] = ["JWT", "at+jwt"], claims: ClaimsMapping = ClaimsMapping(),
        defaultPlan: String? = nil, planSource: PlanSource = .claims,
        unknownOrganizations: UnknownOrganizations = .claims
    ) {
        self.name = name
        self.issuer = issuer
        self.audiences = audiences
        self.keys = keys
        self.leewaySeconds = leewaySeconds
        self.lifetimeMaxSeconds = lifetimeMaxSeconds
        self.types = types
        self.claims = claims
        self.defaultPlan = defaultPlan
        self.planSource = planSource
        self.unknownOrganizations = unknownOrganizations
    }
}
