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
        if !asked.dryRun, chance(1, in: 4) {
            lastID += 1
            asked.id = Frames.little(lastID) + Frames.little(plan.seed)
            // What is kept has no explanation.
            asked.explain = false
        }
        asked.detached = chance(1, in: 2)
        asked.ttl = pick([0, 0, 100, 60_000, 3_600_000, 86_400_000])
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
        /// Who asks.
        var user: String

        var ceiling: UInt64 {
            guard quota.isSoft else { return quota.limit }
            return quota.overageMax.map { quota.limit + $0 } ?? .max
        }
    }

    func steps(_ asked: Asked, isConsume: Bool) -> [Step] {
        guard let plan = definition.plans.first(where: { $0.name == asked.plan }),
            let operation = definition.operations.first(where: { $0.name == asked.operation })
        else { return [] }
        return plan.quotas.flatMap { quota -> [Step] in
            guard let charge = operation.charges.first(where: { $0.meter == quota.meter })
            else { return [] }
            let given = asked.meters[quota.meter] ?? (isConsume ? 0 : charge.defaultUnits)
            let user = quota.scope == .user ? asked.user : ""
            let step = Step(
                key: Books.Key(user: user, quota: quota.name), quota: quota,
                units: given * charge.weight, user: asked.user)
            guard quota.isPool else { return [step] }
            // The member's own share, before the organization's.
            var own = step
            own.key.user = asked.user
            own.quota.scope = .user
            own.quota.limit = quota.memberMax ?? .max
            (own.quota.memberMin, own.quota.memberMax) = (0, nil)
            return [own, step]
        }
    }

    func interval(_ quota: QuotaDefinition, at billing: Int64) -> PeriodInterval {
        Calendar.interval(
            of: quota.period, at: WallTime(milliseconds: billing),
            zone: quota.timeZone ?? definition.timeZone)
    }

    func rollover(_ quota: QuotaDefinition, at billing: Int64) -> Books.Rollover? {
        quota.rolloverMax.map {
            Books.Rollover(
                limit: quota.limit, most: $0, start: interval(quota, at: billing).start)
        }
    }

    // MARK: asking

    /// Connections 1 to 4 are dealt out among the workers.
    func worker(_ connection: UInt64, _ machine: Machine) -> DecisionWorker {
        machine.workers[Int(connection) % machine.workers.count]
    }

    func call(
        _ machine: Machine, _ body: [UInt8], _ verb: String, connection: UInt64 = 0
    ) -> Answer {
        machine.beginTurn(clock.now, policy)
        machine.giveReady()
        var answer = answerOnce(machine, body, verb, connection)
        if answer.reason == .ledgerUnavailable, !machine.mayRefuse, makeRoom(machine) {
            answer = answerOnce(machine, body, verb, connection)
        }
        return answer
    }

    /// Has files made for who found no room in the journal, and was refused; whether there are.
    func makeRoom(_ machine: Machine) -> Bool {
        guard machine.engine.wantsRegions != 0 else { return false }
        statistics.outcome("waited for a file of the journal")
        do { try machine.ledger.tend() } catch {
            note("\(error)")
            // Nobody is answered any more.
            machine.mayRefuse = machine.mayRefuse || disk.hasCrashed
            return false
        }
        return true
    }

    private func answerOnce(
        _ machine: Machine, _ body: [UInt8], _ verb: String, _ connection: UInt64
    ) -> Answer {
        let worker = worker(connection, machine)
        worker.hasJournaled = false
        let outcome = body.withUnsafeBytes { bytes in
            switch verb {
            case "check": worker.check(bytes, into: reply)
            case "consume": worker.consume(bytes, into: reply)
            case "reserve": worker.reserve(bytes, connection: connection, into: reply)
            case "extend": worker.extend(bytes, into: reply)
            case "settle": worker.settle(bytes, into: reply)
            case "cancel": worker.cancel(bytes, into: reply)
            default: worker.usage(bytes, into: reply)
            }
        }
        billingHighWater = max(billingHighWater, machine.billing)
        let bytes = UnsafeRawBufferPointer(reply)[..<outcome.bytes]
        return Answer(
            status: outcome.status, bytes: Array(bytes), isDecision: verb != "usage")
    }

    /// The reply leaves: at once, or where `durability: always` says so with the next sync.
    func acknowledge(_ organization: String, _ machine: Machine, connection: UInt64) throws {
        guard plan.isAlways else { return }
        let shard = machine.shard(of: organization)
        let position = machine.position(shard)
        if worker(connection, machine).hasJournaled, plan.mutation != .repliesBeforeSync {
            machine.waiting.append((shard, position, disk.order.mark(disk)))
        } else {
            disk.order.checks += 1
            if worker(connection, machine).hasJournaled { try checkOrder(disk.order.mark(disk)) }
            machine.acknowledged[shard] = max(machine.acknowledged[shard], position)
        }
    }

    /// A reply leaves that was made at `mark`.
    func checkOrder(_ mark: WriteOrder.Mark) throws {
        guard disk.order.isOff || disk.order.isCovered(mark, disk) else {
            throw fail("\(WriteOrder.prefix)a reply leaves before the journal is on the disk")
        }
    }

    /// CHECK, CONSUME or RESERVE: asks, compares, and books what was charged or is held.
    func charge(_ asked: Asked, _ verb: String, _ machine: Machine) throws {
        statistics.operation(verb)
        var asked = asked
        if verb == "consume", asked.meters.isEmpty { asked.meters["calls"] = 1 }
        if verb != "reserve" { (asked.detached, asked.ttl) = (false, 0) }
        try ask(asked, verb, machine)
    }

    private func ask(_ asked: Asked, _ verb: String, _ machine: Machine) throws {
        let connection = 1 + random.next() % 4
        let body: [UInt8]
        switch verb {
        case "consume": body = Frames.consume(asked)
        case "reserve": body = Frames.reserve(asked, token: token(asked))
        default: body = Frames.check(asked, token: token(asked))
        }
        let answer = call(machine, body, verb, connection: connection)
        note("\(verb) \(asked) -> \(answer.status) \(answer.reason)")
        statistics.outcome("\(verb): \(answer.status) \(answer.reason)")
        guard answer.status == .ok else { throw fail("\(verb): status \(answer.status)") }
        try expect(answer, asked, verb, connection, machine)
        record(asked.organization, machine)
        // What charges nothing promises nothing.
        let isCharged = steps(asked, isConsume: verb == "consume").contains { $0.units > 0 }
        if answer.isAllowed, !asked.dryRun, isCharged || verb == "reserve" || !asked.id.isEmpty {
            try acknowledge(asked.organization, machine, connection: connection)
        }
    }

    private func expect(
        _ answer: Answer, _ asked: Asked, _ verb: String, _ connection: UInt64,
        _ machine: Machine
    ) throws {
        let (isConsume, billing) = (verb == "consume", machine.billing)
        let steps = steps(asked, isConsume: isConsume)
        let now = machine.billingSeconds
        var book = books[asked.organization, default: Books()]
        let refusing = steps.filter { refuses($0, $0.units, book, at: billing) }
        let isVague = steps.contains { self.isVague($0, $0.units, book, at: billing) }
        let busy = verb == "reserve" ? busySteps(asked, book) : []
        switch answer.reason {
        case .none:
            let isSure = { !self.isVague($0, $0.units, book, at: billing) } as (Step) -> Bool
            if !isConsume, let over = refusing.first(where: isSure) {
                throw fail("allowed, though \(over.key) has no room for \(over.units)")
            }
            guard busy.isEmpty else { throw fail("allowed, though \(busy) are open") }
        case .quotaExhausted:
            guard !isConsume, isVague || !refusing.isEmpty else {
                throw fail("refused by no quota")
            }
        case .concurrencyExceeded:
            guard !busy.isEmpty else { throw fail("refused, though few are open") }
        case .rateLimited:
            guard !isConsume, frame.hasWindows else { throw fail("refused by no window") }
        case .ledgerUnavailable:
            guard machine.mayRefuse else { throw fail("refused by a ledger that works") }
        default: throw fail("denied with \(answer.reason)")
        }
        if answer.isAllowed, !asked.dryRun {
            if verb == "reserve" {
                try hold(answer, asked, steps, &book, connection, machine)
            } else {
                for step in steps where step.units > 0 {
                    book.charge(
                        step.key, step.units, now: now,
                        end: interval(step.quota, at: billing).end,
                        rollover(step.quota, at: billing))
                }
            }
            if !asked.id.isEmpty {
                book.answers[asked.id] = Books.Remembered(
                    asked: asked, verb: verb, bytes: answer.bytes, hold: answer.hold,
                    until: billing + Int64(frame.idempotencyMilliseconds))
            }
        }
        try compare(answer.entries, asked, book, now)
        books[asked.organization] = book
    }

    /// Whether a quota has no room for so many units.
    func refuses(_ step: Step, _ units: UInt64, _ book: Books, at billing: Int64) -> Bool {
        let now = billing / 1_000
        var ceiling = UInt128(step.ceiling)
        if let rollover = rollover(step.quota, at: billing) {
            ceiling += UInt128(book.carried(step.key, at: now, rollover))
        }
        let sum = taken(step.key, book, now) + UInt128(units)
        if sum > ceiling { return true }
        let kept = reserved(step, book, now).upperBound
        return kept > 0 && UInt128(units) > own(step, book, now) && UInt128(kept) > ceiling - sum
    }

    private func taken(_ key: Books.Key, _ book: Books, _ now: Int64) -> UInt128 {
        UInt128(book.used(key, at: now)) + UInt128(book.held(key, at: now))
    }

    /// Of a pool: what is kept for the other members.
    private func reserved(_ step: Step, _ book: Books, _ now: Int64) -> ClosedRange<UInt64> {
        guard step.quota.memberMin > 0 else { return 0...0 }
        return book.reserved(step.key, for: step.user, step.quota.memberMin, at: now)
    }

    /// Of a pool: what the caller has left of a guaranteed minimum.
    private func own(_ step: Step, _ book: Books, _ now: Int64) -> UInt128 {
        let key = Books.Key(user: step.user, quota: step.key.quota)
        let least = UInt128(step.quota.memberMin)
        return least - min(least, taken(key, book, now))
    }

    /// What was carried over is not checked here: of a counter that was only looked at, memory
    /// alone knows. Nor is a pool where it matters whether somebody still counts as a member.
    func isVague(_ step: Step, _ units: UInt64, _ book: Books, at billing: Int64) -> Bool {
        let now = billing / 1_000
        let kept = reserved(step, book, now)
        guard kept.lowerBound < kept.upperBound else { return step.quota.rolloverMax != nil }
        let room = UInt128(step.ceiling) - min(
            UInt128(step.ceiling), taken(step.key, book, now) + UInt128(units))
        return UInt128(kept.lowerBound) <= room && UInt128(kept.upperBound) > room
    }

    /// A request that carries an id comes again, and is answered as before; or another one with
    /// that id, and is refused.
    func askAgain(_ machine: Machine) throws {
        machine.beginTurn(clock.now, policy)
        let some = Self.organizations.filter { books[$0]?.answers.isEmpty == false }
        guard !some.isEmpty else { return try charge(randomAsked(), "consume", machine) }
        let name = pick(some)
        let all = books[name, default: Books()].answers
        guard let id = all.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).randomElement(
            using: &random), let known = all[id]
        else { return }
        statistics.operation("ask again")
        billingHighWater = max(billingHighWater, machine.billing)
        if billingHighWater >= known.until {
            books[name]?.answers[id] = nil
            // Where billing time went back a little, it may be known or not.
            if machine.billing >= known.until { try ask(known.asked, known.verb, machine) }
            return
        }
        var asked = known.asked
        let isOther = chance(1, in: 4)
        if isOther { asked.meters["calls"] = asked.meters["calls"] == 1 ? 2 : 1 }
        let body: [UInt8]
        switch known.verb {
        case "consume": body = Frames.consume(asked)
        case "reserve": body = Frames.reserve(asked, token: token(asked))
        default: body = Frames.check(asked, token: token(asked))
        }
        let connection = 1 + random.next() % 4
        let answer = call(machine, body, known.verb, connection: connection)
        note("\(known.verb) again, another \(isOther): \(asked) -> \(answer.status)")
        statistics.outcome("ask again, another \(isOther): \(answer.status) \(answer.reason)")
        if isOther {
            guard answer.status == .conflict else { throw fail("another request: \(answer)") }
            return
        }
        guard answer.bytes == known.bytes else {
            throw fail("answered otherwise the second time: \(answer.status) \(answer.reason)")
        }
        // The hold ends with the connection that it was asked for by last.
        if var hold = books[name]?.holds[known.hold], hold.state == .open, hold.connection > 0 {
            hold.connection = connection
            books[name]?.holds[known.hold] = hold
            record(name, machine)
        }
        try acknowledge(name, machine, connection: connection)
    }

    // MARK: comparing

    /// What a reply shows of each limit is what the books have.
    func compare(_ entries: [Answer.Entry], _ asked: Asked, _ book: Books, _ now: Int64) throws {
        for entry in entries where entry.kind != 1 {
            let user = entry.scope == 1 ? asked.user : ""
            let key = Books.Key(user: user, quota: entry.name)
            let used = entry.kind == 2 ? book.used(key, at: now) : book.busy(key)
            guard entry.used == used else {
                throw fail("\(asked.organization) \(key): \(entry.used) used, not \(used)")
            }
            guard entry.kind == 2 else { continue }
            let held = book.held(key, at: now)
            guard entry.held == held else {
                throw fail("\(asked.organization) \(key): \(entry.held) held, not \(held)")
            }
        }
    }

    /// Asks for everything that is counted of everybody, and compares it.
    func compareAll(_ machine: Machine) throws {
        for organization in Self.organizations {
            let some = organization == "acme" ? crowd : []
            for user in Self.users + some {
                for plan in SimulationPolicy.plans.prefix(some.isEmpty ? 2 : 1) {
                    let asked = Asked(
                        organization: organization, user: user, plan: plan, operation: "")
                    let body = Frames.usage(organization: organization, user: user, plan: plan)
                    let answer = call(machine, body, "usage")
                    guard answer.status == .ok else { throw fail("usage: \(answer.status)") }
                    let names = 8 + Int(answer.bytes[2])
                    let entries = Answer.entries(answer.bytes, at: names)
                    let book = books[organization, default: Books()]
                    try compare(entries, asked, book, machine.billingSeconds)
                }
            }
            let (own, whole) = books[organization, default: Books()].everything
            guard own == whole else {
                throw fail("\(organization): its users used \(own), itself \(whole)")
            }
        }
        try compareHolds(machine)
    }
}
