import ArgumentParser
import TollgateClient
import TollgateWire

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Bring records into the directory, from JSON Lines.",
        discussion: """
            One record a line, as tollgate export writes them: organizations before their users, \
            users before their keys. A record that is there already and the same is passed over, \
            so the same file may be imported again; one that is there and differs stops the \
            import. What stands before the line at fault is imported then, and --from goes on.
            """)
    @OptionGroup var options: AdminOptions
    @Argument(help: "The file; - is standard input.", completion: .file()) var file: String
    @Option(help: "Begin at this line; the first is 1.") var from = 1
    @Flag(help: "Read the lines, say what is wrong with them, and import nothing.")
    var dryRun = false

    static let recordsMax = 500
    /// A batch waits for the daemon's disk.
    private static let timeoutMilliseconds = 60_000

    func validate() throws {
        guard from >= 1 else { throw ValidationError("--from is a line's number, 1 or more") }
    }

    func run() throws {
        Interruption.watch()
        let reader = try RecordReader(path: file)
        var options = options
        options.timeout = options.timeout ?? Self.timeoutMilliseconds
        if dryRun { return try RecordCheck(reader: reader, from: from).run(options.output) }
        var importer = Importer(options: options, reader: reader, from: from)
        try importer.run()
    }
}

/// Sends records in batches, each of which the daemon takes whole or not at all.
private struct Importer {
    let options: AdminOptions
    let reader: RecordReader
    let client: BlockingClient
    private var progress = Progress()
    private var created: Int64 = 0
    private var unchanged: Int64 = 0
    /// The line to go on with: all before it is imported.
    private var nextLine: Int

    init(options: AdminOptions, reader: RecordReader, from: Int) {
        self.options = options
        self.reader = reader
        client = options.client
        nextLine = from
    }

    mutating func run() throws {
        do {
            try sendAll()
        } catch var failure as Failure {
            progress.clear()
            failure.members.append(("next_line", .count(nextLine)))
            if nextLine > 1 {
                let goOn = "lines before \(nextLine) are imported: go on with --from \(nextLine)"
                failure.next = [failure.next, goOn].compactMap { $0 }.joined(separator: "\n  ")
            }
            throw failure
        }
        progress.clear()
        try options.output.print(
            .object([("created", .count(created)), ("unchanged", .count(unchanged))]),
            "\(grouped(created)) records created, \(grouped(unchanged)) were there already")
    }

    private mutating func sendAll() throws {
        var batch: [RecordReader.Line] = []
        var batchBytes = 0
        while true {
            let line: RecordReader.Line
            do {
                guard let next = try reader.next() else { break }
                guard next.number >= nextLine else { continue }
                try RecordCheck.check(next, reader.path)
                line = next
            } catch {
                try send(batch[...])
                throw error
            }
            if batch.count == ImportCommand.recordsMax
                || batchBytes + line.bytes.count + 1 > RecordReader.lineBytesMax
            {
                try send(batch[...])
                (batch, batchBytes) = ([], 0)
                if Interruption.isAsked { break }
            }
            batch.append(line)
            batchBytes += line.bytes.count + 1
        }
        if !Interruption.isAsked { try send(batch[...]) }
        if Interruption.isAsked {
            throw Failure(.tryAgain, "interrupted before line \(nextLine)")
        }
    }

    /// A batch that is refused is halved until the one record at fault is found: those before it
    /// are imported then, and its line is known.
    private mutating func send(_ batch: ArraySlice<RecordReader.Line>) throws {
        guard let first = batch.first, let last = batch.last else { return }
        do throws(ClientError) {
            let reply = try client.perform(.raw(.importDirectory, try Self.members(batch)))
            created += reply.integer("created") ?? 0
            unchanged += reply.integer("unchanged") ?? 0
            nextLine = last.number + 1
        } catch {
            guard let fault = Fault(error) else { throw Failure(error, AdminOptions.names) }
            guard batch.count > 1 else {
                throw Failure(
                    .badData, "\(reader.path):\(first.number): \(fault.words)",
                    next: "correct the line, or take it away", status: fault.status)
            }
            let middle = batch.startIndex + batch.count / 2
            try send(batch[..<middle])
            try send(batch[middle...])
        }
        let state = state
        progress.show(state)
    }

    private static func members(
        _ batch: ArraySlice<RecordReader.Line>
    ) throws(ClientError) -> JSONObject {
        var records: [JSONValue] = []
        for line in batch {
            do throws(JSONError) { records.append(try JSONValue(reading: line.bytes)) } catch {
                throw .invalidRequest("line \(line.number): \(error)")
            }
        }
        return ["records": .array(records)]
    }

    private var state: String {
        let share = reader.sizeBytes.map { size in
            " (\(size == 0 ? 100 : min(100, reader.readBytes * 100 / size)) % read)"
        }
        return "\(grouped(created + unchanged)) records\(share ?? "")"
    }
}

/// What the daemon, or what is sent to it, finds wrong with records, or with so many of them.
private struct Fault {
    var words: String
    var status: Status?

    /// `nil` where the records are not what failed.
    init?(_ error: ClientError) {
        switch error {
        case .invalidRequest(let what): words = what
        case .refused(let status, let detail):
            let isOfRecords =
                switch status {
                case .alreadyExists, .notFound, .invalidValue, .conflict, .frameTooLarge: true
                default: false
                }
            guard isOfRecords else { return nil }
            words = detail
            self.status = status
        default: return nil
        }
        // The line is named instead.
        let place = "records[0]: "
        if words.hasPrefix(place) { words.removeFirst(place.count) }
    }
}

/// Whether lines can be records at all.
struct RecordCheck {
    let reader: RecordReader
    let from: Int
    private static let faultsMax = 20

    /// What the line holds; throws what is wrong with it.
    @discardableResult
    static func check(_ line: RecordReader.Line, _ path: String) throws -> ExportedRecord {
        func fault(_ what: String) -> Failure {
            Failure(
                .badData, "\(path):\(line.number): \(what)",
                next: "each line is one record in JSON, as tollgate export writes them")
        }
        let value: JSONValue
        do throws(JSONError) { value = try JSONValue(reading: line.bytes) } catch {
            throw fault("not JSON: \(error)")
        }
        do throws(DocumentError) { return try ExportedRecord(strictly: value) } catch {
            throw fault("\(error)")
        }
    }

    /// All faults, up to some; the first ends the command.
    func run(_ output: OutputOptions) throws {
        var counts: [ExportedRecord.Kind: Int] = [:]
        var faults: [Failure] = []
        while faults.count < Self.faultsMax, let line = try reader.next() {
            guard line.number >= from else { continue }
            do {
                counts[try Self.check(line, reader.path).kind, default: 0] += 1
            } catch let fault as Failure { faults.append(fault) }
        }
        if Interruption.isAsked { throw Failure(.tryAgain, "interrupted") }
        if let first = faults.first {
            throw Failure(
                .badData, faults.map(\.message).joined(separator: "\n"), next: first.next)
        }
        let rows = ExportedRecord.Kind.allCases.map { ($0.rawValue, counts[$0] ?? 0) }
        try output.print(
            .object([("records", .object(rows.map { ($0.0, .count($0.1)) }))]),
            "nothing was imported; the file has\n"
                + pairs(rows.map { ($0.0 + "s", grouped($0.1)) }))
    }
}
