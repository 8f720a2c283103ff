// What the directory's image takes: plain values, made from the durable records.

/// An organization's subscription.
package struct SubscriptionEntry: Sendable, Equatable {
    package var plan: String
    /// Trialing, active or past due.
    package var isServed: Bool
    /// The plan that takes this one's place at `pendingAt`.
    package var pendingPlan: String?
    package var pendingAt: WallTime?
    /// Where the periods of quotas begin that name no zone; `nil`: where the policy says.
    package var zone: ZoneRules?
    /// On its day of the month billing months begin; `nil`: on the first.
    package var anchor: WallTime?

    package init(
        plan: String, isServed: Bool, pendingPlan: String? = nil, pendingAt: WallTime? = nil,
        zone: ZoneRules? = nil, anchor: WallTime? = nil
    ) {
        self.zone = zone
        self.anchor = anchor
        self.plan = plan
        self.isServed = isServed
        self.pendingPlan = pendingPlan
        self.pendingAt = pendingAt
    }
}

extension SubscriptionEntry {
    var calendar: SubjectCalendar { SubjectCalendar(zone: zone, anchor: anchor) }
}

/// Another number for one limit.
package struct OverrideEntry: Sendable, Equatable {
    package var limit: String
    package var units: UInt64
    /// It holds before this instant, and no more at it.
    package var expires: WallTime?

    package init(limit: String, units: UInt64, expires: WallTime? = nil) {
        self.limit = limit
        self.units = units
        self.expires = expires
    }
}

package struct OrganizationEntry: Sendable, Equatable {
    package var id: String
    /// Somebody's own: the user of the same id is alone in it, and its tokens name no organization.
    package var isPersonal: Bool
    package var isActive: Bool
    package var subscription: SubscriptionEntry?
    package var overrides: [OverrideEntry]

    package init(
        id: String, isPersonal: Bool = false, isActive: Bool = true,
        subscription: SubscriptionEntry? = nil, overrides: [OverrideEntry] = []
    ) {
        self.id = id
        self.isPersonal = isPersonal
        self.isActive = isActive
        self.subscription = subscription
        self.overrides = overrides
    }
}

package struct UserEntry: Sendable, Equatable {
    package var organization: String
    package var isPersonal: Bool
    package var id: String
    /// Not suspended, and has a seat.
    package var isActive: Bool
    package var overrides: [OverrideEntry]

    package init(
        organization: String, isPersonal: Bool = false, id: String, isActive: Bool = true,
        overrides: [OverrideEntry] = []
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.id = id
        self.isActive = isActive
        self.overrides = overrides
    }
}

/// A rate limit of one key's own, on calls.
package struct KeyLimit: Sendable, Equatable {
    /// The windows that there are, in seconds: so that few kinds of rows are needed.
    package static let secondsAllowed: [UInt32] = [1, 60, 3_600, 86_400]

    package var units: UInt64
    package var seconds: UInt32

    package init(units: UInt64, seconds: UInt32) {
        self.units = units
        self.seconds = seconds
    }
}

package struct APIKeyEntry: Sendable, Equatable {
    package var id: APIKeyID
    package var organization: String
    package var isPersonal: Bool
    package var user: String
    package var digest: APIKeyDigest
    /// Generation of the pepper that made the digest.
    package var pepper: UInt32
    /// The secret before the last rotation. Good strictly before `previousUntil`.
    package var previous: APIKeyDigest?
    package var previousPepper: UInt32
    package var previousUntil: WallTime?
    /// `nil`: all that the plan grants.
    package var permissions: [String]?
    /// `nil`: from everywhere.
    package var addresses: [AddressBlock]?
    package var limit: KeyLimit?
    /// Good strictly before it.
    package var expires: WallTime?
    package var isRevoked: Bool
    package var lastUsed: WallTime?

    package init(
        id: APIKeyID, organization: String, isPersonal: Bool = false, user: String,
        digest: APIKeyDigest, pepper: UInt32, previous: APIKeyDigest? = nil,
        previousPepper: UInt32 = 0, previousUntil: WallTime? = nil, permissions: [String]? = nil,
        addresses: [AddressBlock]? = nil, limit: KeyLimit? = nil, expires: WallTime? = nil,
        isRevoked: Bool = false, lastUsed: WallTime? = nil
    ) {
        self.id = id
        self.organization = organization
        self.isPersonal = isPersonal
        self.user = user
        self.digest = digest
        self.pepper = pepper
        self.previous = previous
        self.previousPepper = previousPepper
        self.previousUntil = previousUntil
        self.permissions = permissions
        self.addresses = addresses
        self.limit = limit
        self.expires = expires
        self.isRevoked = isRevoked
        self.lastUsed = lastUsed
    }
}

package enum RevokedKind: UInt8, Sendable, CaseIterable {
    /// One access token, by its `jti`.
    case token
    /// All access tokens of one login, by their `sid`.
    case session
    /// Every access token of a user, or of all of an organization, issued at or before an instant.
    case user, organization
}

package struct RevocationEntry: Sendable, Equatable {
    package var kind: RevokedKind
    package var organization: String
    package var isPersonal: Bool
    /// `jti`, `sid` or user; of an organization its id.
    package var subject: String
    package var at: WallTime
    /// Nothing that it refuses lives beyond.
    package var expires: WallTime

    package init(
        kind: RevokedKind, organization: String, isPersonal: Bool = false, subject: String,
        at: WallTime, expires: WallTime
    ) {
        self.kind = kind
        self.organization = organization
        self.isPersonal = isPersonal
        self.subject = subject
        self.at = at
        self.expires = expires
    }
}
