import CAllocationCount
import Foundation
import Testing

@testable import TollgateCore

/// RELIABILITY S16, S17, J9: what a key is, and that nothing near one is taken for one.
@Suite struct APIKeyTests {
    static func key(
        _ random: inout SeededRandom, environment: String = "live", id: APIKeyID? = nil
    ) throws -> (id: APIKeyID, text: [UInt8]) {
        var source = random
        let made = try APIKey.make(environment: environment, id: id) { bytes in
            for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &source) }
            return true
        }
        random = source
        return (made.id, made.text.withBytes(Array.init))
    }

    static func parsed<R>(_ text: [UInt8], _ body: (APIKey) -> R) -> R? {
        text.withUnsafeBytes { APIKey($0).map(body) }
    }

    static func pepper(_ byte: UInt8 = 7, generation: UInt32 = 1) throws -> APIKeyPepper {
        try APIKeyPepper(
            SecretBytes(copying: [UInt8](repeating: byte, count: 32)), generation: generation)
    }

    static func withCheck(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        return bytes + Base62.digits(of: bytes.withUnsafeBytes { CRC32.checksum($0) })
    }

    @Test func theChecksumIsThatOfZlib() {
        // Of RFC 3720 and of `python3 -c 'import zlib; print(zlib.crc32(…))'`.
        let known: [(String, UInt32)] = [
            ("", 0), ("123456789", 0xcbf4_3926), ("a", 0xe8b7_be43),
            ("The quick brown fox jumps over the lazy dog", 0x414f_a339),
        ]
        for (text, sum) in known {
            #expect(Array(text.utf8).withUnsafeBytes { CRC32.checksum($0) } == sum)
        }
    }

    @Test func aKnownKeyReadsAsItDidYesterday() throws {
        // The check digits were computed outside of this program, with zlib's crc32.
        let text = "tg_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz0123454ayNL8"
        let found = Self.parsed(Array(text.utf8)) { key in
            (
                key.id.description, String(decoding: key.environment, as: UTF8.self),
                String(decoding: key.secret, as: UTF8.self)
            )
        }
        let (id, environment, secret) = try #require(found)
        #expect(id == "0123456789ABCDEF")
        #expect(environment == "live")
        #expect(secret == "abcdefghijklmnopqrstuvwxyz012345")
    }

    @Test func whatIsMadeIsReadAndFitsThePublishedPattern() throws {
        var random = SeededRandom.printed("made keys")
        let pattern = try NSRegularExpression(pattern: APIKey.pattern)
        var seen: Set<[UInt8]> = []
        for environment in ["live", "test", "a", "prod01"] {
            for _ in 0..<(250 * testScale) {
                let (id, text) = try Self.key(&random, environment: environment)
                #expect(seen.insert(text).inserted)
                #expect(text.count <= APIKey.bytesMax)
                let line = "key='" + String(decoding: text, as: UTF8.self) + "' # leaked"
                let match = try #require(
                    pattern.firstMatch(in: line, range: NSRange(line.startIndex..., in: line)))
                #expect(match.range.location == 5 && match.range.length == text.count)
                #expect(Self.parsed(text) { $0.id } == id)
                #expect(APIKeyID(id.description) == id)
            }
        }
    }

    @Test func rotationKeepsTheIDAndChangesTheSecret() throws {
        var random = SeededRandom(seed: 5)
        let (id, old) = try Self.key(&random)
        let (same, new) = try Self.key(&random, id: id)
        #expect(id == same && old != new)
        let pepper = try Self.pepper()
        let before = Self.parsed(old) { pepper.digest(of: $0) }
        #expect(before != nil && before != Self.parsed(new) { pepper.digest(of: $0) })
    }

    @Test func noPrefixReplacementInsertionOrDeletionIsAKey() throws {
        var random = SeededRandom.printed("keys changed")
        for round in 0..<(4 * testScale) {
            let (_, text) = try Self.key(&random, environment: ["live", "t", "prod01"][round % 3])
            for length in 0..<text.count {
                #expect(Self.parsed(Array(text[..<length])) { $0.id } == nil)
                for byte in UInt8.min...UInt8.max where byte != text[length] {
                    var changed = text
                    changed[length] = byte
                    if Self.parsed(changed, { _ in true }) != nil {
                        Issue.record("\(changed) is taken for a key")
                    }
                }
                var shorter = text
                shorter.remove(at: length)
                #expect(Self.parsed(shorter) { $0.id } == nil)
                var longer = text
                longer.insert(UInt8(ascii: "0"), at: length)
                #expect(Self.parsed(longer) { $0.id } == nil)
            }
            for bit in 0..<(text.count * 8) {
                var changed = text
                changed[bit / 8] ^= 1 << (bit % 8)
                #expect(Self.parsed(changed) { $0.id } == nil)
            }
            #expect(Self.parsed(text) { $0.id } != nil)
        }
    }

    /// Their check digits are right: only what they say refuses them.
    @Test(arguments: [
        "tg__0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_Live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_1ive_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_li-e_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_li_e_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_sevenxx_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_live-0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "TG_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tgrlive_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_live_012345678-ABCDEFabcdefghijklmnopqrstuvwxyz012345",
        "tg_live_0123456789ABCDEFabcdefghijklmnopq stuvwxyz012345",
        "tg_live_0123456789ABCDEFabcdefghijklmnopq\0stuvwxyz01234",
        "tg_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz0123é",
        "tg_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz01234",
        "tg_live_0123456789ABCDEFabcdefghijklmnopqrstuvwxyz0123456",
    ])
    func aWrongFormIsRefusedThoughItsCheckDigitsFit(_ text: String) {
        #expect(Self.parsed(Self.withCheck(text)) { $0.id } == nil)
    }

    @Test func checkDigitsBeyond32BitsAreRefused() {
        #expect(Array("zzzzzz".utf8).withUnsafeBytes { Base62.check($0) } == nil)
        // 2^32 and the number below it.
        #expect(Array("4gfFC4".utf8).withUnsafeBytes { Base62.check($0) } == nil)
        #expect(Array("4gfFC3".utf8).withUnsafeBytes { Base62.check($0) } == UInt32.max)
        #expect(Base62.digits(of: .max) == Array("4gfFC3".utf8))
        #expect(Base62.digits(of: 0) == Array("000000".utf8))
    }

    @Test func junkIsRefusedWithoutAnAllocationAndSoIsAKeyRead() throws {
        var random = SeededRandom(seed: 9)
        let (_, text) = try Self.key(&random)
        var junk = text
        junk[20] ^= 1
        let pepper = try Self.pepper()
        for bytes in [text, junk, Array("eyJhbGciOiJIUzI1NiJ9.e30.AAAA".utf8), []] {
            let allocations = bytes.withUnsafeBytes { view in
                _ = APIKey(view).map { pepper.digest(of: $0) }
                let before = tg_allocations()
                for _ in 0..<1_000 { _ = APIKey(view).map { pepper.digest(of: $0) } }
                return tg_allocations() - before
            }
            #expect(allocations == 0)
        }
    }

    @Test func aDigestNeedsItsPepperAndCoversEverything() throws {
        var random = SeededRandom(seed: 11)
        let (id, text) = try Self.key(&random)
        let (_, other) = try Self.key(&random, environment: "test", id: id)
        let pepper = try Self.pepper()
        let digest = try #require(Self.parsed(text) { pepper.digest(of: $0) })
        #expect(digest == Self.parsed(text) { pepper.digest(of: $0) })
        #expect(digest != Self.parsed(other) { pepper.digest(of: $0) })
        let another = try Self.pepper(8)
        #expect(digest != Self.parsed(text) { another.digest(of: $0) })
        for byte in 0..<APIKeyDigest.bytes {
            var bytes = digest.withBytes(Array.init)
            bytes[byte] ^= 0x10
            #expect(digest != bytes.withUnsafeBytes { APIKeyDigest($0) })
        }
        for count in [0, 31, 33] {
            #expect([UInt8](repeating: 0, count: count).withUnsafeBytes { APIKeyDigest($0) } == nil)
        }
    }

    @Test(arguments: 0..<32) func aShortPepperIsRefused(_ bytes: Int) {
        #expect(throws: APIKeyError.pepperTooShort(bytes: bytes)) {
            try APIKeyPepper(
                SecretBytes(copying: [UInt8](repeating: 3, count: bytes)), generation: 1)
        }
    }

    @Test(arguments: ["", "Live", "1a", "sevenxx", "a_b", "é", "li ve"])
    func noKeyIsMadeForSuchAnEnvironment(_ environment: String) {
        #expect(throws: APIKeyError.environment) {
            try APIKey.make(environment: environment) { _ in true }
        }
    }

    @Test func aBrokenSourceOfRandomBytesMakesNoKey() {
        #expect(throws: APIKeyError.randomness) {
            try APIKey.make(environment: "live") { _ in false }
        }
        #expect(throws: APIKeyError.randomness) {
            try APIKey.make(environment: "live") { bytes in
                for index in bytes.indices { bytes[index] = 0xff }
                return true
            }
        }
    }

    @Test func digitsAreEquallyLikely() {
        let every = (0...255).map { UInt8($0) }
        var text = [UInt8](repeating: 0, count: 248)
        let filled = every.withUnsafeBytes { from in
            text.withUnsafeMutableBytes { Base62.fill($0, from: from) }
        }
        #expect(filled)
        for digit in Base62.alphabet { #expect(text.count { $0 == digit } == 4) }
    }
}
