import Foundation
import TestSupport
import TollgateStorage
import TollgateWire

@testable import TollgateCore

/// Something a run found wrong.
struct SimulationFailure: Error, CustomStringConvertible {
    var description: String
}

/// A disk that lies has lost what nothing can go on from, and that was told: a run ends there.
struct SimulationEnd: Error {}

/// What one run is made of. The seed decides all the rest.
struct SimulationPlan {
    var seed: UInt64
    var steps = 120
    var isAlways = false
    var crashes: [CrashKind] = [.kill, .power]
    var hasDiskTrouble = false
    var liesAboutSync = false
    /// Bytes change on the disk while nothing runs.
    var rots = false
    /// The call of the disk that fails, once, counted from the first of the run.
    var failsOnce: (call: Int, errno: Int32)?
    /// Reloads take quotas out of the policy and put them back within their periods.
    var takesQuotasOut = false
    /// A system broken on purpose; the run must find it.
    var mutation = Mutation.none
}

/// An engine with its ledger on a simulated disk under a simulated clock, and beside them the
/// books: what was acknowledged. One seed is one run, to the bit.
///
/// Books are kept of every state that a shard went through since its last sync, so that after a
/// power cut the state found must be one of them: nothing from the middle is missing.
final class Simulation {
    static let organizations = ["acme", "globex", "initech"]
    /// SIMULATION_TRACE is set: every operation is printed.
    private static let isTraced = ProcessInfo.processInfo.environment["SIMULATION_TRACE"] != nil
    static let users = ["ada", "bob", "eve"]

    let plan: SimulationPlan
    var random: SeededRandom
    var clock: SimulatedClock
    var frame: SimulationPolicy.Frame
    var definition: PolicyDefinition
    var policy: PolicyImage
    var generation: UInt64 = 1
    var disk: SimulatedDisk {
        didSet { observe() }
    }
    /// Told of every call of the disk.
    var watcher: ((Simulation, String) -> Void)?
    var machine: Machine?

    /// What is acknowledged, by organization.
    var books: [String: Books] = [:]
    /// A shard's states since it was last known to be synced, oldest first.
    var history: [Int: [Recorded]] = [:]
    var tokens: [String: String] = [:]
    /// A shard whose last transaction may be there in part, and where it began.
    var tornFrom: (shard: Int, sequence: UInt64)?
    var tornAt: [UInt64] = []
    var lastCrash = CrashKind.kill
    /// A kill lost nothing: no sync had failed before it.
    var isSurelyWhole = true
    /// Where each shard stood when its life ended, and where it must be found at the least.
    var positions: [UInt64] = []
    var needed: [UInt64] = []
    /// By which billing time it had written what.
    var written: [Int: [Machine.Written]] = [:]
    /// Something of the disk fails.
    var isTroubled = false
    /// How often the host was started.
    var boots: UInt64 = 1
    let segmentBytes: Int
    /// So many that an organization's rows are several slices of a snapshot; none in most runs.
    var crowd: [String]
    /// The latest billing time that anything was answered by, in milliseconds.
    var billingHighWater: Int64 = 0
    var lastID: UInt64 = 0
    let reply = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DecisionWorker.replyBytesMax, alignment: 8)
    private(set) var recent: [String] = []
    var statistics = SimulationStatistics()

    /// The books of a shard's organizations as they stood before the journal's slot `sequence`.
    struct Recorded {
        var sequence: UInt64
        var books: [String: Books]
        /// Billing time, in milliseconds.
        var billing: Int64
        var change = Change.one
    }

    /// What led to a state from the one before it.
    enum Change {
        /// One transaction.
        case one
        /// A reset of the organization, and perhaps that it is forgotten.
        case reset(String)
        /// Ends of these holds of the organization, one after the other.
        case cuts(String, [[UInt8]])
    }

    init(_ plan: SimulationPlan) throws {
        self.plan = plan
        random = SeededRandom(seed: plan.seed &* 0x9e37_79b9 &+ 1)
        clock = SimulatedClock(&random)
        frame = SimulationPolicy.Frame(&random)
        frame.takesQuotasOut = plan.takesQuotasOut
        definition = SimulationPolicy.make(frame, &random)
        policy = try Self.compile(definition, generation: 1, plan.mutation)
        crowd = random.next() % 24 == 0 ? (0..<200).map { "one of a crowd, number \($0)" } : []
        segmentBytes = random.next() % 4 == 0 ? 256 * 1_024 : 64 * 1_024
        disk = SimulatedDisk(seed: random.next())
        disk.faults.liesAboutSync = plan.liesAboutSync
        disk.order.isOff = plan.liesAboutSync
        // One that never writes its cache out loses everything that it ever lied about.
        if plan.liesAboutSync { disk.writesCacheOut = random.next() % 6 != 0 }
        disk.faults.failAfterCalls = plan.failsOnce.map { ($0.call, $0.errno) }
    }

    /// Another that goes on from here on a disk of its own.
    init(twinOf other: Simulation, on disk: SimulatedDisk) {
        (plan, random, clock, frame) = (other.plan, other.random, other.clock, other.frame)
        (definition, policy) = (other.definition, other.policy)
        (generation, self.disk) = (other.generation, disk)
        (books, history, tokens) = (other.books, other.history, other.tokens)
        (tornFrom, tornAt, lastCrash) = (other.tornFrom, other.tornAt, other.lastCrash)
        (isSurelyWhole, boots) = (other.isSurelyWhole, other.boots)
        (positions, needed, written) = (other.positions, other.needed, other.written)
        (segmentBytes, crowd) = (other.segmentBytes, other.crowd)
        (billingHighWater, lastID) = (other.billingHighWater, other.lastID)
        recent = other.recent
    }

    deinit { reply.deallocate() }

    static func compile(
        _ definition: PolicyDefinition, generation: UInt64, _ mutation: Mutation
    ) throws -> PolicyImage {
        var definition = definition
        if mutation == .guaranteesNothing { definition.guaranteeNothing() }
        definition.issuers = [Credentials.issuer]
        return try PolicyImage(compiling: definition, generation: generation)
    }

    // MARK: time and choices

    func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }

    func chance(_ one: UInt64, in many: UInt64) -> Bool { random.next() % many < one }

    func note(_ what: @autoclosure () -> String) {
        recent.append(what())
        if Self.isTraced { print(recent.last ?? "") }
        if recent.count > 60 { recent.removeFirst(30) }
    }

    func fail(_ what: String) -> SimulationFailure {
        let broken = plan.mutation == .none ? "" : " (with \(plan.mutation))"
        let last = recent.suffix(25).joined(separator: "\n  ")
        return SimulationFailure(
            description: "seed \(plan.seed)\(broken): \(what)\nlast operations:\n  \(last)")
    }

    // MARK: the run

    /// Runs from an empty disk through `steps` operations and crashes, and compares all the way.
    func run() throws {
        do {
            try start()
            for _ in 0..<plan.steps {
                try step()
                if disk.hasCrashed { try recover() }
                if let violation = disk.violations.first { throw fail(violation) }
            }
            try end()
        } catch is SimulationEnd {}
        statistics.count("order of writes checked", disk.order.checks)
    }
}
