#if HTTP
import ArgumentParser
import Glibc
import TollgateClient

/// The options, and what they are wired to.
struct HTTPCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tollgate-http", abstract: "Serve the daemon's metrics over HTTP.",
        discussion: """
            GET /metrics answers in Prometheus' text format, or in OpenMetrics where the Accept \
            header asks for it. A scrape asks the daemon once; scrapes within a tenth of a second \
            share an answer. While the daemon does not answer, it is tollgate_up 0, with status \
            200. GET /healthz is 200 while the daemon answers, else 503.

            On TCP a request's Host is an address of the loopback interface, localhost, or a name \
            given with --host; any other is answered 421, so that no page in a browser on this \
            host reads what is here. On a Unix socket any will do.

            It asks the daemon on its admin socket, as the daemon's user or one with the role \
            admin; or, with --socket, on its data socket, as one with the role observe. TERM and \
            INT end it, behind what it is answering. systemd may start it with Type=notify.

            Exit codes: 0 ended by a signal, 64 usage, 69 built without HTTP, 70 internal, 73 \
            cannot listen, 75 another process listens there, 77 forbidden to.
            """,
        version: "tollgate-http \(HTTPVersionText.own)")

    @Option(
        name: [.customLong("socket"), .customLong("admin-socket")],
        help: """
            The daemon's socket (default: TOLLGATE_ADMIN_SOCKET, or /run/tollgate/admin.sock).
            """,
        completion: .file())
    var socket: String?
    @Option(
        help: """
            Where to listen: a path, or a port of the loopback interface as 127.0.0.1:9464; may be \
            given several times (default: /run/tollgate/http.sock).
            """)
    var listen: [String] = []
    @Option(
        help: ArgumentHelp(
            "A name that Host may have on TCP, as a proxy passes it; may be given several times.",
            valueName: "name"))
    var host: [String] = []
    @Option(help: "The mode of sockets that it listens on, octal.") var mode = "0660"
    @Option(help: "Milliseconds to wait for the daemon, 1 to 10000.") var timeout = 2_000
    @Option(
        help: """
            Name so many of the busiest organizations, and of those nearest to a quota's end, 0 to \
            100; whoever may scrape sees their names. On the data socket it wants the role watch.
            """)
    var topOrganizations = 0
    @Option(
        help: """
            Seconds, 1 to 600, within which a request has to arrive and its answer to be taken; \
            between requests a connection may be idle nine times as long.
            """)
    var patience = 10
    @Option(
        help: """
            Connections at once, 1 to 1000; beyond, the one idle longest gives way to a new one.
            """)
    var connectionsMax = 64

    private static let drainMilliseconds: Int64 = 5_000

    func validate() throws {
        guard (1...10_000).contains(timeout) else {
            throw ValidationError("--timeout is 1 to 10000 milliseconds, not \(timeout)")
        }
        guard (1...600).contains(patience) else {
            throw ValidationError("--patience is 1 to 600 seconds, not \(patience)")
        }
        guard (1...1_000).contains(connectionsMax) else {
            throw ValidationError("--connections-max is 1 to 1000, not \(connectionsMax)")
        }
        for name in host where name.isEmpty || HostRule.name(of: name) != name.lowercased() {
            throw ValidationError(
                "--host is a host's name without a port, as metrics.example, not \(name)")
        }
        guard (0...100).contains(topOrganizations) else {
            throw ValidationError("--top-organizations is 0 to 100, not \(topOrganizations)")
        }
        guard let bits = mode_t(mode, radix: 8), bits <= 0o777 else {
            throw ValidationError("--mode is octal, as 0660, not \(mode)")
        }
    }

    func run() throws {
        do throws(StartFailure) { try serve() } catch {
            Self.say(error.message)
            throw ExitCode(error.exitCode)
        }
    }

    private func serve() throws(StartFailure) {
        let signals = Self.blockSignals()
        var places: [ListenPlace] = []
        for text in listen.isEmpty ? ["/run/tollgate/http.sock"] : listen {
            places.append(try ListenPlace(text))
        }
        let bits = mode_t(mode, radix: 8) ?? 0o660
        var sockets: [BoundSocket] = []
        defer { for socket in sockets { socket.unlinkOwn() } }
        for place in places { sockets.append(try BoundSocket(place, mode: bits)) }
        let admin =
            socket ?? Self.environment("TOLLGATE_ADMIN_SOCKET") ?? "/run/tollgate/admin.sock"
        let tally = Tally()
        let daemon = DaemonRoutes(
            AsyncClient(path: admin, timeoutMilliseconds: timeout), tally,
            topOrganizations: topOrganizations, log: Self.say)
        do {
            let service = try HTTPService(
                sockets, Router(routes: daemon.routes),
                HostRule(names: Set(host.map { $0.lowercased() })), tally,
                connectionsMax: connectionsMax,
                times: RequestHandler.Times(patienceSeconds: patience, daemonMilliseconds: timeout))
            Self.say("serving \(admin) on \(sockets.map(\.name).joined(separator: ", "))")
            let manager = InitSystem(socket: Self.environment("NOTIFY_SOCKET"))
            manager.notify("READY=1")
            Self.say("ending: signal \(Self.wait(for: signals))")
            manager.notify("STOPPING=1")
            // Whoever comes from now on finds nobody, and may be served by the next.
            for socket in sockets { socket.unlinkOwn() }
            // Never twice: once closed, their files' numbers may be those of the next one's.
            sockets = []
            try service.drain(graceMilliseconds: Self.drainMilliseconds)
        } catch { throw StartFailure(message: "\(error)", exitCode: 70) }
    }

    /// Before there is another thread: all inherit it.
    private static func blockSignals() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGTERM, SIGINT] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        return signals
    }

    private static func wait(for signals: sigset_t) -> Int32 {
        var signals = signals
        var signal: Int32 = 0
        while sigwait(&signals, &signal) != 0 {}
        return signal
    }

    private static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    /// One line on standard error.
    @Sendable private static func say(_ text: String) {
        let line = Array("tollgate-http: \(text)\n".utf8)
        // There is nobody left to tell where that fails.
        _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    }
}
#endif
