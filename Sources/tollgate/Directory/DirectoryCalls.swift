import TollgateClient
import TollgateWire

extension AdminOptions {
    /// One call of the directory, on the connection of `client`; members that are `nil` are left
    /// out. Protocol.md, "CALL".
    func call(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?> = [:],
        on client: BlockingClient? = nil
    ) throws -> JSONObject {
        try self.call(call, members: Array(members), on: client)
    }

    func call(
        _ name: CallName, members: [(String, JSONValue?)], on client: BlockingClient? = nil
    ) throws -> JSONObject {
        var request = JSONObject()
        for case (let member, let value?) in members { request.append(member, value) }
        let client = client ?? self.client
        do throws(ClientError) { return try client.perform(.raw(name, request)) } catch {
            var failure = Failure(error, Self.names)
            if !name.onlyReads, error == .timedOut || error == .disconnected {
                failure.next = "it may have been done all the same: look (tollgate log) before"
                    + " doing it again"
            }
            if failure.status == .notFound, let list = name.listOfAlerts {
                failure.next = "\(list) shows what there is"
            }
            throw failure
        }
    }
}

extension CallName {
    /// The command that lists what the call seeks by number.
    fileprivate var listOfAlerts: String? {
        switch self {
        case .acknowledgeAlert: "tollgate alerts list"
        case .removeSilence: "tollgate alerts silence list"
        default: nil
        }
    }
}

extension JSONValue {
    /// What is left out of a call when it is not there.
    static func optional(_ text: String?) -> JSONValue? { text.map { .string($0) } }
    static func optional(_ number: Int64?) -> JSONValue? { number.map { .integer($0) } }
    static func strings(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
}

/// Reading what the daemon answered. A later daemon may say more than this command knows, so what
/// is only shown is read leniently; what the command goes by is asked for with `required`.
extension JSONObject {
    var json: JSON { .verbatim(JSONValue.object(self).text) }

    func string(_ name: String) -> String? {
        if case .string(let text)? = self[name] { text } else { nil }
    }

    func integer(_ name: String) -> Int64? {
        if case .integer(let number)? = self[name] { number } else { nil }
    }

    func bool(_ name: String) -> Bool? {
        if case .bool(let value)? = self[name] { value } else { nil }
    }

    func object(_ name: String) -> JSONObject? {
        if case .object(let object)? = self[name] { object } else { nil }
    }

    func array(_ name: String) -> [JSONValue]? {
        if case .array(let elements)? = self[name] { elements } else { nil }
    }

    func objects(_ name: String) -> [JSONObject] {
        (array(name) ?? []).compactMap { if case .object(let object) = $0 { object } else { nil } }
    }

    func strings(_ name: String) -> [String]? {
        array(name)?.compactMap { if case .string(let text) = $0 { text } else { nil } }
    }

    /// A member that the daemon answers always.
    func required<T>(_ name: String, _ member: (JSONObject) -> (String) -> T?) throws -> T {
        guard let value = member(self)(name) else {
            throw Failure(
                .unexpected, "the daemon's answer has no proper \"\(name)\"",
                next: "is it of this version? (tollgate health)")
        }
        return value
    }

    /// A member as people read it, instants as dates; `absent` when there is none.
    func shown(_ name: String, or absent: String = "-") -> String {
        guard let value = self[name], value != .null else { return absent }
        if name == "at" || name.hasSuffix("_at"), case .integer(let instant) = value {
            return Times.shown(instant)
        }
        return value.shown
    }
}

extension JSONValue {
    /// As people read it.
    var shown: String {
        switch self {
        case .null: "-"
        case .bool(let value): value ? "yes" : "no"
        case .integer(let number): "\(number)"
        case .string(let text): text
        case .array(let elements):
            elements.isEmpty ? "none" : elements.map(\.shown).joined(separator: ", ")
        case .object: text
        }
    }
}

extension AdminOptions {
    /// Makes a call and shows the document that its answer holds in `member`.
    func show(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?>, _ member: String,
        _ view: View
    ) throws {
        let reply = try self.call(call, members: Array(members))
        let document = try reply.required(member, JSONObject.object)
        try output.print(reply.json, view.text(document, output))
    }

    /// Makes a call and says in one line what it did.
    func tell(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?>,
        _ words: (JSONObject) -> String
    ) throws {
        let reply = try self.call(call, members: Array(members))
        try output.print(reply.json, visible(words(reply)))
    }
}
