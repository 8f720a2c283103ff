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

    private var records: [UInt8] = []
    private var shape: [UInt8] = []
    private var shapes = AuditNameList()
    private var organizations = AuditNameList()
    private var users = AuditNameList()
    private var keys = AuditNameList()
    /// By organization: where its last record begins.
    private var lastRecords: [Int] = []
    private var sources: [AuditSource] = []
    private var generations: [UInt32] = []
    private(set) var count: UInt32 = 0
    private var base = AuditHead()
    private var first: Int64 = 0
    private var last: Int64 = 0

    var isEmpty: Bool { count == 0 }

    /// Whether the entry fits into the block with all that its table may need.
    func hasRoom(_ entry: AuditEntry) -> Bool {
        // A number has at most 10 bytes, and 5 for each 4 of it; the rest has its own length.
        let most = 300 &+ entry.chargeCount &* 24 &+ entry.standingCount &* 36
            &+ entry.organization.count &+ entry.user.count &+ 48
        return payloadBytes &+ most <= AuditBlockHead.payloadMax && count < Self.recordsMax
    }

    /// At least what `finish` makes.
    private var payloadBytes: Int {
        // The heads of the tables; a length for each shape; a length and the place of the last
        // record for each organization; a length for each user.
        96 &+ sources.count &* 41 &+ shapes.bytes.count &+ shapes.count &* 2
            &+ organizations.bytes.count &+ organizations.count &* 5 &+ users.bytes.count
            &+ users.count &* 2 &+ keys.bytes.count &+ records.count
    }

    /// Traps when there is no room.
    mutating func add(_ entry: AuditEntry, ring: UInt8, life: UInt64) {
        let head = entry.head
        if count == 0 {
            base = head
            first = head.wallMilliseconds
            last = first
        }
        first = min(first, head.wallMilliseconds)
        last = max(last, head.wallMilliseconds)
        if generations.last != head.generation, !generations.contains(head.generation) {
            generations.append(head.generation)
        }
        let source = sourceIndex(ring, life, head.id)
        count &+= 1
        let organization = organizations.index(of: entry.organization)
        let start = records.count
        if organization.isNew {
            lastRecords.append(start)
            AuditBytes.put(0, to: &records)
        } else {
            put(start &- lastRecords[organization.index])
            lastRecords[organization.index] = start
        }
        putShape(entry, source)
        put(organization.index)
        put(users.index(of: entry.user).index)
        putTimes(head, source)
        putRest(entry)
    }

    @inline(__always)
    private mutating func put(_ value: Int) {
        AuditBytes.put(UInt64(truncatingIfNeeded: value), to: &records)
    }

    private mutating func sourceIndex(_ ring: UInt8, _ life: UInt64, _ id: UInt64) -> Int {
        var index = 0
        while index < sources.count, sources[index].ring != ring || sources[index].life != life {
            index &+= 1
        }
        if index == sources.count {
            sources.append(AuditSource(ring: ring, life: life, base: id, highest: id))
        }
        sources[index].highest = max(sources[index].highest, id)
        return index
    }

    private mutating func putShape(_ entry: AuditEntry, _ ring: Int) {
        let head = entry.head
        shape.removeAll(keepingCapacity: true)
        var traits: UInt64 = 0
        if head.retryMilliseconds != 0 { traits |= AuditPage.hasRetry }
        if head.cost != 0 { traits |= AuditPage.hasCost }
        for value in [
            traits, UInt64(head.kind), UInt64(head.flags.rawValue), UInt64(head.reason),
            UInt64(truncatingIfNeeded: ring), UInt64(head.generation), UInt64(head.plan &+ 1),
            UInt64(head.operation &+ 1), UInt64(head.rate &+ 1), UInt64(head.quota &+ 1),
            head.rateLimit, head.quotaLimit, UInt64(head.credentialKind),
            UInt64(head.addressFamily), UInt64(head.issuer &+ 1), UInt64(head.standingCount),
            UInt64(head.chargeCount),
        ] {
            AuditBytes.put(value, to: &shape)
        }
        for index in 0..<entry.chargeCount {
            AuditBytes.put(UInt64(entry.charge(index).meter), to: &shape)
        }
        let index = shape.withUnsafeBytes { shapes.index(of: $0).index }
        put(index)
    }

    @inline(__always)
    private mutating func putTimes(_ head: AuditHead, _ ring: Int) {
        let wall = UInt64(bitPattern: head.wallMilliseconds &- base.wallMilliseconds)
        // What the wall clock tells of it already is left out.
        let boot = head.bootNanoseconds &- base.bootNanoseconds &- wall &* 1_000_000
        AuditBytes.put(AuditBytes.zigzag(head.id &- sources[ring].base), to: &records)
        AuditBytes.put(AuditBytes.zigzag(wall), to: &records)
        AuditBytes.put(AuditBytes.zigzag(boot), to: &records)
        AuditBytes.put(UInt64(head.latencyNanoseconds), to: &records)
        AuditBytes.put(AuditBytes.zigzag(head.order &- base.order), to: &records)
        AuditBytes.put(head.rateUsed, to: &records)
        AuditBytes.put(head.quotaUsed, to: &records)
    }

    private mutating func putRest(_ entry: AuditEntry) {
        let head = entry.head
        if head.retryMilliseconds != 0 {
            AuditBytes.put(UInt64(head.retryMilliseconds), to: &records)
        }
        if head.cost != 0 { AuditBytes.put(head.cost, to: &records) }
        // In network order, as they stand in memory.
        let address = head.addressFamily == 0 ? 0 : head.addressFamily == 4 ? 4 : 16
        withUnsafeBytes(of: (head.addressHigh, head.addressLow)) {
            records.append(contentsOf: $0.prefix(address))
        }
        for index in 0..<entry.chargeCount {
            let charge = entry.charge(index)
            AuditBytes.put(charge.units, to: &records)
            AuditBytes.put(AuditBytes.zigzag(charge.weighted &- charge.units), to: &records)
        }
        for index in 0..<entry.standingCount {
            let standing = entry.standing(index)
            AuditBytes.put(UInt64(standing.limit), to: &records)
            records.append(standing.scope)
            records.append(standing.flags)
            AuditBytes.put(standing.used, to: &records)
            AuditBytes.put(standing.held, to: &records)
            AuditBytes.put(standing.most, to: &records)
        }
        if let id = entry.holdID { records.append(contentsOf: id) }
        if let id = entry.idempotencyID { records.append(contentsOf: id) }
        if let id = entry.keyID { put(keys.index(of: id).index) }
    }

    /// The block of what was added, which is forgotten; with how far each ring was read for it.
    mutating func finish(_ positions: (UInt8, UInt64) -> UInt64) -> AuditBlock {
        for index in sources.indices {
            sources[index].position = positions(sources[index].ring, sources[index].life)
        }
        var block = AuditBlock(.records)
        block.count = count
        block.first = first
        block.last = last
        block.generations = generations
        block.sources = sources
        block.payload = payload()
        block.keys.organizations = hashes(organizations)
        block.keys.users = hashes(users)
        block.keys.keys = hashes(keys)
        precondition(block.payload.count <= AuditBlockHead.payloadMax)
        records.removeAll(keepingCapacity: true)
        shapes.removeAll()
        organizations.removeAll()
        users.removeAll()
        keys.removeAll()
        lastRecords.removeAll(keepingCapacity: true)
        sources.removeAll(keepingCapacity: true)
        generations.removeAll(keepingCapacity: true)
        count = 0
        return block
    }

    private func hashes(_ list: AuditNameList) -> [UInt32] {
        (0..<list.count).map { list.withName($0) { AuditIndexKeys.hash($0) } }
    }

    private func payload() -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0, 0]
        bytes.reserveCapacity(payloadBytes)
        AuditBytes.put(UInt64(bitPattern: base.wallMilliseconds), to: &bytes)
        AuditBytes.put(base.bootNanoseconds, to: &bytes)
        AuditBytes.put(base.order, to: &bytes)
        AuditBytes.put(UInt64(truncatingIfNeeded: sources.count), to: &bytes)
        for source in sources {
            bytes.append(source.ring)
            for value in [source.life, source.position, source.base] {
                AuditBytes.put(value, to: &bytes)
            }
            AuditBytes.put(AuditBytes.zigzag(source.highest &- source.base), to: &bytes)
        }
        for list in [shapes, organizations, users] {
            AuditBytes.put(UInt64(truncatingIfNeeded: list.count), to: &bytes)
            for index in 0..<list.count {
                list.withName(index) { name in
                    AuditBytes.put(UInt64(truncatingIfNeeded: name.count), to: &bytes)
                    bytes.append(contentsOf: name)
                }
            }
        }
        AuditBytes.put(UInt64(truncatingIfNeeded: keys.count), to: &bytes)
        bytes.append(contentsOf: keys.bytes)
        for start in lastRecords { AuditBytes.put(UInt64(truncatingIfNeeded: start), to: &bytes) }
        for (index, shift) in [UInt64(0), 8, 16, 24].enumerated() {
            bytes[index] = UInt8(truncatingIfNeeded: UInt64(bytes.count) &>> shift)
        }
        bytes.append(contentsOf: records)
        return bytes
    }
}
