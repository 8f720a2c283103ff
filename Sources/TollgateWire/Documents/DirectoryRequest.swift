/// The body of a CALL, taken apart: which call it is, and its members, each of them known, there if
/// it must be, and of its type. Whether the values mean anything is for the directory to say.
/// Prints as the call's name alone: among the members may be a refresh token.
public struct DirectoryRequest: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    public let call: CallName
    /// Beside `call`. An optional member that was `null` is left out, except where `null` is a
    /// value of its own.
    public let members: JSONObject

    /// Why a body is no request, with the status that answers it.
    public enum Fault: Error, Sendable, Equatable, CustomStringConvertible {
        case malformed(String)
        case invalid(DocumentError)

        /// Status 4 or 18.
        public var status: Status {
            switch self {
            case .malformed: .malformedBody
            case .invalid: .invalidValue
            }
        }

        /// What stands in the reply; quotes no value.
        public var description: String {
            switch self {
            case .malformed(let what): "CALL: \(what)"
            case .invalid(let error): error.description
            }
        }
    }

    /// A body that a client makes; its members fit the call, which the daemon checks.
    public init(_ call: CallName, _ members: JSONObject) {
        self.call = call
        self.members = members
    }

    /// Reads the whole body: first that it is an object, then which call, then its members.
    public init(reading body: UnsafeRawBufferPointer) throws(Fault) {
        let object = try Self.object(body)
        let call = try Self.call(of: object)
        do throws(DocumentError) { try self.init(call, checking: object) } catch {
            throw .invalid(error)
        }
    }

    /// The first of the two steps of reading: one JSON object.
    public static func object(_ body: UnsafeRawBufferPointer) throws(Fault) -> JSONObject {
        let json: JSONValue
        do throws(JSONError) { json = try JSONValue(reading: body) } catch {
            throw .malformed("\(error)")
        }
        guard case .object(let object) = json else {
            throw .malformed("the body is no object but \(json.kindInWords)")
        }
        return object
    }

    /// Which call an object names, so that its role can be looked at before its members.
    public static func call(of object: JSONObject) throws(Fault) -> CallName {
        guard let value = object["call"] else {
            throw .invalid(DocumentError("call", "is missing"))
        }
        guard case .string(let name) = value else {
            throw .invalid(DocumentError("call", "is not a string but \(value.kindInWords)"))
        }
        guard let call = CallName(rawValue: name) else {
            throw .invalid(DocumentError("call", "there is no call of that name"))
        }
        return call
    }

    /// Checks the members of an object against those of the call.
    public init(_ call: CallName, checking object: JSONObject) throws(DocumentError) {
        let known = call.members
        var kept = JSONObject()
        for member in object.members where member.name != "call" {
            guard let rule = known.first(where: { $0.name == member.name }) else {
                throw DocumentError(member.nameInWords, "is no member of \(call.rawValue)")
            }
            if member.value == .null, rule.presence == .optional { continue }
            do throws(DocumentError) { try rule.check(member.value) } catch {
                throw error.inside(rule.name)
            }
            kept.append(member.name, member.value)
        }
        for rule in known where rule.isRequired && kept[rule.name] == nil {
            throw DocumentError(rule.name, "is missing")
        }
        self.init(call, kept)
    }

    /// The call's name.
    public var description: String { call.rawValue }
    /// Without children, so that `dump` finds no member either.
    public var customMirror: Mirror { Mirror(self, children: []) }

    /// The body, `call` first.
    public var body: [UInt8] {
        var object: JSONObject = ["call": .string(call.rawValue)]
        object.members += members.members
        return JSONValue.object(object).bytes
    }
}
