import TollgateWire

/// What a verified credential says by itself, by one policy: enough to look up anew, after the
/// directory has changed, whom it stands for, without verifying it again.
struct Claimed: BitwiseCopyable {
    var kind = CredentialKind.none
    // Of an access token.
    var hasPermissions = false
    var permissionMode = PermissionClaimMode.restrict
    var hasToken = false
    var hasSession = false
    /// Index into the policy's issuers.
    var issuer: Int32 = 0
    /// What its claims or the issuer's default say; -1 is none that is defined.
    var plan: Int32 = -1
    var permissions = PermissionSet()
    /// `iat`, milliseconds since 1970; 0: not known, so before everything.
    var issued: Int64 = 0
    var token = SubjectDigest()
    var session = SubjectDigest()
    /// Of an API key.
    var key = APIKeyID.none
}
