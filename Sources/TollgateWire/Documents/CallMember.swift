/// A member of a call's request: Protocol.md, "Calls".
public struct CallMember: Sendable, Equatable {
    /// What a member holds. Texts count in bytes of UTF-8 and hold no control character.
    public enum Kind: Sendable, Equatable {
        /// A text of 1 to 128 bytes.
        case name
        /// A text of 1 to so many bytes.
        case text(bytesMax: Int)
        /// Any text, that no error repeats: what is wrong with it shows where it is used.
        case secret
        case flag
        case integer(ClosedRange<Int64>)
        /// Milliseconds since 1970, 0 to 2^53.
        case instant
        /// One of these words.
        case word([String])
        /// At most 64 names, none twice.
        case names
        /// `APIKeyInfo.Rate`
        case rate
        /// `ExportedRecord`s, at most 1,000.
        case records
    }

    /// Whether it must be there, and what `null` says.
    public enum Presence: Sendable, Equatable {
        case required
        /// `null` is a value: none.
        case requiredOrNull
        /// `null` is the same as absent.
        case optional
        /// `null` is a value: none; absent is something else.
        case optionalOrNull
    }

    /// Elements of a list of names.
    public static let namesMax = 64
    /// Records of one import.
    public static let recordsMax = 1_000

    /// As it stands in the request.
    public let name: String
    public let kind: Kind
    public let presence: Presence

    init(_ name: String, _ kind: Kind, _ presence: Presence = .required) {
        self.name = name
        self.kind = kind
        self.presence = presence
    }

    /// Whether a request without it is refused.
    public var isRequired: Bool { presence == .required || presence == .requiredOrNull }
    /// Whether `null` is one of its values.
    public var isNullable: Bool { presence == .requiredOrNull || presence == .optionalOrNull }

    /// Throws what is wrong with a value of this member.
    func check(_ value: JSONValue) throws(DocumentError) {
        if value == .null, isNullable { return }
        switch kind {
        case .name: try Self.check(text: value, bytesMax: WireLimits.identifierBytesMax)
        case .text(let bytesMax): try Self.check(text: value, bytesMax: bytesMax)
        case .secret: _ = try value.asText()
        case .flag: _ = try value.asFlag()
        case .integer(let range):
            guard range.contains(Int64(clamping: try value.asCount())) else {
                throw DocumentError("", "is not in \(range.lowerBound) to \(range.upperBound)")
            }
        case .instant: _ = try value.asCount()
        case .word(let words):
            guard words.contains(try value.asText()) else {
                throw DocumentError("", "is none of \(words.joined(separator: ", "))")
            }
        case .names: try Self.check(names: value)
        case .rate: try Self.check(rate: value)
        case .records:
            let count = try value.asElements { (record) throws(DocumentError) in
                _ = try ExportedRecord(strictly: record)
            }.count
            guard count <= Self.recordsMax else {
                throw DocumentError("", "has more than \(Self.recordsMax) elements")
            }
        }
    }

    private static func check(text value: JSONValue, bytesMax: Int) throws(DocumentError) {
        let text = try value.asText()
        guard (1...bytesMax).contains(text.utf8.count) else {
            throw DocumentError("", "is not 1 to \(bytesMax) bytes long")
        }
        guard text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw DocumentError("", "has a control character")
        }
    }

    private static func check(names value: JSONValue) throws(DocumentError) {
        var seen: Set<[UInt8]> = []
        let isNew = try value.asElements { (element) throws(DocumentError) in
            try check(text: element, bytesMax: WireLimits.identifierBytesMax)
            return seen.insert(Array(try element.asText().utf8)).inserted
        }
        guard isNew.count <= namesMax else {
            throw DocumentError("", "has more than \(namesMax) elements")
        }
        if let index = isNew.firstIndex(of: false) {
            throw DocumentError("[\(index)]", "comes twice")
        }
    }

    private static func check(rate value: JSONValue) throws(DocumentError) {
        let rate = try APIKeyInfo.Rate(json: value)
        guard rate.limit > 0 else { throw DocumentError("limit", "is not above 0") }
        guard [1, 60, 3_600, 86_400].contains(rate.windowSeconds) else {
            throw DocumentError("window_seconds", "is none of 1, 60, 3600, 86400")
        }
        let known = ["limit", "window_seconds"]
        if let member = try value.asObject().members.first(where: { !known.contains($0.name) }) {
            throw DocumentError(member.nameInWords, "is not known")
        }
    }
}

extension JSONMember {
    /// The name, where it reads as one of ours; else words that stand for it. What a peer sent by
    /// mistake may be a secret, or break a line of a log.
    var nameInWords: String {
        let isPlain = (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { (0x61...0x7a).contains($0) || $0 == UInt8(ascii: "_") }
        return isPlain ? name : "a member"
    }
}
