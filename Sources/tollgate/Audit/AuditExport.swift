import ArgumentParser
import TollgateStorage

struct AuditExport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "All decisions that meet the conditions, oldest first.",
        discussion: """
            As JSON Lines, or with --format csv. In csv charges are what counts, as meter=number, \
            and units has what was asked for or used before weights.
            """)
    enum Format: String, ExpressibleByArgument, CaseIterable { case jsonl, csv }

    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var filter: AuditFilter
    @Option(help: "jsonl or csv.") var format = Format.jsonl
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: "A new file; default: standard output.", completion: .file())
    var path: String?
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if output.json, format == .csv {
            throw ValidationError("give --json or --format csv, not both")
        }
    }

    func run() throws {
        let (reader, query) = (try place.reader(), try filter.query())
        let view = AuditView(format == .csv ? .csv : .jsonl)
        guard let path else { return try AuditPrinting.stream(reader, query, view) }
        let file = try NewFile(path)
        var count = 0
        do {
            count = try AuditPrinting.stream(reader, query, view) { text in
                try file.write(text + "\n")
                return true
            }
            try file.close()
        } catch {
            file.remove()
            throw error
        }
        if !output.json { Console.printError("\(grouped(count)) decisions exported") }
    }
}

enum AuditPrinting {
    private static let partCount = 1_000

    static func stream(_ reader: AuditReader, _ query: AuditQuery, _ view: AuditView) throws {
        let count = try stream(reader, query, view) { text in
            try Console.print(text)
            return !Console.isClosed
        }
        if view.format == .table, count == 0 { Console.printError("no decision meets that") }
    }

    /// However many there are, they cost no memory; how many there were. `put` gets lines, and
    /// says whether it wants more.
    static func stream(
        _ reader: AuditReader, _ query: AuditQuery, _ view: AuditView,
        _ put: (String) throws -> Bool
    ) throws -> Int {
        var view = view
        var part: [AuditRecord] = []
        var count = 0
        var failure: (any Error)?
        _ = try onAudit { () throws(AuditFailure) in
            try reader.run(query) { record in
                part.append(record)
                count += 1
                guard part.count == partCount else { return true }
                var isWanted = true
                do {
                    isWanted = try put(view.lines(part).joined(separator: "\n"))
                } catch { failure = error }
                part.removeAll(keepingCapacity: true)
                return failure == nil && isWanted
            }
        }
        if let failure { throw failure }
        let last = view.lines(part)
        if !last.isEmpty { _ = try put(last.joined(separator: "\n")) }
        return count
    }
}
