import Testing
import TollgateWire

/// Texts that nobody thought of: values made at random, and documents changed byte by byte.
@Suite struct JSONRandomTests {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        /// SplitMix64 (Steele, Lea, Flood 2014).
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            return mixed ^ (mixed >> 31)
        }
    }

    private static func text(_ random: inout Generator) -> String {
        let ranges: [ClosedRange<UInt32>] = [
            0...0x1f, 0x20...0x7e, 0x7f...0x9f, 0xa0...0xd7ff, 0xe000...0xffff, 0x10000...0x10ffff,
        ]
        var text = ""
        for _ in 0..<Int.random(in: 0...12, using: &random) {
            let range = ranges.randomElement(using: &random) ?? 0...0
            guard let scalar = Unicode.Scalar(UInt32.random(in: range, using: &random)) else {
                continue
            }
            text.unicodeScalars.append(scalar)
        }
        return text
    }

    private static func value(_ random: inout Generator, depth: Int) -> JSONValue {
        switch Int.random(in: 0..<(depth > 1 ? 8 : 6), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2: return .integer(.random(in: .min ... .max, using: &random))
        case 3: return .integer(.random(in: -10...10, using: &random))
        case 4, 5: return .string(text(&random))
        case 6:
            return .array(
                (0..<Int.random(in: 0...4, using: &random)).map { _ in
                    value(&random, depth: depth - 1)
                })
        default:
            var object = JSONObject()
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let name = text(&random)
                if object[name] == nil { object.append(name, value(&random, depth: depth - 1)) }
            }
            return .object(object)
        }
    }

    /// The same with every character escaped, and space wherever it may be.
    private static func spelledOut(_ value: JSONValue) -> String {
        func quoted(_ text: String) -> String {
            "\"" + text.utf16.map {
                let digits = String($0, radix: 16, uppercase: $0 % 2 == 0)
                return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }.joined() + "\""
        }
        switch value {
        case .string(let text): return quoted(text)
        case .array(let elements):
            return "[\r" + elements.map(spelledOut).joined(separator: "\t,\n") + " ]"
        case .object(let object):
            return "{ " + object.members.map { quoted($0.name) + "\n:\t" + spelledOut($0.value) }
                .joined(separator: " ,\r\n") + "\t}"
        default: return value.text
        }
    }

    @Test func whateverIsWrittenIsReadAsItWasHoweverItIsSpelled() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("whateverIsWrittenIsReadAsItWasHoweverItIsSpelled: seed \(seed)")
        var random = Generator(state: seed)
        for _ in 0..<3_000 {
            let value = Self.value(&random, depth: 15)
            let read = try JSONValue(reading: value.bytes)
            #expect(read == value && read.bytes == value.bytes)
            let spelled = Array((" " + Self.spelledOut(value) + "\n").utf8)
            #expect(try JSONValue(reading: spelled).bytes == value.bytes)
        }
    }

    /// Reading ends with an error at a byte of the text, or with a value that is written and read
    /// again as the same.
    private static func holds(_ bytes: [UInt8]) -> Bool {
        do throws(JSONError) {
            let value = try JSONValue(reading: bytes)
            return try JSONValue(reading: value.bytes).bytes == value.bytes
        } catch { return (0...bytes.count).contains(error.offset) }
    }

    private static func isRefused(_ bytes: [UInt8]) -> Bool {
        do throws(JSONError) {
            _ = try JSONValue(reading: bytes)
            return false
        } catch { return true }
    }

    @Test func everyPrefixAndEveryChangedByteOfADocumentIsReadOrRefused() {
        let others: [UInt8] = [0, 0x22, 0x5c, 0x7b, 0x5d, 0x2c, 0x30, 0x80, 0xed, 0xff]
        var seen = 0
        var broken: [[UInt8]] = []
        for document in DocumentSamples.all {
            let bytes = document.json.bytes
            for length in 0..<bytes.count {
                let cut = Array(bytes[..<length])
                if !Self.holds(cut) || !Self.isRefused(cut) { broken.append(cut) }
            }
            for index in bytes.indices {
                let other = others[index % others.count]
                for byte in (0..<8).map({ bytes[index] ^ (1 << UInt8($0)) }) + [other] {
                    var changed = bytes
                    changed[index] = byte
                    if !Self.holds(changed) { broken.append(changed) }
                    seen += 1
                }
            }
        }
        #expect(broken.isEmpty)
        #expect(seen > 50_000)
    }
}
