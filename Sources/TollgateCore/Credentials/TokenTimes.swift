import TollgateWire

/// `exp`, `nbf` and `iat` of a token, and what follows from them.
struct TokenTimes: BitwiseCopyable {
    private(set) var expiry = NumericDate.zero
    private(set) var notBefore = NumericDate.zero
    private(set) var issuedAt = NumericDate.zero
    private(set) var hasExpiry = false
    private(set) var hasNotBefore = false
    private(set) var hasIssuedAt = false
    /// One of them is there and is no `NumericDate`.
    private var isBroken = false

    init(_ payload: borrowing JSONScanner) {
        if let date = read(.exp, payload) { (expiry, hasExpiry) = (date, true) }
        if let date = read(.nbf, payload) { (notBefore, hasNotBefore) = (date, true) }
        if let date = read(.iat, payload) { (issuedAt, hasIssuedAt) = (date, true) }
    }

    @inline(__always)
    private mutating func read(
        _ name: MemberName, _ payload: borrowing JSONScanner
    ) -> NumericDate? {
        guard let member = payload.find(name) else { return nil }
        if member.kind == .number, let date = NumericDate(payload.view(member.value)) {
            return date
        }
        isBroken = true
        return nil
    }

    /// `exp` is there, all that is there can be read, and the token is valid at some time.
    var areSound: Bool {
        hasExpiry && !isBroken && (!hasNotBefore || notBefore.roundedUp <= expiry.roundedDown)
    }

    /// Expired, not yet valid, good for too long, or `.none`. What is absent or cannot be read
    /// gives no reason here: `areSound` is asked in its turn.
    func judge(
        _ issuer: CompiledIssuer, expiryNow: WallTime, notBeforeNow: WallTime
    ) -> Reason {
        // Seconds are at most 2^53 and leeways 60 s, so no sum here leaves 64 bits.
        let leeway = issuer.leewayMilliseconds
        if hasExpiry, expiryNow.milliseconds >= expiry.roundedDown &* 1_000 &+ leeway {
            return .tokenExpired
        }
        let start = notBeforeNow.milliseconds &+ leeway
        if hasNotBefore, notBefore.roundedUp &* 1_000 > start { return .tokenNotYetValid }
        if hasIssuedAt, issuedAt.millisecondsUp > start { return .tokenNotYetValid }
        guard hasExpiry else { return .none }
        if hasIssuedAt {
            let lifetime = expiry.roundedUp &- issuedAt.roundedDown
            return lifetime > issuer.lifetimeMaxSeconds ? .tokenLifetimeTooLong : .none
        }
        let left = (expiry.roundedUp &* 1_000).subtractingReportingOverflow(
            notBeforeNow.milliseconds)
        let isTooLong = left.overflow || left.partialValue > issuer.lifetimeMaxSeconds &* 1_000
        return isTooLong ? .tokenLifetimeTooLong : .none
    }
}
