import TollgateWire

/// What a journal has of a reservation, an item of kind `hold`: what recovery can find out by
/// itself is left out, which is most of a row. Replaces what was known of it.
///
/// | bytes | field |
/// |---|---|
/// | 8 | lower half of the id; the upper one is its seal under the ledger's key |
/// | 1 | bits 0 to 2 `State`, not settled; bits 3 and 4 what a cut charges: `CutStream`; bits 5 and
///   6 the flags of the row's head |
/// | 1, 1 | number of meters, of lines |
/// | 1, 1, 1, 1 | bytes of the organization, the user, the plan, the operation |
/// | n | end of its time to live: billing time, milliseconds |
/// | n | time to live, milliseconds |
/// | n, n | unless it is open: when it is forgotten, billing time in milliseconds; bytes of the
///   answer |
/// | | meters, lines, names, answer |
///
/// n is a number as `PackedWriter` has it. Of a meter:
///
/// | bytes | field |
/// |---|---|
/// | 1 | `MeterBits`: what follows |
/// | 8 | its tag; without: 0, what money comes to |
/// | n | plain units of the estimate |
/// | n | weight; without: 1 |
/// | n | price; without: 0 |
/// | n | weighted units held; without: the plain ones times the weight |
/// | n | weighted units reported as used, or charged; without: 0 |
///
/// Of a line:
///
/// | bytes | field |
/// |---|---|
/// | n | the counter's number in the journal |
/// | 1 | as in the row, with `LineBits`; bits 6 and 7 which meter of the reservation |
/// | 1 | which meter it is, where they are 3 |
/// | n, n | bytes 4 to 7 and 16 to 23 of the row's line; without: both 0 |
/// | n | its units; without: those that its meter holds |
enum PackedReservation {
    enum MeterBits {
        static let tag: UInt8 = 1
        static let weight: UInt8 = 2
        static let price: UInt8 = 4
        static let held: UInt8 = 8
        static let used: UInt8 = 16
        static let all: UInt8 = 31
    }

    enum LineBits {
        static let place: UInt8 = 4
        static let units: UInt8 = 8
        /// Meters from this one on have a byte of their own.
        static let meter: UInt8 = 3
        static let meterShift: UInt8 = 6
        /// Of the row's byte.
        static let own: UInt8 = 0x33
    }

    static let cutShift: UInt8 = 3
    static let flagsShift: UInt8 = 5

    private static let headBytesMax = 16 + 4 * PackedWriter.numberBytesMax
    private static let meterBytesMax = 9 + 5 * PackedWriter.numberBytesMax
    private static let lineBytesMax = 2 + 4 * PackedWriter.numberBytesMax
    /// What `PackedAnswer` and the end of a SETTLE take beside the names of an answer.
    private static let endBytesMax = 64 + 8 * PackedWriter.numberBytesMax

    /// The most that either item of a reservation takes, with so many bytes of names and answer.
    static func bytesMax(meters: Int, lines: Int, names: Int) -> Int {
        headBytesMax + endBytesMax + meters * meterBytesMax + lines * lineBytesMax + names
    }

    /// Room that a worker has for any of them.
    static let roomBytes =
        bytesMax(
            meters: Reservation.metersMax, lines: Reservation.linesMax,
            names: 4 * 255 + DecisionWorker.answerBytesMax) + PackedWriter.slack
}

extension Reservation {
    /// Slots that either item takes, with `answer` bytes of an answer beside its names.
    func packedSlots(answer: Int) -> Int {
        JournalFormat.slots(
            itemBytes: PackedReservation.bytesMax(
                meters: meterCount, lines: lineCount, names: nameBytes + answer))
    }

    /// Writes an item of kind `hold`, of one that is not settled; its bytes. There is room for
    /// `PackedReservation.roomBytes` (trapped). Does not allocate.
    func pack(into room: UnsafeMutableRawBufferPointer) -> Int {
        guard let base = room.baseAddress, room.count >= PackedReservation.roomBytes else {
            preconditionFailure("no room for a packed reservation")
        }
        let head = head.pointee
        var writer = PackedWriter(base)
        writer.word(id.low)
        writer.byte(
            head.state | head.cut &<< PackedReservation.cutShift
                | head.flags &<< PackedReservation.flagsShift)
        writer.byte(head.meterCount)
        writer.byte(head.lineCount)
        writer.byte(head.organizationBytes)
        writer.byte(head.userBytes)
        writer.byte(head.planBytes)
        writer.byte(head.operationBytes)
        writer.number(UInt64(bitPattern: head.endsAt))
        writer.number(UInt64(head.timeToLiveMilliseconds))
        if state != .open {
            writer.number(UInt64(bitPattern: head.kept.forgetAt))
            writer.number(UInt64(head.answerBytes))
        }
        let (meters, lines) = (meters, lines)
        for index in 0..<meterCount { Self.pack(meters[index], &writer) }
        for index in 0..<lineCount {
            let line = lines[index]
            let meter = Int(line.meter)
            Self.pack(line, meter < meterCount ? meters[meter].held : nil, &writer)
        }
        writer.bytes(namesAndAnswer)
        return writer.count
    }

    @inline(__always)
    private static func pack(_ meter: ReservationMeter, _ writer: inout PackedWriter) {
        typealias Bits = PackedReservation.MeterBits
        let hasHeld = meter.held != meter.plain &* meter.weight
        let bits =
            (meter.tag != 0 ? Bits.tag : 0) | (meter.weight != 1 ? Bits.weight : 0)
            | (meter.price != 0 ? Bits.price : 0) | (hasHeld ? Bits.held : 0)
            | (meter.used != 0 ? Bits.used : 0)
        writer.byte(bits)
        if bits & Bits.tag != 0 { writer.word(meter.tag) }
        writer.number(meter.plain)
        if bits & Bits.weight != 0 { writer.number(meter.weight) }
        if bits & Bits.price != 0 { writer.number(meter.price) }
        if hasHeld { writer.number(meter.held) }
        if bits & Bits.used != 0 { writer.number(meter.used) }
    }

    @inline(__always)
    private static func pack(
        _ line: ReservationLine, _ held: UInt64?, _ writer: inout PackedWriter
    ) {
        typealias Bits = PackedReservation.LineBits
        let bits =
            (line.small != 0 || line.at != 0 ? Bits.place : 0)
            | (line.units != held ? Bits.units : 0)
        writer.number(UInt64(line.counter))
        let meter = min(line.meter, Bits.meter)
        writer.byte(line.scopeAndKind | bits | meter &<< Bits.meterShift)
        if meter == Bits.meter { writer.byte(line.meter) }
        if bits & Bits.place != 0 {
            writer.number(UInt64(line.small))
            writer.number(line.at)
        }
        if bits & Bits.units != 0 { writer.number(line.units) }
    }
}

/// The end of a reservation by SETTLE, an item of kind `settled`: what it changed. What it does not
/// say stands in the reservation, which the journal or the snapshot has before it. One that is
/// settled stays as it is.
///
/// | bytes | field |
/// |---|---|
/// | 8 | lower half of the id |
/// | n | when it is forgotten: billing time, milliseconds |
/// | 1 | number of meters, then for each: |
/// | n | weighted units that were charged in all |
/// | | the answer: `PackedAnswer` |
extension Reservation {
    /// Writes it, from a row that has its units already and not yet its answer; its bytes. There is
    /// room for `PackedReservation.roomBytes` (trapped). Does not allocate.
    func packSettled(
        forgetAt: Int64, answer: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
    ) -> Int {
        guard let base = room.baseAddress, room.count >= PackedReservation.roomBytes,
            answer.count <= DecisionWorker.answerBytesMax
        else { preconditionFailure("no room for a packed reservation") }
        var writer = PackedWriter(base)
        writer.word(id.low)
        writer.number(UInt64(bitPattern: forgetAt))
        writer.byte(head.pointee.meterCount)
        let meters = meters
        for index in 0..<meterCount { writer.number(meters[index].used) }
        PackedAnswer.write(answer, of: self, &writer)
        return writer.count
    }
}

/// An answer without the names that its reservation has.
///
/// | bytes | field |
/// |---|---|
/// | 1 | 0: the answer's bytes follow. Else bit 0, and bits 1 to 4: it has the user, the
///   organization, the plan, the operation |
/// | 1, 1 | bytes 0 and 1 of the answer |
/// | n, n | reason, milliseconds to wait |
/// | n × 6 | limit, remaining, reset of the rate limit, then of the quota |
/// | 1, 1 | bytes of the names of the rate limit, of the quota; then both |
/// | | the extension fields |
enum PackedAnswer {
    static let isPacked: UInt8 = 1
    static let hasUser: UInt8 = 2
    static let hasOrganization: UInt8 = 4
    static let hasPlan: UInt8 = 8
    static let hasOperation: UInt8 = 16

    /// The answer is a decision's reply.
    static func write(
        _ answer: UnsafeRawBufferPointer, of reservation: Reservation,
        _ writer: inout PackedWriter
    ) {
        let user = Int(answer[56])
        let organization = Int(answer[57])
        let (plan, rate, quota) = (Int(answer[58]), Int(answer[59]), Int(answer[60]))
        let operation = Int(answer[61])
        let first = BodyBytes.decisionReply
        let limits = first + user + organization + plan
        let last = limits + rate + quota
        @inline(__always)
        func isLeftOut(_ at: Int, _ count: Int, _ name: UnsafeRawBufferPointer) -> Bool {
            count == 0 || equalBytes(answer.slice(at: at, length: count), name)
        }
        guard answer.loadLittle(at: 62, as: UInt16.self) == 0,
            isLeftOut(first, user, reservation.user),
            isLeftOut(first + user, organization, reservation.organization),
            isLeftOut(first + user + organization, plan, reservation.plan),
            isLeftOut(last, operation, reservation.operation)
        else {
            writer.byte(0)
            return writer.bytes(answer)
        }
        writer.byte(
            isPacked | (user > 0 ? hasUser : 0) | (organization > 0 ? hasOrganization : 0)
                | (plan > 0 ? hasPlan : 0) | (operation > 0 ? hasOperation : 0))
        writer.byte(answer[0])
        writer.byte(answer[1])
        writer.number(UInt64(answer.loadLittle(at: 2, as: UInt16.self)))
        writer.number(UInt64(answer.loadLittle(at: 4, as: UInt32.self)))
        for index in 0..<6 {
            writer.number(answer.loadLittle(at: 8 + 8 * index, as: UInt64.self))
        }
        writer.byte(answer[59])
        writer.byte(answer[60])
        writer.bytes(answer.slice(at: limits, length: rate + quota))
        writer.bytes(answer.slice(at: last + operation, length: answer.count - last - operation))
    }
}
