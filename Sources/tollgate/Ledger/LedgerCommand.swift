import ArgumentParser

struct LedgerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ledger",
        abstract: "Back up a ledger, look at one that no daemon has open, repair it.",
        discussion: """
            backup copies a ledger, also beside its daemon. The others are for when a daemon does \
            not start: verify says what is damaged, inspect what it holds, repair makes it start \
            again. They read the files themselves, keep daemons from opening them meanwhile, and \
            end with 75 where one has.
            """,
        subcommands: [
            LedgerBackupCommand.self, LedgerVerify.self, LedgerInspect.self, LedgerRepair.self,
        ])
}
