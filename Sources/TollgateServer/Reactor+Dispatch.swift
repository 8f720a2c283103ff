import Synchronization
import TollgateCore
import TollgateWire

/// One frame to its answer, written behind the others in the output buffer, which has room for
/// one reply more than is ever let in (`outSoftMax`).
extension Reactor {
    @inline(__always)
    func dispatch(_ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ slot: Int) {
        switch Opcode(rawValue: header.opcode) {
        case .check where mayCheck(slot): put(worker.check(body, into: replySpace()), header)
        case .consume where mayCheck(slot): put(worker.consume(body, into: replySpace()), header)
        case .usage where mayCheck(slot): put(worker.usage(body, into: replySpace()), header)
        case .reserve where mayCheck(slot):
            let connection = registration(slot)
            put(worker.reserve(body, connection: connection, into: replySpace()), header)
        case .extend where mayCheck(slot): put(worker.extend(body, into: replySpace()), header)
        case .settle where mayCheck(slot): put(worker.settle(body, into: replySpace()), header)
        case .cancel where mayCheck(slot): put(worker.cancel(body, into: replySpace()), header)
        case .check, .consume, .usage, .reserve, .extend, .settle, .cancel:
            refuse(header, .forbidden, "this user has not the role check")
        case .ping: ping(header, body)
        case .hello: hello(header, body)
        case .stats, .reload, .shutdown: administer(header, body, slot)
        case .call: call(header, body, slot)
        case nil:
            putRefusal(
                .unknownOpcode, "not an opcode of version 1", opcode: header.opcode,
                header.requestID)
        }
    }

    /// Where the next reply's body goes.
    @inline(__always)
    private func replySpace() -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            rebasing: output[(outputBytes &+ WireLimits.headerBytes)...])
    }

    /// Writes the header of a body that stands already.
    @inline(__always)
    private func put(_ outcome: Outcome, _ request: FrameHeader) {
        let header = FrameHeader(
            opcode: request.opcode | Opcode.replyBit, status: outcome.status,
            requestID: request.requestID, bodyBytes: outcome.bytes)
        header.write(to: output, at: outputBytes)
        outputBytes &+= WireLimits.headerBytes &+ outcome.bytes
        if outcome.status != .ok { countRefusal(outcome.status) }
    }

    func countRefusal(_ status: Status) {
        ReactorCounters.add(counters.statuses[Int(status.rawValue) % ReactorCounters.statusCount])
    }

    func putRefusal(_ status: Status, _ detail: StaticString, opcode: UInt8, _ requestID: UInt64) {
        let space = replySpace()
        let bytes = detail.withUTF8Buffer { text -> Int in
            space.copy(UnsafeRawBufferPointer(text), to: 0)
            return text.count
        }
        let header = FrameHeader(opcode: opcode, requestID: requestID, bodyBytes: 0)
        put(Outcome(status: status, bytes: bytes), header)
    }

    func refuse(_ header: FrameHeader, _ status: Status, _ detail: StaticString) {
        putRefusal(status, detail, opcode: header.opcode, header.requestID)
    }

    /// With a body that was made for the request.
    func answer(_ header: FrameHeader, _ reply: CallReply) {
        reply.body.withUnsafeBytes { replySpace().copy($0, to: 0) }
        put(Outcome(status: reply.status, bytes: reply.body.count), header)
    }

    private func ping(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
        guard body.count <= WireLimits.pingBytesMax else {
            return refuse(header, .malformedBody, "PING: more than 64 bytes")
        }
        replySpace().copy(body, to: 0)
        put(Outcome(status: .ok, bytes: body.count), header)
    }

    private func hello(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
        guard body.count >= BodyBytes.helloRequest else {
            return refuse(header, .malformedBody, "HELLO: the body is shorter than its fixed part")
        }
        let lowest = body.loadLittle(at: 0, as: UInt16.self)
        let highest = body.loadLittle(at: 2, as: UInt16.self)
        guard lowest <= highest, Int(body[8]) <= 64, body[9] | body[10] | body[11] == 0,
            body.count >= BodyBytes.helloRequest + Int(body[8])
        else { return refuse(header, .malformedBody, "HELLO: versions, name or reserved bytes") }
        guard lowest <= WireLimits.version, highest >= WireLimits.versionMin else {
            return refuse(header, .unsupportedVersion, "HELLO: version 1 is spoken here")
        }
        guard body.loadLittle(at: 4, as: UInt32.self) == 0 else {
            return refuse(header, .unsupportedField, "HELLO: unknown feature")
        }
        var rest = ByteReader(body, at: BodyBytes.helloRequest + Int(body[8]))
        do throws(Refusal) { try DecisionWorker.skipExtensions(&rest) } catch {
            return refuse(header, error.status, error.detail)
        }
        let reply = replySpace()
        reply.storeLittle(min(highest, WireLimits.version), at: 0)
        reply.storeLittle(UInt16(0), at: 2)
        reply.storeLittle(UInt32(0), at: 4)
        reply.storeLittle(UInt32(shared.settings.frameBytesMax), at: 8)
        reply.storeLittle(UInt32(WireLimits.inFlightMax), at: 12)
        reply.storeLittle(shared.generation.load(ordering: .relaxed), at: 16)
        reply.storeLittle(UInt64(0), at: 24)
        var end = BodyBytes.helloReply
        for byte in shared.version.utf8.prefix(255) {
            reply[end] = byte
            end += 1
        }
        reply[24] = UInt8(end - BodyBytes.helloReply)
        put(Outcome(status: .ok, bytes: end), header)
    }

    private func administer(_ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ slot: Int) {
        if header.opcode == Opcode.stats.rawValue, connections[slot].mayObserve {
            return statistics(header, body)
        }
        guard connections[slot].mayAdminister else {
            return refuse(
                header, .forbidden,
                "only on the admin socket, for root, the daemon's own user or the socket's group")
        }
        let needed = header.opcode == Opcode.shutdown.rawValue ? 4 : 0
        guard body.count == needed else {
            return refuse(header, .malformedBody, "the body has another length than its table")
        }
        switch Opcode(rawValue: header.opcode) {
        case .reload:
            connections[slot].awaited &+= 1
            shared.control?(
                .reload(
                    registration: registration(slot), requestID: header.requestID, reactor: index))
        default:
            put(Outcome(status: .ok, bytes: 0), header)
            shared.control?(
                .shutdown(graceMilliseconds: body.loadLittle(at: 0, as: UInt32.self)))
        }
    }

    private func statistics(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
        guard body.isEmpty else {
            return refuse(header, .malformedBody, "the body has another length than its table")
        }
        put(StatsReply.write(shared.statistics?() ?? [], to: replySpace()), header)
    }
}
