@testable import TollgateCore
@testable import TollgateStorage

/// Bytes that changed while nothing ran, and disks that said of a sync that it was done: the same
/// state, or a refusal that names the command that repairs; never a wrong number, never silently
/// empty (RELIABILITY D5).
extension Simulation {
    /// A byte of a file that is another now.
    struct Rot {
        var path: String
        var inode: Int
        var offset: Int
        var mask: UInt8

        /// What file it is of, without its number.
        var kind: String {
            let name = path.split(separator: "/").last ?? ""
            return String(name.prefix { $0 != "-" })
        }
    }

    /// Changes a byte, three times out of four one where something stands.
    func rot() -> Rot? {
        let files = disk.names.files.filter {
            SimulatedDisk.parent($0.key) == "/ledger" && (disk.inodes[$0.value]?.size ?? 0) > 0
        }
        func kind(_ path: String) -> String { String(path.dropFirst(8).prefix { $0 != "-" }) }
        let kinds = Set(files.keys.map(kind)).sorted()
        guard !kinds.isEmpty else { return nil }
        let wanted = pick(kinds)
        let path = pick(files.keys.filter { kind($0) == wanted }.sorted())
        guard let number = files[path], let inode = disk.inodes[number] else { return nil }
        let full = chance(3, in: 4) ? inode.fullSectors : []
        let start = full.isEmpty ? 0 : pick(full)
        let room = full.isEmpty ? inode.size : min(SimulatedInode.sectorBytes, inode.size - start)
        let rot = Rot(
            path: path, inode: number, offset: start + Int(random.next() % UInt64(room)),
            mask: chance(2, in: 3) ? 1 << UInt8(random.next() % 8) : UInt8(1 + random.next() % 255))
        inode.flip(byte: rot.offset, mask: rot.mask)
        note("byte \(rot.offset) of \(path) is changed by \(rot.mask)")
        statistics.operation("rot")
        return rot
    }

    /// Starts, or is refused and starts once the byte is as it was, as with a backup.
    func open(on rot: Rot) throws -> Machine {
        // What no sync had covered cannot be told from a torn end.
        isSurelyWhole = false
        let before = disk.contents
        do {
            let machine = try open()
            let isDeclared = !machine.report.passedOver.isEmpty
            let what = isDeclared ? "an older generation and the journal, declared" : "the same"
            statistics.outcome("rot of a \(rot.kind): \(what)")
            return machine
        } catch let failure as LedgerFailure {
            note("start: \(failure)")
            statistics.outcome("rot of a \(rot.kind): refused")
            try checkRefusal(failure)
            guard disk.contents == before else { throw fail("a refused start changed files") }
            try repairTwin()
            disk.inodes[rot.inode]?.flip(byte: rot.offset, mask: rot.mask)
            return try open()
        }
    }

    private func checkRefusal(_ failure: LedgerFailure) throws {
        guard failure.kind == .damaged, failure.exitCode == 78,
            "\(failure)".contains("tollgate ledger repair /ledger")
        else { throw fail("refused without the command that repairs: \(failure)") }
    }

    /// The command that a refusal names makes of a copy a ledger that starts; where it says that
    /// nothing was lost, nothing is.
    private func repairTwin() throws {
        let twin = Simulation(twinOf: self, on: disk.fork(seed: random.next()))
        let plan = try twin.repair()
        twin.machine = try twin.open()
        guard let machine = twin.machine else { return }
        guard plan.losses.isEmpty, !self.plan.liesAboutSync else {
            statistics.outcome("repaired, with what is lost told")
            return
        }
        statistics.outcome("repaired, nothing lost")
        try twin.adopt(machine)
        try twin.settleDue(machine)
        try twin.compareAll(machine)
    }

    private func repair() throws -> LedgerRepairPlan {
        var options = LedgerOptions(path: "/ledger", bootID: (boots, 1))
        options.threads = 1
        options.segmentBytes = segmentBytes
        let inspection = try LedgerInspection(options, disk, repairing: true)
        let plan = try inspection.repair(now: clock.now, beginningEmpty: true)
        guard plan.isNeeded else { throw fail("refused, and a repair finds nothing to do") }
        return plan
    }

    // MARK: a disk that lies

    /// Whether a file's name says that a ledger was served from here.
    func isServed(_ path: String) -> Bool {
        SimulatedDisk.parent(path) == "/ledger"
            && LedgerFiles.isOfLedger(String(path.dropFirst(8)))
    }

    /// A start found no ledger where there was one. Where a disk lied about the name of its marker,
    /// or everything is gone, the directory alone knows better, and has the daemon refuse.
    func beginsEmpty(_ had: [String]) throws {
        guard !positions.isEmpty else { return }
        guard plan.liesAboutSync, !had.contains("/ledger/" + LedgerFiles.marker) else {
            throw fail("begins empty, though there is \(had)")
        }
        statistics.outcome("a lying disk: as if it had never served, told by the directory alone")
        throw SimulationEnd()
    }

    /// A start was refused; what to make of that.
    func cannotStart(_ error: any Error) throws -> any Error {
        guard plan.liesAboutSync, let failure = error as? LedgerFailure else {
            return fail("cannot start: \(error)")
        }
        try checkRefusal(failure)
        try repairTwin()
        statistics.outcome("a lying disk: refused, with the command that repairs")
        return SimulationEnd()
    }
}

extension SimulatedDisk {
    /// Of every file but those that are empty.
    var contents: [String: [UInt8]] {
        names.files.compactMapValues { number in
            inodes[number].flatMap { $0.size > 0 ? $0.copyOfMemory() : nil }
        }
    }
}
