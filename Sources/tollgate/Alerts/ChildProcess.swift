import CLinux
import Glibc

/// A program that is given its input and watched until it ends, or is killed with all that it
/// started. Its standard output is kept up to a bound, its standard error is this process' own.
struct ChildProcess {
    enum Outcome: Equatable {
        /// With its exit code, and what it printed.
        case ended(Int32, [UInt8])
        /// By a signal of that number.
        case killed(Int32)
        case timedOut
        /// It could not be started: why, in the kernel's words.
        case notStarted(Int32)
    }

    static let outputBytesMax = 64 << 10
    /// Of the environment.
    private static let passedOn = [
        "PATH", "HOME", "LANG", "TZ", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy",
        "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    ]

    /// `words`: the program, sought in PATH where it has no `/`, and its arguments. Nothing of
    /// `input` is shown to anybody else. SIGPIPE must be ignored.
    static func run(_ words: [String], input: [UInt8], milliseconds: UInt64) -> Outcome {
        var toChild: [Int32] = [-1, -1]
        var fromChild: [Int32] = [-1, -1]
        guard pipe(&toChild) == 0 else { return .notStarted(errno) }
        guard pipe(&fromChild) == 0 else {
            let error = errno
            for descriptor in toChild { close(descriptor) }
            return .notStarted(error)
        }
        // Nobody else starts programs meanwhile: there is one thread.
        for descriptor in toChild + fromChild { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        var child = pid_t()
        let error = spawn(words, &child, input: toChild[0], output: fromChild[1])
        close(toChild[0])
        close(fromChild[1])
        defer { close(fromChild[0]) }
        guard error == 0 else {
            close(toChild[1])
            return .notStarted(error)
        }
        let until = tg_boottime() / 1_000_000 &+ milliseconds
        let output = exchange(toChild[1], fromChild[0], input, until: until)
        return wait(child, output, until: until)
    }

    private static func spawn(
        _ words: [String], _ child: inout pid_t, input: Int32, output: Int32
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigemptyset(&defaults)
        sigaddset(&defaults, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        // A group of its own, so that all that it starts can be ended with it.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF))
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        var environment: [UnsafeMutablePointer<CChar>?] = Self.passedOn.compactMap { name in
            guard let value = getenv(name) else { return nil }
            return strdup(name + "=" + String(cString: value))
        }
        environment.append(nil)
        defer { for text in arguments + environment { free(text) } }
        guard let program = arguments[0] else { return EINVAL }
        return posix_spawnp(&child, program, &actions, &attributes, arguments, environment)
    }

    /// Writes all of the input and reads the output to its end, as far as the time allows.
    private static func exchange(
        _ to: Int32, _ from: Int32, _ input: [UInt8], until: UInt64
    ) -> [UInt8]? {
        var (to, written, output) = (to, 0, [UInt8]())
        var buffer = [UInt8](repeating: 0, count: 4_096)
        defer { if to >= 0 { close(to) } }
        _ = fcntl(to, F_SETFL, O_NONBLOCK)
        while true {
            let now = tg_boottime() / 1_000_000
            guard now < until else { return nil }
            var polled = [
                pollfd(fd: from, events: Int16(POLLIN), revents: 0),
                pollfd(fd: to, events: Int16(POLLOUT), revents: 0),
            ]
            let ready = poll(&polled, to >= 0 ? 2 : 1, Int32(clamping: until &- now))
            guard ready > 0 else {
                if ready < 0, errno == EINTR { continue }
                return nil
            }
            if to >= 0, polled[1].revents != 0 {
                let count = input[written...].withUnsafeBytes {
                    Glibc.write(to, $0.baseAddress, $0.count)
                }
                if count > 0 { written += count }
                // It need not read all that it is given.
                let isOver = count < 0 && errno != EAGAIN && errno != EINTR
                if isOver || written == input.count {
                    close(to)
                    to = -1
                }
            }
            if polled[0].revents != 0 {
                let count = Glibc.read(from, &buffer, buffer.count)
                if count == 0 { return output }
                if count < 0, errno != EINTR { return output }
                if count > 0, output.count < outputBytesMax { output += buffer.prefix(count) }
            }
        }
    }

    /// Until the child has ended; in the end it is killed.
    private static func wait(_ child: pid_t, _ output: [UInt8]?, until: UInt64) -> Outcome {
        var status: Int32 = 0
        while output != nil, tg_boottime() / 1_000_000 < until {
            let ended = waitpid(child, &status, WNOHANG)
            if ended == child {
                // What it left behind in its group goes too.
                kill(-child, SIGKILL)
                let signal = status & 0x7f
                return signal == 0 ? .ended(status >> 8 & 0xff, output ?? []) : .killed(signal)
            }
            if ended < 0, errno != EINTR { break }
            usleep(2_000)
        }
        kill(-child, SIGKILL)
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return .timedOut
    }
}
