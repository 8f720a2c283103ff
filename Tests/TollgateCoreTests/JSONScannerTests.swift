import Foundation
import Testing
import TollgateCore

@Suite struct JSONScannerTests {
    private func accepts(_ text: [UInt8]) -> Bool {
        var scanner = JSONScanner(textBytesMax: 8_192)
        scanner.text.copyBytes(from: text)
        return scanner.scan(textBytes: text.count)
    }

    private func accepts(_ text: String) -> Bool { accepts(Array(text.utf8)) }

    @Test(arguments: [
        "{}", " { } ", "\t\r\n{}\n", #"{"a":1}"#, #"{"":""}"#, #"{"a":[]}"#, #"{"a":{}}"#,
        #"{"a":[1,2,[3,{"b":null}]],"c":true,"d":false}"#, #"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
        #"{ "a" : [ 1 , 2 ] , "b" : "c" }"#, #"{"a":"\"\\\/\b\f\n\r\t\u0041"}"#,
        #"{"a":"\uD83D\uDE00"}"#, #"{"a":"\u0000"}"#, #"{"\u0000":1,"":2}"#,
        #"{"a":"😀 é 漢 "}"#, "{\"a\":\"\u{10FFFF}\u{FFFE}\"}", "{\"a\":\"\u{7f}\u{80}\"}",
        "{\"\u{e9}\":1,\"e\u{301}\":2}", #"{"a":"]}{[,:"}"#, #"{"abcdefgh":1,"abcdefgi":2}"#,
        #"{"abcdefgh1":1,"abcdefgh2":2}"#,
    ])
    func goodTextsAreAccepted(_ text: String) { #expect(accepts(text)) }

    @Test(arguments: [
        "", " ", "1", "null", "\"a\"", "[]", "[1]", "foo", "{", "}", "{]", "[}", "{}}", "{}{}",
        "{},",
        "{} x", "{}\u{0}", "\u{FEFF}{}", "{}\u{FEFF}", "{\u{A0}}", "{\u{0b}}", "{\u{0c}}",
        "//c\n{}",
        "{/*c*/}", #"{"a"}"#, #"{"a":}"#, #"{:1}"#, #"{"a":1,}"#, #"{,"a":1}"#, #"{"a":1,,"b":2}"#,
        #"{"a":1 "b":2}"#, #"{"a" 1}"#, #"{"a"::1}"#, #"{a:1}"#, #"{'a':1}"#, #"{1:1}"#,
        #"{null:1}"#, #"{"a":[1,]}"#, #"{"a":[,1]}"#, #"{"a":[1 2]}"#, #"{"a":[1}"#, #"{"a":{1]}"#,
        #"{"a":[}"#, #"{"a":{]}"#, #"{"a":1]"#, #"{"a":True}"#, #"{"a":tru}"#, #"{"a":truee}"#,
        #"{"a":nul}"#, #"{"a":fals}"#, #"{"a":NaN}"#, #"{"a":Infinity}"#, #"{"a":-Infinity}"#,
        #"{"a":undefined}"#, #"{"a":"#, #"{"a":""#, #"{"a":"b"#, #"{"a":"\"#, #"{"a":"\"}"#,
    ])
    func badTextsAreRefused(_ text: String) { #expect(!accepts(text)) }

    @Test(arguments: [
        "0", "-0", "1", "-1", "10", "1.0", "0.1", "1e1", "1E1", "1e+1", "1e-1", "1.5e300", "1e999",
        "12345678901234567890", "0e0", "-0.0e-0",
    ])
    func goodNumbersAreAccepted(_ number: String) {
        #expect(accepts("{\"a\":\(number)}"))
        #expect(accepts("{\"a\":[\(number)]}"))
    }

    @Test(arguments: [
        "01", "-01", "00", "+1", "-", "--1", ".5", "-.5", "1.", "1.e1", "1e", "1e+", "1ee1",
        "1e1.5",
        "0x1", "1_000", "1a", "1-", "1.2.3", "٣", "1 2", "e1", "-e1",
    ])
    func badNumbersAreRefused(_ number: String) {
        #expect(!accepts("{\"a\":\(number)}"))
        #expect(!accepts("{\"a\":[\(number)]}"))
    }

    @Test(arguments: [
        #"\a"#, #"\'"#, #"\x41"#, #"\u"#, #"\u1"#, #"\u12"#, #"\u123"#, #"\u123g"#, #"\U0041"#,
        #"\uD800"#, #"\uDC00"#, #"\uDBFF"#, #"\uD800x"#, #"\uD800\n"#, #"\uD800\u0041"#,
        #"\uD800\uD800"#, #"\uDC00\uD800"#, #"\uD800\uDBFF"#, #"\u+041"#, #"\u 041"#, "\n", "\t",
        "\u{0}", "\u{1}", "\u{1f}", "\r",
    ])
    func badStringsAreRefused(_ inside: String) {
        for padding in ["", "ghijklm", "ghijklmn", "ghijklmnopqrstuv"] {
            #expect(!accepts("{\"a\":\"\(padding)\(inside)\"}"))
            #expect(!accepts("{\"a\":\"\(inside)\(padding)\"}"))
            #expect(!accepts("{\"\(padding)\(inside)\":1}"))
        }
    }

    /// Every two-byte sequence, and three- and four-byte sequences around every edge, against
    /// Swift's own validation.
    @Test func utf8IsCheckedAsTheStandardLibraryDoes() {
        let edges: [UInt8] = [
            0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xe0, 0xed, 0xf4, 0xff,
            0x41,
        ]
        var scanner = JSONScanner(textBytesMax: 64)
        var checked = 0
        func check(_ sequence: [UInt8]) {
            let text = Array(#"{"a":""#.utf8) + sequence + Array(#""}"#.utf8)
            scanner.text.copyBytes(from: text)
            let valid = String(validating: sequence, as: UTF8.self) != nil
            #expect(scanner.scan(textBytes: text.count) == valid, "\(sequence)")
            checked += 1
        }
        for first in UInt8(0x7f)...0xff {
            check([first])
            for second in edges {
                check([first, second])
                guard first >= 0xe0 else { continue }
                for third in edges {
                    check([first, second, third])
                    guard first >= 0xf0 else { continue }
                    for fourth in edges { check([first, second, third, fourth]) }
                }
            }
        }
        #expect(checked > 50_000)
    }

    @Test(arguments: [
        #"{"a":1,"a":1}"#, #"{"a":1,"\u0061":1}"#, #"{"\u0061":1,"a":1}"#,
        #"{"x":{"a":1,"b":2,"a":3}}"#, #"{"x":[{"a":1,"\u0061":3}]}"#, #"{"":1,"":2}"#,
        #"{"abcdefgh":1,"abcdefgh":2}"#, #"{"abcdefghijklmnop":1,"x":2,"abcdefghijklm\u006eop":2}"#,
        #"{"\ud83d\ude00":1,"😀":2}"#, #"{"a\/b":1,"a/b":2}"#, #"{"a":{"z":1},"a":[]}"#,
    ])
    func aMemberTwiceIsRefused(_ text: String) { #expect(!accepts(text)) }

    @Test func depthAndMembersHaveCeilings() {
        func nested(_ depth: Int) -> String {
            "{\"a\":" + String(repeating: "[", count: depth - 1)
                + String(repeating: "]", count: depth - 1) + "}"
        }
        #expect(accepts(nested(JSONScanner.depthMax)))
        #expect(!accepts(nested(JSONScanner.depthMax + 1)))
        #expect(!accepts("{\"a\":" + String(repeating: "[", count: 8_000)))
        #expect(!accepts(String(repeating: "{\"a\":", count: 1_000)))
        func members(_ count: Int) -> String {
            "{" + (0..<count).map { "\"member\($0)\":\($0)" }.joined(separator: ",") + "}"
        }
        #expect(accepts(members(JSONScanner.membersMax)))
        #expect(!accepts(members(JSONScanner.membersMax + 1)))
        let objects = "[" + (0..<64).map { _ in "{\"a\":{\"b\":1}}" }.joined(separator: ",") + "]"
        #expect(!accepts("{\"a\":\(objects)}"))
    }

    @Test func everyPrefixOfAGoodTextIsRefused() {
        let text = Array(
            #"{"a":[1.5e3,{"b":"\ud83d\ude00é\n"}],"kkkkkkkkkk":true,"n":null,"f":false}"#.utf8)
        #expect(accepts(text))
        for length in 0..<text.count { #expect(!accepts(Array(text.prefix(length)))) }
    }

    /// Random damage: whatever is accepted, Foundation's parser accepts too.
    @Test func whatIsAcceptedAnotherParserAccepts() {
        let seed: UInt64 = 8259
        var random = SeededRandom(seed: seed)
        let text = Array(
            #"{"a":[1.5e3,{"b":"\ud83d\ude00é\n"}], "k":true,"n":null,"f":[false,-0.1]}"#.utf8)
        let pieces = Array("{}[]:,\"\\u0123456789eE+-.tfn \u{e9}".utf8)
        var accepted = 0
        for _ in 0..<20_000 {
            var changed = text
            for _ in 0..<Int.random(in: 1...2, using: &random) {
                let place = Int.random(in: 0..<changed.count, using: &random)
                let piece = pieces.randomElement(using: &random) ?? 0
                switch Int.random(in: 0...2, using: &random) {
                case 0: changed[place] = piece
                case 1: changed.insert(piece, at: place)
                default: changed.remove(at: place)
                }
            }
            guard accepts(changed) else { continue }
            accepted += 1
            let other = try? JSONSerialization.jsonObject(with: Data(changed))
            #expect(
                other is [String: Any], "seed \(seed): \(String(decoding: changed, as: UTF8.self))")
        }
        #expect(accepted > 1_000)
    }
}
