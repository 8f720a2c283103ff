import TollgateWire

/// What makes a repeated request known as such: the daemon charges once, and answers alike. Draw
/// one for each thing that is to be charged for, and keep it until there is an answer.
public struct IdempotencyID: Sendable, Hashable {
    let bytes: [UInt8]

    /// Any 16 bytes but zeros: `nil` for others.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == BodyBytes.idempotencyID, bytes.contains(where: { $0 != 0 }) else {
            return nil
        }
        self.bytes = bytes
    }

    /// One that no other request has.
    public static func random() -> IdempotencyID {
        var source = SystemRandomNumberGenerator()
        var bytes = (1..<BodyBytes.idempotencyID).map { _ in
            UInt8.random(in: .min ... .max, using: &source)
        }
        // Never all zeros.
        bytes.append(1)
        return IdempotencyID(unchecked: bytes)
    }

    private init(unchecked bytes: [UInt8]) { self.bytes = bytes }
}

/// The daemon's name for a reservation, 16 bytes; prints as 32 hexadecimal digits.
public struct ReservationID: Sendable, Hashable, CustomStringConvertible {
    /// As they came.
    public let bytes: [UInt8]

    /// Sixteen bytes: `nil` for others.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == BodyBytes.reservationID else { return nil }
        self.bytes = bytes
    }

    /// 32 hexadecimal digits: `nil` for any other text.
    public init?(hexadecimal text: String) {
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in text.utf8 {
            guard let value = Self.value(of: digit) else { return nil }
            if let first = high {
                bytes.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        guard high == nil else { return nil }
        self.init(bytes)
    }

    private static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit &- UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit &- UInt8(ascii: "a") &+ 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit &- UInt8(ascii: "A") &+ 10
        default: nil
        }
    }

    /// 32 hexadecimal digits.
    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// What RESERVE made: open until it is settled or canceled, its time is over, or, unless it is
/// detached, its connection ends.
public struct Reservation: Sendable, Equatable {
    public var id: ReservationID
    /// What the daemon granted; EXTEND begins it anew.
    public var timeToLiveMilliseconds: UInt32

    /// The value of the extension field.
    init(_ value: [UInt8]) throws(ClientError) {
        var reader = ReplyReader(value)
        guard let id = ReservationID(try reader.bytes(BodyBytes.reservationID)) else {
            throw .malformedReply("a reservation's id")
        }
        self.id = id
        timeToLiveMilliseconds = try reader.integer(UInt32.self)
        _ = try reader.integer(UInt32.self)
        guard reader.isAtEnd else { throw .malformedReply("bytes behind the reservation") }
    }
}

/// What RESERVE asks: a CHECK's question, whose units are an estimate, and how long to hold it.
public struct ReservationRequest: Sendable {
    public var question: CheckQuestion
    /// 0: the plan's default. What is more than the plan allows is lowered to that.
    public var timeToLiveMilliseconds: UInt32
    /// Outlives the connection, which otherwise takes it along: also where the client gives a
    /// connection up that does not answer.
    public var isDetached: Bool

    /// Checked when it is asked, not here.
    public init(
        _ question: CheckQuestion, timeToLiveMilliseconds: UInt32 = 0, isDetached: Bool = false
    ) {
        self.question = question
        self.timeToLiveMilliseconds = timeToLiveMilliseconds
        self.isDetached = isDetached
    }
}

/// Units of one meter as EXTEND carries them: totals since RESERVE.
public struct HeldUnits: Sendable, Equatable {
    public var meter: String
    /// To be held in all; fewer than are held leave it as it is.
    public var units: UInt64
    /// Used so far.
    public var used: UInt64

    /// So many units of that meter to hold, and so many used.
    public init(_ meter: String, _ units: UInt64, used: UInt64 = 0) {
        self.meter = meter
        self.units = units
        self.used = used
    }
}

extension Calls {
    static func reserve(_ request: ReservationRequest) throws(ClientError) -> Call<CheckDecision> {
        let flags = request.isDetached ? RequestFlags.detached : 0
        let body = try request.question.body(
            flags: flags, timeToLiveMilliseconds: request.timeToLiveMilliseconds)
        return Call(
            opcode: .reserve, body: body, isRepeatable: request.question.idempotencyID != nil,
            isKnownAgain: request.question.idempotencyID != nil
        ) { (body) throws(ClientError) in
            let decision = try CheckDecision(body)
            guard !decision.isAllowed || decision.isDryRun || decision.reservation != nil else {
                throw .malformedReply("it allows, and names no reservation")
            }
            return decision
        }
    }

    static func extend(
        _ id: ReservationID, _ meters: [HeldUnits], timeToLiveMilliseconds: UInt32,
        explains: Bool
    ) throws(ClientError) -> Call<CheckDecision> {
        var writer = try BodyWriter(id, meters: meters.count, explains: explains)
        writer.little(timeToLiveMilliseconds)
        for meter in meters {
            try writer.name(meter.meter)
            writer.little(meter.units)
            writer.little(meter.used)
        }
        return decided(.extend, writer)
    }

    static func settle(
        _ id: ReservationID, _ meters: [MeterUnits], explains: Bool
    ) throws(ClientError) -> Call<CheckDecision> {
        var writer = try BodyWriter(id, meters: meters.count, explains: explains)
        writer.zeros(4)
        try writer.meters(meters)
        return decided(.settle, writer)
    }

    static func cancel(_ id: ReservationID, explains: Bool) -> Call<CheckDecision> {
        var writer = BodyWriter(bytes: id.bytes)
        writer.little(explains ? RequestFlags.explain : 0)
        writer.zeros(6)
        return decided(.cancel, writer)
    }

    private static func decided(_ opcode: Opcode, _ writer: BodyWriter) -> Call<CheckDecision> {
        Call(opcode: opcode, body: writer.bytes, isRepeatable: true, isKnownAgain: true) {
            (body) throws(ClientError) in try CheckDecision(body)
        }
    }
}

extension BodyWriter {
    /// What EXTEND and SETTLE begin with.
    fileprivate init(
        _ id: ReservationID, meters: Int, explains: Bool
    ) throws(ClientError) {
        bytes = id.bytes
        guard meters <= WireLimits.metersMax else {
            throw .invalidRequest("more than 16 meters")
        }
        byte(UInt8(clamping: meters))
        byte(0)
        little(explains ? RequestFlags.explain : 0)
    }

    /// Critical: a daemon that does not know it must not charge.
    mutating func idempotencyID(_ key: IdempotencyID?) {
        guard let key else { return }
        byte(ExtensionTag.idempotencyID)
        byte(ExtensionFlags.critical)
        little(UInt16(BodyBytes.idempotencyID))
        bytes += key.bytes
    }
}
