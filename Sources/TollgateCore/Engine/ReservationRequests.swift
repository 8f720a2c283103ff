import TollgateWire

/// A RESERVE's body: a CHECK's, and how long to hold. Borrows the frame; Protocol.md, "RESERVE".
struct ReserveRequest: BitwiseCopyable {
    var check: CheckRequest
    /// As asked for: 0 is the plan's default, and the plan's most is not looked at here.
    var timeToLiveMilliseconds: UInt32
    /// The hold outlives the connection.
    var isDetached: Bool { check.flags & RequestFlags.detached != 0 }

    /// Checks the fixed part and every length. Does not allocate, does not trap on any bytes.
    init(decoding body: UnsafeRawBufferPointer) throws(Refusal) {
        check = try CheckRequest(decoding: body, as: .reserve)
        timeToLiveMilliseconds = body.loadLittle(at: 12, as: UInt32.self)
    }
}

/// An EXTEND's body; Protocol.md, "EXTEND". Its meters carry units used so far, too.
struct ExtendRequest: BitwiseCopyable {
    var id: ReservationID
    var meterCount: Int
    var flags: UInt16
    /// Counted anew from now; 0 is what the hold was given before.
    var timeToLiveMilliseconds: UInt32
    /// Where the meters begin.
    static let metersOffset = BodyBytes.extendRequest

    /// Checks the fixed part. Does not allocate, does not trap on any bytes.
    init(decoding body: UnsafeRawBufferPointer) throws(Refusal) {
        guard body.count >= BodyBytes.extendRequest else {
            throw Refusal(.malformedBody, "EXTEND: the body is shorter than its fixed part")
        }
        id = ReservationID(body)
        (meterCount, flags) = try Self.meters(body)
        timeToLiveMilliseconds = body.loadLittle(at: 20, as: UInt32.self)
    }

    /// What EXTEND and SETTLE have in common: bytes 16 to 19 of a body of at least 24.
    fileprivate static func meters(
        _ body: UnsafeRawBufferPointer
    ) throws(Refusal) -> (count: Int, flags: UInt16) {
        let count = Int(body.loadLittle(at: 16, as: UInt8.self))
        guard count <= WireLimits.metersMax else {
            throw Refusal(.malformedBody, "more than 16 meters")
        }
        guard body.loadLittle(at: 17, as: UInt8.self) == 0 else {
            throw Refusal(.malformedBody, "a reserved byte is not 0")
        }
        let flags = body.loadLittle(at: 18, as: UInt16.self)
        guard flags & ~RequestFlags.knownToReservation == 0 else {
            throw Refusal(.unsupportedField, "unknown flag")
        }
        return (count, flags)
    }
}

/// A SETTLE's body; Protocol.md, "SETTLE".
struct SettleRequest: BitwiseCopyable {
    var id: ReservationID
    var meterCount: Int
    var flags: UInt16
    /// Where the meters begin.
    static let metersOffset = BodyBytes.settleRequest

    /// Checks the fixed part. Does not allocate, does not trap on any bytes.
    init(decoding body: UnsafeRawBufferPointer) throws(Refusal) {
        guard body.count >= BodyBytes.settleRequest else {
            throw Refusal(.malformedBody, "SETTLE: the body is shorter than its fixed part")
        }
        id = ReservationID(body)
        (meterCount, flags) = try ExtendRequest.meters(body)
        guard body.loadLittle(at: 20, as: UInt32.self) == 0 else {
            throw Refusal(.malformedBody, "SETTLE: reserved bytes are not 0")
        }
    }
}

/// A CANCEL's body; Protocol.md, "CANCEL".
struct CancelRequest: BitwiseCopyable {
    var id: ReservationID
    var flags: UInt16
    /// Where the extension fields begin: there are no meters.
    static let metersOffset = BodyBytes.cancelRequest

    /// Checks the fixed part. Does not allocate, does not trap on any bytes.
    init(decoding body: UnsafeRawBufferPointer) throws(Refusal) {
        guard body.count >= BodyBytes.cancelRequest else {
            throw Refusal(.malformedBody, "CANCEL: the body is shorter than its fixed part")
        }
        id = ReservationID(body)
        flags = body.loadLittle(at: 16, as: UInt16.self)
        guard flags & ~RequestFlags.knownToReservation == 0 else {
            throw Refusal(.unsupportedField, "CANCEL: unknown flag")
        }
        guard body.loadLittle(at: 18, as: UInt16.self) == 0,
            body.loadLittle(at: 20, as: UInt32.self) == 0
        else { throw Refusal(.malformedBody, "CANCEL: reserved bytes are not 0") }
    }
}
