import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// What the journal has of reservations, and what becomes of it.
@Suite struct PackedReservationTests {
    private static let hash = KeyedHash((1, 2))
    /// At the edges of a number's lengths.
    private static let numbers: [UInt64] = [
        0, 1, 247, 248, 255, 256, 65_535, 65_536, 1 << 24, 1 << 32, 1 << 40, 1 << 48,
        1 << 56 - 1, 1 << 56, .max,
    ]

    @Test func aNumberIsReadAsItWasWritten() {
        for number in Self.numbers + Self.numbers.map({ $0 &- 1 }) {
            var bytes = [UInt8](repeating: 0xaa, count: 24)
            let count = bytes.withUnsafeMutableBytes { room -> Int in
                var writer = PackedWriter(room.baseAddress!)
                writer.number(number)
                writer.byte(7)
                return writer.count
            }
            #expect(count - 1 <= PackedWriter.numberBytesMax)
            bytes.withUnsafeBytes { all in
                var reader = PackedReader(all.slice(at: 0, length: count))
                #expect(reader.number() == number)
                #expect(reader.byte() == 7 && reader.byte() == nil)
                for length in 0..<(count - 1) {
                    var short = PackedReader(all.slice(at: 0, length: length))
                    #expect(short.number() == nil)
                }
            }
        }
    }

    /// A row with anything in it that a reservation may have.
    private static func withRandom(
        _ random: inout SeededRandom, _ body: (Reservation, inout SeededRandom) throws -> Void
    ) rethrows {
        let names = ["acme", "ada", "pro_tier", "chat"].map { name in
            String(repeating: name, count: Int.random(in: 0...8, using: &random))
        }
        let meters = Int.random(in: 0...Reservation.metersMax, using: &random)
        let lines = Int.random(in: 0...(meters > 0 ? Reservation.linesMax : 3), using: &random)
        let answer = (0..<Int.random(in: 0...300, using: &random)).map { _ in
            UInt8.random(in: 0...255, using: &random)
        }
        let nameBytes = names.reduce(0) { $0 + $1.utf8.count }
        var table = RowTable()
        let id = ReservationID(
            shard: 3, life: UInt32(truncatingIfNeeded: number(&random)),
            counter: UInt32(truncatingIfNeeded: number(&random)), hash)
        let handle = id.withKey {
            table.insert(
                $0, layout: 0,
                layoutBytes: Reservation.bytes(
                    meters: meters, lines: lines, nameBytes: nameBytes, answerRoom: answer.count))
        }
        let reservation = Reservation(table.row(handle))
        setHead(of: reservation, &random)
        reservation.head.pointee.meterCount = UInt8(meters)
        reservation.head.pointee.lineCount = UInt8(lines)
        for index in 0..<meters { reservation.meters[index] = meter(&random) }
        for index in 0..<lines { reservation.lines[index] = line(of: reservation, &random) }
        setNames(of: reservation, names)
        if reservation.state != .open {
            answer.withUnsafeBytes { reservation.setAnswer($0, isSettled: false) }
        }
        try body(reservation, &random)
    }

    private static func number(_ random: inout SeededRandom) -> UInt64 {
        numbers.randomElement(using: &random) ?? 0
    }

    private static func setHead(of reservation: Reservation, _ random: inout SeededRandom) {
        let head = reservation.head
        let isOpen = Bool.random(using: &random)
        head.pointee.kept.forgetAt = isOpen ? .max : Int64(number(&random) >> 2)
        head.pointee.state =
            isOpen ? 1 : Bool.random(using: &random) ? Reservation.State.canceled.rawValue : 4
        head.pointee.endsAt = Int64(bitPattern: number(&random))
        head.pointee.timeToLiveMilliseconds = UInt32(truncatingIfNeeded: number(&random))
        head.pointee.flags = UInt8.random(in: 0...3, using: &random)
        head.pointee.cut = UInt8.random(in: 1...3, using: &random)
    }

    private static func meter(_ random: inout SeededRandom) -> ReservationMeter {
        let (plain, weight) = (number(&random), Bool.random(using: &random) ? 1 : number(&random))
        return ReservationMeter(
            tag: number(&random), weight: weight, price: number(&random), plain: plain,
            held: Bool.random(using: &random) ? plain &* weight : number(&random),
            used: number(&random))
    }

    private static func line(
        of reservation: Reservation, _ random: inout SeededRandom
    ) -> ReservationLine {
        let meters = reservation.meterCount
        let kinds: [ReservationLine.Kind] =
            meters > 0 ? [.window, .quota, .concurrency] : [.concurrency]
        let meter = meters > 0 ? Int.random(in: 0..<meters, using: &random) : 0
        var line = ReservationLine(
            kinds.randomElement(using: &random) ?? .quota, isUser: .random(using: &random),
            counter: UInt16(truncatingIfNeeded: number(&random)), meter: UInt8(meter))
        line.small = UInt32(truncatingIfNeeded: number(&random))
        line.units =
            meters > 0 && Bool.random(using: &random)
            ? reservation.meters[meter].held : number(&random)
        line.at = number(&random)
        return line
    }

    /// With the hashes that go with them.
    private static func setNames(of reservation: Reservation, _ names: [String]) {
        let bytes = names.map { Array($0.utf8) }
        bytes[0].withUnsafeBytes { organization in
            bytes[1].withUnsafeBytes { user in
                bytes[2].withUnsafeBytes { plan in
                    bytes[3].withUnsafeBytes { operation in
                        reservation.setNames(
                            organization: organization, user: user, plan: plan,
                            operation: operation)
                    }
                }
            }
        }
        let tenant = TenantHash(
            reservation.organization, isPersonal: reservation.isPersonal, hash)
        reservation.head.pointee.organizationHash = tenant.hash
        reservation.head.pointee.fingerprint = tenant.fingerprint
        reservation.head.pointee.userHash = tenant.userKey(reservation.user, hash).hash
    }

    private static func packed(_ body: (UnsafeMutableRawBufferPointer) -> Int) -> [UInt8] {
        let room = UnsafeMutableRawBufferPointer.allocate(
            byteCount: PackedReservation.roomBytes, alignment: 8)
        defer { room.deallocate() }
        return Array(room[..<body(room)])
    }

    @Test func whatIsPackedIsReadAsItStood() throws {
        var random = SeededRandom.printed("packed reservations")
        for _ in 0..<(200 * testScale) {
            Self.withRandom(&random) { reservation, _ in
                let item = Self.packed { reservation.pack(into: $0) }
                #expect(
                    JournalFormat.slots(itemBytes: item.count)
                        <= reservation.packedSlots(answer: reservation.answer.count))
                let made = item.withUnsafeBytes { UnpackedReservation(hold: $0, Self.hash) }
                #expect(made?.id == reservation.id)
                let content = reservation.row.content
                #expect(made?.content == Array(content[..<reservation.contentBytes]))
            }
        }
    }

    /// Of a decision's bytes whose names are the reservation's, others', or none.
    @Test func whatASettleChangedIsReadAsItStood() throws {
        var random = SeededRandom.printed("packed settles")
        var packedAnswers = 0
        for _ in 0..<(200 * testScale) {
            Self.withRandom(&random) { reservation, random in
                var answer = (0..<BodyBytes.decisionReply).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                let limits = ["per_minute", "daily"].map { Array($0.utf8) }
                var names = [
                    Array(reservation.user), Array(reservation.organization),
                    Array(reservation.plan), limits[0], limits[1], Array(reservation.operation),
                ]
                for index in 0..<6 where Int.random(in: 0..<8, using: &random) == 0 {
                    names[index] = Bool.random(using: &random) ? [] : Array("other".utf8)
                }
                for index in 0..<6 { answer[56 + index] = UInt8(names[index].count) }
                answer[62] = Int.random(in: 0..<8, using: &random) == 0 ? 1 : 0
                answer[63] = 0
                answer += names.flatMap { $0 }
                answer += (0..<Int.random(in: 0...40, using: &random)).map { UInt8($0) }
                let item = answer.withUnsafeBytes { answer in
                    Self.packed {
                        reservation.packSettled(forgetAt: 12_345, answer: answer, into: $0)
                    }
                }
                #expect(
                    JournalFormat.slots(itemBytes: item.count)
                        <= reservation.packedSlots(answer: answer.count))
                if item.count < answer.count { packedAnswers += 1 }
                let made = item.withUnsafeBytes {
                    UnpackedReservation(settled: $0, of: reservation)
                }
                var expected = Array(
                    reservation.row.content.slice(
                        at: 0,
                        length: ReservationHead.bytes
                            + reservation.meterCount * ReservationMeter.bytes))
                expected.withUnsafeMutableBytes {
                    $0.storeLittle(Int64(12_345), at: 0)
                    $0[64] = Reservation.State.settled.rawValue
                    for at in 68...72 { $0[at] = 0 }
                    $0.storeLittle(UInt16(answer.count), at: 74)
                }
                #expect(made?.content == expected + answer)
            }
        }
        #expect(packedAnswers > 0)
    }

    /// Nothing of a damaged item traps, nor is it taken for a shorter one.
    @Test func noBytesTrapAndNoBeginningIsWhole() throws {
        var random = SeededRandom.printed("damaged reservations")
        for _ in 0..<(10 * testScale) {
            Self.withRandom(&random) { reservation, random in
                let item = Self.packed { reservation.pack(into: $0) }
                for count in 0..<item.count {
                    item.withUnsafeBytes {
                        #expect(
                            UnpackedReservation(hold: $0.slice(at: 0, length: count), Self.hash)
                                == nil)
                    }
                }
                for at in item.indices {
                    var damaged = item
                    damaged[at] ^= UInt8.random(in: 1...255, using: &random)
                    damaged.withUnsafeBytes {
                        guard let made = UnpackedReservation(hold: $0, Self.hash) else { return }
                        _ = made.content.withUnsafeBytes { Reservation.isWhole($0) }
                    }
                }
                let answer = [UInt8](repeating: 0, count: BodyBytes.decisionReply)
                let end = answer.withUnsafeBytes { answer in
                    Self.packed { reservation.packSettled(forgetAt: 1, answer: answer, into: $0) }
                }
                for at in end.indices {
                    var damaged = end
                    damaged[at] ^= UInt8.random(in: 1...255, using: &random)
                    damaged.withUnsafeBytes {
                        _ = UnpackedReservation(settled: $0, of: reservation)
                        _ = UnpackedReservation(
                            settled: $0.slice(at: 0, length: at), of: reservation)
                    }
                }
            }
        }
    }
}

extension UnpackedReservation: Equatable {
    public static func == (one: Self, other: Self) -> Bool {
        one.id == other.id && one.content == other.content
    }
}
