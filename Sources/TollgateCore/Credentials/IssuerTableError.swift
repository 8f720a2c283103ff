/// What makes a list of issuers unfit. Thrown once, when a policy is compiled.
package enum IssuerTableError: Error, Sendable, Equatable {
    case noKeys(issuer: String)
    case emptyIssuer(name: String)
    case duplicateIssuer(String)
    case duplicateKeyID(issuer: String, keyID: String)
    /// Several keys, and one of them without a key id: nothing could choose.
    case keyWithoutID(issuer: String)
    case keyIDLength(issuer: String)
    case secretTooShort(issuer: String, bytes: Int, least: Int)
    case leewayOutOfRange(issuer: String, seconds: Int64)
    case lifetimeOutOfRange(issuer: String, seconds: Int64)
    case tooManyIssuers(Int)
    case tooManyKeys(issuer: String, Int)
    case identifierLength(issuer: String, what: String)
    case memoryShort

    /// What is wrong and what to do about it, in one line, without secrets.
    package var message: String {
        switch self {
        case .noKeys(let issuer):
            "issuer \(issuer) has no key: give it at least one"
        case .emptyIssuer(let name):
            "issuer \(name) has an empty `iss`: give the exact value that its tokens carry"
        case .duplicateIssuer(let issuer):
            "two issuers have the `iss` \(issuer): merge them, or correct one"
        case .duplicateKeyID(let issuer, let keyID):
            "issuer \(issuer) has two keys with the key id \(keyID): rename or remove one"
        case .keyWithoutID(let issuer):
            "issuer \(issuer) has several keys and one has no key id: give each its `kid`"
        case .keyIDLength(let issuer):
            "issuer \(issuer) has a key id that is empty or longer than"
                + " \(IssuerTable.keyIDBytesMax) bytes: shorten it"
        case .secretTooShort(let issuer, let bytes, let least):
            "issuer \(issuer) has a secret of \(bytes) bytes where its algorithm needs \(least)"
                + " (RFC 7518 section 3.2): make a new one"
        case .leewayOutOfRange(let issuer, let seconds):
            "issuer \(issuer) has a leeway of \(seconds) s: choose 0 to"
                + " \(IssuerTable.leewaySecondsMax)"
        case .lifetimeOutOfRange(let issuer, let seconds):
            "issuer \(issuer) has a longest lifetime of \(seconds) s: choose 1 to"
                + " \(IssuerTable.lifetimeSecondsCeiling)"
        case .tooManyIssuers(let count):
            "\(count) issuers: at most \(IssuerTable.issuersMax)"
        case .tooManyKeys(let issuer, let count):
            "issuer \(issuer) has \(count) keys: at most \(IssuerTable.keysMax)"
        case .identifierLength(let issuer, let what):
            "issuer \(issuer): \(what) is empty or too long: give 1 to"
                + " \(IssuerTable.nameBytesMax) bytes"
        case .memoryShort:
            "out of memory while preparing keys: free some and load the policy again"
        }
    }
}
