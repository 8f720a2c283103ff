import TollgateWire

@testable import TollgateCore

/// Reservations: what they hold, how they end, and what of them is there after a crash.
extension Simulation {
    static let connections: ClosedRange<UInt64> = 1...4

    /// Limits of concurrency that have as many open as they allow.
    func busySteps(_ asked: Asked, _ book: Books) -> [Books.Key] {
        concurrency(asked).filter { book.busy($0.key) >= $0.limit }.map(\.key)
    }

    private func concurrency(_ asked: Asked) -> [(key: Books.Key, limit: UInt64)] {
        let plan = definition.plans.first { $0.name == asked.plan }
        return (plan?.concurrency ?? []).map {
            (
                Books.Key(user: $0.scope == .user ? asked.user : "", quota: $0.name), $0.limit
            )
        }
    }

    /// Books what a RESERVE was answered.
    func hold(
        _ answer: Answer, _ asked: Asked, _ steps: [Step], _ book: inout Books,
        _ connection: UInt64, _ machine: Machine
    ) throws {
        guard answer.hold.count == 16, book.holds[answer.hold] == nil,
            let plan = definition.plans.first(where: { $0.name == asked.plan }),
            let operation = definition.operations.first(where: { $0.name == asked.operation })
        else { throw fail("a hold without an id of its own: \(answer.hold)") }
        let terms = plan.holds
        let ttl =
            asked.ttl == 0
            ? terms.ttlDefaultMilliseconds : min(asked.ttl, terms.ttlMaxMilliseconds)
        guard answer.ttl == ttl else { throw fail("lives for \(answer.ttl), not \(ttl) ms") }
        var made = Hold(
            asked: asked, meters: [:], lines: [:], concurrency: Set(concurrency(asked).map(\.key)),
            cut: terms.cutStream.rawValue, connection: asked.detached ? 0 : connection, ttl: ttl,
            endsAt: machine.billing + Int64(ttl), endBoot: end(after: ttl))
        for charge in operation.charges {
            let units = asked.meters[charge.meter] ?? charge.defaultUnits
            made.meters[charge.meter] = Hold.Meter(
                weight: charge.weight, held: units * charge.weight)
        }
        for step in steps {
            book.roll(
                step.key, now: machine.billingSeconds,
                end: interval(step.quota, at: machine.billing).end,
                rollover(step.quota, at: machine.billing))
            let end = book.open[step.key]?.end ?? 0
            made.lines[step.key] = Hold.Line(
                meter: step.quota.meter, units: step.units, end: end)
        }
        book.holds[answer.hold] = made
    }

    private func end(after ttl: UInt32) -> UInt64 {
        clock.now.boot.nanoseconds + UInt64(ttl) * 1_000_000
    }

    // MARK: asking about one

    /// A hold, mostly an open one, and its organization.
    private func pickHold() -> (name: String, id: [UInt8], hold: Hold)? {
        let isOpen = chance(3, in: 4)
        func ids(_ name: String) -> [[UInt8]] {
            let all = books[name, default: Books()].holds
            return all.filter { !isOpen || $0.value.state == .open }.map(\.key)
        }
        let some = Self.organizations.filter { !ids($0).isEmpty }
        guard !some.isEmpty else { return nil }
        let name = pick(some)
        guard
            let id = ids(name).sorted(by: { $0.lexicographicallyPrecedes($1) }).randomElement(
                using: &random), let hold = books[name]?.holds[id]
        else { return nil }
        return (name, id, hold)
    }

    /// What is to be told of a hold that may be forgotten by now; `nil`: all of it holds still.
    private func isForgotten(
        _ answer: Answer, _ name: String, _ id: [UInt8], _ hold: Hold, _ machine: Machine
    ) throws -> Bool {
        guard answer.status == .notFound else { return false }
        guard billingHighWater >= hold.forgetAt else { throw fail("a hold was forgotten: \(hold)") }
        books[name]?.holds[id] = nil
        record(name, machine)
        return true
    }

    func settle(_ machine: Machine) throws {
        guard let (name, id, hold) = pickHold() else {
            return try charge(randomAsked(), "reserve", machine)
        }
        statistics.operation("settle")
        var units: [String: UInt64] = [:]
        for meter in hold.meters.keys.sorted() where chance(1, in: 2) {
            units[meter] = pick([0, 1, 2, 5, 1_000])
        }
        var charged = hold.meters.mapValues(\.held)
        for (meter, plain) in units { charged[meter] = plain * (hold.meters[meter]?.weight ?? 1) }
        // Most of those that come again say the same.
        if hold.state == .settled, chance(3, in: 4) {
            for (meter, state) in hold.meters { units[meter] = state.used / state.weight }
            charged = hold.meters.mapValues(\.used)
        }
        let connection = 1 + random.next() % 4
        let answer = call(
            machine, Frames.settle(id, units: units), "settle", connection: connection)
        note("settle \(hold.state) \(units) -> \(answer.status) \(answer.reason)")
        statistics.outcome("settle \(hold.state): \(answer.status) \(answer.reason)")
        if try isForgotten(answer, name, id, hold, machine) { return }
        if hold.state == .settled {
            let isSame = charged == hold.meters.mapValues(\.used)
            guard isSame ? answer.answer == hold.answer : answer.status == .conflict else {
                throw fail("settled again, the same \(isSame): \(answer.status)")
            }
            if isSame { try acknowledge(name, machine, connection: connection) }
            return
        }
        guard try isDone(answer, machine) else { return record(name, machine) }
        end(id, of: name, as: .settled, units: charged, machine.billing)
        books[name]?.holds[id]?.answer = answer.answer
        try compare(
            answer.entries, hold.asked, books[name, default: Books()], machine.billingSeconds)
        record(name, machine)
        try acknowledge(name, machine, connection: connection)
        try breakSettlement(hold, machine)
    }

    /// What is broken on purpose.
    private func breakSettlement(_ hold: Hold, _ machine: Machine) throws {
        if plan.mutation == .settlesTwice {
            var asked = hold.asked
            (asked.meters, asked.id, asked.dryRun) = (["calls": 1], [], false)
            _ = call(machine, Frames.consume(asked), "consume")
        }
        if plan.mutation == .releasesTwice { machine.releaseAgain(hold.asked.organization) }
        try compareHolds(machine)
    }

    func cancel(_ machine: Machine) throws {
        guard let (name, id, hold) = pickHold() else {
            return try charge(randomAsked(), "reserve", machine)
        }
        statistics.operation("cancel")
        let connection = 1 + random.next() % 4
        let answer = call(machine, Frames.cancel(id), "cancel", connection: connection)
        note("cancel \(hold.state) -> \(answer.status) \(answer.reason)")
        statistics.outcome("cancel \(hold.state): \(answer.status) \(answer.reason)")
        if try isForgotten(answer, name, id, hold, machine) { return }
        switch hold.state {
        case .settled, .cut:
            guard answer.status == .conflict else { throw fail("canceled: \(hold)") }
        case .canceled:
            guard answer.answer == hold.answer else { throw fail("canceled otherwise") }
            try acknowledge(name, machine, connection: connection)
        case .open:
            guard try isDone(answer, machine) else { return record(name, machine) }
            end(id, of: name, as: .canceled, units: [:], machine.billing)
            books[name]?.holds[id]?.answer = answer.answer
            record(name, machine)
            try acknowledge(name, machine, connection: connection)
        }
    }

    private func isDone(_ answer: Answer, _ machine: Machine) throws -> Bool {
        guard answer.status == .ok else { throw fail("status \(answer.status)") }
        if answer.reason == .ledgerUnavailable, machine.mayRefuse { return false }
        guard answer.reason == .none else { throw fail("refused with \(answer.reason)") }
        return true
    }

    func extend(_ machine: Machine) throws {
        guard let (name, id, hold) = pickHold() else {
            return try charge(randomAsked(), "reserve", machine)
        }
        statistics.operation("extend")
        var units: [String: (hold: UInt64, used: UInt64)] = [:]
        for meter in hold.meters.keys.sorted() where chance(2, in: 3) {
            units[meter] = (pick([0, 1, 4, 20, 1_000]), pick([0, 1, 3]))
        }
        let ttl: UInt32 = pick([0, 200, 30_000, 7_200_000])
        let connection = 1 + random.next() % 4
        let answer = call(
            machine, Frames.extend(id, ttl: ttl, units: units), "extend", connection: connection)
        note("extend \(hold.state) \(units) \(ttl) -> \(answer.status) \(answer.reason)")
        statistics.outcome("extend \(hold.state): \(answer.status) \(answer.reason)")
        if try isForgotten(answer, name, id, hold, machine) { return }
        guard hold.state == .open else {
            guard answer.status == .conflict else { throw fail("extended: \(hold)") }
            return
        }
        guard answer.status == .ok else { throw fail("status \(answer.status)") }
        try extend(id, name, hold, units, ttl, answer, machine)
        record(name, machine)
        // Else it was not done, and promises nothing.
        if answer.reason != .ledgerUnavailable {
            try acknowledge(name, machine, connection: connection)
        }
    }

    private func extend(
        _ id: [UInt8], _ name: String, _ old: Hold,
        _ units: [String: (hold: UInt64, used: UInt64)], _ ttl: UInt32, _ answer: Answer,
        _ machine: Machine
    ) throws {
        if answer.reason == .ledgerUnavailable, machine.mayRefuse { return }
        var (book, hold) = (books[name, default: Books()], old)
        var more: [String: UInt64] = [:]
        for (meter, wanted) in units {
            guard let known = hold.meters[meter] else { continue }
            more[meter] = max(wanted.hold * known.weight, known.held) - known.held
            hold.meters[meter]?.used = wanted.used * known.weight
        }
        let (now, billing) = (machine.billingSeconds, machine.billing)
        let steps = steps(hold.asked, isConsume: false)
        let refusing = steps.filter { step in
            let wanted = more[step.quota.meter] ?? 0
            return wanted > 0 && refuses(step, wanted, book, at: billing)
        }
        let isVague = steps.contains {
            self.isVague($0, more[$0.quota.meter] ?? 0, book, at: billing)
        }
        switch answer.reason {
        case .none:
            let over = refusing.first {
                !self.isVague($0, more[$0.quota.meter] ?? 0, book, at: billing)
            }
            if let over { throw fail("extended beyond \(over.key)") }
        case .quotaExhausted:
            guard isVague || !refusing.isEmpty else { throw fail("extended by no quota") }
        case .rateLimited: guard frame.hasWindows else { throw fail("refused by no window") }
        default: throw fail("refused with \(answer.reason)")
        }
        guard answer.reason == .none else {
            books[name]?.holds[id] = hold
            return
        }
        for step in steps {
            let wanted = more[step.quota.meter] ?? 0
            guard wanted > 0, var line = hold.lines[step.key] else { continue }
            book.roll(
                step.key, now: now, end: interval(step.quota, at: billing).end,
                rollover(step.quota, at: billing))
            if let end = book.open[step.key]?.end, line.end != end {
                line = Hold.Line(meter: step.quota.meter, units: 0, end: end)
            }
            line.units += wanted
            hold.lines[step.key] = line
        }
        for (meter, wanted) in more { hold.meters[meter]?.held += wanted }
        if ttl > 0 {
            let plan = definition.plans.first { $0.name == hold.asked.plan }
            hold.ttl = min(ttl, plan?.holds.ttlMaxMilliseconds ?? ttl)
        }
        hold.endsAt = billing + Int64(hold.ttl)
        hold.endBoot = end(after: hold.ttl)
        book.holds[id] = hold
        books[name] = book
    }

    // MARK: ends that nobody asked for

    /// A life has begun: what was tied to a connection is over, and the rest lives on.
    func beginLife(_ machine: Machine) {
        for (name, book) in books {
            for (id, hold) in book.holds where hold.state == .open {
                let left = min(max(0, hold.endsAt - machine.billing), Int64(hold.ttl))
                books[name]?.holds[id]?.endBoot =
                    hold.connection > 0 ? 0 : end(after: UInt32(left))
            }
        }
    }

    /// A connection is gone, and what was held by it ends.
    func hangUp(_ machine: Machine) throws {
        statistics.operation("hang up")
        let connection = 1 + random.next() % 4
        note("connection \(connection) is gone")
        machine.beginTurn(clock.now, policy)
        machine.giveReady()
        let before = machine.open
        worker(connection, machine).release(connection: connection)
        // What found no room ends as soon as there is some.
        let isLeft = machine.open.contains { $0.end == 0 }
        if isLeft, !machine.mayRefuse, makeRoom(machine) {
            for worker in machine.workers { worker.tendHolds() }
        }
        try bookCuts(before, machine) { $0.connection == connection }
        for name in Self.organizations {
            let left = books[name, default: Books()].holds.values.contains {
                $0.state == .open && $0.connection == connection
            }
            guard left else { continue }
            guard machine.mayRefuse else { throw fail("held by nobody") }
            // As soon as there is room in the journal.
            for (id, hold) in books[name, default: Books()].holds
            where hold.connection == connection { books[name]?.holds[id]?.endBoot = 0 }
        }
    }

    /// Ends what is over by now.
    func settleDue(_ machine: Machine) throws {
        machine.beginTurn(clock.now, policy)
        let now = clock.now.boot.nanoseconds
        let isDue = books.values.contains { book in
            book.holds.values.contains { $0.state == .open && $0.endBoot <= now }
        }
        // What is not due is seen to be there still when holds are compared.
        guard isDue else { return machine.workers[0].tendHolds() }
        machine.giveReady()
        let before = machine.open
        for worker in machine.workers { worker.tendHolds() }
        let isLate = machine.open.contains { $0.end <= now }
        if isLate, !machine.mayRefuse, makeRoom(machine) {
            for worker in machine.workers { worker.tendHolds() }
        }
        try bookCuts(before, machine) { $0.endBoot <= now }
        for book in books.values where !machine.mayRefuse {
            let late = book.holds.values.first { $0.state == .open && $0.endBoot <= now }
            if let late { throw fail("open after its time: \(late)") }
        }
    }

    /// Books the ends of those that were open before and are not, in the order of their ends.
    private func bookCuts(
        _ before: [Machine.OpenHold], _ machine: Machine, _ mayEnd: (Hold) -> Bool
    ) throws {
        let left = Set(machine.open.map(\.id))
        for name in Self.organizations {
            var cut: [[UInt8]] = []
            for held in before where !left.contains(held.id) {
                guard let hold = books[name]?.holds[held.id] else { continue }
                guard mayEnd(hold) else { throw fail("ended without reason: \(hold)") }
                cut.append(held.id)
                let charged = hold.meters.mapValues {
                    hold.cut == 1 ? $0.held : hold.cut == 2 ? $0.used : 0
                }
                end(held.id, of: name, as: .cut, units: charged, machine.billing)
            }
            guard !cut.isEmpty else { continue }
            note("\(name): \(cut.count) holds are cut")
            statistics.outcome("holds cut")
            record(name, machine, .cuts(name, machine.ordered(cut)))
        }
    }

    /// Books the end of a hold.
    func end(
        _ id: [UInt8], of name: String, as state: Hold.State, units: [String: UInt64],
        _ billing: Int64
    ) {
        guard let hold = books[name]?.holds[id] else { return }
        let quotas = steps(hold.asked, isConsume: false).map {
            (
                key: $0.key, meter: $0.quota.meter, end: interval($0.quota, at: billing).end,
                rollover: rollover($0.quota, at: billing)
            )
        }
        books[name]?.end(
            id,
            Books.Ending(
                state: state, charged: units, quotas: quotas, now: billing / 1_000,
                forgetAt: billing + Int64(frame.idempotencyMilliseconds)))
    }

    // MARK: conservation

    /// Open reservations are those of the books, each once; what counters hold and how many they
    /// say are open is their sum.
    func compareHolds(_ machine: Machine) throws {
        let found = Set(machine.open.map(\.id))
        let count = machine.engine.gauges.openReservations
        guard found.count == machine.open.count, count == found.count else {
            throw fail("\(count) are open, found \(found.count)")
        }
        var known: Set<[UInt8]> = []
        for book in books.values {
            known.formUnion(book.holds.filter { $0.value.state == .open }.map(\.key))
        }
        for held in machine.open {
            let ends = books.values.compactMap { $0.holds[held.id]?.endBoot }
            guard ends == [held.end] else { throw fail("a hold ends at \(held.end), not \(ends)") }
        }
        guard known == found else {
            throw fail(
                "\(known.subtracting(found).count) holds are lost,"
                    + " \(found.subtracting(known).count) come from nowhere")
        }
        if let wrong = machine.unbalanced { throw fail(wrong) }
    }
}
