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

/// Makes blocks of records out of the entries of rings. Their format stands at `AuditPage`.
struct AuditBlockBuilder {
    static let recordsMax = 8_000
    /// Bytes of a block's payload; more only where it says names again that a segment that was
    /// given up had said.
    static let payloadAim = 64 << 10
    /// Bytes of all names that a block may have to say.
    static let namesMax = 512 << 10

    private var draft = AuditDraft()
    private var shape: [UInt8] = []
    private var shapes = AuditNameList()
    private var keys = AuditIndexKeys()
    /// What the block may have to say of names: of all in it, and of those that are new.
    private var namesBytes = 0
    private var newBytes = 0
    private var generations: [UInt32] = []
    private var number: UInt32 = 0
    private var first: Int64 = 0
    private var last: Int64 = 0

    var count: UInt32 { UInt32(truncatingIfNeeded: draft.records.count) }
    var isEmpty: Bool { draft.records.isEmpty }

    /// Whether the entry fits into the block with all that its tables may need.
    func hasRoom(_ entry: AuditEntry) -> Bool {
        // A number has at most 10 bytes, and 5 for each 4 of it; the rest has its own length.
        let most = 300 &+ entry.chargeCount &* 24 &+ entry.standingCount &* 36
            &+ entry.organization.count &+ entry.user.count &+ 48
        return payloadBytes &+ most <= Self.payloadAim && draft.records.count < Self.recordsMax
            && namesBytes < Self.namesMax
    }

    /// At least what comes of it where no name is said again.
    private var payloadBytes: Int {
        // The heads of the tables; a length for each shape; number and length of each
        // organization; of each record its place, shape, user and key id; then the checksums.
        let content = 160 &+ draft.sources.count &* 41 &+ shapes.bytes.count
            &+ shapes.count &* 2 &+ draft.organizations.count &* 9 &+ draft.records.count &* 13
            &+ draft.bytes.count &+ newBytes
        return content &+ content / 256 &+ 4
    }

    /// Traps when there is no room.
    mutating func add(
        _ entry: AuditEntry, ring: UInt8, life: UInt64, _ book: inout AuditNameBook
    ) {
        let head = entry.head
        if isEmpty {
            number = book.begin()
            draft.wall = head.wallMilliseconds
            draft.boot = head.bootNanoseconds
            draft.order = head.order
            first = head.wallMilliseconds
            last = first
        }
        first = min(first, head.wallMilliseconds)
        last = max(last, head.wallMilliseconds)
        if generations.last != head.generation, !generations.contains(head.generation) {
            generations.append(head.generation)
        }
        let place = UInt64(truncatingIfNeeded: draft.records.count)
        let source = sourceIndex(ring, life, head.id, place)
        var record = AuditDraft.Record()
        record.start = draft.bytes.count
        record.organization = organization(entry.organization, &book)
        record.user = user(entry.user, &book)
        if let id = entry.keyID { record.key = key(id, &book) }
        record.shape = shapeIndex(entry, source)
        // Mostly one behind the other, as the places are.
        AuditBytes.put(
            AuditBytes.zigzag(head.id &- draft.sources[source].base &- place), to: &draft.bytes)
        putTimes(head)
        putRest(entry)
        draft.records.append(record)
    }

    private mutating func organization(
        _ name: UnsafeRawBufferPointer, _ book: inout AuditNameBook
    ) -> Int {
        let (index, isNew) = book.organizations.index(of: name)
        if isNew { newBytes &+= name.count &+ 2 }
        let (place, isFirst) = book.organizations.enter(
            index, block: number, place: draft.organizations.count)
        guard isFirst else { return place }
        namesBytes &+= name.count &+ 2
        draft.organizations.append(UInt32(truncatingIfNeeded: index))
        keys.organizations.append(book.organizations.checksum(index))
        return place
    }

    private mutating func user(
        _ name: UnsafeRawBufferPointer, _ book: inout AuditNameBook
    ) -> Int {
        let (index, isNew) = book.users.index(of: name)
        if isNew { newBytes &+= name.count &+ 2 }
        guard book.users.enter(index, block: number, place: 0).isFirst else { return index }
        namesBytes &+= name.count &+ 2
        keys.users.append(book.users.checksum(index))
        return index
    }

    private mutating func key(_ id: UnsafeRawBufferPointer, _ book: inout AuditNameBook) -> Int {
        let (index, isNew) = book.keys.index(of: id)
        if isNew { newBytes &+= id.count }
        guard book.keys.enter(index, block: number, place: 0).isFirst else { return index }
        namesBytes &+= id.count
        keys.keys.append(book.keys.checksum(index))
        return index
    }

    private mutating func sourceIndex(
        _ ring: UInt8, _ life: UInt64, _ id: UInt64, _ place: UInt64
    ) -> Int {
        var index = 0
        while index < draft.sources.count,
            draft.sources[index].ring != ring || draft.sources[index].life != life
        {
            index &+= 1
        }
        if index == draft.sources.count {
            draft.sources.append(
                AuditSource(ring: ring, life: life, base: id &- place, highest: id))
        }
        draft.sources[index].highest = max(draft.sources[index].highest, id)
        return index
    }

    private mutating func shapeIndex(_ entry: AuditEntry, _ ring: Int) -> Int {
        let head = entry.head
        shape.removeAll(keepingCapacity: true)
        var traits: UInt64 = 0
        if head.retryMilliseconds != 0 { traits |= AuditPage.hasRetry }
        if head.cost != 0 { traits |= AuditPage.hasCost }
        AuditBytes.put(traits, to: &shape)
        AuditBytes.put(UInt64(head.kind), to: &shape)
        AuditBytes.put(UInt64(head.flags.rawValue), to: &shape)
        AuditBytes.put(UInt64(head.reason), to: &shape)
        AuditBytes.put(UInt64(truncatingIfNeeded: ring), to: &shape)
        AuditBytes.put(UInt64(head.generation), to: &shape)
        AuditBytes.put(UInt64(head.plan &+ 1), to: &shape)
        AuditBytes.put(UInt64(head.operation &+ 1), to: &shape)
        AuditBytes.put(UInt64(head.rate &+ 1), to: &shape)
        AuditBytes.put(UInt64(head.quota &+ 1), to: &shape)
        AuditBytes.put(head.rateLimit, to: &shape)
        AuditBytes.put(head.quotaLimit, to: &shape)
        AuditBytes.put(UInt64(head.credentialKind), to: &shape)
        AuditBytes.put(UInt64(head.addressFamily), to: &shape)
        AuditBytes.put(UInt64(head.issuer &+ 1), to: &shape)
        AuditBytes.put(UInt64(head.standingCount), to: &shape)
        AuditBytes.put(UInt64(head.chargeCount), to: &shape)
        for index in 0..<entry.chargeCount {
            AuditBytes.put(UInt64(entry.charge(index).meter), to: &shape)
        }
        return shape.withUnsafeBytes { shapes.index(of: $0).index }
    }

    @inline(__always)
    private mutating func putTimes(_ head: AuditHead) {
        let wall = UInt64(bitPattern: head.wallMilliseconds &- draft.wall)
        // What the wall clock tells of it already is left out.
        let boot = head.bootNanoseconds &- draft.boot &- wall &* 1_000_000
        AuditBytes.put(AuditBytes.zigzag(wall), to: &draft.bytes)
        AuditBytes.put(AuditBytes.zigzag(boot), to: &draft.bytes)
        AuditBytes.put(UInt64(head.latencyNanoseconds), to: &draft.bytes)
        AuditBytes.put(AuditBytes.zigzag(head.order &- draft.order), to: &draft.bytes)
        AuditBytes.put(head.rateUsed, to: &draft.bytes)
        AuditBytes.put(head.quotaUsed, to: &draft.bytes)
    }

    private mutating func putRest(_ entry: AuditEntry) {
        let head = entry.head
        if head.retryMilliseconds != 0 {
            AuditBytes.put(UInt64(head.retryMilliseconds), to: &draft.bytes)
        }
        if head.cost != 0 { AuditBytes.put(head.cost, to: &draft.bytes) }
        // In network order, as they stand in memory.
        let address = head.addressFamily == 0 ? 0 : head.addressFamily == 4 ? 4 : 16
        withUnsafeBytes(of: (head.addressHigh, head.addressLow)) {
            draft.bytes.append(contentsOf: $0.prefix(address))
        }
        for index in 0..<entry.chargeCount {
            let charge = entry.charge(index)
            AuditBytes.put(charge.units, to: &draft.bytes)
            AuditBytes.put(AuditBytes.zigzag(charge.weighted &- charge.units), to: &draft.bytes)
        }
        for index in 0..<entry.standingCount {
            let standing = entry.standing(index)
            AuditBytes.put(UInt64(standing.limit), to: &draft.bytes)
            draft.bytes.append(standing.scope)
            draft.bytes.append(standing.flags)
            AuditBytes.put(standing.used, to: &draft.bytes)
            AuditBytes.put(standing.held, to: &draft.bytes)
            AuditBytes.put(standing.most, to: &draft.bytes)
        }
        if let id = entry.holdID { draft.bytes.append(contentsOf: id) }
        if let id = entry.idempotencyID { draft.bytes.append(contentsOf: id) }
    }

    /// The block of what was added, which is forgotten; with how far each ring was read for it.
    mutating func finish(_ positions: (UInt8, UInt64) -> UInt64) -> AuditBlock {
        for index in draft.sources.indices {
            draft.sources[index].position = positions(
                draft.sources[index].ring, draft.sources[index].life)
        }
        draft.put(shapes)
        var block = AuditBlock(.records)
        block.count = count
        block.first = first
        block.last = last
        block.generations = generations
        block.sources = draft.sources
        block.keys = keys
        block.heldBytes = draft.bytes.count &+ draft.records.count &* 40 &+ namesBytes
        block.draft = draft
        draft = AuditDraft(after: draft)
        keys = AuditIndexKeys()
        shapes.removeAll()
        generations.removeAll(keepingCapacity: true)
        (namesBytes, newBytes) = (0, 0)
        return block
    }
}
