import ArgumentParser
import CLinux
import COpenSSL
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

struct AlertsDeliver: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deliver", abstract: "Deliver alerts to the policy's sinks.",
        discussion: """
            A service of its own beside the daemon, which only puts alerts into a directory \
            (spool, in that of the alerts). Each goes to every sink at least once, with an id that \
            stays the same; a sink that fails is asked again until it takes it. Of the policy it \
            reads the alerts alone, and of keys those of the sinks: at its start, and again \
            whenever the daemon starts or is reloaded (tollgate reload). Webhooks are sent by curl.
            """)

    @Option(
        name: .shortAndLong,
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var config: String?
    @OptionGroup var output: OutputOptions
    @Flag(help: "Deliver what can be now, and end: 0 when nothing is left, else 1.")
    var once = false

    /// How often the spool is looked at.
    private static let roundMilliseconds: UInt64 = 250

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        EndSignals.hold()
        // URLs and secrets of sinks: in no core dump, of this process or of curl.
        guard tg_no_core() == 0, tg_set_not_dumpable() == 0 else {
            throw Failure(.unexpected, "core dumps cannot be turned off: \(systemText(errno))")
        }
        let path = try Input.policyPath(config)
        guard let settings = try Self.settings(path), !settings.sinks.sinks.isEmpty else {
            throw Failure(
                .configuration, "the policy \(path) has no sinks of alerts",
                next: "add sinks: to its alerts:, and: tollgate reload")
        }
        let sinks = try senders(settings)
        let spool = AlertSpool(AlertSinks.spool(settings.path))
        let lock: any DiskLock
        do throws(AuditFailure) { lock = try spool.lock() } catch {
            guard error.kind == .locked else { throw Failure(error) }
            throw Failure(
                .tryAgain, "another process delivers from \(spool.directory)",
                next: "one at a time: end the other first")
        }
        defer { withExtendedLifetime(lock) {} }
        var round = DeliveryRound(settings.sinks, sinks, spool)
        if once {
            let isEmpty = try round.tryOnce()
            if !isEmpty { throw ExitCode(1) }
            return
        }
        Console.printError("delivering alerts from \(spool.directory) to \(sinks.count) sinks")
        // The policy was read before the mark could be: the first round reads it once more.
        var mark: [UInt8]?
        while true {
            readAgain(path, settings.path, spool, &mark, &round)
            let rest = round.run(now: tg_boottime() / 1_000_000)
            EndSignals.release()
            usleep(UInt32(min(rest, Self.roundMilliseconds)) * 1_000)
            EndSignals.hold()
        }
    }

    private static func settings(_ path: String) throws -> AlertDeliverySettings? {
        do throws(PolicyErrors) { return try AlertDeliverySettings.load(path: path) } catch {
            throw Failure(.configuration, "\(error)", next: "mend the policy")
        }
    }

    private func senders(_ settings: AlertDeliverySettings) throws -> [SinkSender] {
        try settings.sinks.sinks.map {
            try SinkSender($0, settings.sinks.source, isJSON: output.json)
        }
    }

    /// Takes the policy's sinks where the daemon has read the policy since. What is wrong with them
    /// is said, and those that were stay.
    private func readAgain(
        _ path: String, _ directory: String, _ spool: AlertSpool, _ mark: inout [UInt8]?,
        _ round: inout DeliveryRound
    ) {
        do throws(AuditFailure) {
            let now = try spool.reloadMark()
            guard now != mark else { return }
            mark = now
        } catch { return round.say(error) }
        do {
            let settings = try Self.settings(path)
            if let settings, settings.path != directory {
                Console.printError(
                    "alerts.path is \(settings.path) now; alerts are delivered from"
                        + " \(spool.directory) until this and the daemon are started again")
            }
            let sinks = try settings.map { try senders($0) } ?? []
            guard round.take(settings?.sinks ?? AlertSinks(), sinks) else { return }
            Console.printError(
                sinks.isEmpty
                    ? "the policy has no sinks of alerts now: what waits is kept until it has some"
                    : "the policy's sinks are others now: delivering to"
                        + " \(sinks.map(\.name).joined(separator: ", "))")
        } catch {
            let words = (error as? Failure)?.message ?? "\(error)"
            Console.printError("\(words); the sinks stay as they were: mend it, and reload again")
        }
    }
}
