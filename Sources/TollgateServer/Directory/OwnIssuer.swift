import TollgateCore
import TollgateStorage

/// A signing key with its secret.
struct OwnKey: Sendable {
    var record: SigningKeyRecord
    var secret: SecretBytes
}

/// What a call did to the signing keys.
enum SigningKeyChange {
    case added(OwnKey)
    /// The states of keys that are there.
    case states([SigningKeyRecord])
    case gone(SigningKeyID)
}

/// The daemon as an issuer of access tokens: its terms from the policy, its keys from their files.
/// What it knows is what the policy in force was compiled of. Any thread.
final class OwnIssuer: Sendable {
    static let leastLifeMilliseconds: Int64 = 86_400_000

    let files: SigningKeyFiles
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var loaded: PolicyDefinition
    private nonisolated(unsafe) var keys: [OwnKey] = []
    private nonisolated(unsafe) var longestAccessMilliseconds: Int64 = 0
    private nonisolated(unsafe) var longestOfAnyMilliseconds = OwnIssuer.leastLifeMilliseconds
    private nonisolated(unsafe) var replaced: PolicyDefinition?
    private nonisolated(unsafe) var tokensLiveUntil = WallTime(milliseconds: .min)

    init(_ definition: PolicyDefinition, files: SigningKeyFiles) {
        loaded = definition
        self.files = files
        note(definition)
    }

    /// As the policy has them now; `nil`: the daemon issues no tokens.
    var terms: TokenTerms? { locked { loaded.tokens } }

    /// What signs now.
    var active: OwnKey? { locked { keys.first { $0.record.state == .signing } } }

    /// Whether tokens are to be issued, and nothing signs them.
    var lacksKey: Bool {
        locked { loaded.tokens != nil && !keys.contains { $0.record.state == .signing } }
    }

    /// How long a token that was signed under any terms since the start may live, leeway and all.
    var longestLifeMilliseconds: Int64 { locked { longestAccessMilliseconds } }

    /// How long a token of any issuer may live, under any policy since the start: a policy that
    /// takes shorter ones only may be taken back, and what was revoked under it must not be let in
    /// again then. A day at least. Tokens of policies before the start: `tokensExpire`.
    var longestLifeOfAnyMilliseconds: Int64 {
        locked { max(longestOfAnyMilliseconds, longestAccessMilliseconds) }
    }

    /// When the last access token that is out at `now`, of any issuer, has expired.
    func tokensExpire(from now: WallTime) -> WallTime {
        let (end, overflow) = now.milliseconds.addingReportingOverflow(
            longestLifeOfAnyMilliseconds)
        return max(
            WallTime(milliseconds: overflow ? .max : end), locked { tokensLiveUntil })
    }

    /// Tokens of policies before the start live until then.
    func setTokensLiveUntil(_ time: WallTime) { locked { tokensLiveUntil = time } }

    /// The policy as it was loaded last, with the daemon's own issuer.
    var definition: PolicyDefinition { locked { Self.complete(loaded, keys) } }

    /// Another policy with the daemon's own issuer; not in force yet.
    func complete(_ definition: PolicyDefinition) -> PolicyDefinition {
        locked { Self.complete(definition, keys) }
    }

    /// The policy that was completed is in force.
    func adopt(_ definition: PolicyDefinition) {
        locked {
            replaced = replaced ?? loaded
            loaded = definition
        }
        note(definition)
    }

    /// The policy that was in force when this was asked last, if another is now.
    func takeReplaced() -> PolicyDefinition? {
        locked {
            defer { replaced = nil }
            return replaced
        }
    }

    /// Whether the key's secret is known.
    func has(_ id: SigningKeyID) -> Bool { locked { keys.contains { $0.record.id == id } } }

    func setKeys(_ all: [OwnKey]) { locked { keys = all } }

    func take(_ change: SigningKeyChange) {
        locked {
            switch change {
            case .added(let key):
                keys.removeAll { $0.record.id == key.record.id }
                keys.append(key)
            case .states(let records):
                for record in records {
                    guard let index = keys.firstIndex(where: { $0.record.id == record.id }) else {
                        continue
                    }
                    keys[index].record = record
                }
            case .gone(let id): keys.removeAll { $0.record.id == id }
            }
        }
    }

    /// Whether every key's file still says what is in use: throws what does not, with what to do.
    func checkFiles() throws(SigningKeyFault) {
        for key in locked({ keys }) {
            let secret = try files.read(key.record.id.text)
            let isSame = secret.withBytes { there in
                key.secret.withBytes { there.elementsEqual($0) }
            }
            guard isSame else {
                throw SigningKeyFault(
                    "\(files.path(key.record.id.text)): holds another secret than the one in use;"
                        + " put the former back (add a signing key, and promote it, to change it)")
            }
        }
    }

    private func note(_ definition: PolicyDefinition) {
        for issuer in definition.issuers {
            let life = (issuer.lifetimeMaxSeconds + 2 * issuer.leewaySeconds) * 1_000
            locked { longestOfAnyMilliseconds = max(longestOfAnyMilliseconds, life) }
        }
        guard let terms = definition.tokens else { return }
        // The clock that set `iat` may run ahead by the leeway too.
        let life = (terms.accessSeconds + 2 * terms.leewaySeconds) * 1_000
        locked { longestAccessMilliseconds = max(longestAccessMilliseconds, life) }
    }

    private static func complete(
        _ definition: PolicyDefinition, _ keys: [OwnKey]
    ) -> PolicyDefinition {
        guard let terms = definition.tokens, !keys.isEmpty else { return definition }
        var complete = definition
        let verifying = keys.map {
            SigningKeyDefinition(
                keyID: $0.record.id.text, algorithm: .hs256, secret: $0.secret)
        }
        complete.issuers.append(terms.issuerDefinition(keys: verifying))
        return complete
    }

    private func locked<R>(_ body: () -> R) -> R {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}
