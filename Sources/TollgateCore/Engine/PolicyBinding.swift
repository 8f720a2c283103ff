/// A policy as one worker uses it: layout numbers of the engine's registry, where each limit's
/// counter stands, and what the present moment is in terms of the policy's shapes and calendars.
///
/// Owned by one `DecisionWorker`; made when it first sees a policy.
final class PolicyBinding {
    /// A shape's newest sub-bucket at this turn's moment.
    struct TurnShape: BitwiseCopyable {
        var shape: WindowShape
        var turn: UInt64 = 0
        var index: UInt64 = 0
        var cell = 0
    }

    let policy: PolicyImage
    private let registry: LayoutRegistry
    /// By index into `policy.layouts`.
    private let numbers: UnsafeMutablePointer<UInt32>
    private let ownOffsets: UnsafeMutablePointer<UnsafeMutablePointer<SlotOffsets>>
    let layoutBytes: UnsafeMutablePointer<Int>
    let turnShapes: UnsafeMutablePointer<TurnShape>
    /// By pointer, as what below is: an access to a class' property is looked after as it runs.
    let periods: UnsafeMutablePointer<SubjectPeriods>
    let shadows: ShadowPlaces
    /// Offsets in rows of other layouts that hold all counters of one of the policy's:
    /// by (row's layout number, policy's layout index).
    private var foreign: [UInt64: UnsafeMutablePointer<SlotOffsets>] = [:]
    /// Whether rows of a layout carry units over, by its number.
    private var carrying: [UInt32: Bool] = [:]
    /// Numbers of layouts that have one of the policy's, and more of another: keys as of `foreign`.
    private var wider: [UInt64: UInt32] = [:]

    init(
        _ policy: PolicyImage, _ registry: LayoutRegistry, _ calendars: CalendarTable,
        _ wouldDenyCounts: WouldDenyCounts
    ) {
        self.policy = policy
        self.registry = registry
        numbers = .allocate(capacity: policy.layouts.count)
        ownOffsets = .allocate(capacity: policy.layouts.count)
        layoutBytes = .allocate(capacity: policy.layouts.count)
        for (index, layout) in policy.layouts.enumerated() {
            guard let number = registry.number(of: layout) else {
                preconditionFailure("a policy that the engine did not accept")
            }
            numbers[index] = number
            layoutBytes[index] = layout.bytes
            ownOffsets[index] = .allocate(capacity: layout.slots.count)
            let names = registry.counters(number)
            for (slot, counter) in layout.slots.enumerated() {
                ownOffsets[index][slot] = Self.offsets(counter, names[slot])
            }
        }
        turnShapes = .allocate(capacity: policy.shapes.count)
        for (index, shape) in policy.shapes.enumerated() {
            (turnShapes + index).initialize(to: TurnShape(shape: shape))
        }
        periods = .allocate(capacity: 1)
        periods.initialize(to: SubjectPeriods(policy, calendars))
        shadows = ShadowPlaces(policy, wouldDenyCounts)
    }

    deinit {
        for index in policy.layouts.indices { ownOffsets[index].deallocate() }
        for table in foreign.values { table.deallocate() }
        numbers.deallocate()
        ownOffsets.deallocate()
        layoutBytes.deallocate()
        turnShapes.deallocate()
        periods.pointee.deallocate()
        periods.deinitialize(count: 1)
        periods.deallocate()
        shadows.deallocate()
    }

    private static func offsets(_ slot: CounterSlot, _ name: UInt16) -> SlotOffsets {
        SlotOffsets(
            head: UInt32(slot.headOffset), ring: UInt32(slot.ringOffset), counter: name)
    }

    /// The shape with its newest sub-bucket, computed once per turn.
    @inline(__always)
    static func at(
        _ turn: UInt64, _ now: BootTime, _ shape: UnsafeMutablePointer<TurnShape>
    ) -> TurnShape {
        if shape.pointee.turn != turn {
            shape.pointee.turn = turn
            shape.pointee.index = now.nanoseconds / shape.pointee.shape.bucketNanoseconds
            shape.pointee.cell = Int(
                shape.pointee.index % (UInt64(shape.pointee.shape.buckets) + 1))
        }
        return shape.pointee
    }

    @inline(__always)
    func number(_ layout: Int) -> UInt32 { numbers[layout] }

    /// Where the counters of the policy's layout `layout` stand in `row`; `nil` when some do not,
    /// and the row has to be migrated first.
    @inline(__always)
    func offsets(of layout: Int, in row: Row) -> UnsafeMutablePointer<SlotOffsets>? {
        if row.layout == numbers[layout] { return ownOffsets[layout] }
        return foreignOffsets(of: layout, in: row.layout)
    }

    @inline(never)
    private func foreignOffsets(
        of layout: Int, in number: UInt32
    ) -> UnsafeMutablePointer<SlotOffsets>? {
        let key = UInt64(number) << 32 | UInt64(layout)
        if let known = foreign[key] { return known }
        let needed = policy.layouts[layout].slots
        let names = registry.counters(numbers[layout])
        let table = UnsafeMutablePointer<SlotOffsets>.allocate(capacity: needed.count)
        let held = registry.layout(number)
        for (index, counter) in needed.enumerated() {
            guard let slot = held.slot(counter.identity), slot.isSameCounter(as: counter) else {
                table.deallocate()
                return nil
            }
            table[index] = Self.offsets(slot, names[index])
        }
        foreign[key] = table
        return table
    }

    /// A quota of the policy's layout `layout` where it stands in a row, whatever else does.
    func quota(_ layout: Int, _ slot: Int, in row: Row) -> UnsafeMutablePointer<QuotaCell>? {
        if row.layout == numbers[layout] { return row.quota(Int(ownOffsets[layout][slot].head)) }
        let identity = policy.layouts[layout].slots[slot].identity
        guard let found = registry.layout(row.layout).slot(identity), found.kind == .quota
        else { return nil }
        return row.quota(found.headOffset)
    }

    /// Copies what both count from one row to another, which has its layout.
    func migrate(from: Row, to: Row, now: BootTime) {
        let held = registry.layout(from.layout)
        for new in registry.layout(to.layout).slots {
            guard let old = held.slot(new.identity) else { continue }
            CounterSlot.migrate(old, of: from, to: new, of: to, now: now)
        }
    }

    /// Whether a row counts something now that the policy's layout `layout` has not.
    func isCounting(_ row: Row, beyond layout: Int, at wall: WallTime) -> Bool {
        let own = policy.layouts[layout]
        return registry.layout(row.layout).slots.contains {
            own.slot($0.identity) == nil && $0.isCounting(in: row, at: wall)
        }
    }

    /// A layout with all that the policy's layout `layout` has, and the quotas and limits of open
    /// reservations that `other` has besides; `nil` when a row cannot have it.
    func layout(_ layout: Int, with other: UInt32) -> (number: UInt32, bytes: Int)? {
        let key = UInt64(other) << 32 | UInt64(layout)
        if let known = wider[key] { return (known, registry.layout(known).bytes) }
        let own = policy.layouts[layout]
        let more = registry.layout(other).slots.filter {
            ($0.kind == .quota || $0.kind == .concurrency) && own.slot($0.identity) == nil
        }
        guard let made = registry.wider(own, more) else { return nil }
        wider[key] = made.number
        return made
    }

    /// The turn of another worker may have begun this much earlier, and what is over by the clock
    /// of this one may not be by that one's.
    static let turnsApartSeconds: Int64 = 10

    /// Whether rows of that layout stay: what somebody did not use adds to their next period,
    /// however long they stay away.
    private func carriesOver(_ number: UInt32, _ layout: RowLayout) -> Bool {
        if let known = carrying[number] { return known }
        let carries = layout.slots.contains { policy.rollovers.contains($0.identity) }
        carrying[number] = carries
        return carries
    }

    /// Whether nothing would be forgotten with the row.
    func isIdle(_ row: Row, boot now: BootTime, wall period: WallTime) -> Bool {
        let apart = UInt64(Self.turnsApartSeconds) * 1_000_000_000
        let boot = BootTime(nanoseconds: now.nanoseconds - min(now.nanoseconds, apart))
        let wall = WallTime(milliseconds: period.milliseconds - Self.turnsApartSeconds * 1_000)
        // What else a ledger holds stands in lists of its own.
        guard row.hasCounters, !row.isResetting, row.kind != RowKind.reset.rawValue
        else { return false }
        let layout = registry.layout(row.layout)
        let carries = carriesOver(row.layout, layout)
        for slot in layout.slots {
            switch slot.kind {
            case .window:
                guard let shape = slot.shape else { continue }
                if !Window.isIdle(row.head(slot.headOffset), shape, now: boot) { return false }
            case .quota:
                let cell = row.quota(slot.headOffset).pointee
                if cell.used > 0, wall.seconds < cell.endSeconds { return false }
                if cell.held > 0 || (carries && cell.endSeconds > 0) { return false }
            case .pool: continue
            case .grants: if CreditAccount(row).count > 0 { return false }
            case .concurrency:
                if row.concurrency(slot.headOffset).pointee.open > 0 { return false }
            }
        }
        return true
    }
}
