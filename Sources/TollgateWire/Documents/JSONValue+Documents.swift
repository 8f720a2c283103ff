/// A value out of a list of words, by its word on the wire.
public protocol DirectoryChoice: RawRepresentable, CaseIterable, Sendable, Equatable
where RawValue == String {}

/// The largest count and instant of a document: 2^53, which every reader of JSON can hold.
public let documentCountMax: UInt64 = 1 << 53

// Values out of JSON, each of its type and no other.
extension JSONValue {
    private func wrong(_ expected: String) -> DocumentError {
        DocumentError("", "is not \(expected) but \(kindInWords)")
    }

    func asObject() throws(DocumentError) -> JSONObject {
        guard case .object(let object) = self else { throw wrong("an object") }
        return object
    }

    func asText() throws(DocumentError) -> String {
        guard case .string(let text) = self else { throw wrong("a string") }
        return text
    }

    func asFlag() throws(DocumentError) -> Bool {
        guard case .bool(let flag) = self else { throw wrong("a boolean") }
        return flag
    }

    /// 0 to 2^53.
    func asCount() throws(DocumentError) -> UInt64 {
        guard case .integer(let integer) = self else { throw wrong("an integer") }
        guard let count = UInt64(exactly: integer), count <= documentCountMax else {
            throw DocumentError("", "is not in 0 to 2^53")
        }
        return count
    }

    /// 0 to 2^63 - 1: units that are billed, exactly.
    func asUnits() throws(DocumentError) -> UInt64 {
        guard case .integer(let integer) = self else { throw wrong("an integer") }
        guard let units = UInt64(exactly: integer) else {
            throw DocumentError("", "is not in 0 to 2^63 - 1")
        }
        return units
    }

    func asChoice<T: DirectoryChoice>() throws(DocumentError) -> T {
        guard let value = T(rawValue: try asText()) else {
            let words = T.allCases.map(\.rawValue).joined(separator: ", ")
            throw DocumentError("", "is none of \(words)")
        }
        return value
    }

    func asElements<T>(
        _ read: (JSONValue) throws(DocumentError) -> T
    ) throws(DocumentError) -> [T] {
        guard case .array(let values) = self else { throw wrong("an array") }
        var elements: [T] = []
        for (index, value) in values.enumerated() {
            do throws(DocumentError) { elements.append(try read(value)) } catch {
                throw error.inside("[\(index)]")
            }
        }
        return elements
    }

    func asTexts() throws(DocumentError) -> [String] {
        try asElements { (value) throws(DocumentError) in try value.asText() }
    }
}

// JSON out of values; `null` for what is not there.
extension JSONValue {
    static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
    static func optional(_ texts: [String]?) -> JSONValue { texts.map { .texts($0) } ?? .null }
    static func optional(_ count: UInt64?) -> JSONValue { count.map { .count($0) } ?? .null }
    static func optional(_ instant: Timestamp?) -> JSONValue { instant?.json ?? .null }
    static func optional(_ document: (some DirectoryDocument)?) -> JSONValue {
        document?.json ?? .null
    }
    static func optional(_ object: JSONObject?) -> JSONValue { object.map { .object($0) } ?? .null }
    static func optional(_ choice: (some DirectoryChoice)?) -> JSONValue {
        choice.map { .string($0.rawValue) } ?? .null
    }

    static func texts(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    static func choice(_ choice: some DirectoryChoice) -> JSONValue { .string(choice.rawValue) }
    static func documents(_ documents: [some DirectoryDocument]) -> JSONValue {
        .array(documents.map(\.json))
    }

    /// Exactly; what is beyond 2^63 - 1 is given as that.
    static func units(_ units: UInt64) -> JSONValue { .integer(Int64(clamping: units)) }

    /// What is larger than a document can say is given as the largest.
    static func count(_ count: UInt64) -> JSONValue {
        .integer(Int64(clamping: min(count, documentCountMax)))
    }
}
