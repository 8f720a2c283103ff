import Foundation
import Testing
import TollgateCore

/// RELIABILITY J4: RFC 8259, rule by rule, after the names and ideas of the public suites of JSON
/// parsers. Values are tried as a member, as an element, and as the last of several.
@Suite struct JSONConformanceTests {
    private static func accepts(_ text: [UInt8]) -> Bool {
        var scanner = JSONScanner(textBytesMax: 8_192)
        scanner.text.copyBytes(from: text)
        return scanner.scan(textBytes: text.count)
    }

    private static func places(_ value: [UInt8]) -> [[UInt8]] {
        let shapes = [
            ("{\"a\":", "}"), ("{\"a\":[", "]}"), ("{\"b\":1,\"a\":", "}"), ("{\"a\":[0,", ",1]}"),
            ("{\"a\":{\"b\":", "},\"c\":2}"), ("{ \"a\" :\t", "\r\n}\n"),
        ]
        return shapes.map { Array($0.utf8) + value + Array($1.utf8) }
    }

    static let goodValues: [String] = [
        "null", "true", "false", "0", "-0", "123", "-123", "1.5", "-1.5", "1e1", "1E1", "1e+2",
        "1E-2", "0.5", "0e1", "0e+1", "20e1", "123.456e78", "-0.000000000000001", "1e-400",
        "123e45", "123456789012345678901234567890", "\"\"", "\" \"", "\"a\"", "\"/\"",
        #""\/""#, #""\\""#, #""\"""#, #""\b\f\n\r\t""#, #""\u0060\u012a\u12AB""#, #""\uFFFF""#,
        #""\u0000""#, #""\uD801\udc37""#, #""\ud83d\ude39\ud83d\udc8d""#, #""\uDBFF\uDFFF""#,
        #""\u0821""#, #""\u2028\u2029""#, #""\\u0000""#, #""\\a""#, #""a/*b*/c/*d//e""#,
        "\"\u{2028}\u{2029}\"", "\"\u{7f}\"", "\"\u{feff}\"", "\"\u{fffe}\"", "\"\u{10ffff}\"",
        "\"\u{1b}\"".replacing("\u{1b}", with: "\\u001b"), "\"é漢😀\"", "\"e\u{301}\"",
        "[]", "[ ]", "[[]]", "[1]", "[1,2]", "[null,true,\"a\",{}]", "[[[[[[]]]]]]", "{}", "{ }",
        #"{"":0}"#, #"{"a":{}}"#, #"{"a":[],"b":[{}]}"#, #"{"a\u0000b":1}"#,
        #"{"min":-1.0e+28,"max":1.0e+28}"#, "[1,\n2]", "[\"\"]", "[\"a\",\"a\"]",
    ]

    static let badValues: [String] = [
        "nul", "nulll", "Null", "NULL", "tru", "truE", "TRUE", "True", "fals", "FALSE", "False",
        "nan", "NaN", "-NaN", "Inf", "Infinity", "-Infinity", "+1", "++1", "--1", "-", "-a", "- 1",
        "1 000", "1_0", "01", "-01", "012", "00", "0.", "-.1", ".1", "1.", "1.e1", "2.e+3", "2.e-3",
        "1e", "1E", "1e+", "1e-", "0e", "0E+", "1eE2", "1e1e1", "1e1.0", "1.2.3", "0x", "0x42",
        "0b1", "0o7", "1+2", "-foo", "1f", "1n", "1L", "1,", ",1", "\u{ff11}", "\u{661}", "１",
        "1\u{a0}", "\u{a0}1", "\u{2060}1", "\u{feff}1", "\u{b}1", "\u{c}1", "\u{85}1", "a",
        "a\"b\"",
        "'a'", "`a`", "\u{201c}a\u{201d}", "\"", "\"a", "a\"", "\"a\"b\"", "\"\"\"", "\"\n\"",
        "\"\t\"", "\"\u{0}\"", "\"\u{1f}\"", "\"\u{1b}\"", "\"\\", #""\""#, #""\\\""#, #""\a""#,
        #""\0""#, #""\x00""#, #""\'""#, #""\ ""#, #""\U0041""#, #""\u{41}""#, #""\u""#, #""\u00""#,
        #""\u00A""#, #""\u00Ag""#, #""\uqqqq""#, #""\u 041""#, #""\uD800""#, #""\uD800\""#,
        #""\uD800\u""#, #""\uD800\u1""#, #""\uD800\u1x""#, #""\uD800\uD800\n""#, #""\uD888\u1234""#,
        #""\uDd1e\uD834""#, #""\udc00""#, #""a\udfff""#, #""\ud800abc""#, #""\u002""#,
        "\"\\\u{e9}\"",
        "\"\\😀\"", "\\u0022a\\u0022", "[", "]", "[1", "1]", "[,]", "[,1]", "[1,]", "[1,,2]",
        "[1 2]",
        "[1;2]", "[a", "[\"\": 1]", "[\"a\":1]", "[1:2]", "(1)", "<1>", "[*]", "[-]", "[1]]",
        "[[1]",
        "[\"x\"", "[}", "{]", "{", "}", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\",1}", "{\"a\":1,}",
        "{\"a\":1,,}", "{,\"a\":1}", "{\"a\":1 \"b\":2}", "{\"a\"::1}", "{\"a\" 1}", "{:1}",
        "{a:1}",
        "{'a':1}", "{1:1}", "{null:1}", "{[]:1}", "{{}:1}", "{\"a\":1,1}", "{\"a\":1:2}",
        "{\"a\"=1}", "{\"a\"=>1}", "{\"a\":1}}", "{\"a\":{\"b\":1}", "{\"a\":/*c*/1}", "/**/1",
        "1//",
        "#1", "<null>", "undefined", "None", "nil", "@", "&", "%", "\u{0}", "1\u{0}", "\u{7f}",
        "\u{e9}", "😀", "\u{2028}",
    ]

    @Test func goodValuesAreAcceptedWhereverTheyStand() {
        var cases = 0
        for value in Self.goodValues {
            for text in Self.places(Array(value.utf8)) {
                #expect(Self.accepts(text), "\(String(decoding: text, as: UTF8.self))")
                cases += 1
            }
        }
        #expect(cases >= 350)
    }

    @Test func badValuesAreRefusedWhereverTheyStand() {
        var cases = 0
        for value in Self.badValues {
            for text in Self.places(Array(value.utf8)) {
                #expect(!Self.accepts(text), "\(String(decoding: text, as: UTF8.self))")
                cases += 1
            }
        }
        #expect(cases >= 1_000)
    }

    static let badUTF8: [[UInt8]] = [
        [0x80], [0xbf], [0xc0, 0x80], [0xc0, 0xaf], [0xc1, 0xbf], [0xc3], [0xc3, 0x28],
        [0xe0, 0x80, 0x80],
        [0xe0, 0x9f, 0xbf], [0xe2, 0x82], [0xe2, 0x28, 0xa1], [0xe2, 0x82, 0x28],
        [0xed, 0xa0, 0x80],
        [0xed, 0xbf, 0xbf], [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], [0xf0, 0x80, 0x80, 0x80],
        [0xf0, 0x8f, 0xbf, 0xbf], [0xf0, 0x9f, 0x98], [0xf0, 0x28, 0x8c, 0xbc],
        [0xf4, 0x90, 0x80, 0x80],
        [0xf5, 0x80, 0x80, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80],
        [0xfc, 0x84, 0x80, 0x80, 0x80, 0x80],
        [0xfe], [0xff], [0xff, 0xfe], [0xfe, 0xff], [0xe9], [0x61, 0xcc],
    ]

    @Test func bytesThatAreNotUTF8AreRefusedInNamesAndValues() {
        for bytes in Self.badUTF8 {
            for pad in 0..<9 {
                let padding = [UInt8](repeating: 0x78, count: pad)
                let quoted = [0x22] + padding + bytes + padding + [0x22]
                for text in Self.places(quoted) { #expect(!Self.accepts(text), "\(bytes)") }
                #expect(!Self.accepts([0x7b] + quoted + Array(":1}".utf8)), "\(bytes)")
            }
            #expect(!Self.accepts(bytes + Array("{}".utf8)))
            #expect(!Self.accepts(Array("{}".utf8) + bytes))
        }
    }

    @Test func aTextInAnotherEncodingIsRefused() {
        let text = #"{"alg":"HS256"}"#
        let encodings: [String.Encoding] = [
            .utf16, .utf16BigEndian, .utf16LittleEndian, .utf32, .utf32BigEndian,
            .utf32LittleEndian,
        ]
        for encoding in encodings {
            #expect(!Self.accepts(text.data(using: encoding).map { Array($0) } ?? []))
        }
        #expect(!Self.accepts([0xef, 0xbb, 0xbf] + Array(text.utf8)))
    }

    /// Names that look alike are different names; names that are alike are one.
    @Test func namesAreComparedByTheirCharactersAlone() {
        let different = [
            ("\u{e9}", "e\u{301}"), ("\u{212b}", "\u{c5}"), ("a", "A"), ("a", "\u{430}"),
            ("a", "a "),
            ("a", "a\\u0000"), ("\u{fb01}", "fi"), ("\u{1e9e}", "\u{df}"), ("", " "),
            ("a", "\u{200b}a"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
        ]
        for (a, b) in different {
            #expect(Self.accepts(Array("{\"\(a)\":1,\"\(b)\":2}".utf8)), "\(a) \(b)")
        }
        let alike = [
            ("é", #"\u00e9"#), ("é", #"\u00E9"#), ("😀", #"\ud83d\ude00"#), ("a", #"\u0061"#),
            ("/", #"\/"#), (#"\n"#, #"\u000a"#), (#"\""#, #"\u0022"#), (#"\\"#, #"\u005c"#),
            ("abcdefghi", #"abcdefgh\u0069"#), ("abcdefgh", #"\u0061bcdefgh"#), ("", ""),
        ]
        for (a, b) in alike {
            #expect(!Self.accepts(Array("{\"\(a)\":1,\"\(b)\":2}".utf8)), "\(a) \(b)")
            #expect(!Self.accepts(Array("{\"x\":[{\"\(b)\":1,\"y\":{},\"\(a)\":2}]}".utf8)))
            #expect(Self.accepts(Array("{\"\(a)\":{\"\(b)\":2}}".utf8)))
        }
    }
}
