import Testing
import TollgateWire

/// RFC 8259 rule by rule, as CALL wants it: whole numbers, bounded, no name twice.
@Suite struct JSONTests {
    private static func read(_ text: String) throws(JSONError) -> JSONValue {
        try JSONValue(reading: Array(text.utf8))
    }

    private static func error(_ bytes: [UInt8]) -> JSONError? {
        do throws(JSONError) {
            _ = try JSONValue(reading: bytes)
            return nil
        } catch { return error }
    }

    static let good: [(String, JSONValue)] = [
        ("null", .null), ("true", .bool(true)), (" false\r\n\t", .bool(false)), ("0", .integer(0)),
        ("-0", .integer(0)), ("-1", .integer(-1)), ("9223372036854775807", .integer(.max)),
        ("-9223372036854775808", .integer(.min)), ("9007199254740992", .integer(1 << 53)),
        ("\"\"", .string("")), (#""\/\\\"\b\f\n\r\t""#, .string("/\\\"\u{8}\u{c}\n\r\t")),
        (#""\u0060\u012a\u12AB\u0000""#, .string("\u{60}\u{12a}\u{12ab}\0")),
        (#""\uD801\udc37\uDBFF\uDFFF""#, .string("\u{10437}\u{10ffff}")),
        (#""\uFFFF\ufeff""#, .string("\u{ffff}\u{feff}")),
        (#""\\u0000\\a""#, .string("\\u0000\\a")),
        ("\"\u{7f}\u{2028}é漢😀\"", .string("\u{7f}\u{2028}é漢😀")),
        ("[]", .array([])), ("[ ]", .array([])), ("[[],{}]", .array([.array([]), .object([:])])),
        ("[1 , 2\n]", .array([.integer(1), .integer(2)])), ("{}", .object([:])),
        (#"{"":null}"#, .object(["": .null])),
        (#"{ "b" : 1 , "a" : [ true ] }"#, .object(["b": .integer(1), "a": .array([.bool(true)])])),
        // Names are bytes: these two look alike and are not the same.
        (
            "{\"\u{e9}\":1,\"e\u{301}\":2}",
            .object(["\u{e9}": .integer(1), "e\u{301}": .integer(2)])
        ),
    ]

    @Test(arguments: good) func whatIsInOrderIsRead(_ text: String, _ value: JSONValue) throws {
        let read = try Self.read(text)
        #expect(read == value)
        // Byte by byte: Swift takes texts for equal that are only equivalent.
        #expect(read.bytes == value.bytes)
    }

    static let bad: [String] = [
        "", " ", "nul", "nulll", "Null", "tru", "truE", "TRUE", "fals", "nan", "NaN", "-Infinity",
        "+1", "--1", "-", "-a", "- 1", "1 0", "1_0", "01", "-01", "00", "-00", "0.", ".1", "-.1",
        "1.", "1.5", "-1.5", "1e1", "1E1", "0e0", "0.0", "1e", "1.e1", "0x10", "1f", "1n", "1,",
        "9223372036854775808", "-9223372036854775809", "99999999999999999999", "\u{ff11}",
        "\u{661}", "1\u{a0}", "\u{feff}1", "\u{b}1", "\u{85}1", "1\0", "\0", "a", "'a'", "`a`",
        "\"", "\"a", "a\"", "\"a\"b\"", "\"\n\"", "\"\t\"", "\"\0\"", "\"\u{1f}\"", "\"\\",
        #""\""#, #""\\\""#, #""\a""#, #""\0""#, #""\x00""#, #""\'""#, #""\ ""#, #""\U0041""#,
        #""\u""#, #""\u00A""#, #""\u00Ag""#, #""\u 041""#, #""\uD800""#, #""\uD800\""#,
        #""\uD800\u""#, #""\uD800\u1""#, #""\uD800\uD800\n""#, #""\uD888\u1234""#,
        #""\uDd1e\uD834""#, #""\udc00""#, #""a\udfff""#, #""\ud800abc""#, #""\ud800\n""#,
        "[", "]", "[1", "1]", "[,]", "[,1]", "[1,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", "[}",
        "{]", "{", "}", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\",1}", "{\"a\":1,}", "{,\"a\":1}",
        "{\"a\":1 \"b\":2}", "{\"a\"::1}", "{\"a\" 1}", "{:1}", "{a:1}", "{'a':1}", "{1:1}",
        "{null:1}", "{\"a\":1}}", "{\"a\":{\"b\":1}", "{}{}", "{} 1", "[]]", "/**/1", "1//",
        "{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"\\u0061\":3}", "{\"\":1,\"\":2}", "[0],",
    ]

    @Test(arguments: bad) func whatIsNotInOrderIsRefusedAtAByteOfTheText(_ text: String) throws {
        let bytes = Array(text.utf8)
        let error = try #require(Self.error(bytes))
        #expect((0...bytes.count).contains(error.offset))
        #expect(!error.what.isEmpty && "\(error)".hasPrefix("byte \(error.offset): "))
    }

    static let badUTF8: [[UInt8]] = [
        [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc3], [0xc3, 0x28], [0xe0, 0x80, 0x80],
        [0xe0, 0x9f, 0xbf], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf],
        [0xf0, 0x80, 0x80, 0x80], [0xf0, 0x8f, 0xbf, 0xbf], [0xf0, 0x90, 0x80],
        [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xfe], [0xff],
    ]

    @Test(arguments: badUTF8) func whatIsNotUTF8IsRefusedInTextsAndBetweenThem(_ bad: [UInt8]) {
        #expect(Self.error([0x22] + bad + [0x22])?.what == "a string that is not UTF-8")
        #expect(Self.error(bad) != nil)
        #expect(Self.error(Array("{\"a".utf8) + bad + Array("\":1}".utf8)) != nil)
        #expect(Self.error(Array("1".utf8) + bad) != nil)
    }

    @Test func depthAndMembersAreBounded() throws {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            func nested(_ depth: Int) -> String {
                String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
            }
            _ = try Self.read(nested(16))
            #expect(Self.error(Array(nested(17).utf8))?.offset == 16 * open.utf8.count)
            // Far deeper than a stack.
            #expect(Self.error(Array(String(repeating: open, count: 60_000).utf8)) != nil)
        }
        // Siblings do not count.
        _ = try Self.read("[" + String(repeating: "[],{},", count: 1_000) + "0]")
        func members(_ count: Int) -> String {
            "{" + (0..<count).map { "\"m\($0)\":0" }.joined(separator: ",") + "}"
        }
        _ = try Self.read(members(128))
        #expect(Self.error(Array(members(129).utf8))?.what == "more than 128 members in an object")
    }

    @Test func anErrorNamesItsByteAndQuotesNothing() {
        let secret = "tg_live_secret"
        for (text, offset) in [
            ("{\"a\":1,\"a\":2}", 7), ("[1,]", 3), ("[1.5]", 1),
            ("{\"\(secret)\":1,\"\(secret)\":2}", 20),
            ("[\"\(secret)\\x\"]", 16), ("{\"a\":1}\(secret)", 7),
        ] {
            let error = Self.error(Array(text.utf8))
            #expect(error?.offset == offset, "\(text)")
            #expect(!"\(error as JSONError?)".contains(secret))
        }
    }
}
