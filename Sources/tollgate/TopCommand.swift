import ArgumentParser
import CLinux
import Glibc
import TollgateClient
import TollgateWire

struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch decisions a second, who is busiest, and who is nearest to a limit.",
        discussion: """
            Latency is of the frames since the look before, from when a turn of their thread began \
            to when their replies were handed on: half of them took p50 or less, of a thousand \
            999 took p99.9. Behind it, how far the journal and the audit log are behind.

            On a terminal the table is refreshed in place, and waits for a daemon that starts \
            again. With --json, one object a line for each look.

            Organizations are counted from the first look on, and only while somebody looks; what \
            they do not add up to was denied before it was known whose it is. Without an audit \
            log they are not counted at all; who is nearest to a limit is told all the same. On \
            the data socket (--socket) it is for the role watch.
            """)
    @OptionGroup var options: AdminOptions
    @Option(help: "Seconds between looks, 0.1 to 3600.") var interval = 1.0
    @Option(help: "Looks before it ends; default: until interrupted.") var count: Int?
    @Flag(help: "The same as --count 1.") var once = false
    @Option(help: "Organizations, operations and limits shown, 1 to 100; with --json all.")
    var rows = 8

    func validate() throws {
        guard (0.1...3_600).contains(interval) else {
            throw ValidationError("--interval is 0.1 to 3600 seconds")
        }
        guard (count ?? 1) >= 1 else { throw ValidationError("--count is at least 1") }
        guard !once || count == nil else {
            throw ValidationError("--once and --count say the same; give one of them")
        }
        guard (1...100).contains(rows) else { throw ValidationError("--rows is 1 to 100") }
    }

    func run() throws {
        let isLive = Console.isTerminal && !options.output.json
        let client = options.client
        var before = try options.ask { (_) throws(ClientError) in try look(client) }
        var looks = 0
        while looks < (once ? 1 : count ?? .max), !Console.isClosed {
            poll(nil, 0, Int32(interval * 1_000))
            do {
                let now = try look(client)
                try show(TopView(before: before, now: now), live: isLive, isFirst: looks == 0)
                before = now
            } catch let error as ClientError {
                guard isLive, error.isDaemonFailure else {
                    throw Failure(error, AdminOptions.names)
                }
                try Console.print("\u{1b}[H\u{1b}[2Jno answer: \(visible(error.description))")
            }
            looks += 1
        }
    }

    private func look(_ client: BlockingClient) throws(ClientError) -> TopView.Sample {
        let entries = try client.statistics()
        let nanoseconds = tg_boottime()
        return TopView.Sample(
            nanoseconds: nanoseconds, entries: entries, organizations: try organizations(client))
    }

    /// What can be told of organizations; who may not ask sees everything else all the same.
    private func organizations(_ client: BlockingClient) throws(ClientError) -> TopView.Known {
        do throws(ClientError) {
            return .told(try client.perform(.top(limit: Int64(TopOrganizations.listMax))))
        } catch {
            switch error {
            case .refused(.forbidden, _):
                return .untold("this user has neither the role watch nor admin")
            case .refused(.invalidValue, _): return .untold("the daemon is of an earlier version")
            case .refused(.busy, _): return .untold("too many calls wait")
            default: throw error
            }
        }
    }

    private func show(_ view: TopView, live: Bool, isFirst: Bool) throws {
        if options.output.json { return try Console.print(view.json.text) }
        let text = view.text(options.output, rows: rows)
        guard live else { return try Console.print(isFirst ? text : "\n" + text) }
        // Home; each line over the old one, the rest of it erased; then what stood below.
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let home = isFirst ? "\u{1b}[H\u{1b}[2J" : "\u{1b}[H"
        try Console.print(home + lines.map { $0 + "\u{1b}[K" }.joined(separator: "\n") + "\u{1b}[J")
    }
}
