import TollgateWire

/// What a reservation's row holds behind its `KeptHead`: all that its end needs, whatever policy
/// holds then. In this order, without gaps: head, meters, lines, organization, user, plan,
/// operation, answer; behind it room that nobody looks at.
///
/// | offset | bytes | field of the head |
/// |---|---|---|
/// | 0 | 24 | `KeptHead` |
/// | 24 | 8 | end of its time to live: billing time, milliseconds |
/// | 32 | 8 | keyed hash of the organization |
/// | 40 | 8 | keyed hash of the user; 0: none |
/// | 48 | 4 | fingerprint of the organization |
/// | 52 | 4 | time to live, milliseconds |
/// | 56 | 4 | in memory: the worker whose connection it is tied to; 0: none |
/// | 60 | 4 | in memory: where that worker has noted it |
/// | 64 | 1 | `State` |
/// | 65 | 1 | flags: bit 0 detached, bit 1 of a personal organization |
/// | 66 | 1 | what a cut charges: `CutStream` |
/// | 67 | 1 | number of meters |
/// | 68 | 1 | number of lines |
/// | 69 | 1 | bytes of the organization |
/// | 70 | 1 | bytes of the user |
/// | 71 | 1 | bytes of the plan |
/// | 72 | 1 | bytes of the operation |
/// | 73 | 1 | spare, 0 |
/// | 74 | 2 | bytes of the answer: SETTLE's, CANCEL's; 0: none yet |
/// | 76 | 2 | in memory: the subscription's calendar |
/// | 78 | 2 | spare, 0 |
struct ReservationHead: BitwiseCopyable {
    static let bytes = 80

    var kept: KeptHead
    var endsAt: Int64
    var organizationHash: UInt64
    var userHash: UInt64
    var fingerprint: UInt32
    var timeToLiveMilliseconds: UInt32
    var worker: UInt32
    var note: UInt32
    var state: UInt8
    var flags: UInt8
    var cut: UInt8
    var meterCount: UInt8
    var lineCount: UInt8
    var organizationBytes: UInt8
    var userBytes: UInt8
    var planBytes: UInt8
    var operationBytes: UInt8
    var spare: UInt8
    var answerBytes: UInt16
    var calendar: UInt16
    var spare2: UInt16
}

/// One meter of a reservation. What money comes to is the last of them, where the plan has prices:
/// its tag is 0, and its units are sums of the others' plain units by their prices.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | FNV-1a of the name |
/// | 8 | 8 | weight: what units that a request names are multiplied by |
/// | 16 | 8 | price of a plain unit, micro-units of money |
/// | 24 | 8 | plain units of the estimate |
/// | 32 | 8 | weighted units held: the estimate |
/// | 40 | 8 | weighted units reported as used; when it has ended, those that were charged |
struct ReservationMeter: BitwiseCopyable {
    static let bytes = 48

    var tag: UInt64
    var weight: UInt64
    var price: UInt64 = 0
    var plain: UInt64
    var held: UInt64
    var used: UInt64 = 0
}

/// One counter that a reservation touches.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 2 | the counter's number in the journal |
/// | 2 | 1 | bits 0 to 3: 1 the user's, 2 the organization's; bits 4 to 7: `Kind` |
/// | 3 | 1 | which meter of the reservation |
/// | 4 | 4 | quota: local date of the period's start, and bit 23; window: units to be given back |
/// | 8 | 8 | quota: units held of it; window: units charged to it; concurrency: 1, or 0 of what
///   was given up |
/// | 16 | 8 | quota: the period's end; window: the boottime of those that may be given back |
///
/// Bit 23 of a quota's date: what a cut has charged of it was closed by a reset since, as a part of
/// the period. It stays billed, and no SETTLE gives anything back of it.
struct ReservationLine: BitwiseCopyable {
    static let bytes = 24

    enum Kind: UInt8 {
        case window = 1
        case quota = 2
        case concurrency = 3
    }

    var counter: UInt16
    var scopeAndKind: UInt8
    var meter: UInt8
    var small: UInt32
    var units: UInt64
    var at: UInt64

    init(_ kind: Kind, isUser: Bool, counter: UInt16, meter: UInt8) {
        self.counter = counter
        scopeAndKind = kind.rawValue << 4 | (isUser ? 1 : 2)
        self.meter = meter
        small = 0
        units = 0
        at = 0
    }

    var isUser: Bool { scopeAndKind & 15 == 1 }
    var kind: Kind? { Kind(rawValue: scopeAndKind >> 4) }

    @inline(__always)
    func counts(_ counter: UInt16, isUser: Bool) -> Bool {
        self.counter == counter && self.isUser == isUser
    }

    /// Of a quota: the local date of its period's start, in days since 1970.
    var startDay: UInt32 { small & ~QuotaCell.closedDay }
    /// Of a quota: what a cut charged of it stands among the closed periods.
    var isClosed: Bool {
        get { kind == .quota && small & QuotaCell.closedDay != 0 }
        set { small = newValue ? small | QuotaCell.closedDay : startDay }
    }

    var periodEnd: Int64 {
        get { Int64(bitPattern: at) }
        set { at = UInt64(bitPattern: newValue) }
    }
}

/// A view of a reservation's row; valid under its table's lock. Rows made here, and those that
/// `isWhole` let pass, are what the head says.
struct Reservation: BitwiseCopyable {
    enum State: UInt8 {
        case open = 1
        case settled = 2
        case canceled = 3
        /// Its time was over, or its connection was gone.
        case cut = 4
    }

    static let detached: UInt8 = 1
    static let personal: UInt8 = 2
    /// Those of an operation, and money.
    static let metersMax = WireLimits.metersMax + 1
    static let linesMax = PolicyLimits.limitsPerPlanMax

    let row: Row
    private let base: UnsafeMutableRawPointer

    init(_ row: Row) {
        self.row = row
        base = row.counters
    }

    var kept: KeptRow { KeptRow(row) }
    var head: UnsafeMutablePointer<ReservationHead> {
        base.assumingMemoryBound(to: ReservationHead.self)
    }
    var state: State { State(rawValue: head.pointee.state) ?? .cut }
    var isDetached: Bool { head.pointee.flags & Self.detached != 0 }
    /// Whose organization's it is.
    var tenant: TenantHash {
        TenantHash(
            kind: isPersonal ? .personalOrganization : .organization,
            hash: head.pointee.organizationHash, fingerprint: head.pointee.fingerprint)
    }

    /// Whether what one of its lines counts stands in that row.
    func isOf(_ row: Row, _ line: ReservationLine) -> Bool {
        let head = head.pointee
        guard line.isUser else { return row.matches(tenant.organizationKey(organization)) }
        return row.matches(
            RowKey(kind: .user, owner: head.fingerprint, id: user, hash: head.userHash))
    }

    var isPersonal: Bool { head.pointee.flags & Self.personal != 0 }
    var id: ReservationID { ReservationID(row.id) }
    var meterCount: Int { Int(head.pointee.meterCount) }
    var lineCount: Int { Int(head.pointee.lineCount) }

    var meters: UnsafeMutablePointer<ReservationMeter> {
        (base + ReservationHead.bytes).assumingMemoryBound(to: ReservationMeter.self)
    }

    /// Which meter is what money comes to; `nil` where the plan has no prices.
    var money: Int? {
        meterCount > 0 && meters[meterCount - 1].tag == 0 ? meterCount - 1 : nil
    }

    private var linesOffset: Int { ReservationHead.bytes + meterCount * ReservationMeter.bytes }
    var lines: UnsafeMutablePointer<ReservationLine> {
        (base + linesOffset).assumingMemoryBound(to: ReservationLine.self)
    }

    private var namesOffset: Int { linesOffset + lineCount * ReservationLine.bytes }
    var organization: UnsafeRawBufferPointer {
        bytes(namesOffset, Int(head.pointee.organizationBytes))
    }
    var user: UnsafeRawBufferPointer {
        bytes(namesOffset + Int(head.pointee.organizationBytes), Int(head.pointee.userBytes))
    }
    var plan: UnsafeRawBufferPointer {
        bytes(
            namesOffset + Int(head.pointee.organizationBytes) + Int(head.pointee.userBytes),
            Int(head.pointee.planBytes))
    }
    var operation: UnsafeRawBufferPointer {
        let count = Int(head.pointee.operationBytes)
        return bytes(answerOffset - count, count)
    }

    private var answerOffset: Int {
        namesOffset + Int(head.pointee.organizationBytes) + Int(head.pointee.userBytes)
            + Int(head.pointee.planBytes) + Int(head.pointee.operationBytes)
    }
    var answer: UnsafeRawBufferPointer { bytes(answerOffset, Int(head.pointee.answerBytes)) }
    var nameBytes: Int { answerOffset - namesOffset }
    /// One behind the other, as they stand.
    var namesAndAnswer: UnsafeRawBufferPointer {
        bytes(namesOffset, nameBytes + Int(head.pointee.answerBytes))
    }
    /// Room for an answer: to SETTLE, that of what gives place to it, too.
    func answerRoom(isSettled: Bool) -> Int {
        row.content.count - (isSettled ? linesOffset : answerOffset)
    }
    /// What a journal needs of it.
    var contentBytes: Int { answerOffset + Int(head.pointee.answerBytes) }

    private func bytes(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + offset, count: count)
    }

    /// Bytes of the content of a row that has room for an answer of `answerRoom` bytes to SETTLE,
    /// which lines and names give place to; CANCEL makes itself more.
    static func bytes(meters: Int, lines: Int, names: Int, answerRoom: Int) -> Int {
        let before = bytes(meters: meters, lines: lines, nameBytes: names, answerRoom: 0)
        return max(
            before, bytes(meters: meters, lines: 0, nameBytes: 0, answerRoom: answerRoom))
    }

    /// Bytes of a row's content.
    static func bytes(meters: Int, lines: Int, nameBytes: Int, answerRoom: Int) -> Int {
        ReservationHead.bytes + meters * ReservationMeter.bytes + lines * ReservationLine.bytes
            + nameBytes + answerRoom
    }

    /// Copies the names in, whose lengths the head gets. There is room for them.
    func setNames(
        organization: UnsafeRawBufferPointer, user: UnsafeRawBufferPointer,
        plan: UnsafeRawBufferPointer, operation: UnsafeRawBufferPointer
    ) {
        head.pointee.organizationBytes = UInt8(organization.count)
        head.pointee.userBytes = UInt8(user.count)
        head.pointee.planBytes = UInt8(plan.count)
        head.pointee.operationBytes = UInt8(operation.count)
        let content = UnsafeMutableRawBufferPointer(start: base, count: row.content.count)
        var at = namesOffset
        @inline(__always) func append(_ name: UnsafeRawBufferPointer) {
            copyName(name, to: content, at: at)
            at &+= name.count
        }
        append(organization)
        append(user)
        append(plan)
        append(operation)
    }

    /// Keeps the answer to a SETTLE or CANCEL, for which there is room. Nothing more is recorded
    /// of a settled reservation, so what recording needs gives place.
    func setAnswer(_ answer: UnsafeRawBufferPointer, isSettled: Bool) {
        if isSettled {
            head.pointee.lineCount = 0
            head.pointee.organizationBytes = 0
            head.pointee.userBytes = 0
            head.pointee.planBytes = 0
            head.pointee.operationBytes = 0
        }
        precondition(answer.count <= answerRoom(isSettled: isSettled))
        head.pointee.answerBytes = UInt16(answer.count)
        if let from = answer.baseAddress {
            (base + answerOffset).copyMemory(from: from, byteCount: answer.count)
        }
    }

    /// Whether content that was read from a disk is what its head says. Traps on no bytes.
    static func isWhole(_ content: UnsafeRawBufferPointer) -> Bool {
        guard content.count >= ReservationHead.bytes, State(rawValue: content[64]) != nil,
            content[65] & ~(detached | personal) == 0, CutStream(rawValue: content[66]) != nil,
            Int(content[67]) <= metersMax, Int(content[68]) <= linesMax
        else { return false }
        let answer = Int(content.loadLittle(at: 74, as: UInt16.self))
        let names = Int(content[69]) + Int(content[70]) + Int(content[71]) + Int(content[72])
        let lines = ReservationHead.bytes + Int(content[67]) * ReservationMeter.bytes
        let all = bytes(
            meters: Int(content[67]), lines: Int(content[68]), nameBytes: names, answerRoom: answer)
        guard all <= content.count else { return false }
        for index in 0..<Int(content[68]) {
            let at = lines + index * ReservationLine.bytes
            let (kind, scope) = (content[at + 2] >> 4, content[at + 2] & 15)
            guard ReservationLine.Kind(rawValue: kind) != nil, scope == 1 || scope == 2,
                kind == ReservationLine.Kind.concurrency.rawValue
                    || content[at + 3] < content[67]
            else { return false }
        }
        let isOpen = content[64] == State.open.rawValue
        return isOpen == (content.loadLittle(at: 0, as: Int64.self) == .max)
    }
}

/// Which of a policy's meters one is, whatever policy: FNV-1a of 64 bits.
func meterTag(_ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return hash
}

extension ReservationID {
    private static let tweak: UInt64 = 0x7265_7365_7276_6174

    /// Names the shard, the life and a number in it, and has 64 bits that nobody can guess.
    init(shard: Int, life: UInt32, counter: UInt32, _ hash: KeyedHash) {
        low = Self.low(shard, life, counter)
        high = Self.seal(low, hash)
    }

    /// The one that has this lower half.
    init(low: UInt64, sealedBy hash: KeyedHash) {
        self.low = low
        high = Self.seal(low, hash)
    }

    /// Whether it is the one that `init` would make; an id that was made by it, or of zeros.
    func names(shard: Int, life: UInt32, counter: UInt32) -> Bool {
        low == Self.low(shard, life, counter) && low != 0
    }

    private static func low(_ shard: Int, _ life: UInt32, _ counter: UInt32) -> UInt64 {
        UInt64(truncatingIfNeeded: shard) | UInt64(life & 0xff_ffff) &<< 8 | UInt64(counter) &<< 32
    }

    private static func seal(_ low: UInt64, _ hash: KeyedHash) -> UInt64 {
        withUnsafeBytes(of: low.littleEndian) { hash.hash($0, tweak: tweak) }
    }

    /// The shard that it leads to; `nil`: nobody was ever given it.
    func shard(_ hash: KeyedHash) -> Int? {
        guard let shard = shardNamed, Self.seal(low, hash) == high else { return nil }
        return shard
    }

    /// The shard that it says it leads to, whoever made it.
    @inline(__always)
    var shardNamed: Int? {
        let shard = Int(low & 0xff)
        return shard < Engine.shardCount ? shard : nil
    }

    /// Lends what its row is looked up by.
    @inline(__always)
    func withKey<R>(_ body: (RowKey) -> R) -> R {
        withUnsafeBytes(of: (low.littleEndian, high.littleEndian)) {
            body(RowKey(kind: .reservation, owner: 0, id: $0, hash: high))
        }
    }
}
