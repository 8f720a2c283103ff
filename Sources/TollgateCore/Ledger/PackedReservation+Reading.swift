import TollgateWire

/// A reservation as its row has it, out of an item that was read from a disk: nothing of it traps.
struct UnpackedReservation {
    var id: ReservationID
    /// What stands behind the row's id.
    var content: [UInt8]

    /// An item of kind `hold`; `nil` where it is none.
    init?(hold item: UnsafeRawBufferPointer, _ hash: KeyedHash) {
        var reader = PackedReader(item)
        guard let low = reader.word(), let first = reader.byte(), first < 128,
            let meters = reader.byte(), let lines = reader.byte(), let counts = reader.take(4),
            let endsAt = reader.number(), let life = reader.number(as: UInt32.self)
        else { return nil }
        let (state, flags) = (first & 7, first >> PackedReservation.flagsShift)
        var (forgetAt, answer) = (Int64.max, UInt16(0))
        if state != Reservation.State.open.rawValue {
            guard let time = reader.number(), let bytes = reader.number(as: UInt16.self) else {
                return nil
            }
            (forgetAt, answer) = (Int64(bitPattern: time), bytes)
        }
        id = ReservationID(low: low, sealedBy: hash)
        var made = UnpackedContent()
        made.number(forgetAt)
        made.zeros(KeptHead.bytes &- 8)
        made.number(endsAt)
        made.zeros(20)
        made.number(life)
        made.zeros(8)
        made.bytes += [state, flags, first >> PackedReservation.cutShift & 3, meters, lines]
        made.bytes += counts
        made.zeros(1)
        made.number(answer)
        made.zeros(4)
        var held: [UInt64] = []
        for _ in 0..<meters {
            guard let units = made.addMeter(&reader) else { return nil }
            held.append(units)
        }
        for _ in 0..<lines { guard made.addLine(&reader, held) else { return nil } }
        let names = counts.reduce(0) { $0 &+ Int($1) }
        guard reader.remaining == names &+ Int(answer),
            let organization = reader.take(Int(counts[0])), let user = reader.take(Int(counts[1])),
            let rest = reader.take(reader.remaining)
        else { return nil }
        made.bytes += organization
        made.bytes += user
        made.bytes += rest
        content = made.bytes
        let isPersonal = flags & Reservation.personal != 0
        let tenant = TenantHash(organization, isPersonal: isPersonal, hash)
        content.withUnsafeMutableBytes {
            $0.storeLittle(tenant.hash, at: 32)
            $0.storeLittle(tenant.userKey(user, hash).hash, at: 40)
            $0.storeLittle(tenant.fingerprint, at: 48)
        }
    }

    /// What an item of kind `settled` makes of a reservation that is whole and not settled; `nil`
    /// where it is no such item, or another's.
    init?(settled item: UnsafeRawBufferPointer, of reservation: Reservation) {
        var reader = PackedReader(item)
        guard reader.word() == reservation.id.low, let forgetAt = reader.number(),
            reader.byte() == reservation.head.pointee.meterCount
        else { return nil }
        id = reservation.id
        content = Array(
            reservation.row.content.slice(
                at: 0,
                length: Reservation.bytes(
                    meters: reservation.meterCount, lines: 0, nameBytes: 0, answerRoom: 0)))
        for index in 0..<reservation.meterCount {
            guard let used = reader.number() else { return nil }
            content.withUnsafeMutableBytes {
                $0.storeLittle(
                    used,
                    at: ReservationHead.bytes &+ index &* ReservationMeter.bytes &+ 40)
            }
        }
        guard let answer = PackedAnswer.read(&reader, of: reservation),
            let answerBytes = UInt16(exactly: answer.count)
        else { return nil }
        content.withUnsafeMutableBytes {
            $0.storeLittle(forgetAt, at: 0)
            $0[64] = Reservation.State.settled.rawValue
            for offset in 68...72 { $0[offset] = 0 }
            $0.storeLittle(answerBytes, at: 74)
        }
        content += answer
    }
}

/// Content that is put together, front to back.
private struct UnpackedContent {
    var bytes: [UInt8] = []

    mutating func number<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    mutating func zeros(_ count: Int) {
        bytes += repeatElement(0, count: count)
    }

    /// Units that it holds; `nil`: the bytes are no meter.
    mutating func addMeter(_ reader: inout PackedReader) -> UInt64? {
        typealias Bits = PackedReservation.MeterBits
        guard let bits = reader.byte(), bits & ~Bits.all == 0,
            let tag = bits & Bits.tag != 0 ? reader.word() : 0, let plain = reader.number(),
            let weight = bits & Bits.weight != 0 ? reader.number() : 1,
            let price = bits & Bits.price != 0 ? reader.number() : 0,
            let held = bits & Bits.held != 0 ? reader.number() : plain &* weight,
            let used = bits & Bits.used != 0 ? reader.number() : 0
        else { return nil }
        for value in [tag, weight, price, plain, held, used] { number(value) }
        return held
    }

    /// False: the bytes are no line.
    mutating func addLine(_ reader: inout PackedReader, _ held: [UInt64]) -> Bool {
        typealias Bits = PackedReservation.LineBits
        guard let counter = reader.number(as: UInt16.self), let bits = reader.byte() else {
            return false
        }
        let short = bits >> Bits.meterShift
        guard let meter = short == Bits.meter ? reader.byte() : short else { return false }
        let hasPlace = bits & Bits.place != 0
        guard let small = hasPlace ? reader.number(as: UInt32.self) : 0,
            let at = hasPlace ? reader.number() : 0
        else { return false }
        var units: UInt64? = Int(meter) < held.count ? held[Int(meter)] : nil
        if bits & Bits.units != 0 { units = reader.number() }
        guard let units else { return false }
        number(counter)
        bytes += [bits & Bits.own, meter]
        number(small)
        number(units)
        number(at)
        return true
    }
}

extension PackedAnswer {
    /// The answer's bytes; `nil` where there is none. Takes all that is left.
    static func read(_ reader: inout PackedReader, of reservation: Reservation) -> [UInt8]? {
        guard let form = reader.byte() else { return nil }
        guard form != 0 else { return reader.take(reader.remaining).map { Array($0) } }
        guard form & isPacked != 0, form <= 31, let first = reader.byte(),
            let second = reader.byte(), let reason = reader.number(as: UInt16.self),
            let wait = reader.number(as: UInt32.self)
        else { return nil }
        var made = UnpackedContent()
        made.bytes += [first, second]
        made.number(reason)
        made.number(wait)
        for _ in 0..<6 {
            guard let value = reader.number() else { return nil }
            made.number(value)
        }
        guard let rate = reader.byte(), let quota = reader.byte(),
            let limits = reader.take(Int(rate) &+ Int(quota)),
            let rest = reader.take(reader.remaining)
        else { return nil }
        func name(_ bit: UInt8, _ name: UnsafeRawBufferPointer) -> [UInt8] {
            form & bit != 0 ? Array(name) : []
        }
        let user = name(hasUser, reservation.user)
        let organization = name(hasOrganization, reservation.organization)
        let plan = name(hasPlan, reservation.plan)
        let operation = name(hasOperation, reservation.operation)
        made.bytes += [user, organization, plan].map { UInt8(truncatingIfNeeded: $0.count) }
        made.bytes += [rate, quota, UInt8(truncatingIfNeeded: operation.count), 0, 0]
        made.bytes += user + organization + plan + limits + operation + rest
        return made.bytes
    }
}
