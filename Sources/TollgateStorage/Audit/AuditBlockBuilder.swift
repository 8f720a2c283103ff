import TollgateCore
import TollgateWire

/// A ring, of one life, as a block has it.
struct AuditSource: Sendable, Equatable {
    var ring: UInt8
    var life: UInt64
    /// Ids in the block are differences from it.
    var base: UInt64
    /// The highest id in the block.
    var highest: UInt64
    /// How far the ring was read, bytes ever: all before is in the log.
    var position: UInt64 = 0
}

/// Why no more entries were taken.
enum AuditFilling {
    /// There are no more.
    case done
    /// The next finds no room in the block.
    case full
    /// What stands there cannot be an entry.
    case damaged
}

/// Makes blocks of records out of the entries of rings. Their format stands at `AuditPage`.
///
/// What is written of entries lies in memory that is used again, and is copied when the block is
/// done: it is held until it is durable.
struct AuditBlockBuilder: ~Copyable {
    static let recordsMax = 8_000
    /// Bytes of a block's payload; more only where it says names again that a segment that was
    /// given up had said.
    static let payloadAim = 64 << 10
    /// Bytes of all names that a block may have to say.
    static let namesMax = 512 << 10
    /// Entries whose names are looked for at once: each may be far from the processor, and they are
    /// brought nearer together.
    private static let aheadMax = 32

    private var wall: Int64 = 0
    private var boot: UInt64 = 0
    private var order: UInt64 = 0
    private var sources: [AuditSource] = []
    /// Of the ring whose entries are taken, if it is known.
    private var source = AuditSourceMark()
    private var bytes = AuditScratch(payloadAim)
    private var records = AuditList<AuditDraft.Record>(recordsMax)
    private var organizations = AuditList<UInt32>(recordsMax)
    private var shapes = AuditShapes()
    private var organizationKeys = AuditList<UInt32>(recordsMax)
    private var userKeys = AuditList<UInt32>(recordsMax)
    private var keyKeys = AuditList<UInt32>(recordsMax)
    private var ahead = AuditList<AuditNamesAhead>(aheadMax)
    /// What the block may have to say of names: of all in it, and of those that are new.
    private var namesBytes = 0
    private var newBytes = 0
    private var generation: UInt32?
    private var generations: [UInt32] = []
    private var number: UInt32 = 0
    private(set) var first: Int64 = 0
    private(set) var last: Int64 = 0

    var count: UInt32 { UInt32(truncatingIfNeeded: records.count) }
    var isEmpty: Bool { records.count == 0 }

    // MARK: taking entries

    /// Takes entries of a ring until there are no more, or there is no room; `look` sees each.
    mutating func fill(
        _ ring: AuditRing, _ position: inout AuditRingPosition, ring number: UInt8, life: UInt64,
        _ book: inout AuditNameBook, look: ((AuditEntry) -> Void)? = nil
    ) -> AuditFilling {
        while true {
            lookAhead(ring, position, book)
            var (taken, isFull) = (0, false)
            let isGood = ring.read(&position) { entry in
                guard taken < ahead.count else { return false }
                guard hasRoom(entry) else {
                    isFull = true
                    return false
                }
                add(entry, ahead[taken], ring: number, life: life, &book)
                if let look { look(entry) }
                taken &+= 1
                return true
            }
            guard isGood else { return .damaged }
            if isFull { return .full }
            if taken < Self.aheadMax { return .done }
        }
    }

    /// Of the next entries the hashes of their names, which are brought nearer.
    private mutating func lookAhead(
        _ ring: AuditRing, _ start: AuditRingPosition, _ book: borrowing AuditNameBook
    ) {
        ahead.removeAll()
        var position = start
        _ = ring.read(&position) { entry in
            let names = AuditNamesAhead(entry, book)
            book.organizations.prefetchSlot(names.organization)
            book.users.prefetchSlot(names.user)
            ahead.append(names)
            return ahead.count < Self.aheadMax
        }
        for place in 0..<ahead.count {
            book.organizations.prefetchLine(ahead[place].organization)
            book.users.prefetchLine(ahead[place].user)
        }
    }

    /// Whether the entry fits into the block with all that its tables may need.
    @inline(__always)
    func hasRoom(_ entry: AuditEntry) -> Bool {
        // A number has at most 10 bytes, and 5 for each 4 of it; the rest has its own length.
        let most = Self.recordMost(entry) &+ Int(entry.head.organizationBytes)
            &+ Int(entry.head.userBytes)
        return payloadBytes &+ most <= Self.payloadAim && records.count < Self.recordsMax
            && namesBytes < Self.namesMax
    }

    @inline(__always)
    private static func recordMost(_ entry: AuditEntry) -> Int {
        348 &+ entry.chargeCount &* 24 &+ entry.standingCount &* 36
    }

    /// At least what comes of it where no name is said again.
    @inline(__always)
    private var payloadBytes: Int {
        // The heads of the tables; a length for each shape; number and length of each
        // organization; of each record its place, shape, user and key id; then the checksums.
        let content = 160 &+ sources.count &* 41 &+ shapes.bytesCount &+ shapes.count &* 2
            &+ organizations.count &* 9 &+ records.count &* 13 &+ bytes.used &+ newBytes
        return content &+ content / 256 &+ 4
    }

    /// Traps when there is no room.
    mutating func add(
        _ entry: AuditEntry, ring: UInt8, life: UInt64, _ book: inout AuditNameBook
    ) {
        add(entry, AuditNamesAhead(entry, book), ring: ring, life: life, &book)
    }

    @inline(__always)
    private mutating func add(
        _ entry: AuditEntry, _ names: AuditNamesAhead, ring: UInt8, life: UInt64,
        _ book: inout AuditNameBook
    ) {
        let head = entry.head
        if isEmpty { begin(head, book.begin()) }
        first = min(first, head.wallMilliseconds)
        last = max(last, head.wallMilliseconds)
        if generation != head.generation { enter(generation: head.generation) }
        let place = UInt64(truncatingIfNeeded: records.count)
        if source.ring != ring || source.life != life || source.place < 0 {
            enter(ring: ring, life: life, base: head.id &- place)
        }
        source.highest = max(source.highest, head.id)
        var record = AuditDraft.Record()
        record.start = UInt32(truncatingIfNeeded: bytes.used)
        record.organization = organization(entry.organization, names.organization, &book)
        record.user = user(entry.user, names.user, &book)
        if let id = entry.keyID { record.key = key(id, &book) }
        record.shape = UInt32(truncatingIfNeeded: shapes.index(of: entry, source: source.place))
        var at = bytes.begin(Self.recordMost(entry))
        // Mostly one behind the other, as the places are.
        AuditBytes.put(AuditBytes.zigzag(head.id &- source.base &- place), at: &at)
        putTimes(head, &at)
        Self.putRest(entry, &at)
        bytes.end(at)
        records.append(record)
    }

    private mutating func begin(_ head: AuditHead, _ number: UInt32) {
        self.number = number
        wall = head.wallMilliseconds
        boot = head.bootNanoseconds
        order = head.order
        first = head.wallMilliseconds
        last = first
    }

    private mutating func enter(generation: UInt32) {
        self.generation = generation
        if !generations.contains(generation) { generations.append(generation) }
    }

    // MARK: names

    @inline(__always)
    private mutating func organization(
        _ name: UnsafeRawBufferPointer, _ hash: UInt32, _ book: inout AuditNameBook
    ) -> UInt32 {
        let (index, isNew) = book.organizations.index(of: name, hash)
        if isNew { newBytes &+= name.count &+ 2 }
        let (place, isFirst) = book.organizations.enter(
            index, block: number, place: organizations.count)
        if isFirst {
            namesBytes &+= name.count &+ 2
            organizations.append(UInt32(truncatingIfNeeded: index))
            organizationKeys.append(book.organizations.checksum(index))
        }
        return UInt32(truncatingIfNeeded: place)
    }

    @inline(__always)
    private mutating func user(
        _ name: UnsafeRawBufferPointer, _ hash: UInt32, _ book: inout AuditNameBook
    ) -> UInt32 {
        let (index, isNew) = book.users.index(of: name, hash)
        if isNew { newBytes &+= name.count &+ 2 }
        if book.users.enter(index, block: number, place: 0).isFirst {
            namesBytes &+= name.count &+ 2
            userKeys.append(book.users.checksum(index))
        }
        return UInt32(truncatingIfNeeded: index)
    }

    private mutating func key(
        _ id: UnsafeRawBufferPointer, _ book: inout AuditNameBook
    ) -> UInt32 {
        let (index, isNew) = book.keys.index(of: id)
        if isNew { newBytes &+= id.count }
        if book.keys.enter(index, block: number, place: 0).isFirst {
            namesBytes &+= id.count
            keyKeys.append(book.keys.checksum(index))
        }
        return UInt32(truncatingIfNeeded: index)
    }

    // MARK: rings

    private mutating func enter(ring: UInt8, life: UInt64, base: UInt64) {
        leaveSource()
        var index = 0
        while index < sources.count, sources[index].ring != ring || sources[index].life != life {
            index &+= 1
        }
        if index == sources.count {
            sources.append(AuditSource(ring: ring, life: life, base: base, highest: 0))
        }
        source = AuditSourceMark(
            place: index, ring: ring, life: life, base: sources[index].base,
            highest: sources[index].highest)
    }

    private mutating func leaveSource() {
        if source.place >= 0 { sources[source.place].highest = source.highest }
        source = AuditSourceMark()
    }

    // MARK: what differs from record to record

    @inline(__always)
    private func putTimes(_ head: AuditHead, _ at: inout UnsafeMutableRawPointer) {
        let wall = UInt64(bitPattern: head.wallMilliseconds &- self.wall)
        // What the wall clock tells of it already is left out.
        let boot = head.bootNanoseconds &- self.boot &- wall &* 1_000_000
        AuditBytes.put(AuditBytes.zigzag(wall), at: &at)
        AuditBytes.put(AuditBytes.zigzag(boot), at: &at)
        AuditBytes.put(UInt64(head.latencyNanoseconds), at: &at)
        AuditBytes.put(AuditBytes.zigzag(head.order &- order), at: &at)
        AuditBytes.put(head.rateUsed, at: &at)
        AuditBytes.put(head.quotaUsed, at: &at)
    }

    @inline(__always)
    private static func putRest(_ entry: AuditEntry, _ at: inout UnsafeMutableRawPointer) {
        let head = entry.head
        if head.retryMilliseconds != 0 {
            AuditBytes.put(UInt64(head.retryMilliseconds), at: &at)
        }
        if head.cost != 0 { AuditBytes.put(head.cost, at: &at) }
        // In network order, as they stand in memory.
        at.storeBytes(of: head.addressHigh, as: UInt64.self)
        at.storeBytes(of: head.addressLow, toByteOffset: 8, as: UInt64.self)
        at += head.addressFamily == 0 ? 0 : head.addressFamily == 4 ? 4 : 16
        for index in 0..<entry.chargeCount {
            let charge = entry.charge(index)
            AuditBytes.put(charge.units, at: &at)
            AuditBytes.put(AuditBytes.zigzag(charge.weighted &- charge.units), at: &at)
        }
        for index in 0..<entry.standingCount { put(entry.standing(index), &at) }
        put(entry.holdID, &at)
        put(entry.idempotencyID, &at)
    }

    private static func put(_ standing: AuditStanding, _ at: inout UnsafeMutableRawPointer) {
        AuditBytes.put(UInt64(standing.limit), at: &at)
        at.storeBytes(of: standing.scope, as: UInt8.self)
        at.storeBytes(of: standing.flags, toByteOffset: 1, as: UInt8.self)
        at += 2
        AuditBytes.put(standing.used, at: &at)
        AuditBytes.put(standing.held, at: &at)
        AuditBytes.put(standing.most, at: &at)
    }

    @inline(__always)
    private static func put(
        _ id: UnsafeRawBufferPointer?, _ at: inout UnsafeMutableRawPointer
    ) {
        guard let id, let from = id.baseAddress else { return }
        at.copyMemory(from: from, byteCount: id.count)
        at += id.count
    }

    // MARK: the block

    /// The block of what was added, which is forgotten; with how far each ring was read for it.
    mutating func finish(_ positions: (UInt8, UInt64) -> UInt64) -> AuditBlock {
        leaveSource()
        for index in sources.indices {
            sources[index].position = positions(sources[index].ring, sources[index].life)
        }
        var draft = AuditDraft(records: records.all, bytes: bytes.padded)
        draft.wall = wall
        draft.boot = boot
        draft.order = order
        draft.sources = sources
        draft.organizations = organizations.all
        shapes.write(to: &draft)
        var block = AuditBlock(.records)
        block.count = count
        block.first = first
        block.last = last
        block.generations = generations
        block.sources = sources
        block.keys.organizations = organizationKeys.all
        block.keys.users = userKeys.all
        block.keys.keys = keyKeys.all
        block.heldBytes = bytes.used &+ records.count &* 40 &+ namesBytes
        block.draft = draft
        removeAll()
        return block
    }

    private mutating func removeAll() {
        bytes.removeAll()
        records.removeAll()
        organizations.removeAll()
        organizationKeys.removeAll()
        userKeys.removeAll()
        keyKeys.removeAll()
        shapes.removeAll()
        sources.removeAll(keepingCapacity: true)
        generations.removeAll(keepingCapacity: true)
        generation = nil
        (namesBytes, newBytes) = (0, 0)
    }
}

// Not private: the compiler fails on what a noncopyable type holds of a private one (Swift 6.3.1).

/// A ring whose entries are taken, in the block that is made.
struct AuditSourceMark {
    /// In the table of rings; -1: none.
    var place = -1
    var ring: UInt8 = 0
    var life: UInt64 = 0
    var base: UInt64 = 0
    var highest: UInt64 = 0
}

/// Hashes of the names of an entry that is taken soon.
struct AuditNamesAhead: BitwiseCopyable {
    var organization: UInt32
    var user: UInt32

    @inline(__always)
    init(_ entry: AuditEntry, _ book: borrowing AuditNameBook) {
        organization = book.organizations.hash(entry.organization)
        user = book.users.hash(entry.user)
    }
}
