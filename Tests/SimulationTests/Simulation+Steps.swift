import Glibc
import TollgateStorage

@testable import TollgateCore

/// One step of a run: time goes on, and somebody does something.
extension Simulation {
    func step() throws {
        guard let machine else { throw fail("nothing runs") }
        clock.goOn(&random)
        do {
            try act(machine)
        } catch let error as SimulationFailure {
            throw error
        } catch {
            note("\(error)")
            statistics.outcome("a step of the ledger threw")
            guard disk.hasCrashed || machine.mayRefuse else { throw fail("\(error)") }
        }
    }

    private func act(_ machine: Machine) throws {
        switch random.next() % 100 {
        case 0..<36: try charge(false, machine)
        case 36..<48: try charge(true, machine)
        case 48..<52: try reload(machine)
        case 52..<54: try forget(machine)
        case 54..<57: try reset(machine)
        case 57..<61:
            statistics.operation("compare")
            try compareAll(machine)
        case 61..<67: try tend(machine)
        case 67..<75: try flush(machine)
        case 75..<78:
            statistics.operation("write back")
            note("write back")
            disk.writeBack()
        case 78..<81: closePeriods(machine)
        case 81..<84: try archive(machine)
        case 84..<93: try snapshot(machine)
        case 93..<94:
            statistics.operation("audit")
            try audit(machine)
        case 94..<96: try trouble(machine)
        default: crash(machine)
        }
    }

    private func charge(_ isConsume: Bool, _ machine: Machine) throws {
        statistics.operation(isConsume ? "consume" : "check")
        let asked = randomAsked()
        guard chance(1, in: 60), plan.crashes.contains(.kill) else {
            return try charge(asked, isConsume: isConsume, machine)
        }
        // Killed in the middle of it: nobody was told, so it happened or it did not.
        statistics.operation("killed while it charges")
        let shard = machine.shard(of: asked.organization)
        tornFrom = (shard, machine.position(shard))
        disk.rememberMapped()
        try charge(asked, isConsume: isConsume, machine)
        disk.tear()
        disk.faults.crashKind = .kill
        disk.crash(.kill)
    }

    private func reload(_ machine: Machine) throws {
        statistics.operation("reload")
        note("reload")
        generation += 1
        definition = SimulationPolicy.make(frame, &random)
        policy = try Self.compile(definition, generation: generation)
        guard machine.engine.accept(policy) else { throw fail("too many layouts") }
        machine.beginTurn(clock.now, policy)
    }

    private func forget(_ machine: Machine) throws {
        statistics.operation("forget")
        let name = pick(Self.organizations)
        note("forget \(name)")
        machine.beginTurn(clock.now, policy)
        guard machine.engine.forget(organization: name, isPersonal: false, at: clock.now) else {
            return try partly(name, machine)
        }
        closeAll(name)
        books[name]?.open = [:]
        books[name]?.answers = [:]
        record(name, machine, isOfManyTransactions: true)
    }

    private func reset(_ machine: Machine) throws {
        statistics.operation("reset")
        let name = pick(Self.organizations)
        note("reset \(name)")
        machine.beginTurn(clock.now, policy)
        guard machine.engine.resetQuotas(of: name, isPersonal: false, at: clock.now) else {
            return try partly(name, machine)
        }
        closeAll(name)
        record(name, machine, isOfManyTransactions: true)
    }

    private func closeAll(_ name: String) {
        var book = books[name, default: Books()]
        for key in book.open.keys { book.close(key) }
        books[name] = book
    }

    /// The journal had room for a part of it: what is closed then is for the engine to say.
    private func partly(_ name: String, _ machine: Machine) throws {
        guard machine.mayRefuse else { throw fail("\(name) was not reset") }
        partlyReset.insert(name)
        try readClosed(name, machine)
        record(name, machine, isOfManyTransactions: true)
    }

    func tend(_ machine: Machine) throws {
        statistics.operation("tend")
        note("tend")
        try machine.ledger.tend()
    }

    func flush(_ machine: Machine) throws {
        statistics.operation("flush")
        switch machine.ledger.flush(now: clock.now) {
        case .synced(let through, let isChanged):
            note("flush: synced")
            statistics.outcome("flush synced, changed \(isChanged)")
            noteSynced(through, machine)
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
        if isTroubled {
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

    private func crash(_ machine: Machine) {
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
