import TollgateCore

@testable import TollgateStorage

/// The order in which a ledger makes things durable, judged at every call by what the disk itself
/// holds, whether or not a crash follows (RELIABILITY D11):
///
/// - a file gets its name when its bytes are on the disk;
/// - a snapshot gets its name when the journal that it needs is;
/// - a generation or a segment goes when two later generations stand, bytes and names, and no slot
///   of it is needed by either;
/// - with `durability: always` a reply leaves when the journal up to it is on the disk, or in the
///   group log there, or in a generation that was written since.
struct WriteOrder {
    static let prefix = "order: "
    private static let groupLog = "/ledger/" + LedgerFiles.groupLog

    /// What of the journal was on its way to the disk at some moment.
    struct Mark {
        var tick: Int
        var journals: Set<Int>
    }

    /// Of a disk that lies, nothing can be said.
    var isOff = false
    var checks = 0
    private var tick = 0
    /// By inode: when it was last synced, and when it was made.
    private var syncedAt: [Int: Int] = [:]
    /// By inode of a group log, with its name: when it was last synced.
    private var loggedAt: [Int: Int] = [:]
    private var madeAt: [Int: Int] = [:]
    /// By a snapshot's inode: what of the journal was on its way when its last row was written.
    private var marks: [Int: Mark] = [:]

    mutating func go() { tick += 1 }

    mutating func noteMade(_ inode: Int) { madeAt[inode] = tick }

    // MARK: what stands

    static func isLedgerFile(_ path: String, _ kind: LedgerFiles.Kind) -> Bool {
        LedgerFiles.number(name(path), kind) != nil && SimulatedDisk.parent(path) == "/ledger"
    }

    private static func name(_ path: String) -> String {
        String(path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...])
    }

    /// Files of the journal with slots that are not on the disk; their first page, with what is
    /// known of earlier rounds, promises nothing.
    func mark(_ disk: SimulatedDisk) -> Mark {
        var journals: Set<Int> = []
        for (path, number) in disk.names.files where Self.isLedgerFile(path, .journal) {
            guard let inode = disk.inodes[number] else { continue }
            if inode.pending.pages.contains(where: { $0 > 0 }) { journals.insert(number) }
        }
        return Mark(tick: tick, journals: journals)
    }

    private func isDurable(_ path: String, _ disk: SimulatedDisk) -> Bool {
        guard let number = disk.names.files[path] else { return false }
        return disk.durableNames.files[path] == number && disk.inodes[number]?.isClean == true
    }

    private func snapshots(_ disk: SimulatedDisk) -> [String] {
        disk.names.files.keys.filter { Self.isLedgerFile($0, .snapshot) }.sorted()
    }

    /// Whether what was on its way at `mark` is there by now.
    func isCovered(_ mark: Mark, _ disk: SimulatedDisk) -> Bool {
        let left = mark.journals.filter { number in
            guard syncedAt[number, default: -1] > mark.tick else { return true }
            return !disk.durableNames.files.contains {
                $0.value == number && Self.isLedgerFile($0.key, .journal)
            }
        }
        if left.isEmpty || isLogged(mark, disk) { return true }
        let generations = snapshots(disk).filter { isDurable($0, disk) }
        let isWritten = generations.contains { path in
            disk.names.files[path].flatMap { madeAt[$0] } ?? -1 > mark.tick
        }
        return isWritten || isGivenUp(left, generations.suffix(1), disk)
    }

    /// Whether the newest generation needs no slot of these segments: they were given up when the
    /// sync of one of them failed, and that generation ended the trouble. No sync comes any more
    /// of those that it had not come to.
    private func isGivenUp(
        _ segments: Set<Int>, _ newest: ArraySlice<String>, _ disk: SimulatedDisk
    ) -> Bool {
        let paths = disk.names.files.filter { segments.contains($0.value) }.keys
        guard !newest.isEmpty, paths.count == segments.count else { return false }
        let fork = disk.fork()
        return paths.allSatisfy { needing($0, newest, isPassing: false, fork) == nil }
    }

    /// A round that went to the group log has everything that was on its way.
    private func isLogged(_ mark: Mark, _ disk: SimulatedDisk) -> Bool {
        guard let log = disk.names.files[Self.groupLog],
            disk.durableNames.files[Self.groupLog] == log
        else { return false }
        return loggedAt[log, default: -1] > mark.tick
    }

    // MARK: what happens

    mutating func noteSynced(_ number: Int, _ path: String, _ disk: SimulatedDisk) {
        syncedAt[number] = tick
        if disk.durableNames.files[Self.groupLog] == number { loggedAt[number] = tick }
        if path.contains("/snapshot-") { marks[number] = mark(disk) }
    }

    /// A file is about to get another name; what is wrong about that.
    mutating func renaming(_ path: String, to: String, _ disk: SimulatedDisk) -> String? {
        guard !isOff, SimulatedDisk.parent(to) == "/ledger", let number = disk.names.files[path]
        else { return nil }
        checks += 1
        guard disk.inodes[number]?.isClean == true else {
            return Self.prefix + "\(to) is named before its bytes are on the disk"
        }
        guard Self.isLedgerFile(to, .snapshot) else { return nil }
        guard let mark = marks[number] else {
            return Self.prefix + "\(to) is named and was never synced"
        }
        if isCovered(mark, disk) || stoodStill(path, to, disk) { return nil }
        return Self.prefix + "\(to) is named before the journal that it needs is on the disk"
    }

    /// Whether nothing was journaled while a snapshot was written: it needs no journal.
    private func stoodStill(_ path: String, _ to: String, _ disk: SimulatedDisk) -> Bool {
        guard let generation = LedgerFiles.number(Self.name(to), .snapshot),
            let file = try? SnapshotFile(path, generation: generation, disk.fork())
        else { return false }
        return file.shards.allSatisfy { $0.start == $0.end }
    }

    /// A file is about to be removed; what is wrong about that.
    mutating func removing(_ path: String, _ disk: SimulatedDisk) -> String? {
        let isJournal = Self.isLedgerFile(path, .journal)
        guard !isOff, isJournal || Self.isLedgerFile(path, .snapshot) else { return nil }
        // Before there is a ledger nothing is served; a segment in which nothing stands is none.
        guard disk.names.files["/ledger/" + LedgerFiles.marker] != nil else { return nil }
        guard let inode = disk.names.files[path].flatMap({ disk.inodes[$0] }) else { return nil }
        if isJournal, inode.isZero(from: SegmentHeader.bytes) { return nil }
        checks += 1
        // One that has rotted is passed over, and so is none of them.
        let fork = disk.fork()
        let kept = snapshots(disk).filter { isReadable($0, fork) }.suffix(2)
        guard kept.count == 2, !kept.contains(path) else {
            return Self.prefix + "\(path) goes, and \(kept.count) generations stand"
        }
        for other in kept where !isDurable(other, disk) {
            return Self.prefix + "\(path) goes before \(other) is on the disk"
        }
        guard isJournal else { return nil }
        // Of a start that failed: what it wrote anew stands where it stood before.
        let number = disk.names.files[path]
        let isPassing = disk.durableNames.files[path] != number
        return needing(path, kept, isPassing: isPassing, fork)
    }

    private func isReadable(_ path: String, _ disk: SimulatedDisk) -> Bool {
        guard let generation = LedgerFiles.number(Self.name(path), .snapshot) else { return false }
        return (try? SnapshotFile(path, generation: generation, disk)) != nil
    }

    /// A generation that needs a slot of a segment. `isPassing`: its name was never on the disk,
    /// and slots that are in another file as well are not needed here.
    private func needing(
        _ path: String, _ kept: ArraySlice<String>, isPassing: Bool, _ disk: SimulatedDisk
    ) -> String? {
        do {
            guard let number = LedgerFiles.number(Self.name(path), .journal) else { return nil }
            let options = LedgerOptions(path: "/ledger", bootID: (0, 0))
            let numbers = LedgerFiles.numbers(try disk.list("/ledger"), .journal)
            let segments = try numbers.map { (number) throws(LedgerFailure) in
                try SegmentScan(options, number: number, ledger: nil, disk)
            }
            for other in kept {
                guard let generation = LedgerFiles.number(Self.name(other), .snapshot) else {
                    continue
                }
                let snapshot = try SnapshotFile(other, generation: generation, disk)
                for (shard, place) in snapshot.shards.enumerated() {
                    // What a later life wrote anew is read there, and nothing behind it here.
                    let chain = try JournalChain.find(
                        shard: shard, start: place.start, end: place.end,
                        life: snapshot.header.life, in: segments, directory: "/ledger")
                    let piece = chain.pieces.first {
                        $0.segment.header.number == number && $0.from < $0.to
                    }
                    guard let piece else { continue }
                    if isPassing {
                        let without = try JournalChain.find(
                            shard: shard, start: place.start, end: place.end,
                            life: snapshot.header.life,
                            in: segments.filter { $0.header.number != number },
                            directory: "/ledger")
                        if without.fault == nil, without.next >= chain.next { continue }
                    }
                    return Self.prefix + "\(path) goes, and \(other) needs \(piece.from) to"
                        + " \(piece.to) of shard \(shard)"
                }
            }
            return nil
        } catch { return Self.prefix + "\(path) goes: \(error)" }
    }
}
