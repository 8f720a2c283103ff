/// What a verified token says, as views into memory of the `TokenVerifier` that read it (of `plan`,
/// also of the `IssuerTable`): valid until its next `verify`, while both live.
package struct TokenClaims: BitwiseCopyable {
    /// Where the issuer stands in the policy.
    package var issuerIndex = 0
    /// 1 to 128 bytes of UTF-8 without control characters, as are organization and plan.
    package var user = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Empty when `hasOrganization` is false: the user is on its own.
    package var organization = UnsafeRawBufferPointer(start: nil, count: 0)
    package var hasOrganization = false
    /// Empty when `hasPlan` is false: the issuer's default plan decides.
    package var plan = UnsafeRawBufferPointer(start: nil, count: 0)
    package var hasPlan = false
    /// At most `TokenVerifier.permissionsMax`.
    package var permissions = UnsafeBufferPointer<UnsafeRawBufferPointer>(start: nil, count: 0)
    /// The issuer maps a permissions claim, and the token has it (though it may be empty).
    package var hasPermissions = false
    package var permissionMode = PermissionClaimMode.restrict
    /// `jti` and `sid` where they are strings, which is what revocations name; else empty.
    package var tokenID = UnsafeRawBufferPointer(start: nil, count: 0)
    package var session = UnsafeRawBufferPointer(start: nil, count: 0)
    /// `iat`, milliseconds since 1970, rounded down; 0 when there is none.
    package var issuedMilliseconds: Int64 = 0
    /// `exp`, rounded down. Leeway is not added.
    package var expirySeconds: Int64 = 0
    /// `nbf`, rounded up; 0 when there is none.
    package var notBeforeSeconds: Int64 = 0

    package init() {}
}
