import Glibc
import Synchronization

/// Which credentials some worker verified lately: only to tell who is not shut out with a guesser
/// who shares the address, on whichever connection he comes. A credential that is marked is still
/// verified by the worker that does not know it; so a mark that is wrong costs that, and one that
/// was written over costs its owner no more than he had without marks.
///
/// By place, the keyed hash of a credential: nobody who does not hold one that is good can write.
/// Any thread.
final class VerifiedMarks: Sendable {
    private static let placeBits: UInt64 = 16
    private static let bytes = MemoryLayout<Atomic<UInt64>>.stride << Int(placeBits)
    /// Keeps these hashes apart from others of the same bytes.
    private static let tweak: UInt64 = 0x7665_7269_6669_6564

    private let hash: KeyedHash
    // Written by `init` alone; what it points at is atomic, and begins as zeros, which is no mark.
    private nonisolated(unsafe) let places: UnsafeMutablePointer<Atomic<UInt64>>

    init(_ hash: KeyedHash) {
        self.hash = hash
        let made = mmap(
            nil, Self.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let made, made != MAP_FAILED else { preconditionFailure("out of memory at start") }
        places = made.bindMemory(to: Atomic<UInt64>.self, capacity: 1 << Int(Self.placeBits))
    }

    deinit { munmap(places, Self.bytes) }

    func add(_ credential: UnsafeRawBufferPointer) {
        let mark = mark(credential)
        place(of: mark).pointee.store(mark, ordering: .relaxed)
    }

    func contains(_ credential: UnsafeRawBufferPointer) -> Bool {
        let mark = mark(credential)
        return place(of: mark).pointee.load(ordering: .relaxed) == mark
    }

    /// It is good no more.
    func remove(_ credential: UnsafeRawBufferPointer) {
        let mark = mark(credential)
        _ = place(of: mark).pointee.compareExchange(
            expected: mark, desired: 0, ordering: .relaxed)
    }

    private func mark(_ credential: UnsafeRawBufferPointer) -> UInt64 {
        // Never 0: that is an empty place.
        hash.hash(credential, tweak: Self.tweak) | 1
    }

    private func place(of mark: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>> {
        places + Int(truncatingIfNeeded: mark &>> (64 &- Self.placeBits))
    }
}
