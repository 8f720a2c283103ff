import CLinux
import COpenSSL
import Glibc
import Synchronization
import TollgateCore
import TollgatePolicy
import TollgateServer

/// The daemon's life: harden the process, read the policy, serve, obey signals, drain.
struct Daemon {
    static let version = "0.1.0"

    let options: Options
    let manager: ServiceManager

    /// Runs until told to end; returns the exit code.
    func run() -> Int32 {
        if let reason = harden() { return fail(reason, 78) }
        let loaded: LoadedPolicy
        do throws(PolicyErrors) { loaded = try PolicyLoader.load(path: options.config) } catch {
            return fail("\(error)", 78)
        }
        let log = Log(
            level: Log.Level(rawValue: loaded.daemon.logLevel.rawValue) ?? .info,
            isJSON: loaded.daemon.logFormat == .json,
            hasPriorities: getenv("JOURNAL_STREAM") != nil)
        let signals = tg_signal_descriptor()
        guard signals >= 0 else { return fail("signalfd: \(errorText(-signals))", 71) }
        do throws(StartError) {
            let control = Mailroom()
            let server = try start(loaded, log, control)
            log.info(
                "ready: data \(settingsPath(loaded.daemon.dataSocket, options.dataSocket)), admin"
                    + " \(settingsPath(loaded.daemon.adminSocket, options.adminSocket)), policy"
                    + " \(options.config)")
            manager.notify("READY=1\nSTATUS=serving")
            serve(server, signals: signals, control, log)
            manager.notify("STOPPING=1")
            log.info("draining")
            server.drain()
            server.join()
            log.info("ended")
            return 0
        } catch {
            return fail(error.message, error.exitCode)
        }
    }

    private func settingsPath(_ socket: DaemonSettings.Socket, _ override: String?) -> String {
        override ?? socket.path
    }

    /// No core dumps, no debugger of the same user, no hash seed that others know.
    private func harden() -> String? {
        if getenv("SWIFT_DETERMINISTIC_HASHING") != nil {
            return "SWIFT_DETERMINISTIC_HASHING is set: with a known hash seed anybody could slow"
                + " the daemon down; unset it"
        }
        _ = tg_no_core()
        _ = tg_set_not_dumpable()
        return nil
    }

    private func start(
        _ loaded: LoadedPolicy, _ log: Log, _ control: Mailroom
    ) throws(StartError) -> Server {
        let daemon = loaded.daemon
        let settings = try serverSettings(daemon)
        let wanted = UInt64(settings.connectionsMax + 64)
        let descriptors = tg_raise_descriptors(wanted)
        guard descriptors >= wanted else {
            throw StartError(
                "connections_max is \(settings.connectionsMax), but only \(descriptors) descriptors"
                    + " may be open; raise the limit (LimitNOFILE=) or lower connections_max",
                exitCode: 78)
        }
        var key: (UInt64, UInt64) = (0, 0)
        let isRandom = withUnsafeMutableBytes(of: &key) { bytes in
            guard let base = bytes.baseAddress else { return false }
            return tg_random(base.assumingMemoryBound(to: UInt8.self), bytes.count) == 1
        }
        guard isRandom else { throw StartError("no random bytes to be had", exitCode: 71) }
        var configuration = EngineConfiguration(hashKey: key)
        configuration.organizationsMax = daemon.organizationsMax
        configuration.usersMax = daemon.usersMax
        configuration.addressesMax = daemon.addressesMax
        let image: PolicyImage
        do throws(PolicyCompileError) {
            image = try PolicyImage(compiling: loaded.definition, generation: 1)
        } catch { throw StartError(error.messages.joined(separator: "\n"), exitCode: 78) }
        let path = options.config
        return try Server(
            settings, policy: image, engine: Engine(configuration), version: Self.version,
            adopted: manager.sockets, loader: { Self.reload(path, log) },
            onShutdown: { control.askToEnd(graceMilliseconds: $0) })
    }

    private func serverSettings(_ daemon: DaemonSettings) throws(StartError) -> ServerSettings {
        func socket(
            _ given: DaemonSettings.Socket, _ override: String?
        ) throws(StartError) -> ServerSettings.Socket {
            var group: UInt32?
            if let name = given.group {
                guard let entry = getgrnam(name) else {
                    throw StartError("no group \"\(name)\"; create it first", exitCode: 78)
                }
                group = entry.pointee.gr_gid
            }
            return .init(path: override ?? given.path, mode: given.mode, group: group)
        }
        var settings = ServerSettings(
            data: try socket(daemon.dataSocket, options.dataSocket),
            admin: try socket(daemon.adminSocket, options.adminSocket))
        let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        settings.threads = options.threads ?? daemon.threads ?? min(4, cores)
        settings.connectionsMax = daemon.connectionsMax
        settings.connectionsPerUserMax = daemon.connectionsPerUserMax
        settings.frameBytesMax = daemon.frameBytesMax
        return settings
    }

    private static func reload(
        _ path: String, _ log: Log
    ) -> Result<PolicyDefinition, PolicyCompileError> {
        do throws(PolicyErrors) {
            let loaded = try PolicyLoader.load(path: path)
            log.info("policy \(path) read again")
            return .success(loaded.definition)
        } catch {
            for fault in error.errors.prefix(5) { log.error("policy not changed: \(fault)") }
            return .failure(PolicyCompileError(messages: error.errors.map(\.description)))
        }
    }

    /// Waits for signals and requests to end; feeds the watchdog while every reactor turns.
    private func serve(_ server: Server, signals: Int32, _ control: Mailroom, _ log: Log) {
        let wait = manager.watchdogMicroseconds.map { Int32(clamping: max(1, $0 / 3_000)) } ?? -1
        var turns = server.turns
        while true {
            var polled = [
                pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
                pollfd(fd: control.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&polled, 2, wait)
            if count < 0 && errno != EINTR { return }
            if control.isAskedToEnd { return }
            if polled[0].revents != 0, let signal = Self.readSignal(signals) {
                guard signal == SIGHUP else { return }
                reloadOnSignal(server, log)
            }
            if wait > 0 {
                let now = server.turns
                if zip(now, turns).allSatisfy({ $0 != $1 }) { manager.notify("WATCHDOG=1") }
                turns = now
            }
        }
    }

    private func reloadOnSignal(_ server: Server, _ log: Log) {
        manager.notify("RELOADING=1\nMONOTONIC_USEC=\(tg_boottime() / 1_000)")
        if case .success(let generation) = server.reload() {
            log.info("policy generation \(generation) in force")
        }
        manager.notify("READY=1")
    }

    private static func readSignal(_ descriptor: Int32) -> Int32? {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { buffer -> Int32? in
            // signalfd_siginfo is 128 bytes and begins with the signal's number (signalfd(2)).
            guard read(descriptor, buffer.baseAddress, 128) == 128 else { return nil }
            return Int32(bitPattern: buffer.load(as: UInt32.self))
        }
    }

    private func fail(_ message: String, _ code: Int32) -> Int32 {
        printError("tollgated: \(message)\n")
        return code
    }
}

/// Wakes the main thread when a peer on the admin socket asks the daemon to end.
final class Mailroom: Sendable {
    let descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    private let asked = Atomic<Bool>(false)

    deinit { close(descriptor) }

    var isAskedToEnd: Bool { asked.load(ordering: .acquiring) }

    func askToEnd(graceMilliseconds: UInt32) {
        asked.store(true, ordering: .releasing)
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }
}

func printError(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}
