/// A JSON value (RFC 8259) as CALL carries it: Protocol.md, "CALL". Numbers are whole and fit 64
/// bits; members keep their order.
///
/// Texts are compared as Swift compares them, so canonical equivalents are equal; names of members
/// are compared byte by byte.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// What kind of value it is, in words for an error; never what it holds.
    public var kindInWords: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer: "an integer"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// A named value of an object.
public struct JSONMember: Sendable, Equatable {
    public var name: String
    public var value: JSONValue

    /// A member of that name.
    public init(_ name: String, _ value: JSONValue) {
        self.name = name
        self.value = value
    }
}

/// An object: members in the order in which they are written. What was read holds no name twice;
/// who makes one sees to that.
public struct JSONObject: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    public var members: [JSONMember]

    /// Of members with different names.
    public init(_ members: [JSONMember] = []) { self.members = members }

    /// Of members with different names, in their order.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        members = elements.map { JSONMember($0, $1) }
    }

    /// The member of that name, byte by byte; `nil` when there is none.
    public subscript(name: String) -> JSONValue? {
        members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// Adds a member behind the others; its name is new.
    public mutating func append(_ name: String, _ value: JSONValue) {
        members.append(JSONMember(name, value))
    }
}
