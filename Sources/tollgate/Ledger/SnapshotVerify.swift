import ArgumentParser
import Glibc
import TollgateStorage

struct SnapshotVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read a snapshot's file, or all of a ledger, to the end.",
        discussion: """
            Needs no daemon, and does not mind one: a snapshot never changes once it is there. \
            Exit code 1: damaged.
            """)
    @OptionGroup var output: OutputOptions
    @Argument(
        help: "A file (snapshot-….tgs), or the directory of a ledger.", completion: .file())
    var path: String

    func run() throws {
        guard path != "-" else {
            throw Failure(
                .usage, "a snapshot is read from a file, not from standard input",
                next: "name the file, or the directory of a ledger")
        }
        let path = LedgerFolder.trimmed(path)
        var status = stat()
        guard stat(path, &status) == 0 else { throw Input.missing(path, errno) }
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        let files = isFolder ? try Self.files(in: path) : [path]
        let disk = SystemDisk()
        let looks = files.map { SnapshotLook(file: $0, disk, threads: LedgerFolder.threads) }
            // One that made room for a newer one since the directory was listed is none.
            .filter { !isFolder || $0.finding.failure?.errno != ENOENT }
        let damaged = looks.filter { $0.finding.failure != nil }
        try output.print(
            .object([
                ("whole", .bool(damaged.isEmpty)),
                ("files", .list(looks.map { ExaminationView.json($0.finding) })),
            ]),
            looks.map { text($0) }.joined(separator: "\n"))
        guard let failure = damaged.first?.finding.failure else { return }
        throw Self.failure(failure, count: damaged.count)
    }

    private func text(_ look: SnapshotLook) -> String {
        let path = visible(look.finding.path)
        guard look.finding.failure != nil else {
            return "\(path): \(output.paint("whole", .green)): \(look.finding.summary), begun"
                + " \(Times.shown(look.summary.at.milliseconds))"
        }
        return look.finding.failures.map {
            "\(path): \(output.paint("damaged", .red)): byte \($0.offset ?? 0):"
                + " \(visible($0.words))"
        }.joined(separator: "\n")
    }

    private static func files(in folder: String) throws -> [String] {
        let names: [String]
        do throws(DiskError) { names = try SystemDisk().list(folder) } catch {
            throw LedgerFolder.cannotRead(folder, error.errno)
        }
        let files = names.filter { LedgerFiles.number($0, .snapshot) != nil }
        guard !files.isEmpty else {
            throw Failure(
                .noInput, "there is no snapshot in \(folder)",
                next: "name a snapshot's file, or the directory of a ledger")
        }
        return files.map { folder + "/" + $0 }
    }

    private static func failure(_ failure: LedgerFailure, count: Int) -> Failure {
        switch failure.kind {
        case .disk where failure.errno == EACCES:
            return LedgerFolder.cannotRead(failure.path, failure.errno)
        case .disk:
            return Failure(.output, failure.description, next: "the disk fails: try a copy")
        case .version:
            return Failure(.badData, failure.description)
        default:
            return Failure(
                .notDone, count == 1 ? "1 snapshot is damaged" : "\(count) snapshots are damaged",
                next: "while the one before is whole, a start does without; tollgate ledger verify"
                    + " PATH says whether it would")
        }
    }
}
