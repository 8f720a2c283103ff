/// What is wrong with a text that should be JSON. The words never quote the text: it may hold a
/// secret.
public struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
    /// In bytes from the beginning.
    public var offset: Int
    public var what: String

    /// `byte 12: a member comes twice`
    public var description: String { "byte \(offset): \(what)" }

    init(_ offset: Int, _ what: String) {
        self.offset = offset
        self.what = what
    }
}

/// Bounds of a text that is read.
public enum JSONBounds {
    /// Arrays and objects inside of each other; so also the depth of the reader's recursion.
    public static let depthMax = 16
    /// Members of one object. Names are compared pair by pair, at most 8,128 times an object.
    public static let membersMax = 128
}

extension JSONValue {
    /// Reads one value, the whole of `bytes`: strict RFC 8259, in UTF-8 without a byte order mark.
    ///
    /// Refused are also: a member named twice, a lone surrogate, a number with a fraction or an
    /// exponent or beyond 64 bits, and what is beyond `JSONBounds`. Never traps on what it reads.
    public init(reading bytes: UnsafeRawBufferPointer) throws(JSONError) {
        var reader = JSONReader(bytes)
        self = try reader.document()
    }

    /// The same of a list of bytes.
    public init(reading bytes: [UInt8]) throws(JSONError) {
        let result = bytes.withUnsafeBytes { view -> Result<JSONValue, JSONError> in
            do throws(JSONError) { return .success(try JSONValue(reading: view)) } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }
}

/// Reads a text from front to back. 0 ≤ at ≤ bytes.count; `depth` is that of open containers.
struct JSONReader {
    let bytes: UnsafeRawBufferPointer
    var at = 0
    private var depth = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The byte at `at`; 0, which no token holds, at the end.
    var byte: UInt8 { at < bytes.count ? bytes[at] : 0 }

    mutating func document() throws(JSONError) -> JSONValue {
        skipSpace()
        let value = try value()
        skipSpace()
        guard at == bytes.count else { throw JSONError(at, "bytes behind the value") }
        return value
    }

    private mutating func skipSpace() {
        while byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { at &+= 1 }
    }

    private mutating func value() throws(JSONError) -> JSONValue {
        switch byte {
        case UInt8(ascii: "{"): return .object(try object())
        case UInt8(ascii: "["): return .array(try array())
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return .integer(try integer())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: throw JSONError(at, at == bytes.count ? "the text ends here" : "no value")
        }
    }

    private mutating func literal(
        _ word: StaticString, _ value: JSONValue
    ) throws(JSONError) -> JSONValue {
        let start = at
        let isThere = word.withUTF8Buffer { letters in
            for letter in letters {
                guard byte == letter else { return false }
                at &+= 1
            }
            return true
        }
        guard isThere else { throw JSONError(start, "no value") }
        return value
    }

    // MARK: containers

    /// Behind the opening bracket. What was opened is closed, or the text is refused.
    private mutating func open() throws(JSONError) {
        guard depth < JSONBounds.depthMax else {
            throw JSONError(at, "more than \(JSONBounds.depthMax) containers inside of each other")
        }
        depth &+= 1
        at &+= 1
        skipSpace()
    }

    /// True in front of the next element; false behind the closing bracket.
    private mutating func goesOn(_ close: UInt8) throws(JSONError) -> Bool {
        skipSpace()
        if byte == close {
            at &+= 1
            depth &-= 1
            return false
        }
        guard byte == UInt8(ascii: ",") else {
            throw JSONError(at, "neither a comma nor the closing bracket")
        }
        at &+= 1
        skipSpace()
        return true
    }

    private mutating func array() throws(JSONError) -> [JSONValue] {
        try open()
        var elements: [JSONValue] = []
        if byte == UInt8(ascii: "]") {
            _ = try goesOn(UInt8(ascii: "]"))
            return elements
        }
        repeat { elements.append(try value()) } while try goesOn(UInt8(ascii: "]"))
        return elements
    }

    private mutating func object() throws(JSONError) -> JSONObject {
        try open()
        var object = JSONObject()
        if byte == UInt8(ascii: "}") {
            _ = try goesOn(UInt8(ascii: "}"))
            return object
        }
        repeat {
            let start = at
            guard byte == UInt8(ascii: "\"") else { throw JSONError(at, "no name of a member") }
            let name = try string()
            guard object[name] == nil else { throw JSONError(start, "a member comes twice") }
            guard object.members.count < JSONBounds.membersMax else {
                throw JSONError(start, "more than \(JSONBounds.membersMax) members in an object")
            }
            skipSpace()
            guard byte == UInt8(ascii: ":") else { throw JSONError(at, "no colon") }
            at &+= 1
            skipSpace()
            object.append(name, try value())
        } while try goesOn(UInt8(ascii: "}"))
        return object
    }

    // MARK: numbers

    private mutating func integer() throws(JSONError) -> Int64 {
        let start = at
        let isNegative = byte == UInt8(ascii: "-")
        if isNegative { at &+= 1 }
        guard isDigit else { throw JSONError(at, "a minus without a number") }
        // Gathered below zero, where there is room for one more.
        var value: Int64 = 0
        let startsWithZero = byte == UInt8(ascii: "0")
        let firstDigit = at
        while isDigit {
            let (tenfold, over) = value.multipliedReportingOverflow(by: 10)
            let (less, overToo) = tenfold.subtractingReportingOverflow(Int64(byte & 0x0f))
            guard !over, !overToo else { throw JSONError(start, "a number beyond 64 bits") }
            value = less
            at &+= 1
        }
        guard !startsWithZero || at == firstDigit &+ 1 else {
            throw JSONError(start, "a number with a leading zero")
        }
        guard byte != UInt8(ascii: "."), byte | 0x20 != UInt8(ascii: "e") else {
            throw JSONError(start, "a number that is not written as an integer")
        }
        if isNegative { return value }
        guard value != .min else { throw JSONError(start, "a number beyond 64 bits") }
        return 0 &- value
    }

    private var isDigit: Bool { byte &- 0x30 < 10 }
}
