import TollgateStorage

@testable import TollgateCore

/// Starts, ends, crashes, and what must be found after them.
extension Simulation {
    /// Recoveries that are cut short one after the other.
    static let depthMax = 3

    func start() throws {
        if chance(1, in: 3), !plan.crashes.isEmpty { crashSoon(upTo: 60) }
        do { machine = try open() } catch {
            guard hasEnded(by: error) else { throw error }
            lastCrash = disk.faults.crashKind
        }
        disk.faults.crashAfterCalls = nil
        if machine == nil { machine = try reopen() }
        guard let machine else { throw fail("cannot start") }
        record(machine)
    }

    func crashSoon(upTo calls: Int) {
        disk.faults.crashAfterCalls = 1 + Int(random.next() % UInt64(calls))
        disk.faults.crashKind = pick(plan.crashes)
    }

    /// Whether the machine is no more; or the process ends by itself, as where a start meets a
    /// disk that fails it does with 74.
    private func hasEnded(by error: any Error) -> Bool {
        if disk.hasCrashed { return true }
        guard plan.failsOnce != nil, disk.faults.failAfterCalls == nil,
            (error as? LedgerFailure)?.exitCode == 74
        else { return false }
        statistics.outcome("exit 74 of a start")
        disk.faults.crashKind = .kill
        disk.crash(.kill)
        return true
    }

    /// A policy may say `second` between two lives of `always`.
    private func boot() throws -> Machine {
        try Machine(
            BrokenDisk(disk, plan.mutation), now: clock.now, boot: boots,
            segmentBytes: segmentBytes, keepsGroupLog: plan.isAlways && !chance(1, in: 6),
            resuming: chance(2, in: 3), random: { random.next() })
    }

    func open() throws -> Machine {
        let machine: Machine
        do { machine = try boot() } catch let failure as LedgerFailure {
            guard plan.mutation == .dropsDamagedFiles, failure.kind == .damaged else {
                throw failure
            }
            try disk.remove(failure.path)
            machine = try boot()
        }
        if machine.report.read > 0 {
            statistics.outcome(machine.report.written > 0 ? "wrote all anew" : "went on behind")
        }
        if plan.mutation == .forgetsAnswers { machine.lose(.idempotency) }
        if plan.mutation == .dropsReservations { machine.lose(.reservation) }
        if plan.mutation == .forgetsShares { machine.loseShares() }
        if plan.mutation == .chargesUnjournaled { machine.engine.setLedgerState(.unjournaled) }
        return machine
    }

    /// Starts on what crashes left, until a start is not cut short. The one that nothing interrupts
    /// may meet the call of the disk that fails once, and the next does not.
    private func reopen() throws -> Machine {
        for depth in 0...(Self.depthMax + (plan.failsOnce == nil ? 0 : 1)) {
            if let left = disk.afterCrash {
                if plan.failsOnce != nil {
                    left.faults.failAfterCalls = disk.faults.failAfterCalls
                }
                left.faults.liesAboutSync = plan.liesAboutSync
                disk = left
            }
            let isPower = lastCrash == .power
            if isPower { boots += 1 }
            clock.restart(afterPowerCut: isPower, &random)
            if plan.rots, !isPower, let rot = rot() { return try open(on: rot) }
            let isInterrupted = depth < Self.depthMax && chance(1, in: 4)
            if isInterrupted, !plan.crashes.isEmpty { crashSoon(upTo: 250) }
            let had = disk.names.files.keys.filter(isServed)
            do {
                let machine = try open()
                disk.faults.crashAfterCalls = nil
                if machine.report.isNew { try beginsEmpty(had) }
                return machine
            } catch let failure as SimulationFailure {
                throw failure
            } catch is SimulationEnd {
                throw SimulationEnd()
            } catch {
                note("start: \(error)")
                guard hasEnded(by: error) else { throw try cannotStart(error) }
                statistics.outcome("crash during a start, depth \(depth + 1)")
                lastCrash = disk.faults.crashKind
                if lastCrash == .power { loseSynced() }
            }
        }
        throw fail("cannot start")
    }

    // MARK: what a shard went through

    /// Keeps the books of the organization's shard as they are now, behind what is journaled.
    func record(_ organization: String, _ machine: Machine, _ change: Change = .one) {
        let shard = machine.shard(of: organization)
        var state = recorded(shard, machine)
        state.change = change
        history[shard, default: []].append(state)
    }

    func record(_ machine: Machine) {
        history = [:]
        for shard in Set(Self.organizations.map { machine.shard(of: $0) }) {
            history[shard] = [recorded(shard, machine)]
        }
    }

    private func recorded(_ shard: Int, _ machine: Machine) -> Recorded {
        var kept: [String: Books] = [:]
        for name in Self.organizations where machine.shard(of: name) == shard {
            kept[name] = books[name, default: Books()]
        }
        return Recorded(
            sequence: machine.position(shard), books: kept, billing: machine.billing)
    }

    /// Every slot below `through` is durable: earlier states cannot come back.
    func noteSynced(_ through: [UInt64], _ machine: Machine) {
        machine.synced = through
        // Of a disk that lies, anything may come back.
        if plan.liesAboutSync { return }
        for (shard, states) in history {
            let last = states.lastIndex { $0.sequence <= through[shard] } ?? 0
            history[shard] = Array(states[last...])
        }
    }

    // MARK: after a crash

    func recover() throws {
        guard let dead = machine else { throw fail("nothing runs") }
        positions = (0..<Engine.shardCount).map { dead.position($0) }
        needed = zip(dead.synced, dead.acknowledged).map { max($0, $1) }
        dead.noteWritten()
        written = dead.written
        machine = nil
        lastCrash = disk.faults.crashKind
        isSurelyWhole = lastCrash == .kill && disk.failedSyncs.isEmpty
        if lastCrash == .power { loseSynced() }
        let machine = try reopen()
        self.machine = machine
        try adopt(machine)
        try settleDue(machine)
        try compareAll(machine)
    }

    /// The power went.
    private func loseSynced() {
        isSurelyWhole = false
        if plan.liesAboutSync { needed = needed.map { _ in 0 } }
    }

    /// Finds the state that each shard came back with among those that it went through.
    func adopt(_ machine: Machine) throws {
        machine.beginTurn(clock.now, policy)
        var begun: Int64 = 0
        for (shard, states) in history {
            let next = machine.position(shard)
            var least = isSurelyWhole ? positions[shard] : needed[shard]
            if let tornFrom, tornFrom.shard == shard { least = min(least, tornFrom.sequence) }
            if next < least {
                throw fail("shard \(shard): \(least) was to be there, it is back at \(next)")
            }
            if next > positions[shard] {
                throw fail("shard \(shard): back at \(next), it was at \(positions[shard])")
            }
            guard let found = states.lastIndex(where: { $0.sequence <= next }) else {
                throw fail("shard \(shard): back at \(next), before all that could be lost")
            }
            if states[found].sequence != states.last?.sequence {
                statistics.outcome("lost what was not synced")
            }
            for (name, book) in states[found].books { books[name] = book }
            if plan.liesAboutSync { history[shard] = Array(states[...found]) }
            begun = max(begun, lose(behind: next, of: shard))
            if next > states[found].sequence, found + 1 < states.count {
                try adoptPart(of: states[found + 1], machine)
            }
        }
        // Periods begin at quarters of an hour: none that was written in is yet to begin.
        begun -= begun % 900_000
        guard machine.billing >= begun else {
            throw fail("billing time ran back from \(begun) to \(machine.billing)")
        }
        tornFrom = nil
        statistics.outcome("recovered after \(lastCrash)")
        note("recovered after \(lastCrash), life \(machine.report.life)")
        beginLife(machine)
        if plan.liesAboutSync {
            for name in Self.organizations { record(name, machine) }
        } else {
            record(machine)
            // What a start has read is known from then on.
            written = history.mapValues {
                $0.map { Machine.Written(next: $0.sequence, billing: $0.billing) }
            }
        }
        machine.written = written
        try compareHolds(machine)
    }

    /// What a shard wrote from `next` on is gone; the billing time that the rest was written by.
    private func lose(behind next: UInt64, of shard: Int) -> Int64 {
        let all = written[shard, default: []]
        var left = Array(all.prefix { $0.next < next })
        if left.count < all.count {
            left.append(Machine.Written(next: next, billing: all[left.count].billing))
        }
        written[shard] = left
        return left.last?.billing ?? 0
    }

    /// The journal ends before a state, and behind the one before it.
    private func adoptPart(of later: Recorded, _ machine: Machine) throws {
        switch later.change {
        case .one: return
        case .reset(let name): try settleReset(name, machine, at: later.billing / 1_000)
        case .cuts(let name, let ids):
            var isRest = false
            for id in ids {
                let isCut = machine.state(of: id) != .open
                guard !isCut || !isRest else { throw fail("\(name): holds end in another order") }
                isRest = !isCut
                guard isCut, let left = later.books[name]?.holds[id] else { continue }
                statistics.outcome("some of many holds had ended")
                end(id, of: name, as: .cut, units: left.meters.mapValues(\.used), later.billing)
                books[name]?.holds[id]?.forgetAt = left.forgetAt
            }
        }
    }

    /// Of a reset that may have been cut off: all that the organization and its users used is
    /// closed, or nothing.
    func settleReset(_ name: String, _ machine: Machine, at now: Int64) throws {
        var book = books[name, default: Books()]
        let found = try closed(machine)[name, default: [:]]
        var whole: [Bool] = []
        for (key, open) in book.open where open.used > 0 && !open.isClosed {
            let closed = Books.Closed(key: key, end: open.end)
            let isClosed = found[closed, default: 0] == book.closed[closed, default: 0] + open.used
            // What is over may have been closed before.
            if now < open.end { whole.append(isClosed) }
            if isClosed { book.reset(key, at: now) }
        }
        guard Set(whole).count < 2 else { throw fail("\(name) is reset in part") }
        statistics.outcome("a reset was cut off, done \(whole.first ?? false)")
        books[name] = book
    }

    /// Everything that was closed; asked again where a call of the disk failed meanwhile.
    private func closed(_ machine: Machine) throws -> [String: [Books.Closed: UInt64]] {
        do { return try machine.closed() } catch let failure as LedgerFailure {
            guard plan.failsOnce != nil, machine.mayRefuse, failure.kind == .disk else {
                throw failure
            }
            return try machine.closed()
        }
    }

    // MARK: everything

    /// Closed periods and what is open are all that was acknowledged, to the unit.
    func audit(_ machine: Machine) throws {
        machine.beginTurn(clock.now, policy)
        guard machine.closePeriods(clock.now) else { return }
        let now = machine.billingSeconds
        let closed = try closed(machine)
        for name in Self.organizations {
            var book = books[name, default: Books()]
            for (key, open) in book.open where open.end <= now { book.close(key) }
            books[name] = book
            let found = closed[name, default: [:]]
            guard found == book.closed else {
                let wrong = Set(found.keys).union(book.closed.keys)
                    .filter { found[$0] != book.closed[$0] }
                    .map { "\($0): \(found[$0] ?? 0), not \(book.closed[$0] ?? 0)" }
                throw fail("\(name): closed periods differ: \(wrong.sorted())")
            }
            record(name, machine)
        }
    }

    func end() throws {
        guard let machine else { return }
        disk.heal()
        disk.faults.liesAboutSync = plan.liesAboutSync
        clock.advance(milliseconds: 2_000)
        try flush(machine)
        try settleDue(machine)
        try compareAll(machine)
        try audit(machine)
        if let violation = disk.violations.first { throw fail(violation) }
    }
}
