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

    /// While the output is open, and once it is not: how often is looked whether it has ended.
    private static let lookMilliseconds: (UInt64, UInt64) = (50, 2)

    /// `words`: the program, sought in PATH where it has no `/`, and its arguments. Nothing of
    /// `input` is shown to anybody else. SIGPIPE must be ignored, and `EndSignals` held.
    ///
    /// It is over when the program itself has ended: what it has started by then is ended too.
    static func run(_ words: [String], input: [UInt8], milliseconds: UInt64) -> Outcome {
        // Else, where a parent ignored it, no exit code is kept.
        signal(SIGCHLD, SIG_DFL)
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
        let output = exchange(child, toChild[1], fromChild[0], input, until: until)
        return reap(child, output)
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
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // A group of its own, so that all that it starts can be ended with it.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
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

    /// Writes all of the input and reads the output until the child has ended; `nil` when its time
    /// is over before.
    private static func exchange(
        _ child: pid_t, _ to: Int32, _ from: Int32, _ input: [UInt8], until: UInt64
    ) -> [UInt8]? {
        var (to, from, written, output) = (to, from, 0, [UInt8]())
        var buffer = [UInt8](repeating: 0, count: 4_096)
        defer { if to >= 0 { close(to) } }
        _ = fcntl(to, F_SETFL, O_NONBLOCK)
        while true {
            EndSignals.endIfAsked(with: child)
            let hasEnded = hasEnded(child)
            let now = tg_boottime() / 1_000_000
            guard now < until else { return hasEnded ? output : nil }
            let look = from >= 0 ? lookMilliseconds.0 : lookMilliseconds.1
            // poll passes over negative descriptors.
            var polled = [
                pollfd(fd: from, events: Int16(POLLIN), revents: 0),
                pollfd(fd: hasEnded ? -1 : to, events: Int16(POLLOUT), revents: 0),
            ]
            let ready = poll(&polled, 2, hasEnded ? 0 : Int32(min(look, until &- now)))
            // Of one that has ended, all that it printed was read.
            if ready <= 0, hasEnded { return output }
            if polled[1].revents != 0 {
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
                if count == 0 || count < 0 && errno != EINTR { from = -1 }
                if count > 0, output.count < outputBytesMax { output += buffer.prefix(count) }
            }
        }
    }

    /// Without taking its exit code: until `reap` its number is nobody else's.
    private static func hasEnded(_ child: pid_t) -> Bool {
        var about = siginfo_t()
        return waitid(P_PID, id_t(child), &about, WEXITED | WNOHANG | WNOWAIT) != 0
            || about.si_signo != 0
    }

    /// Ends what there is still of it and of all that it started.
    private static func reap(_ child: pid_t, _ output: [UInt8]?) -> Outcome {
        var status: Int32 = 0
        kill(-child, SIGKILL)
        while waitpid(child, &status, 0) < 0 {
            guard errno == EINTR else { return .notStarted(errno) }
        }
        guard let output else { return .timedOut }
        let signal = status & 0x7f
        return signal == 0 ? .ended(status >> 8 & 0xff, output) : .killed(signal)
    }
}

/// TERM, INT and HUP, held back while something is under way, so that a program that was started
/// does not outlive who started it, and what has arrived is noted.
enum EndSignals {
    /// But for those that this process was started to ignore, as by nohup.
    private static let all = [SIGTERM, SIGINT, SIGHUP].filter { signal in
        var action = sigaction()
        sigaction(signal, nil, &action)
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            != unsafeBitCast(SIG_IGN, to: Int.self)
    }

    private static var set: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in all { sigaddset(&set, signal) }
        return set
    }

    static func hold() {
        var set = set
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// One that came meanwhile does what it does.
    static func release() {
        var set = set
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
    }

    /// Lets one that came end the process: behind a child and all that it started.
    static func endIfAsked(with child: pid_t? = nil) {
        var waiting = sigset_t()
        sigpending(&waiting)
        guard all.contains(where: { sigismember(&waiting, $0) == 1 }) else { return }
        if let child {
            kill(-child, SIGKILL)
            while waitpid(child, nil, 0) < 0 { guard errno == EINTR else { break } }
        }
        // Its default action: this is the end.
        release()
    }
}
