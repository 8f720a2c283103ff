import Glibc
import TestSupport
import TollgateStorage

/// What is lost when a process ends.
enum CrashKind: Equatable {
    /// Nothing: what was written or mapped is the kernel's.
    case kill
    /// Of what was not synced, any part: pages, torn at 512 bytes, sizes and names, in any order.
    case power
}

/// What goes wrong, and when. Counted in calls from the moment it was set.
struct DiskFaults {
    /// The machine stops at the n-th call, before or after its effect.
    var crashAfterCalls: Int?
    var crashKind = CrashKind.kill
    /// The n-th call fails once, with this.
    var failAfterCalls: (calls: Int, errno: Int32)?
    /// Fails until healed.
    var failing: [DiskError.Call: Int32] = [:]
    /// Nothing can be changed any more, until healed.
    var isReadOnly = false
    /// Bytes that all files together may take.
    var spaceBytes: Int?
    /// Syncs report success and do nothing yet, one time out of two.
    var liesAboutSync = false
}

/// A disk in memory: the same seed and the same calls leave the same bytes. No threads.
///
/// A file's pages and size are durable once it was synced, a name once its directory was. Every
/// call is counted and may be made to fail; a crash leaves what `afterCrash` returns.
final class SimulatedDisk: @unchecked Sendable {
    // Sendable: a simulation is one thread.

    /// What every call says once the machine is no more; only `afterCrash` has something to say.
    static let crashed = ESHUTDOWN

    struct Names: Equatable {
        /// By path. Directories have no inode.
        var files: [String: Int] = [:]
        var directories: Set<String> = ["/"]
    }

    /// A change of names that its directory's sync makes durable.
    enum NameChange {
        case link(String, Int)
        case unlink(String)
        case move(from: String, to: String, Int)
        case makeDirectory(String)

        var directories: [String] {
            switch self {
            case .link(let path, _), .unlink(let path), .makeDirectory(let path):
                [SimulatedDisk.parent(path)]
            case .move(let from, let to, _):
                [SimulatedDisk.parent(from), SimulatedDisk.parent(to)]
            }
        }
    }

    var inodes: [Int: SimulatedInode] = [:]
    var names = Names()
    var durableNames = Names()
    var pendingNames: [NameChange] = []
    var faults = DiskFaults()
    var random: SeededRandom
    /// How often each call was made, and how often it failed with what.
    private(set) var calls: [DiskError.Call: Int] = [:]
    private(set) var failures: [String: Int] = [:]
    /// Calls that `failAfterCalls` counted, one after the other.
    private(set) var counted: [DiskError.Call] = []
    /// What a program must never do, as it was seen: by the disk itself, or by `observe`.
    private(set) var violations: [String] = []
    /// Told of every call before it takes effect.
    var observe: ((DiskError.Call, String) -> Void)?
    private var nextInode = 1
    var locked: Set<String> = []
    /// How many descriptors each file has.
    var opened: [Int: Int] = [:]
    /// What was mapped when `rememberMapped` was called, by file.
    var remembered: [Int: [UInt8]] = [:]
    /// Files of which a sync failed: another one means nothing.
    var failedSyncs: Set<Int> = []
    private(set) var afterCrash: SimulatedDisk?
    var order = WriteOrder()
    /// What syncs that lied have still to do, and whether that is ever done.
    var cached: [Cached] = []
    var writesCacheOut = true

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    var hasCrashed: Bool { afterCrash != nil }
    var callCount: Int { calls.values.reduce(0, +) }
    var failureCount: Int { failures.values.reduce(0, +) }

    func report(_ violation: String) { violations.append(violation) }

    /// Everything that was wrong goes right again.
    func heal() { faults = DiskFaults() }

    static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    // MARK: every call

    /// Runs `effect` unless the call is to fail or the machine to stop.
    func perform<T>(
        _ call: DiskError.Call, _ path: String, changes: Bool = false,
        _ effect: () throws(DiskError) -> T
    ) throws(DiskError) -> T {
        if hasCrashed { throw DiskError(call, path, Self.crashed) }
        calls[call, default: 0] += 1
        order.go()
        writeOutCache()
        observe?(call, path)
        if due(&faults.crashAfterCalls) {
            // Before its effect or just after it: the caller knows of neither.
            if random.next() % 2 == 0 {
                do { _ = try effect() } catch {}
            }
            crash(faults.crashKind)
            throw DiskError(call, path, Self.crashed)
        }
        if let errno = failure(of: call, changes: changes) {
            failures["\(call.rawValue) \(name(ofError: errno))", default: 0] += 1
            throw DiskError(call, path, errno)
        }
        return try effect()
    }

    private func failure(of call: DiskError.Call, changes: Bool) -> Int32? {
        if let planned = faults.failAfterCalls {
            counted.append(call)
            faults.failAfterCalls?.calls -= 1
            if planned.calls <= 1 {
                faults.failAfterCalls = nil
                if changes || planned.errno == EIO { return planned.errno }
            }
        }
        if let errno = faults.failing[call] { return errno }
        return changes && faults.isReadOnly ? EROFS : nil
    }

    private func due(_ left: inout Int?) -> Bool {
        guard let calls = left else { return false }
        left = calls > 1 ? calls - 1 : nil
        return calls <= 1
    }

    private func name(ofError number: Int32) -> String {
        switch number {
        case EIO: "EIO"
        case ENOSPC: "ENOSPC"
        case EROFS: "EROFS"
        case ENOMEM: "ENOMEM"
        default: "\(number)"
        }
    }

    // MARK: crashes

    /// The machine stops here. What it leaves is `afterCrash`; this disk refuses every call, and
    /// what its memory is changed to from now on is not seen.
    func crash(_ kind: CrashKind) {
        precondition(afterCrash == nil)
        checkMappings()
        let left = fork(seed: random.next())
        (left.order.isOff, left.order.checks) = (order.isOff, order.checks)
        if kind == .power { left.cutPower() }
        afterCrash = left
    }

    /// The same disk as another process finds it, with nothing that goes wrong.
    func fork(seed: UInt64 = 0) -> SimulatedDisk {
        let twin = SimulatedDisk(seed: seed)
        twin.nextInode = nextInode
        twin.names = names
        twin.durableNames = durableNames
        twin.pendingNames = pendingNames
        twin.calls = calls
        (twin.failures, twin.counted) = (failures, counted)
        twin.violations = violations
        (twin.cached, twin.writesCacheOut) = (cached, writesCacheOut)
        for (number, inode) in inodes { twin.inodes[number] = SimulatedInode(copying: inode) }
        return twin
    }

    private func cutPower() {
        // A third of the cuts loses all that was pending or keeps it; the rest mixes.
        let mood = random.next() % 6
        func survives() -> Bool {
            mood == 0 ? false : mood == 1 ? true : random.next() % 2 == 0
        }
        var page = (0, Int.min)
        var fate: UInt64 = 0
        cutPower { _ in survives() } bytes: { inode, at, _ in
            if at < 0 { return survives() }
            if page != (inode, at) {
                page = (inode, at)
                // All of the page, none of it, or sector by sector.
                fate = mood == 0 ? 1 : mood == 1 ? 0 : random.next() % 3
            }
            return fate == 0 || (fate == 2 && random.next() % 2 == 0)
        }
    }

    /// The power goes; of the changes of names and, by file, page and sector, of what was to be
    /// written, these survive. Page -1 stands for a file's size.
    func cutPower(
        _ names: (_ change: Int) -> Bool, bytes: (_ inode: Int, _ page: Int, _ sector: Int) -> Bool
    ) {
        for (index, change) in pendingNames.enumerated() where names(index) {
            durableNames.apply(change)
        }
        pendingNames = []
        cached = []
        self.names = durableNames
        let named = Set(durableNames.files.values)
        inodes = inodes.filter { named.contains($0.key) }
        for number in inodes.keys.sorted() {
            inodes[number]?.cutPower { bytes(number, $0, $1) }
        }
    }

    /// The kernel writes some of what is pending on its own account.
    func writeBack() {
        for number in inodes.keys.sorted() {
            guard let inode = inodes[number] else { continue }
            for page in inode.pending.pages where random.next() % 3 == 0 { inode.writeBack(page) }
        }
    }

    private func checkMappings() {
        for inode in inodes.values where inode.wasWrittenUnmapped {
            report("memory that was unmapped was written to")
        }
    }

    // MARK: inodes

    func make(_ path: String) -> Int {
        let number = nextInode
        nextInode += 1
        inodes[number] = SimulatedInode()
        order.noteMade(number)
        names.files[path] = number
        pendingNames.append(.link(path, number))
        return number
    }

    var bytesTaken: Int {
        inodes.values.reduce(0) { $0 + $1.allocated }
    }

    /// Whether `more` bytes can be had.
    func hasRoom(_ more: Int) -> Bool {
        faults.spaceBytes.map { bytesTaken + more <= $0 } ?? true
    }
}

extension SimulatedDisk.Names {
    mutating func apply(_ change: SimulatedDisk.NameChange) {
        switch change {
        case .link(let path, let inode): files[path] = inode
        case .unlink(let path): files[path] = nil
        case .move(let from, let to, let inode):
            if files[from] == inode { files[from] = nil }
            files[to] = inode
        case .makeDirectory(let path): directories.insert(path)
        }
    }
}
