import TollgateCore

/// What is known of a refresh token that was presented, and of its family.
package struct PresentedToken: Sendable, Equatable {
    /// When it was exchanged for its successor.
    package var spent: WallTime?
    /// Whether the successor was exchanged too: then this is a grandparent.
    package var successorIsSpent: Bool
    package var idleExpires: WallTime
    package var familyExpires: WallTime
    package var familyIsRevoked: Bool
    /// User and organization are not suspended.
    package var holderIsActive: Bool

    package init(
        spent: WallTime?, successorIsSpent: Bool, idleExpires: WallTime, familyExpires: WallTime,
        familyIsRevoked: Bool, holderIsActive: Bool
    ) {
        self.spent = spent
        self.successorIsSpent = successorIsSpent
        self.idleExpires = idleExpires
        self.familyExpires = familyExpires
        self.familyIsRevoked = familyIsRevoked
        self.holderIsActive = holderIsActive
    }
}

/// What is done with a refresh token (RFC 9700 §4.14, RELIABILITY S21 to S24).
package enum RefreshRotation: Sendable, Equatable {
    /// Spend it, and give its successor.
    case rotate
    /// The reply was lost, or a second window of the same user asked at once: give the same
    /// successor again.
    case giveAgain
    /// Somebody uses a copy: end the family and its access tokens.
    case endFamily
    case refuse(RefreshRefusal)

    package static let graceMillisecondsMax: Int64 = 60_000

    /// First that the family is alive; then that the token was not used, or only just; last that it
    /// may be used. A copy ends the family though its holder is suspended. Within the grace means
    /// less than that from when it was spent, on either side: the wall clock may have stepped back.
    package static func decide(
        _ token: PresentedToken, now: WallTime, graceMilliseconds: Int64
    ) -> RefreshRotation {
        if token.familyIsRevoked { return .refuse(.revoked) }
        if now >= token.familyExpires { return .refuse(.expired) }
        if let spent = token.spent {
            let grace = min(max(graceMilliseconds, 0), graceMillisecondsMax)
            let (since, overflow) = now.milliseconds.subtractingReportingOverflow(
                spent.milliseconds)
            let isJustSpent = !overflow && since.magnitude < UInt64(grace)
            guard isJustSpent, !token.successorIsSpent else { return .endFamily }
            return token.holderIsActive ? .giveAgain : .refuse(.inactive)
        }
        if now >= token.idleExpires { return .refuse(.expired) }
        return token.holderIsActive ? .rotate : .refuse(.inactive)
    }
}

/// Why a refresh token was refused: for the log; its holder sees one answer for all.
package enum RefreshRefusal: Sendable, Equatable, CaseIterable {
    case unknown, expired, revoked, inactive
    /// The pepper was changed between a rotation and its retry: the successor cannot be made again.
    case pepperChanged
}

package enum RevokeReason: String, Sendable, Equatable, CaseIterable { case asked, reuse }

/// A login: a family of refresh tokens, of which one can be used.
package struct SessionRecord: Sendable, Equatable {
    package var organization: OrganizationID
    package var session: SessionID
    package var user: UserID
    package var created: WallTime
    /// No token of the family is good at this instant or later.
    package var expires: WallTime
    /// A token that is not used for so long is not good any more.
    package var idleMilliseconds: Int64
    /// Of its access tokens; `nil`: all that the plan grants.
    package var permissions: [String]? = nil
    package var revoked: WallTime?
    package var reason: RevokeReason?
}

package enum RefreshOutcome: Sendable {
    /// The token that takes the place of the one presented; given again when `isRetry`.
    case renewed(SessionRecord, token: SecretBytes, isRetry: Bool)
    /// A copy was used. The family is ended, and its access tokens are revoked: raise the event.
    case reused(SessionRecord, RevocationRecord)
    case refused(RefreshRefusal)
}
