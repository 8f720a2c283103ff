import ArgumentParser
import TollgateStorage

struct AuditExport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "All decisions that meet the conditions, oldest first.",
        discussion: """
            As JSON Lines, or with --format csv. In csv charges are what counts, as meter=number, \
            and units has what was asked for or used before weights. Ends with 65 where the log \
            has not all that was decided: a file is missing, or its end.
            """)
    enum Format: String, ExpressibleByArgument, CaseIterable { case jsonl, csv }

    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var filter: AuditFilter
    @Option(help: "jsonl or csv.") var format = Format.jsonl
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: "A new file; default: standard output.", completion: .file())
    var path: String?
    @OptionGroup var damage: AuditDamageOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if output.json, format == .csv {
            throw ValidationError("give --json or --format csv, not both")
        }
    }

    func run() throws {
        let reader = try place.reader()
        var query = try filter.query()
        query.skipsDamaged = damage.skipDamaged
        let scan = try damage.run { try export(reader, query) }
        try AuditWhole.check(reader, since: query.since, scan)
    }

    private func export(_ reader: AuditReader, _ query: AuditQuery) throws -> AuditScan {
        let view = AuditView(format == .csv ? .csv : .jsonl)
        guard let path else { return try AuditPrinting.stream(reader, query, view) }
        let file = try NewFile(path)
        var scan = AuditScan()
        do {
            scan = try AuditPrinting.stream(reader, query, view) { text in
                try file.write(text + "\n")
                return true
            }
            try file.close()
        } catch {
            file.remove()
            throw error
        }
        if !output.json { Console.printError("\(grouped(scan.matched)) decisions exported") }
        return scan
    }
}

enum AuditPrinting {
    private static let partCount = 1_000

    static func stream(
        _ reader: AuditReader, _ query: AuditQuery, _ view: AuditView
    ) throws -> AuditScan {
        let scan = try stream(reader, query, view) { text in
            try Console.print(text)
            return !Console.isClosed
        }
        if view.format == .table, scan.matched == 0 {
            Console.printError("no decision meets that")
        }
        return scan
    }

    /// However many there are, they cost no memory. `put` gets lines, and says whether it wants
    /// more.
    static func stream(
        _ reader: AuditReader, _ query: AuditQuery, _ view: AuditView,
        _ put: (String) throws -> Bool
    ) throws -> AuditScan {
        var view = view
        var part: [AuditRecord] = []
        var failure: (any Error)?
        let scan = try onAudit { () throws(AuditFailure) in
            try reader.run(query) { record in
                part.append(record)
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
        return scan
    }
}
