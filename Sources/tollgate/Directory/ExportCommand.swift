import ArgumentParser
import TollgateWire

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write the directory's records as JSON Lines.",
        discussion: """
            Organizations with their subscriptions, then users, overrides, grants of credits, \
            keys and revocations, for tollgate import. Keys are there as hashes under the daemon's \
            pepper: no key can be made of them, but keep the file to yourself (umask 077). \
            Sessions stay behind. If it is interrupted, it says how to go on.
            """)
    @OptionGroup var options: AdminOptions
    @Option(help: "Go on behind this cursor, which an interrupted export told.")
    var after: String?

    func run() throws {
        Interruption.watch()
        var exporter = Exporter(options: options, cursor: after)
        try exporter.run()
    }
}

private struct Exporter {
    let options: AdminOptions
    /// All before it was written.
    var cursor: String?
    private var count = 0
    private var progress = Progress()

    init(options: AdminOptions, cursor: String?) {
        self.options = options
        self.cursor = cursor
    }

    mutating func run() throws {
        do {
            try writeAll()
        } catch var failure as Failure {
            progress.clear()
            failure.members += [("after", .optional(cursor)), ("records", .count(count))]
            if let cursor {
                let cut =
                    failure.code == .output
                    ? "keep the first \(count) lines that this run wrote, then " : ""
                let goOn = "\(cut)go on with: tollgate export --after \(cursor) >> FILE"
                failure.next = [failure.next, goOn].compactMap { $0 }.joined(separator: "\n  ")
            }
            throw failure
        }
        progress.clear()
        if !Console.isClosed, !options.output.json {
            Console.printError("\(grouped(count)) records exported")
        }
    }

    private mutating func writeAll() throws {
        try options.parts(.exportDirectory, after: cursor) { records, next in
            if !records.isEmpty {
                try Console.print(
                    records.map { JSONValue.object($0).text }.joined(separator: "\n"))
            }
            count += records.count
            guard let next else { return }
            cursor = next
            progress.show("\(grouped(count)) records")
            if Interruption.isAsked { throw Failure(.tryAgain, "interrupted") }
        }
    }
}
