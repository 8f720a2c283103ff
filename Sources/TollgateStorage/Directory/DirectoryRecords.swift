import TollgateCore
import TollgateWire

/// A name that callers chose: 1 to 128 bytes without control characters, as everywhere in the
/// protocol.
package protocol DirectoryIdentifier: Hashable, Sendable, CustomStringConvertible {
    var text: String { get }
    init(unchecked: String)
    static var field: String { get }
}

extension DirectoryIdentifier {
    package init(_ text: String) throws(DirectoryError) {
        try Self.check(text, field: Self.field)
        self.init(unchecked: text)
    }

    package var description: String { text }

    /// Byte by byte, as the directory tells them: to Swift, two spellings of "é" are equal.
    package static func == (a: Self, b: Self) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

    package func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    static func check(_ text: String, field: String) throws(DirectoryError) {
        guard (1...WireLimits.identifierBytesMax).contains(text.utf8.count) else {
            throw .invalid(
                field: field, why: "has 1 to \(WireLimits.identifierBytesMax) bytes")
        }
        guard text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw .invalid(field: field, why: "has no control characters")
        }
    }
}

package struct OrganizationID: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "organization" }
}

/// Known within its organization only: two tenants may have users of the same id.
package struct UserID: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "user" }
}

package struct PlanName: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "plan" }
}

package struct LimitName: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "limit" }
}

/// One login: a refresh family and the access tokens that came of it. 22 base64url characters, the
/// claim `sid`.
package struct SessionID: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "session" }
}

package enum Standing: String, Sendable, Equatable, CaseIterable { case active, suspended }

package enum MemberRole: String, Sendable, Equatable, CaseIterable { case owner, admin, member }

package enum SubscriptionStatus: String, Sendable, Equatable, CaseIterable {
    case trialing, active
    case pastDue = "past_due"
    case suspended, canceled
}

package enum PlanChangeMode: String, Sendable, Equatable, CaseIterable {
    case carry, prorate, reset
}

package struct OrganizationRecord: Sendable, Equatable {
    package var id: OrganizationID
    package var name: String
    /// Of one user, whose id is the organization's: their tokens name no organization. For good;
    /// ids are unique over both kinds.
    package var isPersonal: Bool
    package var status: Standing
    package var created: WallTime

    package init(
        id: OrganizationID, name: String, isPersonal: Bool, status: Standing, created: WallTime
    ) {
        self.id = id
        self.name = name
        self.isPersonal = isPersonal
        self.status = status
        self.created = created
    }
}

package struct UserRecord: Sendable, Equatable {
    package var organization: OrganizationID
    package var id: UserID
    package var name: String
    package var status: Standing
    package var created: WallTime
    /// `nil`: known, and without a seat.
    package var role: MemberRole?

    package init(
        organization: OrganizationID, id: UserID, name: String, status: Standing, created: WallTime,
        role: MemberRole?
    ) {
        self.organization = organization
        self.id = id
        self.name = name
        self.status = status
        self.created = created
        self.role = role
    }
}

package struct PendingPlan: Sendable, Equatable {
    package var plan: PlanName
    package var mode: PlanChangeMode
    package var at: WallTime

    package init(plan: PlanName, mode: PlanChangeMode, at: WallTime) {
        self.plan = plan
        self.mode = mode
        self.at = at
    }
}

package struct SubscriptionRecord: Sendable, Equatable {
    package var organization: OrganizationID
    package var plan: PlanName
    package var status: SubscriptionStatus
    /// Billing periods are counted from it.
    package var anchor: WallTime
    /// An IANA name.
    package var zone: String
    package var since: WallTime
    package var pending: PendingPlan?

    package init(
        organization: OrganizationID, plan: PlanName, status: SubscriptionStatus, anchor: WallTime,
        zone: String, since: WallTime, pending: PendingPlan?
    ) {
        self.organization = organization
        self.plan = plan
        self.status = status
        self.anchor = anchor
        self.zone = zone
        self.since = since
        self.pending = pending
    }
}

package struct OverrideRecord: Sendable, Equatable {
    package var organization: OrganizationID
    /// `nil`: the whole organization.
    package var user: UserID?
    package var limit: LimitName
    package var units: UInt64
    /// It holds before this instant, and no more at it.
    package var expires: WallTime?
    /// Made by a change of plan for the rest of a period, not by the operator.
    package var isProrated = false

    package init(
        organization: OrganizationID, user: UserID?, limit: LimitName, units: UInt64,
        expires: WallTime?, isProrated: Bool = false
    ) {
        self.organization = organization
        self.user = user
        self.limit = limit
        self.units = units
        self.expires = expires
        self.isProrated = isProrated
    }
}

package struct KeyRate: Sendable, Equatable {
    package static let secondsAllowed: [UInt32] = [1, 60, 3_600, 86_400]

    package var units: UInt64
    /// One of `secondsAllowed`.
    package var seconds: UInt32

    package init(units: UInt64, seconds: UInt32) {
        self.units = units
        self.seconds = seconds
    }
}

/// The secret as it is kept: what the pepper of that generation makes of it.
package struct KeptDigest: Sendable, Equatable {
    package var digest: APIKeyDigest
    package var pepper: UInt32

    package init(digest: APIKeyDigest, pepper: UInt32) {
        self.digest = digest
        self.pepper = pepper
    }
}

package struct APIKeyRecord: Sendable, Equatable {
    package var organization: OrganizationID
    package var id: APIKeyID
    package var user: UserID
    package var name: String
    package var environment: String
    package var current: KeptDigest
    /// The secret before the last rotation. Good strictly before `previousUntil`.
    package var previous: KeptDigest?
    package var previousUntil: WallTime?
    /// `nil`: all that the plan grants.
    package var permissions: [String]?
    /// CIDR blocks; `nil`: from everywhere.
    package var addresses: [String]?
    package var rate: KeyRate?
    package var created: WallTime
    package var creator: String
    package var expires: WallTime?
    package var revoked: WallTime?
    package var lastUsed: WallTime?

    package init(
        organization: OrganizationID, id: APIKeyID, user: UserID, name: String, environment: String,
        current: KeptDigest, previous: KeptDigest?, previousUntil: WallTime?,
        permissions: [String]?, addresses: [String]?, rate: KeyRate?, created: WallTime,
        creator: String, expires: WallTime?, revoked: WallTime?, lastUsed: WallTime?
    ) {
        self.organization = organization
        self.id = id
        self.user = user
        self.name = name
        self.environment = environment
        self.current = current
        self.previous = previous
        self.previousUntil = previousUntil
        self.permissions = permissions
        self.addresses = addresses
        self.rate = rate
        self.created = created
        self.creator = creator
        self.expires = expires
        self.revoked = revoked
        self.lastUsed = lastUsed
    }

    /// What lists show of the key.
    package var prefix: String { APIKey.shownPrefix(environment: environment, id: id) }
}

package enum RevocationKind: String, Sendable, Equatable, CaseIterable {
    /// One access token, by its `jti`.
    case jti
    /// All of one login.
    case session
    /// Everything of a user, or of the organization, issued at or before the instant.
    case user, organization
}

/// Access tokens that are refused though their signature is good. API keys are revoked in their own
/// record. Bounded: an entry leaves when no token that it refuses can live any more.
package struct RevocationRecord: Sendable, Equatable {
    package var organization: OrganizationID
    /// Of the organization when it was known, else what was asked for.
    package var isPersonal: Bool
    package var kind: RevocationKind
    package var subject: String
    package var at: WallTime
    package var expires: WallTime

    package init(
        organization: OrganizationID, isPersonal: Bool, kind: RevocationKind, subject: String,
        at: WallTime, expires: WallTime
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.kind = kind
        self.subject = subject
        self.at = at
        self.expires = expires
    }
}

/// What was revoked, and whether the directory knows its subject: tokens of issuers whose claims
/// are believed may be of organizations and users that it does not.
package struct Revoked: Sendable, Equatable {
    package var record: RevocationRecord
    package var isKnown: Bool
}

/// Who asks for a change, as the kernel said when they connected, and when.
package struct Change: Sendable, Equatable {
    package var uid: UInt32
    package var pid: Int32
    package var at: WallTime

    package init(uid: UInt32, pid: Int32, at: WallTime) {
        self.uid = uid
        self.pid = pid
        self.at = at
    }
}

package struct AdminLogEntry: Sendable, Equatable {
    package var number: Int64
    package var change: Change
    package var organization: OrganizationID?
    package var action: String
    package var subject: String
    /// JSON, `nil` when there was nothing, or is nothing any more. Never a secret, nor its digest.
    package var before: String?
    package var after: String?
}

/// Part of a list, in the order of its keys.
package struct Page<Item: Sendable>: Sendable {
    package static var itemsMax: Int { 1_000 }
    package var items: [Item]
    /// Where the next part begins; `nil` at the end.
    package var next: String?

    package init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }
}
