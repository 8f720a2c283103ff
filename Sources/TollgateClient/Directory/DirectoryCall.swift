import TollgateWire

/// A call of the directory, to be given to `perform` of a client; `Answer` is what comes back.
/// Protocol.md, "CALL".
///
/// Where the daemon refuses, `perform` throws `ClientError.refused` with the status and its words,
/// as `notFound`, `alreadyExists`, `invalidValue`, `conflict`, `storageFailed`, `busy`. A call that
/// threw anything else may have been carried out; of those that change something none is ever sent
/// twice.
///
/// Prints as the call's name alone: among what is sent may be a refresh token.
public struct DirectoryCall<Answer: Sendable>: Sendable, CustomStringConvertible,
    CustomReflectable
{
    /// What is sent.
    public let request: DirectoryRequest
    /// Changes nothing, so it may be asked again when its answer was lost.
    let isRepeatable: Bool
    private let read: @Sendable (JSONValue) throws(DocumentError) -> Answer

    init(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?> = [:],
        isRepeatable: Bool? = nil,
        _ read: @escaping @Sendable (JSONValue) throws(DocumentError) -> Answer
    ) {
        var object = JSONObject()
        for case (let name, let value?) in members { object.append(name, value) }
        request = DirectoryRequest(call, object)
        self.isRepeatable = isRepeatable ?? call.onlyReads
        self.read = read
    }

    /// The reply's body as an answer; `malformedReply` when it is none.
    func answer(_ body: [UInt8]) throws(ClientError) -> Answer {
        let json: JSONValue
        do throws(JSONError) { json = try JSONValue(reading: body) } catch {
            throw .malformedReply("\(request.call.rawValue): \(error)")
        }
        do throws(DocumentError) { return try read(json) } catch {
            throw .malformedReply("\(request.call.rawValue): \(error)")
        }
    }

    /// The call's name.
    public var description: String { request.description }
    /// Without children, so that `dump` finds no member.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension DirectoryCall where Answer: DirectoryDocument {
    /// A call whose reply is the document.
    init(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?> = [:],
        isRepeatable: Bool? = nil
    ) {
        self.init(call, members, isRepeatable: isRepeatable) { (json) throws(DocumentError) in
            try Answer(json: json)
        }
    }

    /// A call whose reply has the document as its only member.
    init(
        _ call: CallName, answering name: String,
        _ members: KeyValuePairs<String, JSONValue?> = [:]
    ) {
        self.init(call, members) { (json) throws(DocumentError) in
            try Answer(json: json, member: name)
        }
    }
}

extension DirectoryCall where Answer == JSONObject {
    /// Any call with any members, and the reply as it came: for tools that show what there is. The
    /// reply may hold secrets.
    public static func raw(_ call: CallName, _ members: JSONObject) -> DirectoryCall {
        DirectoryCall(DirectoryRequest(call, members)) { (json) throws(DocumentError) in
            guard case .object(let object) = json else {
                throw DocumentError("", "the reply is no object but \(json.kindInWords)")
            }
            return object
        }
    }

    private init(
        _ request: DirectoryRequest,
        _ read: @escaping @Sendable (JSONValue) throws(DocumentError) -> JSONObject
    ) {
        self.request = request
        isRepeatable = request.call.onlyReads
        self.read = read
    }
}

// Members of a request; `nil` is left out.
extension JSONValue {
    static func member(_ text: String?) -> JSONValue? { text.map { .string($0) } }
    static func member(_ texts: [String]?) -> JSONValue? {
        texts.map { .array($0.map { .string($0) }) }
    }
    static func member(_ number: Int64?) -> JSONValue? { number.map { .integer($0) } }
    static func member(_ instant: Timestamp?) -> JSONValue? { member(instant?.milliseconds) }
    static func member(_ word: (some DirectoryChoice)?) -> JSONValue? { member(word?.rawValue) }
    static func member(_ document: (some DirectoryDocument)?) -> JSONValue? { document?.json }

    /// Left out where it is false.
    static func flag(_ flag: Bool) -> JSONValue? { flag ? .bool(true) : nil }
    /// Beyond what JSON's integers hold here, as their largest: the daemon refuses it.
    static func units(_ units: UInt64) -> JSONValue? { .integer(Int64(clamping: units)) }
}
