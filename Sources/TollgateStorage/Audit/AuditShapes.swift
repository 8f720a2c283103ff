import TollgateCore
import TollgateWire

/// The shapes (`AuditPage`) of the block that is made. Of each there are mostly many records: so
/// what of an entry decides of its shape is compared as it stands there, and made into bytes only
/// where it is not known.
struct AuditShapes: ~Copyable {
    /// All that a shape says, of an entry of `chargesMost` charges at most.
    struct Traits: BitwiseCopyable {
        var what: UInt64 = 0
        var indices: UInt64 = 0
        var rateLimit: UInt64 = 0
        var quotaLimit: UInt64 = 0
        var kinds: UInt64 = 0
        var meters: UInt64 = 0
    }

    struct Known: BitwiseCopyable {
        var traits = Traits()
        /// -1: nothing.
        var index = -1
    }

    private static let chargesMost = 4
    private static let knownBits: UInt64 = 6

    private let known: UnsafeMutablePointer<Known>
    private var list = AuditNameList()
    private var bytes: [UInt8] = []
    /// Of the list, which whoever asks for room asks for with each entry.
    private(set) var count = 0
    private(set) var bytesCount = 0

    init() {
        known = .allocate(capacity: 1 &<< Int(Self.knownBits))
        known.initialize(repeating: Known(), count: 1 &<< Int(Self.knownBits))
    }

    deinit { known.deallocate() }

    /// Place of the entry's shape in the block's table; `source`: of its ring.
    @inline(__always)
    mutating func index(of entry: AuditEntry, source: Int) -> Int {
        guard entry.chargeCount <= Self.chargesMost else { return find(entry, source) }
        let traits = Self.traits(entry, source)
        let place = known + Self.place(traits)
        if place.pointee.index >= 0, Self.isSame(place.pointee.traits, traits) {
            return place.pointee.index
        }
        let index = find(entry, source)
        place.pointee = Known(traits: traits, index: index)
        return index
    }

    @inline(__always)
    private static func traits(_ entry: AuditEntry, _ source: Int) -> Traits {
        let head = entry.head
        var traits = Traits()
        traits.what = UInt64(head.kind) | UInt64(head.flags.rawValue) &<< 8
        traits.what |= UInt64(head.reason) &<< 16 | UInt64(head.generation) &<< 32
        traits.indices = UInt64(head.plan) | UInt64(head.operation) &<< 16
        traits.indices |= UInt64(head.rate) &<< 32 | UInt64(head.quota) &<< 48
        traits.rateLimit = head.rateLimit
        traits.quotaLimit = head.quotaLimit
        traits.kinds = UInt64(head.credentialKind) | UInt64(head.addressFamily) &<< 8
        traits.kinds |= UInt64(head.chargeCount) &<< 16 | UInt64(head.standingCount) &<< 24
        traits.kinds |= UInt64(head.issuer) &<< 32 | own(head) &<< 48
        traits.kinds |= UInt64(truncatingIfNeeded: source) &<< 56
        for index in 0..<entry.chargeCount {
            traits.meters |= UInt64(entry.charge(index).meter)
                &<< UInt64(truncatingIfNeeded: index &* 16)
        }
        return traits
    }

    @inline(__always)
    private static func own(_ head: AuditHead) -> UInt64 {
        (head.retryMilliseconds != 0 ? AuditPage.hasRetry : 0)
            | (head.cost != 0 ? AuditPage.hasCost : 0)
    }

    @inline(__always)
    private static func place(_ traits: Traits) -> Int {
        // Multiplied by odd numbers without a pattern: what differs anywhere reaches the top.
        var mixed = traits.what &* 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ traits.indices) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ traits.rateLimit ^ traits.quotaLimit &<< 17) &* 0x94d0_49bb_1331_11eb
        mixed = (mixed ^ traits.kinds ^ traits.meters) &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: mixed &>> (64 &- knownBits))
    }

    @inline(__always)
    private static func isSame(_ a: Traits, _ b: Traits) -> Bool {
        (a.what ^ b.what) | (a.indices ^ b.indices) | (a.rateLimit ^ b.rateLimit)
            | (a.quotaLimit ^ b.quotaLimit) | (a.kinds ^ b.kinds) | (a.meters ^ b.meters) == 0
    }

    @inline(never)
    private mutating func find(_ entry: AuditEntry, _ source: Int) -> Int {
        let head = entry.head
        bytes.removeAll(keepingCapacity: true)
        for value in [
            Self.own(head), UInt64(head.kind), UInt64(head.flags.rawValue), UInt64(head.reason),
            UInt64(truncatingIfNeeded: source), UInt64(head.generation),
            UInt64(head.plan &+ 1), UInt64(head.operation &+ 1), UInt64(head.rate &+ 1),
            UInt64(head.quota &+ 1), head.rateLimit, head.quotaLimit,
            UInt64(head.credentialKind), UInt64(head.addressFamily), UInt64(head.issuer &+ 1),
            UInt64(head.standingCount), UInt64(head.chargeCount),
        ] {
            AuditBytes.put(value, to: &bytes)
        }
        for index in 0..<entry.chargeCount {
            AuditBytes.put(UInt64(entry.charge(index).meter), to: &bytes)
        }
        let index = bytes.withUnsafeBytes { list.index(of: $0).index }
        (count, bytesCount) = (list.count, list.bytes.count)
        return index
    }

    func write(to draft: inout AuditDraft) { draft.put(list) }

    mutating func removeAll() {
        known.update(repeating: Known(), count: 1 &<< Int(Self.knownBits))
        list.removeAll()
        (count, bytesCount) = (0, 0)
    }
}
