import ArgumentParser
import TollgateCore
import TollgatePolicy
import TollgateStorage

struct PolicyDiff: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "What another policy has otherwise, or would have decided otherwise.",
        discussion: """
            Without --replay, says in words what is added, removed and changed: all that policy \
            show has, and keys that are others under the same name. Exit code 0: nothing; 1: \
            something.

            With it, runs the decisions of audit logs through both policies, the one that made \
            them and the other, and tells who would have been refused or let through, when, by \
            which limit, and what it would have cost. Only decisions that the old policy makes as \
            they were recorded are judged; of the others it says how many, and why. Exit code 0: \
            no difference; 1: some; 65: none could be judged, or of a log a file or its end is \
            missing; 66: there is no decision.
            """)
    @Argument(help: "The policy that made the decisions.", completion: .file()) var old: String
    @Argument(help: "The other policy.", completion: .file()) var new: String
    @Option(
        parsing: .upToNextOption, help: "Directories of audit logs, each after the other.",
        completion: .directory)
    var replay: [String] = []
    @Option(
        help: "Of the log, what was decided from then on: an ISO 8601 date, or so long ago (2h).",
        transform: Instants.past)
    var since: Int64?
    @Option(help: "Before then, written in the same way.", transform: Instants.past)
    var until: Int64?
    @Option(help: "Organizations and users shown of each limit (10).") var limit: Int?
    @Option(
        help: "csv: each decision that comes out otherwise, and on standard error what was judged.")
    var format: Format?
    @OptionGroup var output: OutputOptions

    enum Format: String, ExpressibleByArgument, CaseIterable { case csv }

    func validate() throws {
        if format != nil, output.json {
            throw ValidationError("give --json or --format, not both")
        }
        if replay.isEmpty {
            guard since == nil, until == nil, limit == nil, format == nil else {
                throw ValidationError(
                    "--since, --until, --limit and --format are of a replay: give --replay too")
            }
        }
        guard (1...10_000).contains(limit ?? 1) else {
            throw ValidationError("--limit is 1 to 10,000")
        }
        guard since ?? .min < until ?? .max else {
            throw ValidationError("--since is before --until")
        }
    }

    func run() throws {
        let policies = try (PolicyCommand.load(old), PolicyCommand.load(new))
        guard !replay.isEmpty else {
            let changes = PolicyChanges(policies.0, policies.1)
            try output.print(changes.json, changes.text)
            if !changes.all.isEmpty { throw ExitCode(1) }
            return
        }
        var run: PolicyReplay
        do throws(PolicyCompileError) {
            run = try PolicyReplay(
                old: policies.0.definition, new: policies.1.definition)
        } catch {
            throw Failure(.configuration, "\(error)", next: "tollgate policy check says more")
        }
        run.report.sampledOneIn = policies.0.audit?.sampleAllowed ?? 1
        run.isListing = format == .csv
        let readers = replay.map { directory in
            var path = directory
            while path.hasSuffix("/"), path.utf8.count > 1 { path.removeLast() }
            return AuditReader(directory: path)
        }
        try Self.checkApart(readers)
        if run.isListing { try Console.print(CSV.row(ReplayReport.Changed.columns)) }
        try feed(&run, readers)
        var whole = AuditWhole()
        for reader in readers {
            try whole.look(at: reader, since: since.map { WallTime(milliseconds: $0) })
        }
        do { try show(run.report, isListed: run.isListing) } catch let code as ExitCode {
            try whole.end()
            throw code
        }
        try whole.end()
    }

    /// Twice the same decisions would be judged as decisions that were made twice.
    private static func checkApart(_ readers: [AuditReader]) throws {
        var known: [AuditSegmentID: String] = [:]
        for reader in readers {
            let ids = try onAudit { () throws(AuditFailure) in try reader.segmentIDs() }
            for id in ids {
                if let other = known.updateValue(reader.directory, forKey: id) {
                    throw Failure(
                        .usage,
                        "\(reader.directory) and \(other) both have segment \(id.number) of one"
                            + " log: its decisions would count twice",
                        next: "name each log once")
                }
            }
        }
    }

    /// Runs all that the logs have of the time asked for.
    private func feed(_ run: inout PolicyReplay, _ readers: [AuditReader]) throws {
        var failure: (any Error)?
        var query = AuditQuery()
        query.since = since.map { WallTime(milliseconds: $0) }
        query.until = until.map { WallTime(milliseconds: $0) }
        for reader in readers {
            try onAudit { () throws(AuditFailure) in
                _ = try reader.run(query) { record in
                    run.add(record)
                    do { try Self.list(&run) } catch {
                        failure = error
                        return false
                    }
                    if run.report.decisions > 0, run.report.decisions % 250_000 == 0 {
                        Console.printError("\(grouped(run.report.decisions)) decisions")
                    }
                    return true
                }
            }
            if let failure { throw failure }
        }
        run.finish()
        try Self.list(&run)
    }

    private func show(_ report: ReplayReport, isListed: Bool) throws {
        guard report.decisions > 0 else {
            throw Failure(
                .noInput,
                "there is no decision in \(replay.joined(separator: ", "))"
                    + (since == nil && until == nil ? "" : " at that time"),
                next: "name the directory of an audit log; tollgate stats tells where the"
                    + " daemon's is (tollgate_audit_info)")
        }
        if isListed {
            Console.printError(report.head.joined(separator: "\n"))
        } else {
            let most = limit ?? 10
            try output.print(report.json(most: most), report.text(most: most))
        }
        if report.differences > 0 { throw ExitCode(1) }
        guard report.judged > 0 else {
            throw Failure(
                .badData, "none of \(grouped(report.decisions)) decisions could be judged",
                next: "name the policy that made them first; the report says why each was not")
        }
    }

    private static func list(_ run: inout PolicyReplay) throws {
        let listed = run.takeListed()
        guard !listed.isEmpty else { return }
        try Console.print(listed.map { CSV.row($0.cells) }.joined(separator: "\n"))
    }
}
