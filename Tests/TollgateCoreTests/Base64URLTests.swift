import Foundation
import Testing
import TollgateCore

@Suite struct Base64URLTests {
    private func decode(_ text: [UInt8], room: Int? = nil) -> [UInt8]? {
        var output = [UInt8](repeating: 0xee, count: room ?? text.count)
        let count = text.withUnsafeBytes { from in
            output.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        return count.map { Array(output.prefix($0)) }
    }

    @Test func everyLengthComesBackAsItWent() {
        var random = SeededRandom(seed: 64)
        for length in 0...200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            let text = Base64URL.encode(bytes)
            #expect(decode(text) == bytes)
            #expect(decode(text, room: length) == bytes)
            let standard = Data(bytes).base64EncodedString()
                .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            #expect(String(decoding: text, as: UTF8.self) == standard)
        }
    }

    @Test func aBufferTooSmallIsRefused() {
        for length in 1...40 {
            let text = Base64URL.encode([UInt8](repeating: 5, count: length))
            #expect(decode(text, room: length - 1) == nil)
        }
    }

    /// What decodes is exactly what encoding gives back: so no run of bytes has two spellings.
    @Test func onlyTheCanonicalSpellingDecodes() {
        for length in [2, 3, 4, 6, 7, 8, 10, 11, 12, 18, 19, 20] {
            let text = [UInt8](repeating: UInt8(ascii: "A"), count: length)
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var changed = text
                    changed[place] = byte
                    if let bytes = decode(changed) {
                        #expect(Base64URL.encode(bytes) == changed)
                    } else {
                        let inAlphabet =
                            byte < 0x80
                            && (Character(Unicode.Scalar(byte)).isLetter
                                || Character(Unicode.Scalar(byte)).isNumber || byte == 0x2d
                                || byte == 0x5f)
                        // Inside the alphabet, only unused bits at the end can be wrong.
                        #expect(!inAlphabet || (place == length - 1 && length % 4 != 0))
                    }
                }
            }
        }
    }

    @Test(arguments: [
        "A", "AAAAA", "AA==", "AAA=", "AA+A", "AA/A", "AA A", "AA\nA", " AAA", "AAA\n", "AB", "AAB",
        "_-", "zz", "AAAAé", "AAAA\u{0}AAA", "AAAA.AAA", "AAAAAAAAAAAAAAAAA",
    ])
    func badSpellingsAreRefused(_ text: String) {
        #expect(decode(Array(text.utf8)) == nil)
    }
}
