import CLinux
import Glibc
import Synchronization

/// A descriptor and, once asked for, the mapping of its file. Both end with the object.
final class SystemFile: DiskFile {
    /// What is written at once.
    private static let pieceBytes = 256 * 1024

    let path: String
    private let descriptor: Int32
    private let isWritable: Bool
    private let size: Atomic<Int>
    /// Why the file is not to be synced any more; 0: it may be.
    private let failure = Atomic<Int32>(0)
    /// Where it is mapped; 0: nowhere. Bytes of it: `mappedBytes`, written before.
    private let address = Atomic<UInt>(0)
    private let mappedBytes = Atomic<Int>(0)

    init(_ descriptor: Int32, path: String, bytes: Int, isWritable: Bool) {
        self.descriptor = descriptor
        self.path = path
        self.isWritable = isWritable
        size = Atomic(bytes)
    }

    deinit {
        unmap()
        close(descriptor)
    }

    var bytes: Int { size.load(ordering: .relaxed) }

    /// A call again for as long as a signal interrupts it. It gives -errno when it fails.
    static func retried(_ call: () -> Int) -> Int {
        while true {
            let result = call()
            if result != -Int(EINTR) { return result }
        }
    }

    /// Sets the room aside and writes zeros to all of it. Of room that is only set aside some file
    /// systems still change what they know of it at the first write, which a sync then waits for.
    func fill() throws(DiskError) {
        let set = Self.retried { Int(tg_allocate(descriptor, Int64(bytes))) }
        guard set == 0 || set == -Int(EOPNOTSUPP) else {
            throw DiskError(.create, path, Int32(truncatingIfNeeded: -set))
        }
        let zeros = Block(min(bytes, Self.pieceBytes))
        defer { zeros.keep() }
        var at = 0
        while at < bytes {
            let piece = UnsafeRawBufferPointer(rebasing: zeros.read.prefix(bytes &- at))
            try write(piece, at: at)
            at &+= piece.count
        }
    }

    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        guard let base = into.baseAddress else { return 0 }
        var got = 0
        while got < into.count {
            let more = Self.retried {
                let result = pread(descriptor, base + got, into.count &- got, offset &+ got)
                return result >= 0 ? result : -Int(errno)
            }
            guard more >= 0 else { throw DiskError(.read, path, Int32(truncatingIfNeeded: -more)) }
            if more == 0 { break }
            got &+= more
        }
        return got
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        guard let base = bytes.baseAddress else { return }
        var written = 0
        while written < bytes.count {
            let more = Self.retried {
                let result = pwrite(
                    descriptor, base + written, bytes.count &- written, offset &+ written)
                return result >= 0 ? result : -Int(errno)
            }
            // A write that takes nothing and says nothing has no room.
            guard more > 0 else {
                throw DiskError(.write, path, more == 0 ? ENOSPC : Int32(truncatingIfNeeded: -more))
            }
            written &+= more
        }
        size.max(offset &+ written, ordering: .relaxed)
    }

    func sync() throws(DiskError) {
        let known = failure.load(ordering: .acquiring)
        guard known == 0 else { throw DiskError(.sync, path, known) }
        let result = Self.retried { fdatasync(descriptor) == 0 ? 0 : -Int(errno) }
        guard result == 0 else {
            failure.store(Int32(truncatingIfNeeded: -result), ordering: .releasing)
            throw DiskError(.sync, path, Int32(truncatingIfNeeded: -result))
        }
    }

    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer {
        if let mapped = UnsafeMutableRawPointer(bitPattern: address.load(ordering: .acquiring)) {
            return UnsafeMutableRawBufferPointer(
                start: mapped, count: mappedBytes.load(ordering: .relaxed))
        }
        guard isWritable else { throw DiskError(.map, path, EBADF) }
        let count = bytes
        // Not populated: what nobody writes to is no memory of the daemon.
        let made = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        guard let made, made != MAP_FAILED else { throw DiskError(.map, path, errno) }
        mappedBytes.store(count, ordering: .relaxed)
        address.store(UInt(bitPattern: made), ordering: .releasing)
        return UnsafeMutableRawBufferPointer(start: made, count: count)
    }

    func unmap() {
        let taken = address.exchange(0, ordering: .acquiringAndReleasing)
        guard let mapped = UnsafeMutableRawPointer(bitPattern: taken) else { return }
        munmap(mapped, mappedBytes.load(ordering: .relaxed))
    }
}
