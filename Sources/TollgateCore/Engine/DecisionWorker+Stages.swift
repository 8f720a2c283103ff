import Synchronization
import TollgateWire

/// Whom an address' limits count for: an IPv4 address, or an IPv6 /64.
struct AddressKey: BitwiseCopyable {
    var key: RowKey

    private static let mappedPrefix: UInt64 = 0xffff_0000_0000_0000

    /// `nil` when the request carries no address. An IPv4 address inside IPv6 (::ffff:0:0/96,
    /// RFC 4291 §2.5.5.2) is that IPv4 address.
    @inline(__always)
    init?(_ request: CheckRequest, _ hash: KeyedHash) {
        guard request.addressFamily != 0 else { return nil }
        let high = request.address.loadLittle(at: 0, as: UInt64.self)
        let low = request.address.loadLittle(at: 8, as: UInt32.self)
        let isMapped = request.addressFamily == 6 && high == 0 && low == 0xffff_0000
        if request.addressFamily == 4 || isMapped {
            let id = request.address.slice(at: isMapped ? 12 : 0, length: 4)
            key = RowKey(
                kind: .address4, owner: 0, id: id,
                hash: hash.hash(id, tweak: UInt64(RowKind.address4.rawValue)))
        } else {
            let id = request.address.slice(at: 0, length: 8)
            key = RowKey(
                kind: .address6, owner: 0, id: id,
                hash: hash.hash(id, tweak: UInt64(RowKind.address6.rawValue)))
        }
    }

    /// The row that every address of a shard shares that found no room.
    var overflow: RowKey {
        RowKey(
            kind: .overflow, owner: 0, id: UnsafeRawBufferPointer(start: nil, count: 0),
            hash: key.hash & 0xfc00_0000_0000_0000)
    }
}

extension DecisionWorker {
    /// Looks at, and charges, the limits of an address. What it refuses it does not count.
    func addressStage(
        _ address: AddressKey, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let near = cache.near
        var hint = RowHint.none
        // Of another address the hint may lie in another shard, whose lock is not held.
        if let near, near.pointee.addressHash == address.key.hash { hint = near.pointee.address }
        let view = addressRow(
            address, hint, in: &shard.table.pointee, create: !dryRun, binding)
        if let near, let row = view.row {
            near.pointee.address = RowHint(row)
            near.pointee.addressHash = address.key.hash
        }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: .none,
            shared: view)
        evaluation.look(program)
        if evaluation.isRefused {
            decision.reason = .rateLimited
            decision.retryMilliseconds = evaluation.retryMilliseconds
        } else if !dryRun {
            evaluation.charge(program)
        }
        decision.rate = evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused)
        if explain { add(program, &evaluation) }
    }

    /// Looks at every limit of the organization and the user, then charges all of them or none.
    @inline(__always)
    func tenantStage(
        _ principal: UnsafePointer<Principal>, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        guard !program.isEmpty else { return }
        let shard = engine.tenantShard(principal.pointee.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let near = cache.near
        guard
            let (user, shared) = tenantRows(
                principal, near, in: &shard.table.pointee, create: !dryRun, binding)
        else {
            if decision.reason == .none { decision.reason = .capacityExhausted }
            engine.capacityRefusals.wrappingAdd(1, ordering: .relaxed)
            return
        }
        if let near {
            if let row = user.row { near.pointee.user = RowHint(row) }
            if let row = shared.row { near.pointee.organization = RowHint(row) }
        }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared)
        evaluation.look(program)
        if evaluation.isRefused {
            if decision.reason == .none {
                decision.reason = evaluation.rateRefused ? .rateLimited : .quotaExhausted
            }
            decision.retryMilliseconds = max(
                decision.retryMilliseconds, evaluation.retryMilliseconds)
        } else if !dryRun {
            evaluation.charge(program)
        }
        decision.rate.merge(
            evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused))
        decision.quota = evaluation.state(
            evaluation.quotaStep, isRefused: evaluation.quotaRefused)
        if explain { add(program, &evaluation) }
    }

    /// The rows of a principal; `nil` at a ceiling, or when memory is short. Without `create`,
    /// what does not stand is `none`, and nothing is made.
    @inline(__always)
    func tenantRows(
        _ principal: UnsafePointer<Principal>, _ near: UnsafeMutablePointer<PrincipalCache.Near>?,
        in table: inout RowTable, create: Bool, _ binding: PolicyBinding
    ) -> (user: RowView, shared: RowView)? {
        let plan = binding.policy.compiledPlans[principal.pointee.plan]
        var shared = RowView.none
        var user = RowView.none
        let sharedLayout = Int(plan.organizationLayout)
        if binding.layoutBytes[sharedLayout] > 0 {
            guard
                let view = row(
                    principal.pointee.organizationKey, near?.pointee.organization ?? .none,
                    sharedLayout, in: &table, create: create, engine.organizations,
                    max: engine.configuration.organizationsMax, binding)
            else { return nil }
            shared = view
            if create { view.row?.notePlan(plan.tag) }
        }
        let userLayout = Int(plan.userLayout)
        if binding.layoutBytes[userLayout] > 0, principal.pointee.user.count > 0 {
            guard
                let view = row(
                    principal.pointee.userKey, near?.pointee.user ?? .none, userLayout, in: &table,
                    create: create, engine.users, max: engine.configuration.usersMax, binding)
            else { return nil }
            user = view
            if create { view.row?.notePlan(plan.tag) }
        }
        return (user, shared)
    }

    /// A row with the counters of `layout`, made or migrated if need be; `nil` when there is no
    /// room.
    @inline(__always)
    private func row(
        _ key: RowKey, _ hint: RowHint, _ layout: Int, in table: inout RowTable, create: Bool,
        _ count: borrowing Atomic<Int>, max: Int, _ binding: PolicyBinding
    ) -> RowView? {
        if let row = hint.row(key), let offsets = binding.offsets(of: layout, in: row) {
            return RowView(row: row, offsets: offsets)
        }
        let handle = table.find(key)
        if handle != .none {
            let row = table.row(handle)
            if let offsets = binding.offsets(of: layout, in: row) {
                return RowView(row: row, offsets: offsets)
            }
            return migrate(handle, to: layout, in: &table, binding)
        }
        guard create else { return RowView.none }
        return makeRow(key, layout, in: &table, count, max: max, binding)
    }

    @inline(never)
    private func makeRow(
        _ key: RowKey, _ layout: Int, in table: inout RowTable, _ count: borrowing Atomic<Int>,
        max: Int, _ binding: PolicyBinding
    ) -> RowView? {
        guard engine.reserve(count, max: max) else { return nil }
        let handle = table.insert(
            key, layout: binding.number(layout), layoutBytes: binding.layoutBytes[layout])
        guard handle != .none else {
            count.wrappingSubtract(1, ordering: .relaxed)
            return nil
        }
        let row = table.row(handle)
        return RowView(row: row, offsets: binding.offsets(of: layout, in: row))
    }

    @inline(never)
    private func migrate(
        _ handle: RowHandle, to layout: Int, in table: inout RowTable, _ binding: PolicyBinding
    ) -> RowView? {
        let (number, extended) = binding.extendedLayout(of: table.row(handle), for: layout)
        let moved = table.replaceLayout(handle, layout: number, layoutBytes: extended.bytes) {
            binding.migrate(from: $0, to: $1, extended, now: now.boot)
        }
        guard moved != .none else { return nil }
        let row = table.row(moved)
        return RowView(row: row, offsets: binding.offsets(of: layout, in: row))
    }

    /// The row of an address. At the ceiling, addresses share one row per shard: they are limited
    /// together, never let through unlimited.
    private func addressRow(
        _ address: AddressKey, _ hint: RowHint, in table: inout RowTable, create: Bool,
        _ binding: PolicyBinding
    ) -> RowView {
        let layout = binding.policy.addressLayout
        if let view = row(
            address.key, hint, layout, in: &table, create: create, engine.addresses,
            max: engine.configuration.addressesMax, binding)
        {
            return view
        }
        engine.addressOverflows.wrappingAdd(1, ordering: .relaxed)
        return row(
            address.overflow, .none, layout, in: &table, create: create, engine.addresses,
            max: .max, binding) ?? .none
    }

    // MARK: invalid credentials

    /// Whether the address has sent so many invalid credentials that this one is not looked at.
    func isInvalidCredentialLimited(
        _ address: AddressKey, _ binding: PolicyBinding, _ decision: inout Decision
    ) -> Bool {
        guard let step = binding.policy.invalidCredentialStep else { return false }
        let shape = binding.turnShapes[Int(step.form)].shape
        let last = engine.lastInvalidCredential.load(ordering: .relaxed)
        // Nobody sent any within the window: no row needs to be looked at.
        let length = shape.bucketNanoseconds &* (UInt64(shape.buckets) &+ 1)
        if last == 0 || now.boot.nanoseconds > last &+ length { return false }
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let view = addressRow(address, .none, in: &shard.table.pointee, create: false, binding)
        guard let row = view.row, let offsets = view.offsets else { return false }
        let place = offsets[Int(step.slot)]
        let head = row.head(Int(place.head))
        let ring = row.counters + Int(place.ring)
        Window.advance(head, ring, shape, now: now.boot)
        let used = Window.used(head, ring, shape, now: now.boot)
        guard used >= step.limit else { return false }
        decision.reason = .invalidCredentialLimited
        decision.retryMilliseconds = Window.retryMilliseconds(
            head, ring, shape, now: now.boot, units: 1, limit: step.limit)
        decision.rate = LimitState(
            index: Int(step.limitIndex), limit: step.limit, remaining: 0,
            resetMilliseconds: Window.resetMilliseconds(head, ring, shape, now: now.boot),
            fraction: 0, isRefused: true)
        return true
    }

    /// Counts an invalid credential against its address.
    func recordInvalidCredential(_ address: AddressKey?, _ binding: PolicyBinding) {
        guard let step = binding.policy.invalidCredentialStep, let address else { return }
        engine.lastInvalidCredential.store(now.boot.nanoseconds, ordering: .relaxed)
        let shape = binding.turnShapes[Int(step.form)].shape
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let view = addressRow(address, .none, in: &shard.table.pointee, create: true, binding)
        guard let row = view.row, let offsets = view.offsets else { return }
        let place = offsets[Int(step.slot)]
        let head = row.head(Int(place.head))
        let ring = row.counters + Int(place.ring)
        Window.advance(head, ring, shape, now: now.boot)
        Window.charge(head, ring, shape, units: 1)
    }

    /// Looks at a slice of one shard after the other and forgets rows with nothing in them.
    /// Allocates nothing per request; call it on idle turns and at least every 100 ms.
    package func sweep() {
        guard let binding else { return }
        sweepShard = (sweepShard &+ 1) % (2 * Engine.shardCount)
        let shard = engine.shard(sweepShard)
        guard shard.lock.pointee.tryLock() else { return }
        defer { shard.lock.pointee.unlock() }
        _ = shard.table.pointee.sweep(slotsMax: 256) { row in
            binding.isIdle(row, boot: now.boot, wall: clock.period)
        } willRemove: { row in
            switch RowKind(rawValue: row.kind) {
            case .user: engine.users.wrappingSubtract(1, ordering: .relaxed)
            case .organization, .personalOrganization:
                engine.organizations.wrappingSubtract(1, ordering: .relaxed)
            default: engine.addresses.wrappingSubtract(1, ordering: .relaxed)
            }
        }
    }
}
