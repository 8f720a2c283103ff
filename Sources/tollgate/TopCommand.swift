import ArgumentParser
import CLinux
import Glibc
import TollgateClient

struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Watch decisions a second, by reason.",
        discussion: """
            On a terminal the table is refreshed in place, and waits for a daemon that starts \
            again. With --json, one object a line for each look.
            """)
    @OptionGroup var options: AdminOptions
    @Option(help: "Seconds between looks, 0.1 to 3600.") var interval = 1.0
    @Option(help: "Looks before it ends; default: until interrupted.") var count: Int?

    func validate() throws {
        guard (0.1...3_600).contains(interval) else {
            throw ValidationError("--interval is 0.1 to 3600 seconds")
        }
        guard (count ?? 1) >= 1 else { throw ValidationError("--count is at least 1") }
    }

    func run() throws {
        let isLive = Console.isTerminal && !options.output.json
        let client = options.client
        var before = try options.ask { (_) throws(ClientError) in try look(client) }
        var looks = 0
        while looks < count ?? .max, !Console.isClosed {
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
        return TopView.Sample(nanoseconds: tg_boottime(), entries: entries)
    }

    private func show(_ view: TopView, live: Bool, isFirst: Bool) throws {
        if options.output.json { return try Console.print(view.json.text) }
        let text = view.text(options.output)
        guard live else { return try Console.print(isFirst ? text : "\n" + text) }
        // Home; each line over the old one, the rest of it erased; then what stood below.
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let home = isFirst ? "\u{1b}[H\u{1b}[2J" : "\u{1b}[H"
        try Console.print(home + lines.map { $0 + "\u{1b}[K" }.joined(separator: "\n") + "\u{1b}[J")
    }
}
