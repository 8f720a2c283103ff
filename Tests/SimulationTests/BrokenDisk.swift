import Glibc
import TollgateStorage

@testable import TollgateCore

/// A system that is broken on purpose. A simulator that does not see it is itself broken.
enum Mutation: String, CaseIterable {
    case none
    /// Journals are never synced, though the ledger believes it.
    case skipsSync
    /// Names are never made durable.
    case skipsDirectorySync
    /// A snapshot is renamed before its bytes are on the disk.
    case skipsSnapshotSync
    /// A snapshot is named before the journal that it needs is on the disk.
    case snapshotsAheadOfJournal
    /// What the engine writes never reaches the file.
    case mapsElsewhere
    /// Charges are allowed and not journaled.
    case chargesUnjournaled
    /// The oldest segment goes whenever one is synced, needed or not.
    case removesSegmentsEarly
    /// What was read of a journal stands in another order than it was written.
    case reordersJournal
    /// Answers that are to be given again are in memory alone.
    case forgetsAnswers
    /// Recovery knows nothing of what was reserved.
    case dropsReservations
    /// What is settled gives back more than it held.
    case releasesTwice
    /// A settlement is charged once more.
    case settlesTwice
    /// With `durability: always`, replies do not wait.
    case repliesBeforeSync
    /// The group log is never synced.
    case skipsGroupSync
    /// A start finds no group log.
    case ignoresGroupLog
    /// Recovery knows nothing of what members took of a pool.
    case forgetsShares
    /// What a pool keeps for other members is given to whoever asks.
    case guaranteesNothing
    /// A write, a sync or a new name that failed is taken for done.
    case ignoresFailures
    /// A start puts away a file that is damaged and goes on without it.
    case dropsDamagedFiles

    var isOfAlways: Bool {
        switch self {
        case .repliesBeforeSync, .skipsGroupSync, .ignoresGroupLog: true
        default: false
        }
    }

    /// Gives a run what the mutation is seen by.
    func adapt(_ plan: inout SimulationPlan) {
        plan.mutation = self
        plan.isAlways = isOfAlways
        switch self {
        case .ignoresFailures: plan.failsOnce = (1 + Int(plan.seed) * 7, EIO)
        case .guaranteesNothing: plan.crashes = []
        case .dropsDamagedFiles: (plan.rots, plan.crashes) = (true, [.kill])
        default: break
        }
    }

    /// Whether a run with this policy may show it.
    func matters(to definition: PolicyDefinition) -> Bool {
        guard self == .guaranteesNothing else { return true }
        return definition.plans.contains {
            $0.quotas.contains { $0.memberMin >= 5 && $0.limit <= 30 }
        }
    }

    static var inForce: [Mutation] { allCases.filter { $0 != .none } }
}

/// A disk that does what a mutation says, before a `SimulatedDisk` that does not know.
final class BrokenDisk: Disk, @unchecked Sendable {
    // Sendable: a simulation is one thread.
    let base: SimulatedDisk
    let mutation: Mutation
    /// A snapshot was synced and has no name yet.
    fileprivate var isNaming = false

    init(_ base: SimulatedDisk, _ mutation: Mutation) {
        self.base = base
        self.mutation = mutation
    }

    static func isJournal(_ path: String) -> Bool { path.contains("/journal-") }
    static func isGroupLog(_ path: String) -> Bool { path.contains("/group.tgg") }
    static func isSnapshot(_ path: String) -> Bool { path.contains("/snapshot-") }

    func list(_ directory: String) throws(DiskError) -> [String] {
        let names = try base.list(directory)
        return mutation == .ignoresGroupLog ? names.filter { $0 != "group.tgg" } : names
    }

    func makeDirectory(_ path: String) throws(DiskError) { try base.makeDirectory(path) }

    func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile {
        BrokenFile(try base.create(path, bytes: bytes), self)
    }

    func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile {
        BrokenFile(try base.open(path, writable: writable), self)
    }

    func rename(_ path: String, to: String) throws(DiskError) {
        if Self.isSnapshot(to) { isNaming = false }
        try perhapsIgnoring { () throws(DiskError) in try base.rename(path, to: to) }
    }

    func remove(_ path: String) throws(DiskError) { try base.remove(path) }

    func syncDirectory(_ path: String) throws(DiskError) {
        if mutation == .skipsDirectorySync { return }
        try perhapsIgnoring { () throws(DiskError) in try base.syncDirectory(path) }
    }

    func lock(_ path: String) throws(DiskError) -> any DiskLock { try base.lock(path) }

    fileprivate func perhapsIgnoring(
        _ call: () throws(DiskError) -> Void
    ) throws(DiskError) {
        do throws(DiskError) { try call() } catch {
            guard mutation == .ignoresFailures, !base.hasCrashed else { throw error }
        }
    }

    fileprivate func removeOldestJournal(beside path: String) throws(DiskError) {
        let directory = SimulatedDisk.parent(path)
        let journals = try base.list(directory).filter { $0.hasPrefix("journal-") }
        if journals.count > 1 { try base.remove(directory + "/" + journals[0]) }
    }
}

private final class BrokenFile: DiskFile, @unchecked Sendable {
    // Sendable: a simulation is one thread.
    private let base: any DiskFile
    private let disk: BrokenDisk
    private var elsewhere: Block?

    init(_ base: any DiskFile, _ disk: BrokenDisk) {
        self.base = base
        self.disk = disk
    }

    var path: String { base.path }
    var bytes: Int { base.bytes }

    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        let got = try base.read(into: into, at: offset)
        if disk.mutation == .reordersJournal, BrokenDisk.isJournal(path) { swap(into, got) }
        return got
    }

    /// Exchanges the two newest slots that are in use.
    private func swap(_ bytes: UnsafeMutableRawBufferPointer, _ count: Int) {
        var used: [Int] = []
        for at in stride(from: 64, to: count - 31, by: 32) where bytes[at + 8] != 0 {
            used.append(at)
        }
        guard used.count > 3 else { return }
        let (a, b) = (used[used.count - 2], used[used.count - 1])
        for index in 0..<32 { bytes.swapAt(a + index, b + index) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        try disk.perhapsIgnoring { () throws(DiskError) in try base.write(bytes, at: offset) }
    }

    func sync() throws(DiskError) {
        switch disk.mutation {
        case .skipsSync where BrokenDisk.isJournal(path): return
        case .skipsGroupSync where BrokenDisk.isGroupLog(path): return
        case .skipsSnapshotSync where BrokenDisk.isSnapshot(path): return
        case .snapshotsAheadOfJournal where BrokenDisk.isJournal(path) && disk.isNaming: return
        default: break
        }
        try disk.perhapsIgnoring { () throws(DiskError) in try base.sync() }
        if BrokenDisk.isSnapshot(path) { disk.isNaming = true }
        if disk.mutation == .removesSegmentsEarly, BrokenDisk.isJournal(path) {
            try disk.removeOldestJournal(beside: path)
        }
    }

    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer {
        let mapped = try base.map()
        guard disk.mutation == .mapsElsewhere, BrokenDisk.isJournal(path) else { return mapped }
        let memory = elsewhere ?? Block(mapped.count)
        elsewhere = memory
        return memory.bytes
    }

    func unmap() { base.unmap() }
}
