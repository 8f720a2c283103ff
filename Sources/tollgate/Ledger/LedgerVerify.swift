import ArgumentParser
import TollgateStorage

struct LedgerVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read every file of a ledger to its end.",
        discussion: """
            Names each file that is damaged, where, and what is wrong there, and goes on to the \
            others. Changes nothing.

            Exit code 0: nothing is damaged; what was being written when a daemon was killed is \
            told as a note, for the next start cuts it off. 1: something is damaged, or a start \
            would be refused. 65: of another version. 66: no ledger there. 74: the disk cannot be \
            read. 75: a daemon has it open. 77: not yours to read.
            """)
    @OptionGroup var output: OutputOptions
    @OptionGroup var ledger: LedgerArgument
    @Flag(name: .shortAndLong, help: "Print nothing but what is wrong.") var quiet = false

    func run() throws {
        let folder = try LedgerFolder(ledger.path)
        let inspection = try folder.open()
        let examination = try folder.ask { () throws(LedgerFailure) in
            try inspection.examine(now: LedgerFolder.now)
        }
        let view = ExaminationView(
            folder: folder, examination: examination, foreign: try folder.foreignFiles())
        if !quiet || output.json {
            try output.print(view.json, view.text(output))
        }
        if let failure = view.failure { throw failure }
    }
}

/// What `ledger verify` says.
struct ExaminationView {
    let folder: LedgerFolder
    let examination: LedgerExamination
    /// Files that the directory's owner does not own.
    let foreign: [(path: String, user: String)]

    var isWhole: Bool { examination.failures.isEmpty }

    /// A start would be refused although no file is damaged.
    private var refusal: LedgerFailure? {
        if case .failure(let failure) = examination.start { failure } else { nil }
    }

    var isStarting: Bool { refusal == nil && foreign.isEmpty }

    /// `nil` when all is well.
    var failure: Failure? {
        let failures = examination.failures
        if let unreadable = failures.first(where: { $0.kind == .disk }), foreign.isEmpty,
            !failures.contains(where: { $0.kind == .damaged })
        {
            return folder.failure(unreadable)
        }
        if let unknown = failures.first(where: { $0.kind == .version }) {
            return folder.failure(unknown)
        }
        let damaged = examination.findings.count { $0.failure?.kind == .damaged }
        if damaged > 0 {
            let files = damaged == 1 ? "1 file is damaged" : "\(damaged) files are damaged"
            return Failure(
                .notDone,
                "\(folder.path): \(files)" + (refusal == nil ? ", and a start does without" : ""),
                next: "put a backup in its place, or see what a repair would save:"
                    + " \(folder.command("ledger repair")) --dry-run")
        }
        if !foreign.isEmpty {
            return Failure(
                .notDone,
                "\(folder.path): the daemon may not be able to open what \(foreign[0].user) owns",
                next: "as root, run: \(folder.chown(foreign.map(\.path)))")
        }
        return refusal.map { folder.failure($0) }
    }

    // MARK: shown

    func text(_ output: OutputOptions) -> String {
        if examination.isUnmade { return "\(visible(folder.path)): \(Self.unmade)" }
        let rows = examination.findings.map { finding in
            [Self.name(finding.path), state(of: finding), finding.summary]
        }
        var blocks = [table(["FILE", "STATE", "HOLDS"], rows)]
        let failures = examination.failures.map { "\(output.paint("damage", .red)): \(said($0))" }
        let owners = foreign.map {
            "\(output.paint("owner", .red)): \(visible($0.path)): belongs to \(visible($0.user)),"
                + " and the directory to \(visible(folder.ownerName))"
        }
        let notes = examination.notes.map { note in
            "note: \(visible(note.path)), byte \(note.offset): \(visible(note.words))"
                + (note.isCutByStart ? "; a start cuts it off, and keeps it in quarantine" : "")
        }
        for lines in [failures + owners, notes] where !lines.isEmpty {
            blocks.append(lines.joined(separator: "\n"))
        }
        blocks.append(outcome(output))
        return blocks.joined(separator: "\n\n")
    }

    static let unmade =
        "its making did not end, so nothing was ever charged there; a start makes it anew"

    private func outcome(_ output: OutputOptions) -> String {
        guard case .success(let summary) = examination.start else {
            return output.paint("a start would be refused", .red)
        }
        let head = isWhole && foreign.isEmpty
            ? output.paint("whole", .green) : output.paint("it would start", .bold)
        return "\(head): a start reads generation \(summary.generation) and"
            + " \(grouped(summary.items)) items of the journal behind it:"
            + " \(grouped(summary.organizations)) organizations, \(grouped(summary.users)) users"
    }

    private func state(of finding: LedgerFinding) -> String {
        switch finding.failure?.kind {
        case nil: finding.notes.isEmpty ? "whole" : "whole, see note"
        case .disk: "unreadable"
        case .version: "unknown version"
        default: "damaged"
        }
    }

    private func said(_ failure: LedgerFailure) -> String { visible(failure.description) }

    static func name(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    var json: JSON {
        .object([
            ("path", .text(folder.path)), ("whole", .bool(isWhole)),
            ("starts", .bool(isStarting)), ("unmade", .bool(examination.isUnmade)),
            ("files", .list(examination.findings.map { Self.json($0) })),
            (
                "foreign",
                .list(
                    foreign.map { .object([("path", .text($0.path)), ("owner", .text($0.user))]) })
            ),
            ("refusal", .optional(refusal?.description)),
        ])
    }

    static func json(_ finding: LedgerFinding) -> JSON {
        .object([
            ("path", .text(finding.path)), ("whole", .bool(finding.failure == nil)),
            ("holds", .text(finding.summary)),
            (
                "failures",
                .list(
                    finding.failures.map {
                        .object([("offset", .optional($0.offset)), ("what", .text($0.words))])
                    })
            ),
            (
                "notes",
                .list(
                    finding.notes.map {
                        .object([
                            ("offset", .count($0.offset)), ("what", .text($0.words)),
                            ("cut_by_start", .bool($0.isCutByStart)),
                        ])
                    })
            ),
        ])
    }
}
