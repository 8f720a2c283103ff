import ArgumentParser
import Glibc
import TollgateStorage

struct LedgerBackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copy a ledger, also while its daemon charges.",
        discussion: """
            The copy holds everything that callers were told before the command began, and ends \
            at one moment until it ended, as if the daemon had been killed there. It is read to \
            its end, as ledger verify does, and on the disk before it gets its name: a new \
            directory, mode 0700. Until then it is PATH.part, which the next backup to PATH takes \
            away where this one was killed.

            Nothing in the ledger changes, and no request waits. Files belong to whoever runs it. \
            The accounts are another copy: tollgate backup.

            To restore one: end the daemon, put a copy of the backup in the ledger's place, the \
            daemon's user its owner, and start once with tollgated --accept-rollback.

            Exit code 1: the path is there already, or the ledger is damaged. 65: of another \
            version. 66: no ledger there. 74: the disk cannot be read, or has no room. 75: another \
            backup to the same path is being made. 77: not yours to read, or to write there.
            """)
    @OptionGroup var output: OutputOptions
    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "A new directory for the copy.", completion: .directory)
    var copy: String

    /// How often a copy that raced a change of files is made again.
    private static let triesMax = 3

    func run() throws {
        let folder = try LedgerFolder(ledger.path)
        let place = try BackupPlace(copy, of: folder)
        // Decisions come first, wherever they want the same core.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
        try place.begin()
        do {
            let view = try make(folder, place)
            try place.finish()
            try output.print(view.json, view.text(output))
        } catch {
            place.discard()
            throw error
        }
    }

    private func make(_ folder: LedgerFolder, _ place: BackupPlace) throws -> BackupView {
        let backup = LedgerBackup(of: folder.path, into: place.part, SystemDisk())
        var progress = Progress()
        defer { progress.clear() }
        var tries = 1
        while true {
            let told: Failure
            do {
                let copied = try place.ask(folder) { () throws(LedgerFailure) in
                    try backup.copy { done, all in
                        progress.show("copied \(bytes(Double(done))) of \(bytes(Double(all)))")
                    }
                }
                progress.show("checking the copy")
                let summary = try place.verify(folder)
                return BackupView(
                    path: place.path, ledger: folder.path, copied: copied, summary: summary)
            } catch let error as Failure { told = error }
            // What a change of files made of it, none may make the next time.
            guard told.code == .notDone || told.code == .tryAgain, tries < Self.triesMax else {
                throw told
            }
            tries += 1
            try place.ask(folder) { () throws(LedgerFailure) in try backup.clear() }
        }
    }
}

/// What `ledger backup` says.
struct BackupView {
    let path: String
    let ledger: String
    let copied: LedgerBackup.Copied
    let summary: LedgerSummary

    func text(_ output: OutputOptions) -> String {
        "\(visible(path)): \(output.paint("whole", .green)): generation \(copied.generation) and"
            + " \(grouped(summary.items)) items of the journal behind it:"
            + " \(grouped(summary.organizations)) organizations, \(grouped(summary.users)) users;"
            + " \(bytes(Double(copied.bytes))) in \(copied.files) files"
    }

    var json: JSON {
        .object([
            ("path", .text(path)), ("ledger", .text(ledger)),
            ("generation", .count(copied.generation)), ("items", .count(summary.items)),
            ("organizations", .count(summary.organizations)), ("users", .count(summary.users)),
            ("reservations", .count(summary.reservations)),
            ("idempotency_records", .count(summary.idempotencyRecords)),
            ("files", .count(copied.files)), ("bytes", .count(copied.bytes)),
        ])
    }
}
