import ArgumentParser
import TollgateWire

struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Snapshots of the ledger.",
        discussion: """
            The daemon writes one every few minutes and when it ends; with the journal since, its \
            start needs no more.
            """,
        subcommands: [SnapshotCreate.self, SnapshotList.self, SnapshotVerify.self])
}

struct SnapshotCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Have the daemon write a snapshot now.",
        discussion: "Answers when it is on the disk; requests are decided meanwhile.")
    @OptionGroup var options: AdminOptions

    func run() throws {
        // As long as the disk takes.
        var options = options
        options.timeout = options.timeout ?? 600_000
        try options.show(.createSnapshot, [:], "snapshot", .snapshot)
    }
}

struct SnapshotList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the snapshots that are kept, newest first.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .snapshot)
        try printer.print(.listSnapshots)
    }
}

extension View {
    static var snapshot: View {
        View(
            noun: "snapshot",
            fields: [
                .member("generation"), .member("at", "begun"),
                .made("size") { bytes(Double($0.integer("bytes") ?? 0)) },
            ])
    }
}
