import CSQLite
import Foundation
import Testing

/// Stands before the kernel's calls that change files, as SQLite makes them on this thread
/// (sqlite3_vfs.xSetSystemCall): a test looks at the files before each, and may refuse it.
///
/// Other threads' calls pass. Tests that use it run one after the other.
enum KernelCalls {
    typealias Watch = () throws -> Int32

    private nonisolated(unsafe) static var watch: Watch?
    private nonisolated(unsafe) static var thread = pthread_self()
    private nonisolated(unsafe) static var failure: (any Error)?

    /// Calls `watch` before each call; what it answers is 0, or the error that the call fails with.
    static func watching(_ watch: @escaping Watch, during body: () throws -> Void) throws {
        install
        failure = nil
        thread = pthread_self()
        Self.watch = watch
        defer { Self.watch = nil }
        try body()
        if let failure { throw failure }
    }

    private static func isRefused() -> Bool {
        // The thread first: others may not touch a closure that is being changed.
        guard pthread_equal(thread, pthread_self()) != 0, let watch else { return false }
        do {
            let number = try watch()
            errno = number
            return number != 0
        } catch {
            failure = error
            return false
        }
    }

    /// Once and for good: without a watch, calls go to the kernel.
    private static let install: Void = {
        let vfs = sqlite3_vfs_find(nil)
        let calls: [(String, sqlite3_syscall_ptr?)] = [
            (
                "open",
                unsafeBitCast(
                    { path, flags, mode in
                        guard let path, !KernelCalls.isRefused() else { return -1 }
                        return open(path, flags, mode_t(mode))
                    } as @convention(c) (UnsafePointer<CChar>?, Int32, Int32) -> Int32,
                    to: sqlite3_syscall_ptr.self)
            ),
            (
                "write",
                unsafeBitCast(
                    { file, bytes, count in
                        KernelCalls.isRefused() ? -1 : write(file, bytes, count)
                    } as @convention(c) (Int32, UnsafeRawPointer?, Int) -> Int,
                    to: sqlite3_syscall_ptr.self)
            ),
            (
                "pwrite",
                unsafeBitCast(
                    { file, bytes, count, offset in
                        KernelCalls.isRefused() ? -1 : pwrite(file, bytes, count, offset)
                    } as @convention(c) (Int32, UnsafeRawPointer?, Int, Int) -> Int,
                    to: sqlite3_syscall_ptr.self)
            ),
            (
                "pwrite64",
                unsafeBitCast(
                    { file, bytes, count, offset in
                        KernelCalls.isRefused() ? -1 : pwrite(file, bytes, count, offset)
                    } as @convention(c) (Int32, UnsafeRawPointer?, Int, Int) -> Int,
                    to: sqlite3_syscall_ptr.self)
            ),
            (
                "ftruncate",
                unsafeBitCast(
                    { file, bytes in KernelCalls.isRefused() ? -1 : ftruncate(file, bytes) }
                        as @convention(c) (Int32, Int) -> Int32, to: sqlite3_syscall_ptr.self)
            ),
            (
                "unlink",
                unsafeBitCast(
                    { path in
                        guard let path, !KernelCalls.isRefused() else { return -1 }
                        return unlink(path)
                    } as @convention(c) (UnsafePointer<CChar>?) -> Int32,
                    to: sqlite3_syscall_ptr.self)
            ),
        ]
        for (name, call) in calls where vfs?.pointee.xGetSystemCall(vfs, name) != nil {
            _ = vfs?.pointee.xSetSystemCall(vfs, name, call)
        }
    }()
}
