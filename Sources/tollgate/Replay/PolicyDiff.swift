import ArgumentParser
import TollgateCore
import TollgatePolicy
import TollgateStorage

struct PolicyDiff: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Which recorded decisions another policy would have made otherwise.",
        discussion: """
            Runs the decisions of audit logs through both policies, the one that made them and \
            the other, and tells who would have been refused or let through, when, by which \
            limit, and what it would have cost. Only decisions that the old policy makes as they \
            were recorded are judged; of the others it says how many, and why. Exit code 0: no \
            difference; 1: some; 65: none could be judged; 66: there is no decision.
            """)
    @Argument(help: "The policy that made the decisions.", completion: .file()) var old: String
    @Argument(help: "The other policy.", completion: .file()) var new: String
    @Option(
        parsing: .upToNextOption, help: "Directories of audit logs, each after the other.",
        completion: .directory)
    var replay: [String]
    @Option(help: "Organizations and users shown of each limit.") var limit = 10
    @Option(
        help: "csv: each decision that comes out otherwise, and on standard error what was judged.")
    var format: Format?
    @OptionGroup var output: OutputOptions

    enum Format: String, ExpressibleByArgument, CaseIterable { case csv }

    func validate() throws {
        if format != nil, output.json {
            throw ValidationError("give --json or --format, not both")
        }
        guard !replay.isEmpty else { throw ValidationError("give --replay a log's directory") }
        guard (1...10_000).contains(limit) else {
            throw ValidationError("--limit is 1 to 10,000")
        }
    }

    func run() throws {
        let policies = try (PolicyCommand.load(old), PolicyCommand.load(new))
        var run: PolicyReplay
        do throws(PolicyCompileError) {
            run = try PolicyReplay(
                old: policies.0.definition, new: policies.1.definition)
        } catch {
            throw Failure(.configuration, "\(error)", next: "tollgate policy check says more")
        }
        run.report.sampledOneIn = policies.0.audit?.sampleAllowed ?? 1
        run.isListing = format == .csv
        if run.isListing { try Console.print(CSV.row(ReplayReport.Changed.columns)) }
        var failure: (any Error)?
        for directory in replay {
            var path = directory
            while path.hasSuffix("/"), path.utf8.count > 1 { path.removeLast() }
            try onAudit { () throws(AuditFailure) in
                _ = try AuditReader(directory: path).run(AuditQuery()) { record in
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
        let report = run.report
        guard report.decisions > 0 else {
            throw Failure(
                .noInput, "there is no decision in \(replay.joined(separator: ", "))",
                next: "name the directory of an audit log; tollgate stats tells where the"
                    + " daemon's is (tollgate_audit_info)")
        }
        if run.isListing {
            Console.printError(report.head.joined(separator: "\n"))
        } else {
            try output.print(report.json(most: limit), report.text(most: limit))
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
