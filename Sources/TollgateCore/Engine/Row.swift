import COpenSSL

#if _endian(big)
    #error("rows stand in a ledger's files as they stand in memory, and there little-endian")
#endif

/// One subject's counters in memory: a user, an organization or an address; of a tenant also what
/// else its ledger holds. A snapshot of the ledger holds rows as they stand here.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | keyed hash of kind, owner and id |
/// | 8 | 4 | tag of the plan last decided with |
/// | 12 | 4 | owner: fingerprint of the organization, for a user; else 0 |
/// | 16 | 4 | number of the `RowLayout` |
/// | 20 | 1 | bytes of the id |
/// | 21 | 1 | `RowKind` |
/// | 22 | 2 | size of the row in units of `RowArena.unitBytes`; it stays, also of a row given up |
/// | 24 | 4 | number in the journal of its shard |
/// | 28 | 1 | bytes of the owner's name |
/// | 29 | 1 | flags: bit 0, the journal has the number; bit 1, of an organization: its quotas and
///   its users' are being reset, and some may be already |
/// | 30 | 2 | spare, 0 |
/// | 32 | | id, padded to 8; then the counters as the layout says; the owner's name at the end |
///
/// A view of memory that a `RowTable` owns; valid under that table's lock.
struct Row: BitwiseCopyable {
    let base: UnsafeMutableRawPointer

    static let headerBytes = 32

    static func bytes(idBytes: Int, layoutBytes: Int, ownerBytes: Int = 0) -> Int {
        headerBytes + (idBytes + 7) / 8 * 8 + layoutBytes + ownerBytes
    }

    @inline(__always)
    var hash: UInt64 {
        get { base.load(as: UInt64.self) }
        nonmutating set { base.storeBytes(of: newValue, as: UInt64.self) }
    }

    @inline(__always)
    var owner: UInt32 {
        get { base.load(fromByteOffset: 12, as: UInt32.self) }
        nonmutating set { base.storeBytes(of: newValue, toByteOffset: 12, as: UInt32.self) }
    }

    @inline(__always)
    var layout: UInt32 {
        get { base.load(fromByteOffset: 16, as: UInt32.self) }
        nonmutating set { base.storeBytes(of: newValue, toByteOffset: 16, as: UInt32.self) }
    }

    @inline(__always)
    var idBytes: Int { Int(base.load(fromByteOffset: 20, as: UInt8.self)) }

    @inline(__always)
    var kind: UInt8 { base.load(fromByteOffset: 21, as: UInt8.self) }

    @inline(__always)
    var units: Int { Int(base.load(fromByteOffset: 22, as: UInt16.self)) }

    /// Counters of a layout stand in it; else something else of a ledger's.
    @inline(__always)
    var hasCounters: Bool {
        kind != RowKind.reservation.rawValue && kind != RowKind.idempotency.rawValue
    }

    /// What the journal calls it; of tenants' rows, and 0 for no other.
    @inline(__always)
    var number: UInt32 {
        get { base.load(fromByteOffset: 24, as: UInt32.self) }
        nonmutating set { base.storeBytes(of: newValue, toByteOffset: 24, as: UInt32.self) }
    }

    /// The journal says whose the number is, or the snapshot that it goes on from.
    @inline(__always)
    var isDefined: Bool {
        get { hasFlag(1) }
        nonmutating set { setFlag(1, newValue) }
    }

    /// Of an organization: a reset of all its quotas has begun that is not done.
    var isResetting: Bool {
        get { hasFlag(2) }
        nonmutating set { setFlag(2, newValue) }
    }

    @inline(__always)
    private func hasFlag(_ bit: UInt8) -> Bool {
        base.load(fromByteOffset: 29, as: UInt8.self) & bit != 0
    }

    private func setFlag(_ bit: UInt8, _ value: Bool) {
        let flags = base.load(fromByteOffset: 29, as: UInt8.self)
        base.storeBytes(
            of: value ? flags | bit : flags & ~bit, toByteOffset: 29, as: UInt8.self)
    }

    /// The organization that a user's row counts for; empty for other rows.
    var ownerName: UnsafeRawBufferPointer {
        let count = Int(base.load(fromByteOffset: 28, as: UInt8.self))
        let end = base + units * RowArena.unitBytes
        return UnsafeRawBufferPointer(start: end - count, count: count)
    }

    @inline(__always)
    var planTag: UInt32 {
        get { base.load(fromByteOffset: 8, as: UInt32.self) }
        nonmutating set { base.storeBytes(of: newValue, toByteOffset: 8, as: UInt32.self) }
    }

    /// Keeps the line clean when nothing changes.
    @inline(__always)
    func notePlan(_ tag: UInt32) { if planTag != tag { planTag = tag } }

    @inline(__always)
    var id: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + Self.headerBytes, count: idBytes)
    }

    /// Where the layout's offsets count from.
    @inline(__always)
    var counters: UnsafeMutableRawPointer {
        base + (Self.headerBytes &+ (idBytes &+ 7) & ~7)
    }

    /// Writes identity and size into zeroed memory.
    func initialize(
        key: RowKey, layout: UInt32, units: Int,
        ownerName: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) {
        hash = key.hash
        owner = key.owner
        self.layout = layout
        base.storeBytes(of: UInt8(key.id.count), toByteOffset: 20, as: UInt8.self)
        base.storeBytes(of: key.kind.rawValue, toByteOffset: 21, as: UInt8.self)
        base.storeBytes(of: UInt16(units), toByteOffset: 22, as: UInt16.self)
        if let source = key.id.baseAddress {
            (base + Self.headerBytes).copyMemory(from: source, byteCount: key.id.count)
        }
        base.storeBytes(of: UInt8(ownerName.count), toByteOffset: 28, as: UInt8.self)
        if let source = ownerName.baseAddress {
            let end = base + units * RowArena.unitBytes
            (end - ownerName.count).copyMemory(from: source, byteCount: ownerName.count)
        }
    }

    @inline(__always)
    func matches(_ key: RowKey) -> Bool {
        hash == key.hash && kind == key.kind.rawValue && owner == key.owner
            && equalBytes(id, key.id)
    }

    func head(_ offset: Int) -> UnsafeMutablePointer<WindowHead> {
        (counters + offset).assumingMemoryBound(to: WindowHead.self)
    }

    func quota(_ offset: Int) -> UnsafeMutablePointer<QuotaCell> {
        (counters + offset).assumingMemoryBound(to: QuotaCell.self)
    }

    func concurrency(_ offset: Int) -> UnsafeMutablePointer<ConcurrencyCell> {
        (counters + offset).assumingMemoryBound(to: ConcurrencyCell.self)
    }
}

/// What a row counts for. A personal organization and one that is named alike are two.
enum RowKind: UInt8 {
    case user = 1
    case organization = 2
    case personalOrganization = 3
    case address4 = 4
    case address6 = 5
    /// Shares the counters of every address that found no room.
    case overflow = 6
    /// An API key of the directory.
    case key = 7
    case revokedToken = 8
    case revokedSession = 9
    case revokedUser = 10
    case revokedOrganization = 11
    /// The counters of an API key with a limit of its own.
    case credential = 12
    /// A hold of a tenant, open or ended.
    case reservation = 13
    /// An answer that is given again to who asks with the same id.
    case idempotency = 14
    /// What was granted to an organization beyond one of its quotas: `CreditAccount`.
    case credits = 15
    /// Says of a reset of an organization's quotas, by its id, that it has begun: it is not done
    /// again.
    case reset = 16

    /// The journal names it by a number: of tenants' rows, those with counters.
    @inline(__always)
    var isNumbered: Bool {
        switch self {
        case .user, .organization, .personalOrganization, .credential, .credits, .reset: true
        default: false
        }
    }
}

/// A row's place in its table's arena; 0 is no row.
struct RowHandle: Equatable, BitwiseCopyable {
    var raw: UInt32
    static let none = RowHandle(raw: 0)
}

/// Where a row of this table once stood. Memory of rows is never given back, and what begins as a
/// row of some size stays one, so a hint may be read under its table's lock; whether the row there
/// is still the one meant is `Row.matches`' to say: a row that was given up matches nothing.
struct RowHint: BitwiseCopyable {
    private var address: UInt

    static var none: RowHint { RowHint(address: 0) }

    private init(address: UInt) { self.address = address }
    init(_ row: Row) { address = UInt(bitPattern: row.base) }

    /// The row of `key`, if it stands here. Under the lock of the table that the hint is of.
    @inline(__always)
    func row(_ key: RowKey) -> Row? {
        guard let base = UnsafeMutableRawPointer(bitPattern: address) else { return nil }
        let row = Row(base: base)
        return row.matches(key) ? row : nil
    }

    /// Asks the processor for its first lines; reads nothing.
    @inline(__always)
    func prefetch(lines: Int) {
        guard let place = UnsafeRawPointer(bitPattern: address) else { return }
        for line in 0..<lines { tg_prefetch(place + line &* 64) }
    }
}

/// What a row is looked up by. `id` is borrowed: it must not outlive the request.
///
/// A user's hash is keyed on the organization's 64-bit hash, and `owner` is 32 further bits of
/// that keyed hash: users of two organizations are told apart by 96 bits that nobody outside
/// knows, and no row needs to point at another.
struct RowKey: BitwiseCopyable {
    var kind: RowKind
    var owner: UInt32
    var id: UnsafeRawBufferPointer
    var hash: UInt64
}
