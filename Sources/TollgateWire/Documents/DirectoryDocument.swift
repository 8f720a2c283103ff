/// A document of the directory, as CALL carries it: Protocol.md, "Documents".
///
/// Read strictly for what it knows, each member of its type; members that it does not know are
/// skipped, for a later daemon may add some. Written with all of its members, `null` for what is
/// not there.
public protocol DirectoryDocument: Sendable, Equatable {
    /// Reads the document; names the member at fault.
    init(json: JSONValue) throws(DocumentError)
    /// The document with all of its members.
    var json: JSONValue { get }
}

extension DirectoryDocument {
    /// Reads the document out of the member of that name, as `{"organization":{…}}`.
    public init(json: JSONValue, member name: String) throws(DocumentError) {
        self = try MemberReader(json).document(name)
    }
}

/// A member that is missing or is not what it should be. Never quotes a value: it may be a secret.
public struct DocumentError: Error, Sendable, Equatable, CustomStringConvertible {
    /// `items[3].created_at`; empty for the document itself.
    public var member: String
    public var what: String

    /// `items[3].created_at: is no integer but a string`
    public var description: String { member.isEmpty ? what : "\(member): \(what)" }

    /// Says of that member what is wrong.
    public init(_ member: String, _ what: String) {
        self.member = member
        self.what = what
    }

    /// The same seen from the document around.
    func inside(_ outer: String) -> DocumentError {
        if member.isEmpty { return DocumentError(outer, what) }
        return DocumentError(outer + (member.hasPrefix("[") ? "" : ".") + member, what)
    }
}

/// Takes a document's members out of an object. `null` and a member that is missing are the same
/// for what may be absent.
struct MemberReader {
    private let object: JSONObject

    init(_ json: JSONValue) throws(DocumentError) { object = try json.asObject() }

    /// Whether there is such a member, `null` apart.
    func has(_ name: String) -> Bool { object[name] ?? .null != .null }

    func required<T>(
        _ name: String, _ read: (JSONValue) throws(DocumentError) -> T
    ) throws(DocumentError) -> T {
        guard let value = object[name] else { throw DocumentError(name, "is missing") }
        do throws(DocumentError) { return try read(value) } catch { throw error.inside(name) }
    }

    func optional<T>(
        _ name: String, _ read: (JSONValue) throws(DocumentError) -> T
    ) throws(DocumentError) -> T? {
        has(name) ? try required(name, read) : nil
    }

    func text(_ name: String) throws(DocumentError) -> String {
        try required(name) { (value) throws(DocumentError) in try value.asText() }
    }

    func optionalText(_ name: String) throws(DocumentError) -> String? {
        try optional(name) { (value) throws(DocumentError) in try value.asText() }
    }

    func secret(_ name: String) throws(DocumentError) -> SecretText {
        SecretText(try text(name))
    }

    func flag(_ name: String) throws(DocumentError) -> Bool {
        try required(name) { (value) throws(DocumentError) in try value.asFlag() }
    }

    func count(_ name: String) throws(DocumentError) -> UInt64 {
        try required(name) { (value) throws(DocumentError) in try value.asCount() }
    }

    func units(_ name: String) throws(DocumentError) -> UInt64 {
        try required(name) { (value) throws(DocumentError) in try value.asUnits() }
    }

    func optionalCount(_ name: String) throws(DocumentError) -> UInt64? {
        try optional(name) { (value) throws(DocumentError) in try value.asCount() }
    }

    func small(_ name: String) throws(DocumentError) -> UInt32 {
        try required(name) { (value) throws(DocumentError) in
            guard let small = UInt32(exactly: try value.asCount()) else {
                throw DocumentError("", "is beyond 32 bits")
            }
            return small
        }
    }

    func instant(_ name: String) throws(DocumentError) -> Timestamp {
        Timestamp(milliseconds: Int64(clamping: try count(name)))
    }

    func optionalInstant(_ name: String) throws(DocumentError) -> Timestamp? {
        try optionalCount(name).map { Timestamp(milliseconds: Int64(clamping: $0)) }
    }

    func texts(_ name: String) throws(DocumentError) -> [String] {
        try required(name) { (value) throws(DocumentError) in try value.asTexts() }
    }

    func optionalTexts(_ name: String) throws(DocumentError) -> [String]? {
        try optional(name) { (value) throws(DocumentError) in try value.asTexts() }
    }

    func choice<T: DirectoryChoice>(_ name: String) throws(DocumentError) -> T {
        try required(name) { (value) throws(DocumentError) in try value.asChoice() }
    }

    func optionalChoice<T: DirectoryChoice>(_ name: String) throws(DocumentError) -> T? {
        try optional(name) { (value) throws(DocumentError) in try value.asChoice() }
    }

    func document<T: DirectoryDocument>(_ name: String) throws(DocumentError) -> T {
        try required(name) { (value) throws(DocumentError) in try T(json: value) }
    }

    func optionalDocument<T: DirectoryDocument>(_ name: String) throws(DocumentError) -> T? {
        try optional(name) { (value) throws(DocumentError) in try T(json: value) }
    }

    func documents<T: DirectoryDocument>(_ name: String) throws(DocumentError) -> [T] {
        try required(name) { (value) throws(DocumentError) in
            try value.asElements { (element) throws(DocumentError) in try T(json: element) }
        }
    }

    func optionalObject(_ name: String) throws(DocumentError) -> JSONObject? {
        try optional(name) { (value) throws(DocumentError) in try value.asObject() }
    }
}
