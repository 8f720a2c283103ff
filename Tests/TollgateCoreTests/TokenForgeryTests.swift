import Testing
import TollgateCore
import TollgateWire

/// RELIABILITY J1: attacks by those who know everything but the key, after the playbooks of JWT
/// attack tools and the CVEs of libraries. None of these tokens may be accepted.
@Suite struct TokenForgeryTests {
    private static let payload = TokenBench.payload()

    private func text(_ part: String) -> String {
        String(decoding: Base64URL.encode(part.utf8), as: UTF8.self)
    }

    private func secret(_ bytes: [UInt8]) -> SecretBytes { SecretBytes(copying: bytes) }

    /// CVE-2015-9235 and after: "none" in every writing, with no signature, any signature, and a
    /// good one.
    @Test func unsecuredTokensAreRefusedWhateverTheirSignature() throws {
        var bench = try TokenBench()
        var cases = 0
        for bits in 0..<16 {
            let name = "none".enumerated().map { index, letter in
                bits >> index & 1 == 1 ? letter.uppercased() : String(letter)
            }.joined()
            for spelling in [name, " " + name, name + "\u{0}", "\\u006e" + name.dropFirst()] {
                let alg = ClaimValue.quoted(spelling).replacing("\\\\u", with: "\\u")
                let header = "{\"alg\":\(alg),\"typ\":\"JWT\",\"kid\":\"k1\"}"
                let signed = try TokenBench.token(header: header)
                let bare = text(header) + "." + text(Self.payload)
                for token in [signed, bare + ".", bare + ".AAAA", bare + ".e30"] {
                    #expect(bench.verify(token) == .algorithmNotAllowed, "\(header)")
                    cases += 1
                }
                #expect(bench.verify(bare) == .credentialMalformed)
                cases += 1
            }
        }
        #expect(cases == 320)
    }

    /// CVE-2016-5431 and after: signed with what is public, empty, or in the token itself.
    @Test func signaturesByWhatIsNoSecretAreRefused() throws {
        var bench = try TokenBench()
        let header = TokenBench.goodHeader
        let publicKey =
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAYNOC1oc4FutkrkJp9Dt3ZtKKM+FL"
            + "Cu3vPL4xcf2ZwZ8=\n-----END PUBLIC KEY-----"
        var guesses: [[UInt8]] = [
            "", " ", "\u{0}", "\n", "k1", "HS256", "secret", "null", "undefined", "false", "0",
            "your-256-bit-secret", "https://issuer.example", "https://api.example", "user-1",
            header, Self.payload, text(header), text(Self.payload), publicKey, publicKey + "\n",
            String(TokenBench.keyText.dropLast()), TokenBench.keyText + "0",
            String(TokenBench.keyText.reversed()), TokenBench.keyText.uppercased(),
        ].map { Array($0.utf8) }
        for length in [1, 16, 32, 48, 64, 65] {
            guesses.append([UInt8](repeating: 0, count: length))
            guesses.append([UInt8](repeating: 0xff, count: length))
        }
        for guess in guesses {
            for algorithm in TokenAlgorithm.allCases {
                let token = try TokenBench.token(algorithm: algorithm, key: secret(guess))
                #expect(bench.verify(token) == .signatureInvalid)
                let named = "{\"alg\":\"\(algorithm.headerName)\",\"kid\":\"k1\"}"
                let other = try TokenBench.token(
                    header: named, algorithm: algorithm, key: secret(guess))
                #expect(bench.verify(other) != .none)
            }
        }
        #expect(guesses.count * TokenAlgorithm.allCases.count > 100)
    }

    /// A part of the right MAC, more than it, or the MAC of another hash or of other bytes.
    @Test func onlyTheWholeMACOfTheSignedBytesIsAccepted() throws {
        var bench = try TokenBench()
        let token = try TokenBench.token()
        let parts = token.split(separator: ".").map(String.init)
        let signed = parts[0] + "." + parts[1]
        var mac = [UInt8](repeating: 0, count: 64)
        let bytes = Array(parts[2].utf8).withUnsafeBytes { from in
            mac.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        #expect(bytes == 32)
        func verify(_ signature: [UInt8]) -> Reason {
            bench.verify(
                signed + "." + String(decoding: Base64URL.encode(signature), as: UTF8.self))
        }
        #expect(verify(Array(mac[..<32])) == .none)
        for length in 0..<32 {
            #expect(verify(Array(mac[..<length])) == .signatureInvalid)
            #expect(verify(Array(mac[(32 - length)..<32])) == .signatureInvalid)
            #expect(verify(Array(mac[..<32]) + mac[..<(length + 1)]) == .signatureInvalid)
            #expect(verify([UInt8](repeating: 0, count: length)) == .signatureInvalid)
        }
        for bit in 0..<256 {
            var flipped = Array(mac[..<32])
            flipped[bit / 8] ^= 1 << (bit % 8)
            #expect(verify(flipped) == .signatureInvalid)
        }
        for algorithm in [TokenAlgorithm.hs384, .hs512] {
            let other = try #require(
                TokenMinter.sign(Array(signed.utf8), algorithm: algorithm, secret: TokenBench.key))
            #expect(bench.verify(signed + "." + String(decoding: other, as: UTF8.self)) != .none)
            #expect(
                bench.verify(signed + "." + String(decoding: other[..<43], as: UTF8.self)) != .none)
        }
        let others = [
            parts[0], parts[1], parts[0] + parts[1], parts[1] + "." + parts[0], signed + ".",
            "." + signed, signed + "\n", TokenBench.goodHeader + "." + Self.payload, "",
        ]
        for other in others {
            let signature = try #require(
                TokenMinter.sign(Array(other.utf8), algorithm: .hs256, secret: TokenBench.key))
            let forged = signed + "." + String(decoding: signature, as: UTF8.self)
            #expect(bench.verify(forged) == .signatureInvalid)
        }
    }

    /// Two issuers and three keys that share nothing but names: a key of one never vouches for
    /// another, whatever the token says of itself, and in whatever order they are asked for.
    @Test func aKeyVouchesForItsOwnIssuerAndNameAlone() throws {
        let secrets = (0..<3).map { seed in
            secret((0..<64).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed &* 101) })
        }
        func key(_ id: String, _ index: Int, _ algorithm: TokenAlgorithm) -> SigningKeyDefinition {
            SigningKeyDefinition(keyID: id, algorithm: algorithm, secret: secrets[index])
        }
        var bench = try TokenBench([
            TokenBench.issuer("one", keys: [key("a", 0, .hs256), key("b", 1, .hs512)]),
            TokenBench.issuer("two", keys: [key("a", 2, .hs256)]),
        ])
        let known: [String: (Int, TokenAlgorithm)] = [
            "one/a": (0, .hs256), "one/b": (1, .hs512), "two/a": (2, .hs256),
        ]
        var cases = 0
        var accepted = 0
        for issuer in ["one", "two", "on", "One", "two "] {
            for id in ["a", "b", "c", "A", "a,b"] {
                for (index, signer) in secrets.enumerated() {
                    for algorithm in TokenAlgorithm.allCases {
                        let token = try TokenBench.token(
                            header: "{\"alg\":\"\(algorithm.headerName)\",\"kid\":\"\(id)\"}",
                            payload: TokenBench.payload(["iss": "\"\(issuer)\""]),
                            algorithm: algorithm, key: signer)
                        let wanted = known["\(issuer)/\(id)"].map { $0 == (index, algorithm) }
                        let found = bench.verify(token)
                        #expect((found == .none) == (wanted ?? false), "\(issuer) \(id) \(index)")
                        cases += 1
                        accepted += found == .none ? 1 : 0
                    }
                }
            }
        }
        #expect(cases == 225 && accepted == 3)
    }
}
