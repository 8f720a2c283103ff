import CSQLite
import Foundation
import Testing

/// Stands before the kernel's calls that change files, as SQLite makes them on this thread
/// (sqlite3_vfs.xSetSystemCall): a test looks at the files before each, and may refuse it.
///
/// Each thread has its own watch: calls of the others pass.
enum KernelCalls {
    typealias Watch = () throws -> Int32

    private final class Watching {
        let watch: Watch
        var failure: (any Error)?

        init(_ watch: @escaping Watch) { self.watch = watch }
    }

    private static let ofThread: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    /// Calls `watch` before each call; what it answers is 0, or the error that the call fails with.
    static func watching(_ watch: @escaping Watch, during body: () throws -> Void) throws {
        install
        let watching = Watching(watch)
        pthread_setspecific(ofThread, Unmanaged.passUnretained(watching).toOpaque())
        defer { pthread_setspecific(ofThread, nil) }
        try withExtendedLifetime(watching) { try body() }
        if let failure = watching.failure { throw failure }
    }

    private static func isRefused() -> Bool {
        guard let kept = pthread_getspecific(ofThread) else { return false }
        let watching = Unmanaged<Watching>.fromOpaque(kept).takeUnretainedValue()
        do {
            let number = try watching.watch()
            errno = number
            return number != 0
        } catch {
            watching.failure = error
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
