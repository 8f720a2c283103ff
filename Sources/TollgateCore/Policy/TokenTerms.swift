/// Where an issuer's callers have their plan from. Whatever it says: an organization that the
/// directory has suspended, or whose subscription there is not served, is refused.
package enum PlanSource: UInt8, Sendable, BitwiseCopyable {
    /// The token's claims, or the issuer's default plan.
    case claims = 0
    /// The organization's subscription, and nothing else.
    case directory = 1
    /// The subscription where there is one, else the claims.
    case directoryFirst = 2
}

/// What becomes of callers whose organization the directory does not know.
package enum UnknownOrganizations: UInt8, Sendable, BitwiseCopyable {
    /// They are served as their token's claims say.
    case claims = 0
    case refuse = 1
}

/// The tokens that the daemon issues itself, and how long they live.
package struct TokenTerms: Sendable, Equatable {
    /// The `iss`.
    package var issuer: String
    /// The `aud`; `nil` leaves it out.
    package var audience: String?
    package var accessSeconds: Int64
    /// From the login on, however often it is refreshed.
    package var refreshSeconds: Int64
    /// A session ends when it is not refreshed for so long.
    package var refreshIdleSeconds: Int64
    /// How long the token just spent may be presented again, for a reply that was lost.
    package var refreshGraceSeconds: Int64
    package var leewaySeconds: Int64
    package var planSource: PlanSource

    package init(
        issuer: String, audience: String? = nil, accessSeconds: Int64 = 600,
        refreshSeconds: Int64 = 90 * 86_400, refreshIdleSeconds: Int64 = 14 * 86_400,
        refreshGraceSeconds: Int64 = 10, leewaySeconds: Int64 = 0,
        planSource: PlanSource = .directory
    ) {
        self.issuer = issuer
        self.audience = audience
        self.accessSeconds = accessSeconds
        self.refreshSeconds = refreshSeconds
        self.refreshIdleSeconds = refreshIdleSeconds
        self.refreshGraceSeconds = refreshGraceSeconds
        self.leewaySeconds = leewaySeconds
        self.planSource = planSource
    }

    /// The name that stands for this issuer where others have theirs from the policy.
    package static let issuerName = "tollgate"

    /// The issuer as tokens are verified by it: append it to the policy's before compiling.
    package func issuerDefinition(keys: [SigningKeyDefinition]) -> IssuerDefinition {
        var claims = ClaimsMapping()
        claims.permissions = "permissions"
        return IssuerDefinition(
            name: Self.issuerName, issuer: issuer, audiences: audience.map { [$0] } ?? [],
            keys: keys, leewaySeconds: leewaySeconds, lifetimeMaxSeconds: accessSeconds,
            types: ["at+jwt"], claims: claims, planSource: planSource,
            unknownOrganizations: planSource == .claims ? .claims : .refuse)
    }
}
