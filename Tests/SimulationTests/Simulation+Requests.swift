import TollgateWire

@testable import TollgateCore

/// Requests, and what the books say they must be answered.
extension Simulation {
    // MARK: making one

    func randomAsked() -> Asked {
        var asked = Asked(
            organization: pick(Self.organizations), user: pick(Self.users),
            plan: pick(SimulationPolicy.plans), operation: pick(SimulationPolicy.operations))
        let meters = asked.operation == "models" ? ["calls"] : SimulationPolicy.meters
        for meter in meters where chance(1, in: 3) {
            asked.meters[meter] = pick([0, 1, 1, 2, 5, 17, 1_000, 1 << 40])
        }
        asked.dryRun = chance(1, in: 12)
        return asked
    }

    func token(_ asked: Asked) -> String {
        // Made anew now and then: the clock goes far.
        let month = clock.wall / (30 * SimulatedClock.day)
        let name = "\(asked.organization)/\(asked.user)/\(asked.plan)/\(month)"
        if let known = tokens[name] { return known }
        let made = Credentials.token(
            organization: asked.organization, user: asked.user, plan: asked.plan,
            at: clock.wall / 1_000)
        tokens[name] = made
        return made
    }

    // MARK: what it charges

    /// A quota that a request touches, with the units it is charged.
    struct Step {
        var key: Books.Key
        var quota: QuotaDefinition
        var units: UInt64
    }

    func steps(_ asked: Asked, isConsume: Bool) -> [Step] {
        guard let plan = definition.plans.first(where: { $0.name == asked.plan }),
            let operation = definition.operations.first(where: { $0.name == asked.operation })
        else { return [] }
        return plan.quotas.compactMap { quota in
            guard let charge = operation.charges.first(where: { $0.meter == quota.meter })
            else { return nil }
            let given = asked.meters[quota.meter] ?? (isConsume ? 0 : charge.defaultUnits)
            let user = quota.scope == .user ? asked.user : ""
            return Step(
                key: Books.Key(user: user, quota: quota.name), quota: quota,
                units: given * charge.weight)
        }
    }

    func periodEnd(_ quota: QuotaDefinition, at billing: Int64) -> Int64 {
        Calendar.interval(
            of: quota.period, at: WallTime(milliseconds: billing),
            zone: quota.timeZone ?? definition.timeZone
        ).end
    }

    // MARK: asking

    func call(_ machine: Machine, _ body: [UInt8], _ verb: Verb) -> Answer {
        machine.beginTurn(clock.now, policy)
        let outcome = body.withUnsafeBytes { bytes in
            switch verb {
            case .check: machine.worker.check(bytes, into: reply)
            case .consume: machine.worker.consume(bytes, into: reply)
            case .usage: machine.worker.usage(bytes, into: reply)
            }
        }
        let bytes = UnsafeRawBufferPointer(reply)[..<outcome.bytes]
        return Answer(
            status: outcome.status, bytes: Array(bytes), isDecision: verb != .usage)
    }

    enum Verb { case check, consume, usage }

    /// CHECK or CONSUME: asks, compares, and books what was charged.
    func charge(_ asked: Asked, isConsume: Bool, _ machine: Machine) throws {
        var asked = asked
        if isConsume, asked.meters.isEmpty { asked.meters["calls"] = 1 }
        let body =
            isConsume ? Frames.consume(asked) : Frames.check(asked, token: token(asked))
        let answer = call(machine, body, isConsume ? .consume : .check)
        let billing = machine.billing
        billingHighWater = max(billingHighWater, billing)
        note("\(isConsume ? "consume" : "check") \(asked) -> \(answer.status) \(answer.reason)")
        statistics.outcome("\(answer.status) \(answer.reason)")
        guard answer.status == .ok else { throw fail("status \(answer.status)") }
        try expect(answer, asked, isConsume: isConsume, billing, machine)
        record(asked.organization, machine)
    }

    private func expect(
        _ answer: Answer, _ asked: Asked, isConsume: Bool, _ billing: Int64, _ machine: Machine
    ) throws {
        let steps = steps(asked, isConsume: isConsume)
        let now = Int64(WallTime(milliseconds: billing).seconds)
        var book = books[asked.organization, default: Books()]
        let refusing = steps.filter { step in
            let taken = UInt128(book.used(step.key, at: now)) + UInt128(book.held(step.key))
            return taken + UInt128(step.units) > UInt128(step.quota.limit)
        }
        switch answer.reason {
        case .none:
            if !isConsume, let over = refusing.first {
                throw fail("allowed, though \(over.key) has no room for \(over.units)")
            }
        case .quotaExhausted:
            guard !isConsume, !refusing.isEmpty else { throw fail("refused by no quota") }
        case .rateLimited:
            guard !isConsume, frame.hasWindows else { throw fail("refused by no window") }
        case .ledgerUnavailable:
            guard machine.mayRefuse else { throw fail("refused by a ledger that works") }
        default: throw fail("denied with \(answer.reason)")
        }
        if answer.isAllowed, !asked.dryRun {
            for step in steps where step.units > 0 {
                book.charge(
                    step.key, step.units, now: now, end: periodEnd(step.quota, at: billing))
            }
        }
        try compare(answer.entries, asked, book, now)
        books[asked.organization] = book
    }

    /// What a reply shows of each quota is what the books have.
    func compare(_ entries: [Answer.Entry], _ asked: Asked, _ book: Books, _ now: Int64) throws {
        for entry in entries where entry.kind == 2 {
            let user = entry.scope == 1 ? asked.user : ""
            let key = Books.Key(user: user, quota: entry.name)
            let used = book.used(key, at: now)
            guard entry.used == used else {
                throw fail("\(asked.organization) \(key): \(entry.used) used, not \(used)")
            }
            guard entry.held == book.held(key) else {
                throw fail("\(key): \(entry.held) held, the books say \(book.held(key))")
            }
        }
    }

    /// Asks for everything that is counted of everybody, and compares it.
    func compareAll(_ machine: Machine) throws {
        for organization in Self.organizations {
            var sums: [String: UInt64] = [:]
            var whole: [String: UInt64] = [:]
            for user in Self.users {
                for plan in SimulationPolicy.plans.prefix(2) {
                    let asked = Asked(
                        organization: organization, user: user, plan: plan, operation: "")
                    let body = Frames.usage(organization: organization, user: user, plan: plan)
                    let answer = call(machine, body, .usage)
                    guard answer.status == .ok else { throw fail("usage: \(answer.status)") }
                    let names = 8 + Int(answer.bytes[2])
                    let entries = Answer.entries(answer.bytes, at: names)
                    let now = WallTime(milliseconds: machine.billing).seconds
                    let book = books[organization, default: Books()]
                    try compare(entries, asked, book, now)
                    for entry in entries where entry.kind == 2 && plan == "free_tier" {
                        if entry.name == "daily_calls" { sums["calls", default: 0] += entry.used }
                        if entry.name == "org_calls" { whole["calls"] = entry.used }
                    }
                }
            }
            guard sums == whole || partlyReset.contains(organization) else {
                throw fail("\(organization): its users used \(sums), itself \(whole)")
            }
        }
    }

    /// Takes over what the engine has closed of an organization, after a change that was made in
    /// part: of each counter, all that was open or nothing.
    func readClosed(_ name: String, _ machine: Machine) throws {
        var book = books[name, default: Books()]
        let found = try machine.closed()[name, default: [:]]
        for (key, open) in book.open where open.used > 0 {
            let closed = Books.Closed(key: key, end: open.end)
            if found[closed, default: 0] == book.closed[closed, default: 0] + open.used {
                book.close(key)
            }
        }
        books[name] = book
    }
}
