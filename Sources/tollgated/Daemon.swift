import CLinux
import COpenSSL
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateServer

/// The daemon's start: harden the process, read the policy, open the sockets. What follows until
/// its end is `Supervisor`'s.
struct Daemon {
    static let version = "0.1.0"
    /// Descriptors beside connections: sockets, locks, policy files, signals, admin connections.
    private static let spareDescriptors = 128
    private static let descriptorsPerReactor = 3

    let options: Options

    /// Runs until told to end; returns the exit code.
    func run() -> Int32 {
        do throws(StartError) { return try serve() } catch {
            printError("tollgated: \(error.message)\n")
            return error.exitCode
        }
    }

    private func serve() throws(StartError) -> Int32 {
        try harden()
        let signals = tg_signal_descriptor()
        guard signals >= 0 else {
            throw StartError("signalfd: \(errorText(-signals))", exitCode: 71)
        }
        let manager = try InitSystem(environment)
        for variable in InitSystem.variables { unsetenv(variable) }
        let loaded: LoadedPolicy
        do throws(PolicyErrors) { loaded = try PolicyLoader.load(path: options.config) } catch {
            throw StartError("\(error)", exitCode: 78)
        }
        let log = Log(
            level: Log.Level(rawValue: loaded.daemon.logLevel.rawValue) ?? .info,
            isJSON: loaded.daemon.logFormat == .json,
            hasPriorities: tg_stderr_is_journal(getenv("JOURNAL_STREAM")) == 1)
        let control = try Mailroom()
        let peppers = try peppers(of: loaded)
        let settings = try serverSettings(loaded.daemon)
        let server = try start(loaded, peppers, settings, manager, log, control)
        func place(_ descriptor: Int32?, _ socket: ServerSettings.Socket) -> String {
            descriptor == nil ? socket.path : "handed over by the service manager"
        }
        log.info(
            "ready: version \(Self.version), \(settings.threads) threads, data socket"
                + " \(place(manager.sockets.data, settings.data)), admin socket"
                + " \(place(manager.sockets.admin, settings.admin)), policy \(options.config)")
        if !manager.notify("READY=1\nSTATUS=serving") {
            log.warning("the service manager could not be told READY=1")
        }
        tg_give_back_code()
        var supervisor = Supervisor(
            server: server, settings: settings, manager: manager, signals: signals,
            control: control, log: log)
        return supervisor.run()
    }

    /// No core dumps, no debugger of the same user, no hash seed that others know.
    private func harden() throws(StartError) {
        guard getenv("SWIFT_DETERMINISTIC_HASHING") == nil else {
            throw StartError(
                "SWIFT_DETERMINISTIC_HASHING is set: with a known hash seed anybody could slow the"
                    + " daemon down; unset it", exitCode: 78)
        }
        guard tg_no_core() == 0, tg_set_not_dumpable() == 0 else {
            throw StartError(
                "core dumps, which would hold secrets, cannot be turned off: \(errorText(errno))",
                exitCode: 71)
        }
    }

    private func start(
        _ loaded: LoadedPolicy, _ peppers: [APIKeyPepper], _ settings: ServerSettings,
        _ manager: InitSystem, _ log: Log, _ control: Mailroom
    ) throws(StartError) -> Server {
        try raiseDescriptors(settings)
        let opened = try openLedger(loaded, log)
        let fresh = try randomKey()
        var configuration = EngineConfiguration(
            hashKey: opened?.ledger.hashKey ?? fresh, digestKey: try randomKey())
        configuration.organizationsMax = loaded.daemon.organizationsMax
        configuration.usersMax = loaded.daemon.usersMax
        configuration.addressesMax = loaded.daemon.addressesMax
        if let ledger = loaded.ledger { configuration.reservationsMax = ledger.reservationsMax }
        let engine = Engine(configuration)
        let directory = try directory(loaded, peppers, engine, log)
        let image: PolicyImage
        do throws(PolicyCompileError) {
            image = try PolicyImage(
                compiling: directory?.definition ?? loaded.definition, generation: 1)
        } catch { throw StartError(error.messages.joined(separator: "\n"), exitCode: 78) }
        var ledger: LedgerService?
        if let opened {
            let behind = try directory?.check(
                opened.ledger, acceptingRollback: options.acceptsRollback, log: log)
            ledger = try LedgerService(
                opened.plan, ledger: opened.ledger, engine: engine, reactors: settings.threads,
                log: log, behind: behind ?? 0)
            if let mark = ledger?.mark { directory?.note(mark) }
        }
        let audit = try openAudit(loaded, reactors: settings.threads, log)
        var events = ServerEvents()
        events.willReload = {
            manager.notify("RELOADING=1\nMONOTONIC_USEC=\(tg_monotonic() / 1_000)")
        }
        events.didReload = { outcome in
            Self.report(outcome, log)
            manager.notify("READY=1\nSTATUS=serving")
        }
        events.onStorageFailure = { control.failStorage() }
        events.onEnd = { control.wake() }
        events.wakeDescriptors = [control.descriptor]
        let path = options.config
        return try Server(
            settings, policy: image, engine: engine, version: Self.version, directory: directory,
            ledger: ledger, audit: audit, adopted: manager.sockets, events: events,
            loader: { Self.reload(path, startedWith: loaded, log) },
            onShutdown: { control.askToEnd(graceMilliseconds: $0) })
    }

    private func raiseDescriptors(_ settings: ServerSettings) throws(StartError) {
        let wanted = UInt64(
            settings.connectionsMax + settings.threads * Self.descriptorsPerReactor
                + Self.spareDescriptors)
        let descriptors = tg_raise_descriptors(wanted)
        guard descriptors >= wanted else {
            throw StartError(
                "connections_max is \(settings.connectionsMax), but only \(descriptors) descriptors"
                    + " may be open; raise the limit (LimitNOFILE=) to \(wanted) or lower"
                    + " connections_max", exitCode: 78)
        }
    }

    func randomKey() throws(StartError) -> (UInt64, UInt64) {
        var key: (UInt64, UInt64) = (0, 0)
        let isRandom = withUnsafeMutableBytes(of: &key) { bytes in
            guard let base = bytes.baseAddress else { return false }
            return tg_random(base.assumingMemoryBound(to: UInt8.self), bytes.count) == 1
        }
        guard isRandom else { throw StartError("no random bytes to be had", exitCode: 71) }
        return key
    }

    private func serverSettings(_ daemon: DaemonSettings) throws(StartError) -> ServerSettings {
        var settings = ServerSettings(
            data: try socket(daemon.dataSocket, options.dataSocket),
            admin: try socket(daemon.adminSocket, options.adminSocket))
        let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        settings.roles = try Self.rules(daemon.roles)
        settings.threads = options.threads ?? daemon.threads ?? min(4, cores)
        settings.connectionsMax = daemon.connectionsMax
        settings.connectionsPerUserMax = daemon.connectionsPerUserMax
        settings.frameBytesMax = daemon.frameBytesMax
        return settings
    }

    private func socket(
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

    private static func reload(
        _ path: String, startedWith started: LoadedPolicy, _ log: Log
    ) -> Result<ReloadedPolicy, PolicyCompileError> {
        do throws(PolicyErrors) {
            let loaded = try PolicyLoader.load(path: path)
            var changed = started.daemon.changes(in: loaded.daemon).map { "daemon.\($0)" }
            if started.directory != loaded.directory { changed.append("directory") }
            if started.ledger != loaded.ledger { changed.append("ledger") }
            if started.audit != loaded.audit { changed.append("audit") }
            changed += alertChanges(loaded, startedWith: started)
            if !changed.isEmpty {
                log.warning(
                    "changed in \(path), but in force only after a restart:"
                        + " \(changed.joined(separator: ", "))")
            }
            let alerts = alertPlan(loaded, startedWith: started)
            return .success(ReloadedPolicy(loaded.definition, alerts: alerts))
        } catch {
            return .failure(PolicyCompileError(messages: error.errors.map(\.description)))
        }
    }

    private static func report(_ outcome: Result<UInt64, PolicyCompileError>, _ log: Log) {
        switch outcome {
        case .success(let generation): log.info("policy read again: generation \(generation)")
        case .failure(let error):
            for fault in error.messages.prefix(5) { log.error("policy not changed: \(fault)") }
        }
    }
}

extension DaemonSettings {
    /// Keys of the settings that differ. All are read at start only.
    func changes(in other: DaemonSettings) -> [String] {
        var keys: [String] = []
        func compare<Value: Equatable>(_ key: String, _ value: KeyPath<DaemonSettings, Value>) {
            if self[keyPath: value] != other[keyPath: value] { keys.append(key) }
        }
        compare("data_socket", \.dataSocket)
        compare("admin_socket", \.adminSocket)
        compare("roles", \.roles)
        compare("threads", \.threads)
        compare("connections_max", \.connectionsMax)
        compare("connections_per_user_max", \.connectionsPerUserMax)
        compare("frame_bytes_max", \.frameBytesMax)
        compare("organizations_max", \.organizationsMax)
        compare("users_max", \.usersMax)
        compare("addresses_max", \.addressesMax)
        compare("log_level", \.logLevel)
        compare("log_format", \.logFormat)
        return keys
    }
}

func printError(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}
