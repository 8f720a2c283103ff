import Glibc
import TollgateStorage

@testable import TollgateCore

/// One step of a run: time goes on, and somebody does something.
extension Simulation {
    func step() throws {
        clock.goOn(&random)
        try step(random.next() % 128)
    }

    /// What `choice`, less than 128, stands for.
    func step(_ choice: UInt64) throws {
        guard let machine else { throw fail("nothing runs") }
        do {
            try settleDue(machine)
            if !disk.hasCrashed { try act(machine, choice) }
            if plan.isAlways { try flushSoon(machine) }
        } catch let error as SimulationFailure {
            throw error
        } catch {
            note("\(error)")
            statistics.outcome("a step of the ledger threw")
            guard disk.hasCrashed || machine.mayRefuse else { throw fail("\(error)") }
        }
    }

    /// Where replies wait for a sync, one follows soon.
    private func flushSoon(_ machine: Machine) throws {
        guard !disk.hasCrashed, !machine.waiting.isEmpty, chance(1, in: 2) else { return }
        if chance(1, in: 4) { try tend(machine) }
        try flush(machine)
    }

    private func act(_ machine: Machine, _ choice: UInt64) throws {
        switch choice {
        case 0..<25: try maybeKilled(machine) { try charge(randomAsked(), "check", machine) }
        case 25..<36: try maybeKilled(machine) { try charge(randomAsked(), "consume", machine) }
        case 36..<50: try maybeKilled(machine) { try charge(randomAsked(), "reserve", machine) }
        case 50..<55: try maybeKilled(machine) { try extend(machine) }
        case 55..<63: try maybeKilled(machine) { try settle(machine) }
        case 63..<66: try maybeKilled(machine) { try cancel(machine) }
        case 66..<67: try hangUp(machine)
        case 67..<77: try maybeKilled(machine) { try askAgain(machine) }
        case 77..<81: try reload(machine)
        case 81..<83: try forget(machine)
        case 83..<86: try reset(machine)
        case 86..<89:
            statistics.operation("compare")
            try compareAll(machine)
        case 89..<94: try tend(machine)
        case 94..<102: try flush(machine)
        case 102..<105:
            statistics.operation("write back")
            note("write back")
            disk.writeBack()
        case 105..<107: closePeriods(machine)
        case 107..<110: try archive(machine)
        case 110..<119: try snapshot(machine)
        case 119..<120:
            statistics.operation("audit")
            try audit(machine)
        case 120..<122: try trouble(machine)
        case 122..<124: try gather(machine)
        default: crash(machine)
        }
    }

    /// A request, in the middle of which the process may be killed: then nobody was told, so it
    /// happened or it did not.
    private func maybeKilled(_ machine: Machine, _ request: () throws -> Void) throws {
        guard chance(1, in: 80), plan.crashes.contains(.kill) else { return try request() }
        statistics.operation("killed while it answers")
        tornAt = (0..<Engine.shardCount).map { machine.position($0) }
        disk.rememberMapped()
        try request()
        guard !disk.hasCrashed else { return }
        let changed = (0..<Engine.shardCount).first { machine.position($0) != tornAt[$0] }
        tornFrom = changed.map { ($0, tornAt[$0]) }
        disk.tear()
        disk.faults.crashKind = .kill
        disk.crash(.kill)
    }

    /// Rows that nobody needs are given up; of a crowd, many use something first.
    private func gather(_ machine: Machine) throws {
        statistics.operation("sweep")
        note("sweep")
        for user in crowd where chance(1, in: 3) && !disk.hasCrashed {
            var asked = Asked(
                organization: "acme", user: user, plan: "free_tier", operation: "models",
                meters: ["calls": 1])
            asked.explain = false
            if chance(1, in: 8) { try machine.ledger.tend() }
            try charge(asked, "consume", machine)
        }
        guard !disk.hasCrashed else { return }
        machine.beginTurn(clock.now, policy)
        for _ in 0..<(2 * Engine.shardCount) { machine.workers[0].sweep() }
    }

    private func reload(_ machine: Machine) throws {
        statistics.operation("reload")
        note("reload")
        generation += 1
        definition = SimulationPolicy.make(frame, &random)
        policy = try Self.compile(definition, generation: generation, plan.mutation)
        guard machine.engine.accept(policy) else { throw fail("too many layouts") }
        machine.beginTurn(clock.now, policy)
    }

    private func forget(_ machine: Machine) throws {
        statistics.operation("forget")
        let name = pick(Self.organizations)
        note("forget \(name)")
        machine.beginTurn(clock.now, policy)
        let isDone = try journaled(name, machine) {
            machine.engine.forget(organization: name, isPersonal: false, at: clock.now)
        }
        guard isDone else { return try undone(name, machine) }
        books[name]?.resetAll(at: machine.billingSeconds)
        // What was over stands among the closed ones as well.
        if let book = books[name] { for key in book.open.keys { books[name]?.close(key) } }
        books[name]?.open = [:]
        books[name]?.answers = [:]
        books[name]?.holds = [:]
        record(name, machine, .reset(name))
    }

    private func reset(_ machine: Machine) throws {
        statistics.operation("reset")
        let name = pick(Self.organizations)
        note("reset \(name)")
        machine.beginTurn(clock.now, policy)
        let isDone = try journaled(name, machine) {
            machine.engine.resetQuotas(of: name, isPersonal: false, at: clock.now)
        }
        guard isDone else { return try undone(name, machine) }
        books[name]?.resetAll(at: machine.billingSeconds)
        record(name, machine, .reset(name))
    }

    /// Again and again while a shard is to get more room, as upkeep does; false where none comes.
    private func journaled(
        _ name: String, _ machine: Machine, _ change: () -> Bool
    ) throws -> Bool {
        machine.giveReady()
        if try isDone(name, machine, change) { return true }
        // One that has begun is ended as soon as there is room; until then it is told to nobody.
        guard !disk.hasCrashed, machine.isResetting(name) else { return false }
        statistics.outcome("a reset waited for the disk")
        try heal(machine)
        guard !disk.hasCrashed else {
            recordCutOff(name, machine)
            return false
        }
        machine.beginTurn(clock.now, policy)
        machine.giveReady()
        guard try isDone(name, machine, change) || disk.hasCrashed else {
            throw fail("\(name) is reset in part on a disk that is well again")
        }
        return !disk.hasCrashed
    }

    private func isDone(
        _ name: String, _ machine: Machine, _ change: () -> Bool
    ) throws -> Bool {
        var tries = 0
        while !change() {
            guard !machine.mayRefuse, tries < 100 else { return false }
            tries += 1
            guard makeRoom(machine) else {
                if disk.hasCrashed { recordCutOff(name, machine) }
                return false
            }
        }
        return true
    }

    /// A reset may stand in the journal in part: what comes of it is seen at the next start.
    private func recordCutOff(_ name: String, _ machine: Machine) {
        let shard = machine.shard(of: name)
        guard var state = history[shard]?.last else { return }
        state.sequence = machine.position(shard) + 1
        state.change = .reset(name)
        history[shard]?.append(state)
    }

    /// The journal had no room: then nothing was reset, or all and it is not forgotten. One that is
    /// reset in part was waited for.
    private func undone(_ name: String, _ machine: Machine) throws {
        guard machine.mayRefuse else { throw fail("\(name) was not reset") }
        guard !disk.hasCrashed else { return }
        try settleReset(name, machine, at: machine.billingSeconds)
        record(name, machine, .reset(name))
    }

    func tend(_ machine: Machine) throws {
        statistics.operation("tend")
        note("tend")
        try machine.ledger.tend()
    }

    func flush(_ machine: Machine) throws {
        statistics.operation("flush")
        let logged = machine.ledger.loggedRounds
        defer {
            if machine.ledger.loggedRounds > logged { statistics.outcome("flush to the group log") }
        }
        let mark = disk.order.mark(disk)
        let positions = (0..<Engine.shardCount).map { machine.position($0) }
        switch machine.ledger.flush(now: clock.now) {
        case .synced(let through, let isChanged):
            note("flush: synced")
            statistics.outcome("flush synced, changed \(isChanged)")
            noteSynced(through, machine)
            if disk.order.isCovered(mark, disk) { machine.covered = positions }
            for (shard, position, mark) in machine.waiting {
                // Else an earlier round had all of it, and this one nothing to do.
                if position > machine.covered[shard] { try checkOrder(mark) }
                disk.order.checks += 1
                machine.acknowledged[shard] = max(machine.acknowledged[shard], position)
            }
            machine.waiting = []
            if !isTroubled { machine.mayRefuse = false }
        case .refusing(let failure):
            note("flush: \(failure)")
            statistics.outcome("flush refusing")
            if !machine.mayRefuse { throw fail("refuses on a disk that works: \(failure)") }
        case .mustEnd(let failure):
            note("flush must end: \(failure)")
            statistics.outcome("flush must end")
            if disk.hasCrashed { return }
            if !machine.mayRefuse { throw fail("ends on a disk that works: \(failure)") }
            disk.heal()
            disk.faults.crashKind = .kill
            disk.crash(.kill)
        }
    }

    private func closePeriods(_ machine: Machine) {
        statistics.operation("close periods")
        note("close periods")
        machine.beginTurn(clock.now, policy)
        _ = machine.closePeriods(clock.now)
    }

    private func archive(_ machine: Machine) throws {
        statistics.operation("archive")
        let count = try machine.ledger.archive()
        note("archive: \(count)")
    }

    private func snapshot(_ machine: Machine) throws {
        statistics.operation("snapshot")
        if machine.writer == nil { machine.writer = machine.ledger.beginSnapshot(now: clock.now) }
        let steps = pick([1, 2, 5, 30, 64, 100])
        note("snapshot: \(steps) steps")
        guard let writer = machine.writer else { throw fail("a snapshot that nobody writes") }
        for _ in 0..<steps {
            guard try writer.step() else { break }
        }
        if writer.isEnded { machine.writer = nil }
    }

    /// Something of the disk begins to fail, or is well again.
    private func trouble(_ machine: Machine) throws {
        guard plan.hasDiskTrouble else { return }
        if isTroubled { return try heal(machine) }
        statistics.operation("trouble")
        isTroubled = true
        machine.mayRefuse = true
        switch random.next() % 5 {
        case 0: disk.faults.isReadOnly = true
        case 1: disk.faults.spaceBytes = disk.bytesTaken + Int(random.next() % 100_000)
        case 2:
            let errno = pick([EIO, ENOSPC])
            disk.faults.failAfterCalls = (1 + Int(random.next() % 30), errno)
        case 3: disk.faults.failing[.sync] = EIO
        default: disk.faults.failing[pick(DiskError.Call.allCases)] = pick([EIO, ENOSPC, ENOMEM])
        }
        note("trouble: \(disk.faults)")
    }

    private func heal(_ machine: Machine) throws {
        statistics.operation("heal")
        note("heal")
        isTroubled = false
        let (calls, kind) = (disk.faults.crashAfterCalls, disk.faults.crashKind)
        disk.heal()
        disk.faults.crashAfterCalls = calls
        disk.faults.crashKind = kind
        clock.advance(milliseconds: 1_100)
        try flush(machine)
        guard !disk.hasCrashed, machine.mayRefuse else { return }
        throw fail("does not serve on a disk that is well again")
    }

    private func crash(_ machine: Machine) {
        guard !plan.crashes.isEmpty else { return }
        if chance(1, in: 2) {
            statistics.operation("crash soon")
            crashSoon(upTo: 40)
            return
        }
        let kind = pick(plan.crashes)
        statistics.operation("crash \(kind)")
        note("crash \(kind)")
        disk.faults.crashKind = kind
        disk.crash(kind)
    }
}
