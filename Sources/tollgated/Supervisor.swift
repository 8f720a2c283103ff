import CLinux
import Glibc
import TollgateCore
import TollgateServer

/// The main thread from ready to end: obeys signals and SHUTDOWN, tells the log what the reactors
/// count, feeds the watchdog. It never waits for a reload or for anything else but its poll.
///
/// States: *serving*; *draining*, after TERM, INT or SHUTDOWN; *ended*, when the last reactor is.
/// While draining, TERM or INT again ends it at once. A reactor that does not end within
/// `overtimeNanoseconds` of the drain's end is a defect: the process ends with 70.
struct Supervisor {
    private static let overtimeNanoseconds: UInt64 = 2_000_000_000
    private static let lookMilliseconds: Int32 = 1_000
    private static let defaultGraceMilliseconds: UInt32 = 5_000

    let server: Server
    let manager: InitSystem
    let signals: Int32
    let control: Mailroom
    let log: Log
    private var observer: Observer
    private var lastLook: UInt64 = 0
    private var fedTurns: [UInt64]
    /// Boottime of the drain's end; `nil` while serving.
    private var drainEnd: UInt64?
    private var wasSignalled = false

    init(
        server: Server, settings: ServerSettings, manager: InitSystem, signals: Int32,
        control: Mailroom, log: Log
    ) {
        self.server = server
        self.manager = manager
        self.signals = signals
        self.control = control
        self.log = log
        observer = Observer(settings, level: log.level)
        fedTurns = server.turns
    }

    /// The exit code.
    mutating func run() -> Int32 {
        let interval = manager.watchdogMicroseconds.map { Int32(clamping: max(1, $0 / 3_000)) }
        let wait = min(Self.lookMilliseconds, interval ?? Self.lookMilliseconds)
        while !server.hasEnded {
            var polled = [
                pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
                pollfd(fd: control.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            if poll(&polled, 2, wait) < 0, errno != EINTR {
                log.error("poll: \(errorText(errno))")
                return 71
            }
            obeySignals()
            if let grace = control.takeGrace() { drain(grace, because: "asked by an operator") }
            if control.storageHasFailed, drainEnd == nil {
                drain(Self.defaultGraceMilliseconds, because: "a sync of the directory failed")
            }
            look()
            if interval != nil { feedWatchdog() }
            if let drainEnd, tg_boottime() > drainEnd &+ Self.overtimeNanoseconds {
                log.error("a reactor has not ended in time; what it held is lost")
                // Its thread still runs: nothing that `exit` would take apart may go.
                _exit(70)
            }
        }
        server.join()
        look()
        log.info("ended")
        return control.storageHasFailed ? 74 : 0
    }

    /// All that wait, so that a storm of HUP holds up no TERM, and is one reload.
    private mutating func obeySignals() {
        var isHangup = false
        var end: String?
        while true {
            let signal = tg_next_signal(signals)
            if signal == 0 { break }
            if signal == SIGHUP { isHangup = true } else { end = signal == SIGINT ? "INT" : "TERM" }
        }
        if let end {
            drain(wasSignalled ? 0 : Self.defaultGraceMilliseconds, because: end)
            wasSignalled = true
        } else if isHangup, drainEnd == nil {
            server.requestReload()
        }
    }

    private mutating func drain(_ graceMilliseconds: UInt32, because reason: String) {
        if drainEnd == nil { manager.notify("STOPPING=1\nSTATUS=draining") }
        log.info("draining for \(graceMilliseconds) ms at most: \(reason)")
        server.drain(graceMilliseconds: graceMilliseconds)
        let end = tg_boottime() &+ UInt64(graceMilliseconds) * 1_000_000
        drainEnd = min(end, drainEnd ?? end)
    }

    private mutating func look() {
        let seconds = tg_boottime() / 1_000_000_000
        guard seconds > lastLook || server.hasEnded else { return }
        lastLook = seconds
        for line in observer.lines(server.statistics(), seconds: seconds) {
            log.write(line.level, line.words)
        }
    }

    /// WATCHDOG=1 once every reactor has turned since the last.
    private mutating func feedWatchdog() {
        let turns = server.turns
        guard zip(turns, fedTurns).allSatisfy({ $0 != $1 }) else { return }
        manager.notify("WATCHDOG=1")
        fedTurns = turns
    }
}

/// Wakes the main thread: an operator asks the daemon to end, the directory cannot be written any
/// more, or a reactor has ended.
final class Mailroom: Sendable {
    let descriptor: Int32
    private let lock = Lock()
    /// Milliseconds of grace that were asked for and not yet taken. Guarded by the lock: in Swift
    /// 6.3.1 `Atomic<UInt64>.min` compares as if signed.
    private nonisolated(unsafe) var grace: UInt32?
    // Guarded by the lock.
    private nonisolated(unsafe) var hasFailedStorage = false

    init() throws(StartError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard descriptor >= 0 else {
            throw StartError("eventfd: \(errorText(errno))", exitCode: 71)
        }
    }

    deinit { close(descriptor) }

    func askToEnd(graceMilliseconds: UInt32) {
        lock.lock()
        grace = min(graceMilliseconds, grace ?? .max)
        lock.unlock()
        wake()
    }

    func failStorage() {
        lock.lock()
        hasFailedStorage = true
        lock.unlock()
        wake()
    }

    var storageHasFailed: Bool {
        lock.lock()
        defer { lock.unlock() }
        return hasFailedStorage
    }

    func takeGrace() -> UInt32? {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
        lock.lock()
        defer { lock.unlock() }
        let taken = grace
        grace = nil
        return taken
    }

    func wake() {
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }
}
