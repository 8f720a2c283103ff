import TollgateWire

/// A request ready to be sent, and how its answer reads: what all clients share.
struct Call<Answer: Sendable>: Sendable {
    let opcode: Opcode
    let body: [UInt8]
    /// May be asked again when its answer was lost: it changes nothing, or is known again.
    var isRepeatable = false
    /// The daemon knows its repetition as such, so `AsyncClient` repeats it too.
    var isKnownAgain = false
    let answer: @Sendable ([UInt8]) throws(ClientError) -> Answer
}

/// Every request of the protocol. Throws `invalidRequest` where a field is out of range.
enum Calls {
    static func check(_ question: CheckQuestion) throws(ClientError) -> Call<CheckDecision> {
        let isKnown = question.idempotencyID != nil
        return Call(
            opcode: .check, body: try question.body(), isRepeatable: isKnown, isKnownAgain: isKnown
        ) { (body) throws(ClientError) in try CheckDecision(body) }
    }

    static func consume(_ consumption: Consumption) throws(ClientError) -> Call<CheckDecision> {
        let isKnown = consumption.idempotencyID != nil
        return Call(
            opcode: .consume, body: try consumption.body(), isRepeatable: isKnown,
            isKnownAgain: isKnown
        ) { (body) throws(ClientError) in try CheckDecision(body) }
    }

    static func usage(
        organization: String, user: String, plan: String, isPersonal: Bool
    ) throws(ClientError) -> Call<UsageReport> {
        var writer = BodyWriter()
        for text in [organization, user, plan] {
            guard text.utf8.count <= WireLimits.identifierBytesMax else {
                throw .invalidRequest("\"\(text)\" is longer than 128 bytes")
            }
            writer.byte(UInt8(text.utf8.count))
        }
        guard !organization.isEmpty else { throw .invalidRequest("the organization is empty") }
        writer.byte(0)
        writer.little(isPersonal ? RequestFlags.personalOrganization : 0)
        writer.zeros(2)
        for text in [organization, user, plan] { writer.text(text) }
        return Call(opcode: .usage, body: writer.bytes, isRepeatable: true) {
            (body) throws(ClientError) in try UsageReport(body)
        }
    }

    static func ping() -> Call<Void> {
        let payload: [UInt8] = [1, 2, 3, 4]
        return Call(opcode: .ping, body: payload, isRepeatable: true) {
            (body) throws(ClientError) in
            guard body == payload else { throw .malformedReply("PING came back changed") }
        }
    }

    static func hello() -> Call<(version: String, policyGeneration: UInt64)> {
        var writer = BodyWriter()
        writer.little(WireLimits.versionMin)
        writer.little(WireLimits.version)
        writer.zeros(8)
        return Call(opcode: .hello, body: writer.bytes, isRepeatable: true) {
            (body) throws(ClientError) in
            var reader = ReplyReader(body)
            let version = try reader.integer(UInt16.self)
            guard (WireLimits.versionMin...WireLimits.version).contains(version) else {
                throw .malformedReply("HELLO chose version \(version)")
            }
            _ = try reader.bytes(14)
            let generation = try reader.integer(UInt64.self)
            let bytes = Int(try reader.integer(UInt8.self))
            _ = try reader.bytes(7)
            let text = try reader.text(bytes)
            _ = try reader.extensions()
            return (text, generation)
        }
    }

    static func statistics() -> Call<[StatisticEntry]> {
        Call(opcode: .stats, body: [], isRepeatable: true) { (body) throws(ClientError) in
            try StatisticEntry.list(body)
        }
    }

    static func reload() -> Call<UInt64> {
        Call(opcode: .reload, body: []) { (body) throws(ClientError) in
            var reader = ReplyReader(body)
            let generation = try reader.integer(UInt64.self)
            _ = try reader.extensions()
            return generation
        }
    }

    static func shutdown(graceMilliseconds: UInt32) -> Call<Void> {
        var writer = BodyWriter()
        writer.little(graceMilliseconds)
        return Call(opcode: .shutdown, body: writer.bytes) { (body) throws(ClientError) in
            var reader = ReplyReader(body)
            _ = try reader.extensions()
        }
    }
    /// Checked against the catalogue before it is sent, as the daemon checks it.
    static func directory<Answer>(
        _ call: DirectoryCall<Answer>
    ) throws(ClientError) -> Call<Answer> {
        let request = call.request
        do throws(DocumentError) {
            _ = try DirectoryRequest(request.call, checking: request.members)
        } catch { throw .invalidRequest("\(error)") }
        let body = request.body
        guard body.count <= WireLimits.lengthMax - WireLimits.lengthMin else {
            throw .invalidRequest("\(request.call.rawValue) is larger than a frame")
        }
        return Call(opcode: .call, body: body, isRepeatable: call.isRepeatable) {
            (body) throws(ClientError) in try call.answer(body)
        }
    }
}
