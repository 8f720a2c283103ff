import Synchronization
import TollgateWire

/// Decides requests, one at a time, for one thread: the whole check path behind the framing.
///
/// Owned by one reactor and used by its thread alone; shares the engine's shards with the others.
/// `check`, `consume` and `usage` do not allocate in steady state, read no clock and do no I/O.
/// Every body is taken as it comes: nothing a peer sends traps.
package final class DecisionWorker {
    /// Room that a reply may need, in bytes.
    package static let replyBytesMax = 32_768

    package let counters = DecisionCounters()
    let engine: Engine
    var verifier = TokenVerifier()
    let cache: PrincipalCache
    /// Who the token just verified stands for, when the cache has no place for it.
    let scratch: UnsafeMutablePointer<Principal>
    /// Its key's id, its overrides, and the names of the key that was just looked up.
    let scratchKey: UnsafeMutablePointer<APIKeyID>
    let overrideScratch: UnsafeMutablePointer<OverrideSet>
    /// The same of whom a hold is of that is cut while a request is at hand.
    let cutOverrides: UnsafeMutablePointer<OverrideSet>
    let names: UnsafeMutableRawPointer
    /// Weighted units of each charge of the request's operation.
    /// Behind the last, what they cost.
    let units: UnsafeMutablePointer<UInt64>
    /// The same before they are weighted, without the cost.
    let plainUnits: UnsafeMutablePointer<UInt64>
    /// Meters that the request names: index and units, as far as `meterCount`.
    let meters: UnsafeMutablePointer<RequestedMeter>
    var meterCount = 0
    /// Of the request whose meters were read last.
    var idempotencyID = IdempotencyID.none
    /// What the CHECK at hand comes to.
    let decision: UnsafeMutablePointer<Decision>
    /// Where rows are copied that are looked at with another plan's counters.
    let lookCopies: UnsafeMutableRawPointer
    /// Limits in shadow that would have refused it, as far as its `shadowCount`.
    let shadowed: UnsafeMutablePointer<Int32>
    static let lookCopyBytes = RowArena.rowUnitsMax * RowArena.unitBytes
    /// What the request at hand leaves beside its charge.
    var keep = KeepRequest()
    /// An answer that is kept, or that was kept and is given again; without explain.
    let answer: UnsafeMutableRawBufferPointer
    var answerBytes = 0
    /// Where items of reservations are packed; and the bytes of a SETTLE's at hand, 0: none.
    let packed: UnsafeMutableRawBufferPointer
    var packedBytes = 0
    /// Tells the workers of an engine apart; not 0.
    let number: UInt32
    /// By pointer: an access to a property of a class is looked after as it runs.
    let heldNotes: UnsafeMutablePointer<HeldNotes>
    /// By meter of the reservation at hand: what is charged or held of it.
    let holdUnits: UnsafeMutablePointer<UInt64>
    /// EXTEND: what is reported as used of it.
    let holdUsed: UnsafeMutablePointer<UInt64>
    /// As `holdUnits`, by charge of its operation, as far as that is known now.
    let holdCharges: UnsafeMutablePointer<UInt64>
    /// By charge: which meter of the reservation; -1 none.
    let holdMeters: UnsafeMutablePointer<Int>
    let explanation: UnsafeMutableRawBufferPointer
    var explanationBytes = 0
    /// Set by `beginTurn`, which comes before any request.
    private(set) var binding: PolicyBinding?
    /// The same, uncounted.
    private var bound: Unmanaged<PolicyBinding>?
    var now = Moment(boot: BootTime(nanoseconds: 0), wall: WallTime(milliseconds: 0))
    var clock = BillingClock.Reading(
        period: WallTime(milliseconds: 0), expiry: WallTime(milliseconds: 0), heldForward: false)
    var turn: UInt64 = 0
    /// A call since `forgetJournaled` has appended to a journal: its reply says what a
    /// loss of power may undo until the journal is synced.
    package internal(set) var hasJournaled = false
    var sweepShard = 0
    /// Why there are no rows for a principal: the journal has no room, and memory is not short.
    var lacksJournal = false
    /// Of the audit log; `nil` when there is none.
    var audit: UnsafeMutablePointer<AuditDesk>?

    struct RequestedMeter: BitwiseCopyable {
        var meter: Int
        var units: UInt64
        /// EXTEND: how much of them is used.
        var used: UInt64 = 0
    }

    init(_ engine: Engine, number: UInt32) {
        self.engine = engine
        self.number = number
        answer = .allocate(byteCount: Self.answerBytesMax, alignment: 8)
        packed = .allocate(byteCount: PackedReservation.roomBytes, alignment: 8)
        holdUnits = .allocate(capacity: Reservation.metersMax)
        holdUnits.initialize(repeating: 0, count: Reservation.metersMax)
        holdUsed = .allocate(capacity: Reservation.metersMax)
        holdUsed.initialize(repeating: 0, count: Reservation.metersMax)
        holdCharges = .allocate(capacity: Reservation.metersMax)
        holdCharges.initialize(repeating: 0, count: Reservation.metersMax)
        holdMeters = .allocate(capacity: Reservation.metersMax)
        holdMeters.initialize(repeating: -1, count: Reservation.metersMax)
        heldNotes = .allocate(capacity: 1)
        heldNotes.initialize(to: HeldNotes())
        cache = PrincipalCache(engine.digestHash)
        units = .allocate(capacity: WireLimits.metersMax + 1)
        units.initialize(repeating: 0, count: WireLimits.metersMax + 1)
        plainUnits = .allocate(capacity: Reservation.metersMax)
        plainUnits.initialize(repeating: 0, count: Reservation.metersMax)
        meters = .allocate(capacity: WireLimits.metersMax)
        meters.initialize(
            repeating: RequestedMeter(meter: 0, units: 0), count: WireLimits.metersMax)
        explanation = .allocate(byteCount: Self.replyBytesMax, alignment: 8)
        decision = .allocate(capacity: 1)
        decision.initialize(to: Decision())
        lookCopies = .allocate(byteCount: 2 * Self.lookCopyBytes, alignment: 16)
        shadowed = .allocate(capacity: Self.shadowedMax)
        scratchKey = .allocate(capacity: 1)
        scratchKey.initialize(to: .none)
        overrideScratch = .allocate(capacity: 1)
        overrideScratch.initialize(to: OverrideSet())
        cutOverrides = .allocate(capacity: 1)
        cutOverrides.initialize(to: OverrideSet())
        names = .allocate(byteCount: 2 * 255, alignment: 16)
        scratch = .allocate(capacity: 1)
        let nobody = UnsafeRawBufferPointer(start: nil, count: 0)
        scratch.initialize(
            to: Principal(
                user: nobody, organization: nobody, isPersonal: false, plan: -1,
                permissions: PermissionSet(), hash: engine.hash))
    }

    deinit {
        units.deallocate()
        plainUnits.deallocate()
        meters.deallocate()
        explanation.deallocate()
        scratch.deallocate()
        scratchKey.deallocate()
        overrideScratch.deallocate()
        cutOverrides.deallocate()
        names.deallocate()
        lookCopies.deallocate()
        shadowed.deallocate()
        answer.deallocate()
        packed.deallocate()
        holdUnits.deallocate()
        holdUsed.deallocate()
        holdCharges.deallocate()
        holdMeters.deallocate()
        heldNotes.deinitialize(count: 1)
        heldNotes.deallocate()
        decision.deallocate()
        closeAudit()
    }

    /// Sets the moment and the policy that all requests up to the next call are decided by.
    /// Allocates only when the policy is another than before.
    package func beginTurn(_ now: Moment, policy: PolicyImage) {
        if binding?.policy !== policy {
            let made = PolicyBinding(
                policy, engine.layouts, engine.directory.calendars, engine.wouldDenyCounts)
            binding = made
            bound = Unmanaged.passUnretained(made)
            cache.clear()
            counters.bind(policy.operations, engine.operationNames)
        }
        turn &+= 1
        self.now = now
        clock = engine.read(now)
    }

    /// Decides a CHECK. `reply` has room for `replyBytesMax`.
    package func check(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        withBinding { check(body, into: reply, $0) }
    }

    /// What is journaled from now on is told of by `hasJournaled`.
    package func forgetJournaled() { hasJournaled = false }

    /// Lends what the turn's requests are decided by.
    @inline(__always)
    func withBinding(_ body: (PolicyBinding) -> Outcome) -> Outcome {
        guard let bound else { preconditionFailure("a request before beginTurn") }
        // `binding` keeps it alive, and nothing here replaces that: no reference is counted.
        return bound._withUnsafeGuaranteedRef(body)
    }

    @inline(__always)
    private func check(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer,
        _ binding: PolicyBinding
    ) -> Outcome {
        explanationBytes = 0
        guard beginAudit(.check) else { return refuseUnaudited(reply, binding.policy) }
        // In place throughout: copying it cost as much as verifying its token's digest.
        decision.pointee = Decision()
        decision.pointee.id = decisionID
        keep.isActive = false
        do {
            let request = try CheckRequest(decoding: body)
            try decide(request, body, .check, binding, &decision.pointee)
        } catch {
            return Self.refuse(error, into: reply)
        }
        if keep.isActive { return replyKept(to: reply, binding.policy) }
        count(decision.pointee, operation: decision.pointee.operation)
        writeAudit(decision.pointee, binding.policy)
        conceal(&decision.pointee, binding.policy)
        return Outcome(
            status: .ok,
            bytes: decision.pointee.write(
                to: reply, binding.policy,
                explanation: UnsafeRawBufferPointer(rebasing: explanation[..<explanationBytes])))
    }

    /// Every refused credential looks alike, unless the policy says otherwise.
    @inline(__always)
    func conceal(_ decision: inout Decision, _ policy: PolicyImage) {
        let number = decision.reason.rawValue
        guard number >= Reason.credentialMalformed.rawValue,
            number <= Reason.addressNotAllowed.rawValue, !policy.revealsCredentialFailures
        else { return }
        decision.reason = .credentialInvalid
    }

    /// Writes a status' detail.
    static func refuse(
        _ refusal: Refusal, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        let bytes = refusal.detail.withUTF8Buffer { text -> Int in
            reply.copy(UnsafeRawBufferPointer(text), to: 0)
            return text.count
        }
        return Outcome(status: refusal.status, bytes: bytes)
    }

    /// The order of checks is that of the reasons' numbers: Protocol.md, "Reasons".
    @inline(__always)
    func decide(
        _ request: CheckRequest, _ body: UnsafeRawBufferPointer, _ opcode: Opcode,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) throws(Refusal) {
        let policy = binding.policy
        try readMeters(
            body, at: request.metersOffset, count: request.meterCount, policy, of: opcode)
        if !idempotencyID.isNone { keepAnswer(opcode, dryRun: request.isDryRun) }
        if request.flags & RequestFlags.dryRun != 0 { decision.flags = DecisionFlags.dryRun }
        switch match(request, policy) {
        case .operation(let index):
            decision.operation = index
            try setUnits(policy.compiledOperations[index], policy)
        case .notCanonical:
            decision.reason = .pathNotCanonical
            return
        case .none: break
        }
        let address = AddressKey(request, engine.hash)
        let found = authenticate(request, address, binding, &decision)
        noteAudit(request, found)
        guard let principal = found else { return }
        decision.user = principal.pointee.user
        decision.organization = principal.pointee.organization
        if principal.pointee.isPersonal { decision.flags |= DecisionFlags.personalOrganization }
        decision.plan = principal.pointee.plan
        guard !principal.pointee.isInactive else {
            decision.reason = .subscriptionInactive
            return
        }
        guard decision.plan >= 0 else {
            decision.reason = .planUnknown
            return
        }
        guard decision.operation >= 0 else {
            decision.reason = .operationUnknown
            return
        }
        let operation = policy.compiledOperations[decision.operation]
        if operation.permission >= 0,
            !principal.pointee.permissions.contains(Int(operation.permission))
        {
            guard policy.isShadow else {
                decision.reason = .permissionDenied
                return
            }
            shadowPermission(&decision)
        }
        try setCost(plan: decision.plan, operation, policy, &decision)
        charge(principal, operation, address, request.flags, binding, &decision)
    }

    @inline(__always)
    private func match(_ request: CheckRequest, _ policy: PolicyImage) -> RouteMatch {
        if request.byRoute {
            return policy.routes.match(method: request.method, path: request.operation)
        }
        guard let index = policy.operations.find(request.operation) else { return .none }
        return .operation(index)
    }

    /// The address stage, then the tenant stage.
    @inline(__always)
    func charge(
        _ principal: UnsafePointer<Principal>, _ operation: CompiledOperation,
        _ address: AddressKey?,
        _ flags: UInt16, _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        let dryRun = flags & RequestFlags.dryRun != 0
        let explain = flags & RequestFlags.explain != 0
        if keep.isActive, !dryRun,
            isAnsweredAlready(principal, binding.policy, operation: decision.operation)
        { return }
        if explain { beginExplanation() }
        if let address, !operation.addressSteps.isEmpty {
            addressStage(
                address, operation.addressSteps, dryRun: dryRun, explain: explain, binding,
                &decision)
        }
        let program = binding.policy.program(
            plan: decision.plan, operation: decision.operation)
        // After a refusal by address the tenant is only looked at, so that retry-after is true.
        let isOnlyLook = dryRun || decision.reason != .none
        tenantStage(
            principal, program, dryRun: isOnlyLook, explain: explain, binding, &decision)
        if decision.reason != .none, !isOnlyLook, let address {
            waitForAddress(address, operation.addressSteps, binding, &decision)
        }
    }

    /// What the tenant refuses has counted for the address already: whoever comes again with the
    /// same must find room there as well.
    @inline(never)
    private func waitForAddress(
        _ address: AddressKey, _ program: StepRange, _ binding: PolicyBinding,
        _ decision: inout Decision
    ) {
        guard !program.isEmpty, decision.reason != .capacityExhausted else { return }
        var again = Decision()
        addressStage(address, program, dryRun: true, explain: false, binding, &again)
        decision.retryMilliseconds = max(decision.retryMilliseconds, again.retryMilliseconds)
    }
}
