import CLinux
import Glibc
import TollgateClient

/// A process of tollgated, in a directory of its own.
struct KilledDaemon {
    let binary: String
    let directory: String
    private(set) var process: pid_t = 0

    var dataSocket: String { directory + "/d.sock" }
    var adminSocket: String { directory + "/a.sock" }

    init(binary: String, directory: String) { (self.binary, self.directory) = (binary, directory) }

    mutating func spawn() throws {
        let arguments = [
            binary, "-c", directory + "/policy.yaml", "--data-socket", dataSocket,
            "--admin-socket", adminSocket, "--threads", "2",
        ]
        var pointers = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(
            &actions, 2, directory + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let result = posix_spawn(&process, binary, &actions, nil, &pointers, environ)
        guard result == 0 else {
            throw Mismatch("\(binary): \(String(cString: strerror(result)))")
        }
    }

    /// What a start may take at most, in seconds; `TOLLGATE_READY_SECONDS` for a shorter look.
    private static let readySeconds =
        getenv("TOLLGATE_READY_SECONDS").flatMap { UInt64(String(cString: $0)) } ?? 30

    /// Until it answers. Where it does not in time, the error says what its threads do, now and a
    /// second later.
    mutating func waitUntilReady() throws {
        let client = BlockingClient(path: dataSocket, timeoutMilliseconds: 20_000)
        let deadline = tg_boottime() + Self.readySeconds * 1_000_000_000
        while true {
            do throws(ClientError) { return try client.ping() } catch {
                var status: Int32 = 0
                guard waitpid(process, &status, WNOHANG) == 0 else {
                    process = 0
                    throw Mismatch("it did not start, status \(status): see \(directory)/log")
                }
                guard tg_boottime() < deadline else { throw notReady() }
                usleep(500)
            }
        }
    }

    private func notReady() -> Mismatch {
        let now = ThreadView.lines(of: process)
        sleep(1)
        return Mismatch(
            "it is not ready after \(Self.readySeconds) s: see \(directory)/log; its threads:\n"
                + "\(now)\na second later:\n\(ThreadView.lines(of: process))")
    }

    /// It is not to be left behind, whatever has become of it.
    mutating func abandon() {
        guard process > 0 else { return }
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
        process = 0
    }

    /// Ends it, and waits until it is gone.
    mutating func end(_ signal: Int32) throws {
        kill(process, signal)
        var status: Int32 = 0
        waitpid(process, &status, 0)
        process = 0
        // WIFSIGNALED and WTERMSIG; or WEXITSTATUS 0.
        guard status == (signal == SIGKILL ? SIGKILL : 0) else {
            throw Mismatch("it ended by itself, status \(status): see \(directory)/log")
        }
    }
}

/// A thread that can be waited for.
struct Worker {
    private let thread: pthread_t

    init(_ work: @escaping @Sendable () -> Void) throws {
        final class Box: Sendable {
            let work: @Sendable () -> Void
            init(_ work: @escaping @Sendable () -> Void) { self.work = work }
        }
        let box = Unmanaged.passRetained(Box(work))
        var made = pthread_t()
        let result = pthread_create(&made, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().work()
            return nil
        }, box.toOpaque())
        guard result == 0 else { throw Mismatch("no thread: \(result)") }
        thread = made
    }

    func join() { pthread_join(thread, nil) }
}
