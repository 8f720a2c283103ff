import CLinux
import Glibc
import TollgateWire

/// A reply as it came: Protocol.md, "Frame".
struct ReplyFrame {
    var header: FrameHeader
    var body: [UInt8]

    /// The body, or the refusal that stands in its place. Throws `malformedReply` when this cannot
    /// answer a request of that opcode.
    func outcome(for opcode: Opcode) throws(ClientError) -> Result<[UInt8], ClientError> {
        guard header.opcode == opcode.rawValue | Opcode.replyBit else {
            throw .malformedReply("an answer to opcode \(header.opcode & ~Opcode.replyBit)")
        }
        return header.status == 0 ? .success(body) : .failure(try refusal())
    }

    /// Why no request on this connection will be answered: a reply to none of them.
    func connectionFailure() -> ClientError {
        guard header.status != 0, let status = Status(rawValue: header.status) else {
            return .malformedReply("an answer to a request that was not made")
        }
        let detail = String(decoding: body, as: UTF8.self)
        // Only of these two is it sure that nothing before was carried out either.
        if status == .tooManyConnections || status == .unavailable {
            return .refused(status, detail: detail)
        }
        return .malformedReply("the daemon gave the connection up (\(status)): \(detail)")
    }

    private func refusal() throws(ClientError) -> ClientError {
        guard let status = Status(rawValue: header.status) else {
            throw .malformedReply("status \(header.status)")
        }
        return .refused(status, detail: String(decoding: body, as: UTF8.self))
    }
}

/// Appends a request's frame.
func appendFrame(
    _ opcode: Opcode, _ requestID: UInt64, _ body: [UInt8], to bytes: inout [UInt8]
) {
    let header = FrameHeader(
        opcode: opcode.rawValue, requestID: requestID, bodyBytes: body.count)
    withUnsafeTemporaryAllocation(byteCount: WireLimits.headerBytes, alignment: 8) { space in
        header.write(to: space)
        bytes.append(contentsOf: space)
    }
    bytes.append(contentsOf: body)
}

/// Bytes of a stream, from which whole frames are taken. 0 ≤ start ≤ end ≤ bytes.count, which is
/// at most two of the longest frame. What was taken is moved away only when room is short, so a
/// frame costs its own length however many wait behind it.
struct FrameBuffer {
    private static let frameBytesMax = WireLimits.lengthFieldBytes + WireLimits.lengthMax
    private static let readBytesMin = 16_384
    private var bytes = [UInt8](repeating: 0, count: 32_768)
    private var start = 0
    private var end = 0

    /// Reads once; bytes, 0 at the end of the stream, or -errno.
    mutating func read(from descriptor: Int32) -> Int {
        makeRoom()
        let at = end
        let got = bytes.withUnsafeMutableBytes { view -> Int in
            guard let base = view.baseAddress else { return 0 }
            return tg_read(descriptor, base + at, view.count - at)
        }
        if got > 0 { end += got }
        return got
    }

    /// The next whole frame, or `nil` when more bytes are needed.
    mutating func next() throws(ClientError) -> ReplyFrame? {
        guard end - start >= WireLimits.headerBytes else { return nil }
        let header = bytes.withUnsafeBytes { FrameHeader(reading: $0, at: start) }
        guard header.length >= WireLimits.lengthMin, header.length <= WireLimits.lengthMax else {
            throw .malformedReply("a frame's length is \(header.length)")
        }
        let frameEnd = start + WireLimits.lengthFieldBytes + Int(header.length)
        guard frameEnd <= end else { return nil }
        let body = Array(bytes[(start + WireLimits.headerBytes)..<frameEnd])
        start = frameEnd
        return ReplyFrame(header: header, body: body)
    }

    private mutating func makeRoom() {
        if bytes.count - end >= Self.readBytesMin { return }
        let kept = end - start
        if start > 0 {
            bytes.withUnsafeMutableBytes { view in
                guard let base = view.baseAddress else { return }
                memmove(base, base + start, kept)
            }
            (start, end) = (0, kept)
        }
        // What is kept is less than one frame: `next` took the others.
        if bytes.count - end < Self.readBytesMin {
            let more = min(bytes.count, 2 * Self.frameBytesMax - bytes.count)
            bytes += [UInt8](repeating: 0, count: more)
        }
    }
}
