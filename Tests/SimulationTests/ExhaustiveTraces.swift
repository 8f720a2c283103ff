import TestSupport
import TollgateStorage

@testable import TollgateCore

/// Every short life of a ledger, cut short at every call of the disk, with every disk that a power
/// cut may leave there: almost all defects of this kind need three operations or fewer (RELIABILITY
/// D4). What each finds is judged by the same books as a random run.
final class ExhaustiveTraces {
    enum Operation: String, CaseIterable {
        case charge, settle, reserve, snapshot, rotate, config, start
        /// Makes durable what was charged: what a second, or `durability: always`, does.
        case sync
    }

    struct Counts {
        var traces = 0
        /// Moments at which the power was cut, and disks that were found there.
        var points = 0
        var disks = 0
        /// Moments with more on its way than is taken in all subsets.
        var sampled = 0
        var pendingMax = 0
        var starts = 0
        var failures: [String] = []

        var text: String {
            "\(traces) traces, \(points) crash points (\(sampled) not in all subsets, at most"
                + " \(pendingMax) changes on their way), \(disks) disks, \(starts) starts,"
                + " \(failures.count) failed"
        }
    }

    private(set) var counts = Counts()
    /// Of a start's many calls, one in so many; each of them in some trace.
    private let startStride: Int
    private let subsetsMax: Int
    private let mutation: Mutation
    private var seen: Set<Int> = []

    init(startStride: Int = 1, subsetsMax: Int = 10, mutation: Mutation = .none) {
        self.startStride = startStride
        self.subsetsMax = subsetsMax
        self.mutation = mutation
    }

    /// All traces of up to `length` operations, from an empty disk on. Of each, the crash points of
    /// its last operation: those of the others are a shorter one's.
    func run(length: Int) throws {
        try run([], at: startStride > 1 ? 0 : nil)
        for count in 0...length where count > 0 {
            var trace = [Int](repeating: 0, count: count)
            repeat {
                guard !isSeen else { return }
                try run(trace.map { Operation.allCases[$0] }, at: counts.traces)
            } while Self.advance(&trace)
        }
    }

    private static func advance(_ trace: inout [Int]) -> Bool {
        for index in trace.indices.reversed() {
            trace[index] += 1
            if trace[index] < Operation.allCases.count { return true }
            trace[index] = 0
        }
        return false
    }

    private func run(_ trace: [Operation], at offset: Int?) throws {
        var plan = SimulationPlan(seed: 1)
        (plan.crashes, plan.mutation) = ([], mutation)
        let run = try Simulation(plan)
        try run.simplify()
        seen = []
        guard let last = trace.last else {
            try cut(run, "nothing", offset) { try run.start() }
            return
        }
        try run.start()
        for operation in trace.dropLast() { guard try run.perform(operation) else { return } }
        counts.traces += 1
        let words = trace.map(\.rawValue).joined(separator: ", ")
        let isStart = last == .start
        try cut(run, words, isStart ? offset : nil) { _ = try run.perform(last) }
    }

    /// Cuts the power before each call that `body` makes, and after it.
    private func cut(
        _ run: Simulation, _ words: String, _ offset: Int?, _ body: () throws -> Void
    ) throws {
        var call = 0
        run.watch { [unowned self] run, what in
            call += 1
            if let offset, (call + offset) % self.startStride != 0 { return }
            self.cut(run, "\(words), before call \(call), \(what)")
        }
        do { try body() } catch { counts.failures.append("\(words): \(error)") }
        run.watch(nil)
        cut(run, "\(words), at its end")
    }

    /// A system that was broken is seen at the first of its failures.
    private var isSeen: Bool { mutation != .none && !counts.failures.isEmpty }

    private func cut(_ run: Simulation, _ words: String) {
        guard !run.disk.hasCrashed, !isSeen else { return }
        counts.points += 1
        let images = CrashImages(run.disk, subsetsMax: subsetsMax)
        if !images.isExhaustive { counts.sampled += 1 }
        counts.pendingMax = max(counts.pendingMax, images.parts.count)
        for choice in images.choices where !isSeen {
            let disk = CrashImages.image(run.disk, choice)
            counts.disks += 1
            var hasher = Hasher()
            hasher.combine(disk.digest)
            hasher.combine(run.stateCount)
            guard seen.insert(hasher.finalize()).inserted else { continue }
            counts.starts += 1
            do { try run.startsAgain(on: disk) } catch {
                counts.failures.append("\(words), with \(choice) there: \(error)")
            }
        }
    }
}

extension Simulation {
    /// A policy and a clock without anything at random.
    func simplify() throws {
        frame.zone = .utc
        frame.hasWindows = false
        frame.hasTight = false
        frame.hasRollover = false
        frame.hasConcurrency = true
        frame.hasPool = true
        frame.idempotencyMilliseconds = 86_400_000
        crowd = []
        // Two of a kind: `config` goes from one to the other.
        random = SeededRandom(seed: 7)
        disk.faults = DiskFaults()
        definition = SimulationPolicy.make(frame, &random)
        policy = try Self.compile(definition, generation: generation, plan.mutation)
    }

    /// How many states any shard went through: what a disk is judged by.
    var stateCount: Int { history.values.reduce(0) { $0 + $1.count } }

    /// Told of every call of the disk before it takes effect, also of the disks that come later.
    func watch(_ body: ((Simulation, String) -> Void)?) {
        watcher = body
        observe()
    }

    func observe() {
        guard let watcher else { return disk.observe = nil }
        disk.observe = { [unowned self] call, path in
            watcher(self, "\(call.rawValue) \(path)")
        }
    }

    /// Does one operation; false where there is nothing to do it to.
    func perform(_ operation: ExhaustiveTraces.Operation) throws -> Bool {
        guard let machine else { return false }
        clock.advance(milliseconds: 1_500)
        try settleDue(machine)
        var asked = Asked(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "models",
            meters: ["calls": 1])
        asked.explain = false
        switch operation {
        case .charge:
            lastID += 1
            asked.id = Frames.little(lastID) + Frames.little(lastID)
            try charge(asked, "check", machine)
        case .reserve:
            (asked.detached, asked.ttl) = (true, 3_600_000)
            try charge(asked, "reserve", machine)
        case .settle:
            guard books["acme"]?.holds.values.contains(where: { $0.state == .open }) == true else {
                return false
            }
            try settle(machine)
        case .snapshot:
            guard let writer = machine.ledger.beginSnapshot(now: clock.now) else { return false }
            while try writer.step() {}
        case .rotate:
            let shard = machine.shard(of: "acme")
            let before = machine.engine.regions(shard: shard).current?.base
            while machine.engine.regions(shard: shard).current?.base == before {
                try charge(asked, "consume", machine)
            }
            try tend(machine)
        case .config:
            generation += 1
            definition = SimulationPolicy.make(frame, &random)
            policy = try Self.compile(definition, generation: generation, plan.mutation)
            guard machine.engine.accept(policy) else { throw fail("too many layouts") }
            try charge(asked, "consume", machine)
        case .sync: try flush(machine)
        case .start:
            disk.faults.crashKind = .kill
            disk.crash(.kill)
            try recover()
        }
        return true
    }

    /// The same life goes on, by a start on another disk.
    func startsAgain(on disk: SimulatedDisk) throws {
        let twin = Simulation(twinOf: self, on: disk)
        if let machine {
            twin.positions = (0..<Engine.shardCount).map { machine.position($0) }
            twin.needed = machine.synced
            machine.noteWritten()
            twin.written = machine.written
        }
        (twin.lastCrash, twin.isSurelyWhole) = (.power, false)
        twin.boots += 1
        let had = disk.names.files.keys.filter(twin.isServed)
        let again = try twin.open()
        if again.report.isNew { try twin.beginsEmpty(had) }
        twin.machine = again
        try twin.adopt(again)
        try twin.settleDue(again)
        try twin.compareAll(again)
        if let violation = disk.violations.first { throw fail(violation) }
    }
}
