import ArgumentParser

struct LedgerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ledger", abstract: "Look at a ledger that no daemon has open, or repair it.",
        discussion: """
            For when a daemon does not start: verify says what is damaged, inspect what it holds, \
            repair makes it start again. They read the files themselves, keep daemons from \
            opening them meanwhile, and end with 75 where one has.
            """,
        subcommands: [LedgerVerify.self, LedgerInspect.self, LedgerRepair.self])
}
