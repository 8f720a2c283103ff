/// What an organization's quota with a guaranteed minimum for its members knows of them. In memory
/// alone: counted anew from the members' rows after a start, and whenever it does not agree with
/// what they and the organization count.
///
/// While `expected` is what the organization's quota has used and held, and `endSeconds` and
/// `memberMin` are those that hold, `covered` is the sum over its members of the smaller of
/// `memberMin` and what they have used and held in the period.
struct PoolCell: BitwiseCopyable {
    var covered: UInt64
    var expected: UInt64
    var memberMin: UInt64
    var endSeconds: Int64
    /// Members who have something used or held in the period: whose rows no sweep gives up.
    var seen: UInt32
    /// The directory's members when the period was opened, and how many ever joined by then.
    var membersAtOpen: UInt32
    var joinedAtOpen: UInt32
    /// How many had joined when somebody last asked the directory.
    var joinedSeen: UInt32
}

/// How many members the directory says that an organization has.
struct PoolMembers: BitwiseCopyable {
    /// 0: it does not say, and whoever uses something is a member.
    var count: UInt32 = 0
    /// How many have ever joined: of those that left in a period, what they have used is not taken
    /// for another's.
    var joined: UInt32 = 0
    /// The caller is none of them, or none any more.
    var isStranger = false
    /// The directory was not asked.
    var isUnknown = false
}

/// What an evaluation needs to count a pool's members, and to find an organization's credits. Lives
/// as long as the request.
struct PoolContext {
    let table: UnsafeMutablePointer<RowTable>
    let binding: Unmanaged<PolicyBinding>
    let hash: KeyedHash
    let tenant: TenantHash
    let plan: Int
    let members: PoolMembers
}

extension QuotaCell {
    /// Bit of `spare`: whoever uses this is no member in the directory.
    static let stranger: UInt32 = 8

    /// Used and held.
    @inline(__always)
    var occupied: UInt64 { used.addingClamped(held) }
}

/// Members' shares of an organization's quotas: a cap, which is a step of its own that counts in
/// the user's row, and a guaranteed minimum, of which the organization's step leaves to the others
/// what they have not used yet.
extension Evaluation {
    /// What a pool's step has to leave to the others, and what of it is the caller's own.
    mutating func share(of standing: inout Standing) {
        let terms = terms[Int(standing.step.limitIndex)]
        guard terms.memberMin > 0, let context = pool, let row = shared.row,
            let offsets = shared.offsets
        else { return }
        let cell = row.quota(Int(offsets[Int(standing.step.slot)].head)).pointee
        let shares = row.pool(Int(offsets[Int(terms.poolSlot)].head))
        if shares.pointee.expected != cell.occupied || shares.pointee.memberMin != terms.memberMin
            || shares.pointee.endSeconds != cell.endSeconds
        {
            // Whose members nobody has asked for yet in the period is not guessed.
            if context.members.isUnknown, shares.pointee.endSeconds != cell.endSeconds { return }
            count(shares, cell, terms, context)
        }
        if !context.members.isUnknown { shares.pointee.joinedSeen = context.members.joined }
        var own = QuotaCell.none
        if let row = user.row, let offsets = user.offsets {
            own = row.quota(Int(offsets[Int(terms.memberSlot)].head)).pointee
            if own.endSeconds != cell.endSeconds { own = .none }
        }
        let isMember = own.spare & QuotaCell.stranger == 0
        let isCounted = isMember && !context.members.isStranger
        let covered = isMember ? min(terms.memberMin, own.occupied) : 0
        // Whoever was a member at some time of the period; where the directory knew none when it
        // began, whoever has used something as well.
        var others =
            UInt64(shares.pointee.membersAtOpen)
            &+ UInt64(shares.pointee.joinedSeen &- shares.pointee.joinedAtOpen)
        var isAmong =
            isCounted
            && (context.members.isUnknown
                ? shares.pointee.membersAtOpen > 0 : context.members.count > 0)
        if shares.pointee.membersAtOpen == 0 {
            others &+= UInt64(shares.pointee.seen)
            isAmong = isAmong || (isMember && own.occupied > 0)
        }
        if isAmong, others > 0 { others &-= 1 }
        let (all, overflow) = others.multipliedReportingOverflow(by: terms.memberMin)
        let ofOthers = shares.pointee.covered &- min(shares.pointee.covered, covered)
        standing.guaranteed = overflow ? .max : all
        standing.reserved = standing.guaranteed &- min(standing.guaranteed, ofOthers)
        standing.own = isCounted ? terms.memberMin &- covered : 0
    }

    /// Counts what members have used by their rows. Linear in the shard.
    @inline(never)
    private mutating func count(
        _ shares: UnsafeMutablePointer<PoolCell>, _ cell: QuotaCell, _ terms: QuotaTerms,
        _ context: PoolContext
    ) {
        var counted = PoolCell(
            covered: 0, expected: cell.occupied, memberMin: terms.memberMin,
            endSeconds: cell.endSeconds, seen: 0, membersAtOpen: context.members.count,
            joinedAtOpen: context.members.joined, joinedSeen: context.members.joined)
        if shares.pointee.endSeconds == cell.endSeconds {
            counted.membersAtOpen = shares.pointee.membersAtOpen
            counted.joinedAtOpen = shares.pointee.joinedAtOpen
            counted.joinedSeen = shares.pointee.joinedSeen
        }
        context.binding._withUnsafeGuaranteedRef { binding in
            let layout = Int(binding.policy.compiledPlans[context.plan].userLayout)
            context.table.pointee.forEach { row in
                guard row.kind == RowKind.user.rawValue, context.tenant.owns(row, context.hash),
                    let own = binding.quota(layout, Int(terms.memberSlot), in: row),
                    own.pointee.endSeconds == cell.endSeconds,
                    own.pointee.spare & QuotaCell.stranger == 0, own.pointee.occupied > 0
                else { return }
                counted.seen &+= 1
                counted.covered = counted.covered.addingClamped(
                    min(terms.memberMin, own.pointee.occupied))
            }
        }
        shares.pointee = counted
    }

    /// The organization's period begins: nobody has used anything of it.
    mutating func openShares(_ step: ChargeStep, _ row: Row, _ cell: QuotaCell) {
        let terms = terms[Int(step.limitIndex)]
        guard terms.memberMin > 0, let offsets = shared.offsets, let context = pool else { return }
        row.pool(Int(offsets[Int(terms.poolSlot)].head)).pointee = PoolCell(
            covered: 0, expected: 0, memberMin: terms.memberMin,
            endSeconds: context.members.isUnknown ? 0 : cell.endSeconds, seen: 0,
            membersAtOpen: context.members.count, joinedAtOpen: context.members.joined,
            joinedSeen: context.members.joined)
    }

    /// The period that a member's cell counts in: the organization's, while that is not over.
    mutating func interval(of step: ChargeStep) -> PeriodInterval {
        let own = intervals[Int(step.form)]
        guard step.flags.contains(.member), let row = shared.row, let offsets = shared.offsets
        else { return own }
        let slot = Int(terms[Int(step.limitIndex)].sharedSlot)
        let cell = row.quota(Int(offsets[slot].head)).pointee
        guard cell.endSeconds > 0, !cell.isOver(period) else { return own }
        return PeriodInterval(
            start: own.start, end: cell.endSeconds, startDay: Int32(clamping: cell.startDay))
    }

    /// A member's cell, of which `before` was used and held, is another now. After every change of
    /// one; where that is forgotten, `share` counts anew.
    @inline(__always)
    mutating func noteShare(
        _ step: ChargeStep, _ cell: UnsafeMutablePointer<QuotaCell>, before: UInt64
    ) {
        if step.flags.contains(.member) { changeShare(step, cell, before) }
    }

    @inline(never)
    private mutating func changeShare(
        _ step: ChargeStep, _ cell: UnsafeMutablePointer<QuotaCell>, _ before: UInt64
    ) {
        let terms = terms[Int(step.limitIndex)]
        guard terms.memberMin > 0, let context = pool, let row = shared.row,
            let offsets = shared.offsets
        else { return }
        let shares = row.pool(Int(offsets[Int(terms.poolSlot)].head))
        guard shares.pointee.endSeconds == cell.pointee.endSeconds else { return }
        let after = cell.pointee.occupied
        shares.pointee.expected = shares.pointee.expected &+ after &- before
        if context.members.isStranger, cell.pointee.spare & QuotaCell.stranger == 0 {
            cell.pointee.spare |= QuotaCell.stranger
            // A member until now.
            if before > 0 {
                shares.pointee.seen &-= min(shares.pointee.seen, 1)
                shares.pointee.covered = shares.pointee.covered &- min(terms.memberMin, before)
            }
        }
        guard cell.pointee.spare & QuotaCell.stranger == 0 else { return }
        if after > 0, before == 0 {
            shares.pointee.seen &+= 1
        } else if after == 0, before > 0 {
            shares.pointee.seen &-= min(shares.pointee.seen, 1)
        }
        shares.pointee.covered = shares.pointee.covered &+ min(terms.memberMin, after)
            &- min(terms.memberMin, before)
    }
}

extension QuotaCell {
    /// In which nothing was ever counted.
    static var none: QuotaCell {
        QuotaCell(used: 0, held: 0, endSeconds: 0, carried: 0, startDay: 0)
    }
}

extension Row {
    func pool(_ offset: Int) -> UnsafeMutablePointer<PoolCell> {
        (counters + offset).assumingMemoryBound(to: PoolCell.self)
    }
}
