import Testing
import TollgateCore
import TollgateWire

/// Attacks on the header and on the choice of the key: RFC 8725 §2 and §3, and what has gone wrong
/// in libraries since.
@Suite struct TokenHeaderTests {
    /// Every token here is signed with the right key, so only the header can be the reason.
    static let headers: [(String, Reason)] = [
        // alg
        (#"{"alg":"none","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"None","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"NONE","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"nOnE","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"hs256","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"Hs256","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS256 ","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS256\u0000","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS25\u0036","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS1","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS384","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"HS512","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"RS256","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"ES256","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"PS256","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"EdDSA","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"alg":"dir","enc":"A256GCM","kid":"k1"}"#, .algorithmNotAllowed),
        (#"{"kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":["HS256"],"kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":null,"kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":256,"kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":{"a":"HS256"},"kid":"k1"}"#, .credentialMalformed),
        (#"{"x":{"alg":"HS256"},"kid":"k1"}"#, .credentialMalformed),
        (#"{"ALG":"HS256","kid":"k1"}"#, .credentialMalformed),
        (#"{"alg\u0000":"HS256","kid":"k1"}"#, .credentialMalformed),
        // members twice
        (#"{"alg":"HS256","alg":"HS256","kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":"none","alg":"HS256","kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":"HS256","\u0061lg":"none","kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"k1","kid":"k1"}"#, .credentialMalformed),
        // kid
        (#"{"alg":"HS256"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":""}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"K1"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"k1 "}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"k1\u0000"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"k"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"../../../../dev/null"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"/proc/self/environ"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"k1' OR '1'='1"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"k1' UNION SELECT 'secret';--"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"|/bin/sh -c id"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"$(id)"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"\#(String(repeating: "k", count: 128))"}"#, .keyUnknown),
        (#"{"alg":"HS256","kid":"\#(String(repeating: "k", count: 129))"}"#, .credentialMalformed),
        (
            #"{"alg":"HS256","kid":"\#(String(repeating: "k", count: 5_000))"}"#,
            .credentialMalformed
        ),
        (#"{"alg":"HS256","kid":1}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":null}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":["k1"]}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":{}}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":true}"#, .credentialMalformed),
        // typ
        (#"{"alg":"HS256","kid":"k1","typ":"id_token"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":""}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"JWT "}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"application/application/jwt"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"application/"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"application/id_token"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"text/jwt"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"/jwt"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"AT\u000bJWT"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"rt+jwt"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":"logout+jwt"}"#, .claimInvalid),
        (#"{"alg":"HS256","kid":"k1","typ":1}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"k1","typ":null}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"k1","typ":["JWT"]}"#, .credentialMalformed),
        // not an object
        ("", .credentialMalformed), ("null", .credentialMalformed), ("[]", .credentialMalformed),
        ("\"HS256\"", .credentialMalformed), ("{", .credentialMalformed),
        ("{}", .credentialMalformed), ("{}{}", .credentialMalformed),
        (#"[{"alg":"HS256","kid":"k1"}]"#, .credentialMalformed),
        ("\u{feff}" + #"{"alg":"HS256","kid":"k1"}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"k1"} x"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"k1",}"#, .credentialMalformed),
        (#"{"alg":"HS256","kid":"\ud800"}"#, .credentialMalformed),
    ]

    @Test(arguments: headers)
    func badHeadersAreRefusedThoughTheSignatureIsGood(_ header: String, _ reason: Reason) throws {
        var bench = try TokenBench()
        #expect(bench.verify(try TokenBench.token(header: header)) == reason)
        // Also when a good header was seen before, and after.
        #expect(bench.verify(try TokenBench.token()) == .none)
        #expect(bench.verify(try TokenBench.token(header: header)) == reason)
    }

    @Test(arguments: [
        #"{"alg":"HS256","kid":"k1"}"#, #"{"kid":"k1","alg":"HS256","typ":"jwt"}"#,
        #" { "alg" : "HS256" , "kid" : "k1" , "typ" : "JWT" } "#,
        #"{"alg":"HS256","kid":"\u006b1","typ":"at+JWT"}"#, #"{"al\u0067":"HS256","kid":"k1"}"#,
        #"{"alg":"HS256","kid":"k1","typ":"application/at+jwt"}"#,
        #"{"alg":"HS256","kid":"k1","typ":"Application/JWT"}"#,
        #"{"alg":"HS256","kid":"k1","x5t":"abc","custom":{"alg":"none","crit":[]}}"#,
    ])
    func goodHeadersAreAccepted(_ header: String) throws {
        var bench = try TokenBench()
        for _ in 0..<2 { #expect(bench.verify(try TokenBench.token(header: header)) == .none) }
    }

    /// RELIABILITY J3: whatever these hold, being there is enough.
    @Test(arguments: ["crit", "b64", "zip", "cty", "jwk", "jku", "x5u", "x5c"])
    func membersThatChangeTheRulesOrBringAKeyAreRefused(_ name: String) throws {
        var bench = try TokenBench()
        let values = [
            "[]", "[\"b64\"]", "[\"exp\"]", "[\"alg\"]", "[\"x\",\"x\"]", "null", "true", "false",
            "\"JWT\"", "\"DEF\"", "\"https://evil.example/keys\"", "{}", "1", "\"\"",
            #"{"kty":"oct","k":"AAAA"}"#,
        ]
        for value in values {
            for spelling in [
                name, "\\u00" + String(name.utf8.first ?? 0, radix: 16) + name.dropFirst(),
            ] {
                let header = #"{"alg":"HS256","kid":"k1","\#(spelling)":\#(value)}"#
                #expect(bench.verify(try TokenBench.token(header: header)) == .credentialMalformed)
            }
        }
    }

    @Test func otherSerialisationsAreRefused() throws {
        var bench = try TokenBench()
        let token = try TokenBench.token()
        let parts = token.split(separator: ".").map(String.init)
        let texts = [
            "", ".", "..", "...", "....", "a", "a.b", "a.b.c", "a..c", ".b.c", parts[0],
            token + ".",
            "." + token, token + "..", token + ".AAAA.AAAA", parts[0] + "." + parts[1],
            parts[0] + ".." + parts[2], "." + parts[1] + "." + parts[2],
            parts[0] + "." + parts[1] + ".." + parts[2],
            "{\"protected\":\"\(parts[0])\",\"payload\":\"\(parts[1])\","
                + "\"signature\":\"\(parts[2])\"}",
            "{\"payload\":\"\(parts[1])\",\"signatures\":[{\"protected\":\"\(parts[0])\","
                + "\"signature\":\"\(parts[2])\"}]}",
            "Bearer " + token, token + "\n", " " + token, "\"" + token + "\"", token + "=",
            token.replacing(".", with: ".."), token.replacing(".", with: ","),
            token.replacing(".", with: "%2E"), String(repeating: ".", count: 8_000),
            String(repeating: "A", count: 8_192), String(repeating: "A", count: 8_193),
        ]
        for text in texts {
            #expect(bench.verify(text) == .credentialMalformed, "\(text.prefix(80))")
        }
        #expect(bench.verify(parts[0] + "." + parts[1] + ".") == .signatureInvalid)
        #expect(bench.verify(token) == .none)
    }

    @Test func aTokenAtTheCeilingIsReadAndOneAboveIsNot() throws {
        var bench = try TokenBench()
        let rest = try TokenBench.token(payload: TokenBench.payload(["pad": "\"\""])).utf8.count
        let room = (WireLimits.credentialBytesMax - rest) / 4 * 3
        let largest = String(repeating: "x", count: room)
        let token = try TokenBench.token(payload: TokenBench.payload(["pad": "\"\(largest)\""]))
        #expect((8_188...8_192).contains(token.utf8.count))
        #expect(bench.verify(token) == .none)
        let above = String(repeating: "x", count: room + 8)
        let larger = try TokenBench.token(payload: TokenBench.payload(["pad": "\"\(above)\""]))
        #expect(bench.verify(larger) == .credentialMalformed)
    }
}
