import COpenSSL
import Glibc

/// Memory for rows, in chunks that are taken from the system as they are needed and never given
/// back, with a free list per row size. Zeroed rows come out, whatever was in them before.
///
/// An arena that has grown takes its chunks eight at a time, as one large page where the system has
/// those: of small ones, the first touch of each took more than all else of a RESERVE.
///
/// Owned by one `RowTable`, guarded by its lock. Invariant: `chunkCount ≤ chunksMax`.
struct RowArena: ~Copyable {
    /// Rows are multiples of this, so that a handle of 32 bits reaches 64 GiB.
    static let unitBytes = 16
    static let chunkBytes = 256 * 1024
    static let unitsPerChunk = chunkBytes / unitBytes
    /// Chunks that come one by one.
    private static let smallChunks = 16
    /// Chunks of a block, and its bytes: a large page.
    private static let blockChunks = 8
    private static let blockBytes = blockChunks * chunkBytes
    /// The largest row: header, id and all limits of a plan in one scope.
    static let rowUnitsMax = 4096

    typealias Chunk = (base: UnsafeMutableRawPointer, bytes: Int)

    private var chunks: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private var chunkCapacity: Int
    private var chunkCount = 0
    private let chunksMax: Int
    /// Units handed out of the newest chunk.
    private var unitsTaken = RowArena.unitsPerChunk
    /// By units; made with the first row that is given back: a daemon has hundreds of arenas, most
    /// of them empty.
    private var freeLists: UnsafeMutablePointer<RowHandle>?
    private(set) var bytesTaken = 0

    init(chunksMax: Int = 1 << 18) {
        precondition(chunksMax > 0 && chunksMax <= 1 << 18)
        self.chunksMax = chunksMax
        chunks = .allocate(capacity: 64)
        chunks.initialize(repeating: nil, count: 64)
        chunkCapacity = 64
    }

    deinit {
        for index in 0..<chunkCount {
            if index < Self.smallChunks {
                free(chunks[index])
            } else if Self.beginsBlock(index), let block = chunks[index] {
                munmap(block, Self.blockBytes)
            }
        }
        chunks.deallocate()
        freeLists?.deallocate()
    }

    /// The memory of a row that `take` gave and `give` has not taken back.
    @inline(__always)
    func pointer(_ handle: RowHandle) -> UnsafeMutableRawPointer {
        let unit = Int(handle.raw) &- 1
        // A handle comes from `take` alone, so its chunk stands.
        let chunk = chunks[unit / Self.unitsPerChunk].unsafelyUnwrapped
        return chunk + (unit % Self.unitsPerChunk) &* Self.unitBytes
    }

    /// Zeroed memory of `units` units, or `none` when memory is short. None of the arena's first
    /// `passed` units is given.
    mutating func take(units: Int, behind passed: Int = 0) -> RowHandle {
        precondition(units > 0 && units <= Self.rowUnitsMax)
        if let freeLists, Int(freeLists[units].raw) > passed {
            let given = freeLists[units]
            let memory = pointer(given)
            freeLists[units] = RowHandle(raw: memory.load(as: UInt32.self))
            memset(memory, 0, units * Self.unitBytes)
            return given
        }
        if unitsTaken + units > Self.unitsPerChunk && !addChunk() { return .none }
        let unit = (chunkCount - 1) * Self.unitsPerChunk + unitsTaken
        unitsTaken += units
        return RowHandle(raw: UInt32(unit + 1))
    }

    /// Asks for the lines of the row of `units` units that `take` is likely to give next.
    @inline(__always)
    func prefetchNext(units: Int) {
        let next: UnsafeRawPointer
        guard chunkCount > 0, units <= Self.rowUnitsMax else { return }
        if let freeLists, freeLists[units] != .none {
            next = UnsafeRawPointer(pointer(freeLists[units]))
        } else if unitsTaken &+ units <= Self.unitsPerChunk, let newest = chunks[chunkCount &- 1] {
            next = UnsafeRawPointer(newest) + unitsTaken &* Self.unitBytes
        } else {
            return
        }
        var offset = 0
        while offset < units &* Self.unitBytes {
            tg_prefetch(next + offset)
            offset &+= 64
        }
    }

    /// Takes a row back. Its kind becomes 0, which no key has: a `RowHint` finds nobody there. Its
    /// size stays for who walks over the chunk.
    mutating func give(_ handle: RowHandle, units: Int) {
        memset(pointer(handle), 0, Row.headerBytes)
        pointer(handle).storeBytes(of: UInt16(units), toByteOffset: 22, as: UInt16.self)
        let lists = freeLists ?? Self.emptyLists()
        freeLists = lists
        pointer(handle).storeBytes(of: lists[units].raw, as: UInt32.self)
        lists[units] = handle
    }

    /// Bytes of a chunk that hold rows, and where it stands; `nil` behind the last.
    func chunk(_ index: Int) -> Chunk? {
        guard index < chunkCount, let base = chunks[index] else { return nil }
        let taken = index == chunkCount - 1 ? unitsTaken : Self.unitsPerChunk
        return (base, taken * Self.unitBytes)
    }

    private static func emptyLists() -> UnsafeMutablePointer<RowHandle> {
        let lists = UnsafeMutablePointer<RowHandle>.allocate(capacity: rowUnitsMax + 1)
        lists.initialize(repeating: .none, count: rowUnitsMax + 1)
        return lists
    }

    private mutating func addChunk() -> Bool {
        guard chunkCount < chunksMax else { return false }
        if chunkCount == chunkCapacity {
            let larger = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(
                capacity: chunkCapacity * 2)
            larger.initialize(repeating: nil, count: chunkCapacity * 2)
            larger.update(from: chunks, count: chunkCount)
            chunks.deallocate()
            chunks = larger
            chunkCapacity *= 2
        }
        guard let memory = nextChunk() else { return false }
        chunks[chunkCount] = memory
        chunkCount += 1
        unitsTaken = 0
        return true
    }

    private static func beginsBlock(_ index: Int) -> Bool {
        (index - smallChunks) % blockChunks == 0
    }

    /// Zeroed by the system, and only taken from it when touched.
    private mutating func nextChunk() -> UnsafeMutableRawPointer? {
        guard chunkCount >= Self.smallChunks else {
            guard let memory = calloc(1, Self.chunkBytes) else { return nil }
            bytesTaken += Self.chunkBytes
            return memory
        }
        if !Self.beginsBlock(chunkCount), let last = chunks[chunkCount - 1] {
            return last + Self.chunkBytes
        }
        guard let block = Self.makeBlock() else { return nil }
        bytesTaken += Self.blockBytes
        return block
    }

    /// A block that begins at a multiple of its size, as a large page must.
    private static func makeBlock() -> UnsafeMutableRawPointer? {
        let made = mmap(
            nil, 2 * blockBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let made, made != MAP_FAILED else { return nil }
        let past = Int(bitPattern: made) % blockBytes
        let before = past == 0 ? 0 : blockBytes - past
        if before > 0 { munmap(made, before) }
        let block = made + before
        munmap(block + blockBytes, blockBytes - before)
        _ = madvise(block, blockBytes, MADV_HUGEPAGE)
        return block
    }
}
