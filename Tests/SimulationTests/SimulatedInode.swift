import Glibc
import TestSupport
import TollgateWire

@testable import TollgateCore

/// One file of a `SimulatedDisk`: what a process sees of it, and what would be there after a power
/// cut. Pages of 4096 bytes reach the disk one by one; a page that is on its way when the power
/// goes may be torn at 512 bytes.
///
/// Invariant: `size <= capacity`, `durableSize <= capacity`; bytes beyond a size are zero.
final class SimulatedInode {
    static let pageBytes = 4_096
    static let sectorBytes = 512

    /// What the process reads, writes and maps. Moves only while nothing is mapped.
    private(set) var memory: UnsafeMutableRawPointer
    /// What the disk itself holds.
    private(set) var durable: UnsafeMutableRawPointer
    /// What the kernel believes to be on the disk, after a sync that failed: its pages count as
    /// clean from then on, though they never arrived.
    private var believed: UnsafeMutableRawPointer?
    private(set) var capacity: Int
    private(set) var size = 0
    private(set) var durableSize = 0
    /// Bytes from the start that the disk has set room aside for.
    private(set) var allocated = 0
    private(set) var mappings = 0
    /// What was mapped and is no more, with a digest of what it held: nobody may write there.
    private var retired: [(memory: UnsafeMutableRawPointer, bytes: Int, digest: UInt32)] = []

    init(capacity: Int = SimulatedInode.pageBytes) {
        self.capacity = Self.roundUp(capacity)
        memory = Self.zeroed(self.capacity)
        durable = Self.zeroed(self.capacity)
    }

    /// The same file as another process finds it.
    init(copying other: SimulatedInode) {
        capacity = other.capacity
        memory = Self.copied(other.memory, capacity)
        durable = Self.copied(other.durable, capacity)
        believed = other.believed.map { Self.copied($0, other.capacity) }
        size = other.size
        durableSize = other.durableSize
        allocated = other.allocated
    }

    deinit {
        free(memory)
        free(durable)
        free(believed)
        for old in retired { free(old.memory) }
    }

    // MARK: what the process does

    func resize(_ bytes: Int) {
        reserve(bytes)
        if bytes < size {
            memset(memory + bytes, 0, size - bytes)
            allocated = min(allocated, bytes)
        }
        size = bytes
    }

    func allocate(_ bytes: Int) {
        if bytes > size { resize(bytes) }
        allocated = max(allocated, bytes)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        if offset + bytes.count > size { resize(offset + bytes.count) }
        allocated = max(allocated, offset + bytes.count)
        memory.advanced(by: offset).copyMemory(from: base, byteCount: bytes.count)
    }

    func map() -> UnsafeMutableRawPointer {
        mappings += 1
        return memory
    }

    /// From the last unmapping on the file lives elsewhere, so that a late write into what was
    /// mapped is seen: it would have ended the process.
    func unmap() {
        precondition(mappings > 0, "nothing is mapped")
        mappings -= 1
        guard mappings == 0 else { return }
        retired.append((memory, capacity, JournalFormat.checksum(0, memory, capacity)))
        memory = Self.copied(memory, capacity)
    }

    /// Whether somebody wrote into memory that was no longer mapped.
    var wasWrittenUnmapped: Bool {
        retired.contains { JournalFormat.checksum(0, $0.memory, $0.bytes) != $0.digest }
    }

    func copyOfMemory() -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: memory, count: size))
    }

    func isSame(_ bytes: UnsafeRawPointer, at offset: Int, count: Int) -> Bool {
        memcmp(memory + offset, bytes, count) == 0
    }

    func isZero(from start: Int) -> Bool {
        start >= size || UnsafeRawBufferPointer(start: memory + start, count: size - start).isZero
    }

    /// Where sectors begin in which something stands.
    var fullSectors: [Int] {
        stride(from: 0, to: size, by: Self.sectorBytes).filter { start in
            let count = min(size - start, Self.sectorBytes)
            return !UnsafeRawBufferPointer(start: memory + start, count: count).isZero
        }
    }

    private func reserve(_ bytes: Int) {
        guard bytes > capacity else { return }
        precondition(mappings == 0, "a mapped file grows beyond what it was made with")
        let grown = Self.roundUp(max(bytes, 2 * capacity))
        func moved(_ old: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
            let new = Self.zeroed(grown)
            new.copyMemory(from: old, byteCount: capacity)
            free(old)
            return new
        }
        memory = moved(memory)
        durable = moved(durable)
        believed = believed.map { moved($0) }
        capacity = grown
    }

    // MARK: what reaches the disk

    /// Pages that the kernel has still to write, and whether the size is one.
    var pending: (pages: [Int], size: Bool) {
        let base = believed ?? durable
        var pages: [Int] = []
        for offset in stride(from: 0, to: max(size, durableSize), by: Self.pageBytes)
        where memcmp(memory + offset, base + offset, Self.pageBytes) != 0 {
            pages.append(offset / Self.pageBytes)
        }
        return (pages, size != durableSize)
    }

    var isClean: Bool {
        let pending = pending
        return pending.pages.isEmpty && !pending.size
    }

    /// What was written and was never said to have failed stands on the disk.
    func sync() {
        for page in pending.pages { settle(page) }
        durableSize = size
        shrinkDurable()
    }

    /// The kernel tried and the device refused: some pages arrived, and all count as clean.
    func failSync(_ random: inout SeededRandom) {
        let pages = pending.pages
        if believed == nil { believed = Self.copied(durable, capacity) }
        for page in pages {
            if random.next() % 2 == 0 { settle(page) }
            copyPage(page, from: memory, to: believed)
        }
    }

    /// The kernel writes one page on its own account, in its own time.
    func writeBack(_ page: Int) {
        settle(page)
        durableSize = max(durableSize, min(size, (page + 1) * Self.pageBytes))
    }

    func settle(_ page: Int) {
        copyPage(page, from: memory, to: durable)
        copyPage(page, from: memory, to: believed)
    }

    /// A size reaches the disk on its own, unless the file has become shorter meanwhile.
    func settle(size bytes: Int) { durableSize = max(durableSize, min(size, bytes)) }

    private func copyPage(
        _ page: Int, from: UnsafeMutableRawPointer, to: UnsafeMutableRawPointer?
    ) {
        let offset = page * Self.pageBytes
        to?.advanced(by: offset).copyMemory(from: from + offset, byteCount: Self.pageBytes)
    }

    private func shrinkDurable() {
        memset(durable + durableSize, 0, capacity - durableSize)
    }

    // MARK: crashes

    /// The power goes: of every pending page `survives` says, sector by sector, what arrived, and
    /// for sector -1 whether the size did. What the process saw is what the disk holds from now on.
    func cutPower(_ survives: (_ page: Int, _ sector: Int) -> Bool) {
        for offset in stride(from: 0, to: max(size, durableSize), by: Self.pageBytes)
        where memcmp(memory + offset, durable + offset, Self.pageBytes) != 0 {
            for sector in stride(from: offset, to: offset + Self.pageBytes, by: Self.sectorBytes)
            where memcmp(memory + sector, durable + sector, Self.sectorBytes) != 0
                && survives(offset / Self.pageBytes, (sector - offset) / Self.sectorBytes)
            {
                durable.advanced(by: sector)
                    .copyMemory(from: memory + sector, byteCount: Self.sectorBytes)
            }
        }
        if size != durableSize, survives(-1, -1) { durableSize = size }
        shrinkDurable()
        memory.copyMemory(from: durable, byteCount: capacity)
        free(believed)
        believed = nil
        size = durableSize
        allocated = min(allocated, size)
    }

    /// Bits of a byte change on the disk itself.
    func flip(byte offset: Int, mask: UInt8) {
        for base in [memory, durable] {
            let byte = base.advanced(by: offset).assumingMemoryBound(to: UInt8.self)
            byte.pointee ^= mask
        }
    }

    // MARK: memory

    private static func roundUp(_ bytes: Int) -> Int {
        max(1, (bytes + pageBytes - 1) / pageBytes) * pageBytes
    }

    private static func zeroed(_ bytes: Int) -> UnsafeMutableRawPointer {
        guard let memory = aligned_alloc(pageBytes, bytes) else { fatalError("no memory") }
        return memset(memory, 0, bytes)
    }

    private static func copied(
        _ memory: UnsafeMutableRawPointer, _ bytes: Int
    ) -> UnsafeMutableRawPointer {
        guard let copy = aligned_alloc(pageBytes, bytes) else { fatalError("no memory") }
        copy.copyMemory(from: memory, byteCount: bytes)
        return copy
    }
}
