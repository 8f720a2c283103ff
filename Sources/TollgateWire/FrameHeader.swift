/// The header that opens every frame, in either direction. Little-endian, as all of the protocol.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | length of what follows this field: 12 + body |
/// | 4 | 1 | opcode; in replies with `Opcode.replyBit` |
/// | 5 | 1 | reserved, 0 |
/// | 6 | 2 | status; 0 in requests |
/// | 8 | 8 | request id, chosen by the client, carried back unread |
public struct FrameHeader: Sendable, Equatable {
    public var length: UInt32
    public var opcode: UInt8
    public var reserved: UInt8
    public var status: UInt16
    public var requestID: UInt64

    /// The header of a frame with a body of `bodyBytes`, which fit 32 bits (trapped).
    @inlinable
    public init(opcode: UInt8, status: Status = .ok, requestID: UInt64, bodyBytes: Int) {
        self.length = UInt32(WireLimits.lengthMin + bodyBytes)
        self.opcode = opcode
        self.reserved = 0
        self.status = status.rawValue
        self.requestID = requestID
    }

    /// Reads a header; `bytes` holds at least `WireLimits.headerBytes` from `offset` on (trapped).
    @inlinable
    public init(reading bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && bytes.count - offset >= WireLimits.headerBytes)
        length = bytes.loadLittle(at: offset, as: UInt32.self)
        opcode = bytes[offset + 4]
        reserved = bytes[offset + 5]
        status = bytes.loadLittle(at: offset + 6, as: UInt16.self)
        requestID = bytes.loadLittle(at: offset + 8, as: UInt64.self)
    }

    /// Bytes of the body that follows. Only meaningful for a `length` that is in range.
    @inlinable
    public var bodyBytes: Int { Int(length) - WireLimits.lengthMin }

    /// Writes the header at `offset`, where `bytes` has room for it (trapped).
    @inlinable
    public func write(to bytes: UnsafeMutableRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && bytes.count - offset >= WireLimits.headerBytes)
        bytes.storeLittle(length, at: offset)
        bytes[offset + 4] = opcode
        bytes[offset + 5] = reserved
        bytes.storeLittle(status, at: offset + 6)
        bytes.storeLittle(requestID, at: offset + 8)
    }
}
