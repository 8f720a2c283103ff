import TollgateCore
import TollgateWire

// RELIABILITY J9: verifies tokens that are wrong in one place each, once with every place, for
// callgrind to count the instructions of each. `test_tokens_timing.py` runs it:
//
//     valgrind --tool=callgrind --collect-atstart=no --toggle-collect=SYMBOL --dump-after=SYMBOL \
//         token-timing
//
// One dump for every line that it prints, in the same order.

/// What is measured, and nothing else. Its symbol, which callgrind is told, is
/// `$s12token_timing5timedyyF`.
@inline(never)
func timed() { step() }

private nonisolated(unsafe) var step: () -> Void = {}

private func measure(_ name: String, _ body: @escaping () -> Void) {
    // Once unmeasured, so that lazily made tables and caches are the same for all.
    body()
    step = body
    timed()
    print(name)
}

private let now = WallTime(seconds: 1_800_000_000)
private let secret = SecretBytes(copying: (0..<64).map { UInt8(truncatingIfNeeded: $0 &* 73 &+ 5) })
private let claims = #"{"iss":"i","sub":"user-1","exp":1800000300}"#

private func makeTable() -> IssuerTable {
    let keys = TokenAlgorithm.allCases.map {
        SigningKeyDefinition(keyID: "key-\($0.headerName)", algorithm: $0, secret: secret)
    }
    do { return try IssuerTable([IssuerDefinition(name: "i", issuer: "i", keys: keys)]) } catch {
        fatalError("the table is fit")
    }
}

private final class Bench {
    var verifier = TokenVerifier()
    let issuers = makeTable()

    func verify(_ token: [UInt8], expecting reason: Reason) {
        let found = token.withUnsafeBytes {
            verifier.verify($0, issuers: issuers, expiryNow: now, notBeforeNow: now)
        }
        if found != reason { fatalError("\(found), not \(reason)") }
    }

    /// A good token's parts: what is signed, and the signature's bytes.
    func parts(_ algorithm: TokenAlgorithm, keyID: String) -> (signed: [UInt8], mac: [UInt8]) {
        let header = "{\"alg\":\"\(algorithm.headerName)\",\"kid\":\"\(keyID)\"}"
        let signed = Base64URL.encode(header.utf8) + [0x2e] + Base64URL.encode(claims.utf8)
        guard let text = TokenMinter.sign(signed, algorithm: algorithm, secret: secret) else {
            fatalError("out of memory")
        }
        var mac = [UInt8](repeating: 0, count: 64)
        let count = text.withUnsafeBytes { from in
            mac.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        return (signed, Array(mac[..<(count ?? 0)]))
    }
}

private let bench = Bench()

// A control that is not constant: the count must see it.
for index in [0, 31] {
    let mac = bench.parts(.hs256, keyID: "key-HS256").mac
    var other = mac
    other[index] ^= 1
    measure("leaky \(index)") {
        var place = 0
        while place < mac.count, mac[place] == other[place] { place += 1 }
        if place != index { fatalError("the control compares") }
    }
}

for algorithm in TokenAlgorithm.allCases {
    let name = algorithm.headerName
    let (signed, mac) = bench.parts(algorithm, keyID: "key-\(name)")
    // The header is remembered from a good token on, as it is in service.
    bench.verify(signed + [0x2e] + Base64URL.encode(mac), expecting: .none)
    for index in mac.indices {
        var wrong = mac
        wrong[index] ^= 0x55
        let token = signed + [0x2e] + Base64URL.encode(wrong)
        measure("\(name) \(index)") { bench.verify(token, expecting: .signatureInvalid) }
    }
    let inverse = signed + [0x2e] + Base64URL.encode(mac.map { ~$0 })
    measure("\(name) all") { bench.verify(inverse, expecting: .signatureInvalid) }
}

// Key ids of one length that nobody has: how near they come to one that exists.
let near = ["key-HS25x", "key-HSx56", "key-xS256", "xey-HS256", "abcdefghi"]
for keyID in near {
    let (signed, mac) = bench.parts(.hs256, keyID: keyID)
    let token = signed + [0x2e] + Base64URL.encode(mac)
    measure("unknown \(keyID)") { bench.verify(token, expecting: .keyUnknown) }
}
// A known one whose header is not remembered: it comes with a `typ` that is not seen otherwise.
let header = #"{"alg":"HS256","kid":"key-HS256","typ":"JWT"}"#
let signed = Base64URL.encode(header.utf8) + [0x2e] + Base64URL.encode(claims.utf8)
let token = signed + [0x2e] + Base64URL.encode([UInt8](repeating: 9, count: 32))
measure("known") { bench.verify(token, expecting: .signatureInvalid) }

// An API key's secret: the digest that is kept differs in one byte each, or nothing is kept.
private let pepper: APIKeyPepper = {
    do { return try APIKeyPepper(secret, generation: 1) } catch { fatalError("32 bytes") }
}()
private let keyText = Array("tg_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz0123454ayNL8".utf8)

private func compare(_ kept: KeptKey) {
    keyText.withUnsafeBytes { text in
        guard let key = APIKey(text) else { fatalError("the key is fit") }
        let found = kept.compare(key, newest: pepper) { $0 == 1 ? pepper : nil }
        if found.isCurrent || found.isPrevious { fatalError("the digests differ") }
    }
}

private let digest: [UInt8] = keyText.withUnsafeBytes { text in
    APIKey(text).map { pepper.digest(of: $0).withBytes(Array.init) } ?? []
}
private var kept = KeptKey(pepper: 1)
for index in digest.indices {
    var other = digest
    other[index] ^= 0x55
    kept = KeptKey(pepper: 1)
    kept.isKnown = true
    guard let wrong = other.withUnsafeBytes({ APIKeyDigest($0) }) else { fatalError("32 bytes") }
    kept.digest = wrong
    measure("key \(index)") { compare(kept) }
}
kept = KeptKey(pepper: 1)
measure("key of nobody") { compare(kept) }
