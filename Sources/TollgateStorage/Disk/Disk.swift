/// Everything that the ledger does to files, so that a simulator can do it too: lose what was not
/// synced, fail any call, stop between any two.
///
/// Paths are absolute, or relative to the process. A file's bytes are durable when `sync` has
/// returned, its name when its directory's `syncDirectory` has. Calls may come from any thread.
package protocol Disk: AnyObject, Sendable {
    /// Names in a directory, without `.` and `..`, sorted: what is done with them is the same on
    /// every disk.
    func list(_ directory: String) throws(DiskError) -> [String]

    /// Makes a directory, of mode 0700 unless the disk has another; nothing when there is one
    /// already.
    func makeDirectory(_ path: String) throws(DiskError)

    /// Makes a file that is not there yet, of mode 0600 unless the disk has another. With `bytes`
    /// above 0 its room is set aside, zeros are written to all of it and synced: neither a later
    /// write inside, nor one into its mapping, needs room of the disk. Nothing is left behind when
    /// it fails, unless removing fails too.
    func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile

    /// Opens a file that is there. With `writable` false, `write` and `map` fail with EBADF, and
    /// `sync` works.
    func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile

    func rename(_ path: String, to: String) throws(DiskError)

    func remove(_ path: String) throws(DiskError)

    /// Makes names in a directory durable: of files that were made, renamed or removed.
    func syncDirectory(_ path: String) throws(DiskError)

    /// Locks a file, made if need be, until the lock is let go of or the process ends; EWOULDBLOCK
    /// when another process has it locked.
    func lock(_ path: String) throws(DiskError) -> any DiskLock

    /// Keeps everybody from `lock`ing a file that is there, as many may at a time; makes and
    /// changes nothing. `nil` when there is no such file; EWOULDBLOCK when it is locked.
    func lockToLook(_ path: String) throws(DiskError) -> (any DiskLock)?

    /// Locks a directory itself, beside a file in it, which somebody may remove: alone, or, with
    /// `looking`, as many may at a time. `nil` where a disk has one process alone.
    func lockDirectory(_ path: String, looking: Bool) throws(DiskError) -> (any DiskLock)?
}

extension Disk {
    package func lockToLook(_ path: String) throws(DiskError) -> (any DiskLock)? {
        try lock(path)
    }

    package func lockDirectory(
        _ path: String, looking: Bool
    ) throws(DiskError) -> (any DiskLock)? { nil }

    /// The whole file, if it has at most so many bytes; else EFBIG.
    package func read(_ path: String, bytesMax: Int) throws(DiskError) -> Block {
        let file = try open(path, writable: false)
        guard file.bytes <= bytesMax else { throw DiskError(.read, path, DiskError.tooLarge) }
        let block = Block(file.bytes)
        defer { block.keep() }
        block.used = try file.read(into: block.bytes, at: 0)
        return block
    }
}

/// An open file; closed with its last reference.
package protocol DiskFile: AnyObject, Sendable {
    var path: String { get }

    /// Its size when it was opened or made; writing behind the end makes it larger.
    var bytes: Int { get }

    /// Fills `into` from `offset` on; gives fewer bytes at the file's end alone.
    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int

    /// Writes all of `bytes`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError)

    /// Makes durable what was written, by `write` or into the mapping, before the call. Once it
    /// has failed it fails for ever, without asking the kernel: which counts the lost pages as
    /// clean, and would report success.
    func sync() throws(DiskError)

    /// The whole file as shared memory: what is stored there outlives the process. The same
    /// memory each time. `bytes` must be above 0.
    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer

    /// Ends the mapping. Nobody may touch its memory any more.
    func unmap()
}

/// A file that is locked for as long as this lives.
package protocol DiskLock: AnyObject, Sendable {}

/// What a disk refused: the call, where, and why in the kernel's words.
package struct DiskError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Call: String, Sendable, CaseIterable {
        case list, makeDirectory, create, open, read, write, sync, map, rename, remove
        case syncDirectory, lock
    }

    package var call: Call
    package var path: String
    package var errno: Int32

    package init(_ call: Call, _ path: String, _ errno: Int32) {
        self.call = call
        self.path = path
        self.errno = errno
    }
}
