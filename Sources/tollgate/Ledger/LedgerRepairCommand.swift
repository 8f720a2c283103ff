import ArgumentParser
import Glibc
import TollgateStorage

struct LedgerRepair: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair", abstract: "Make what is left of a ledger one that starts.",
        discussion: """
            Of each shard it takes the snapshot and the journal that lead furthest, writes them as \
            a new generation, and moves everything that was there to quarantine/, in one folder: \
            nothing is deleted. It says first what it will do and what may be lost, and asks. \
            Where nothing is damaged it changes nothing. Cut short, it can be run again.

            A backup loses no more than was charged since it was made; a repair may lose less. \
            Counters that it cannot read whole stand too low afterwards, so that callers may get \
            more than their plan grants.

            It must be run as the user that owns the directory: the daemon could not open files \
            of another.
            """)
    @OptionGroup var output: OutputOptions
    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var confirmation: Confirmation
    @Flag(help: "Say what it would do, and change nothing.") var dryRun = false
    @Flag(help: "Where no snapshot can be read: begin with all counters at 0.")
    var beginEmpty = false

    func run() throws {
        let folder = try LedgerFolder(ledger.path)
        guard dryRun || folder.isOwn else { throw notOwner(folder) }
        // Before anything is asked: nobody opens it while the user thinks.
        let inspection = try folder.open(repairing: !dryRun)
        let foreign = try folder.foreignFiles()
        guard foreign.isEmpty || dryRun else { throw notOwned(foreign, folder) }
        let plan = try ask(folder) { () throws(LedgerFailure) in
            try inspection.planRepair(now: LedgerFolder.now, beginningEmpty: beginEmpty)
        }
        var view = RepairView(folder: folder, plan: plan, isDone: false)
        guard plan.isNeeded, !dryRun else {
            return try output.print(view.json, view.text(output))
        }
        if !output.json { try Console.print(view.text(output)) }
        try confirmation.confirm("repair \(folder.path)")
        view.plan = try ask(folder) { () throws(LedgerFailure) in
            try inspection.repair(now: LedgerFolder.now, beginningEmpty: beginEmpty)
        }
        view.isDone = true
        try check(folder, inspection)
        try output.print(view.json, view.done(output))
    }

    /// That the daemon starts with what was made is seen, not hoped.
    private func check(_ folder: LedgerFolder, _ inspection: LedgerInspection) throws {
        let after = try folder.ask { () throws(LedgerFailure) in
            try inspection.examine(now: LedgerFolder.now)
        }
        if let failure = after.failures.first {
            throw Failure(
                .unexpected, "the repaired ledger is damaged again: \(failure)",
                next: "the disk may fail: copy the directory to another one, and repair the copy")
        }
        if case .failure(let failure) = after.start {
            throw Failure(.unexpected, "the repaired ledger would not start: \(failure)")
        }
    }

    private func ask<T>(
        _ folder: LedgerFolder, _ body: () throws(LedgerFailure) -> T
    ) throws -> T {
        do throws(LedgerFailure) { return try body() } catch {
            guard error.kind == .damaged else { throw folder.failure(error) }
            throw Failure(
                .notDone, error.description,
                next: "put a backup in its place; without one, to begin with all counters at 0:"
                    + " \(folder.command("ledger repair")) --begin-empty")
        }
    }

    private func notOwner(_ folder: LedgerFolder) -> Failure {
        Failure(
            .forbidden,
            "\(folder.path) belongs to \(folder.ownerName), and the daemon could not open files"
                + " that another user makes there",
            next: "run: \(folder.runAsOwner("ledger repair"))")
    }

    private func notOwned(
        _ foreign: [(path: String, user: String)], _ folder: LedgerFolder
    ) -> Failure {
        Failure(
            .forbidden,
            "\(foreign[0].path) belongs to \(foreign[0].user), and the directory to"
                + " \(folder.ownerName)",
            next: "as root, run first: \(folder.chown(foreign.map(\.path)))")
    }
}

/// What `ledger repair` says.
struct RepairView {
    let folder: LedgerFolder
    var plan: LedgerRepairPlan
    var isDone: Bool

    /// Of long lists, so many.
    private static let shownMax = 20
    private static let cutsMax = 5

    // MARK: for people

    func text(_ output: OutputOptions) -> String {
        guard plan.isNeeded else {
            return "\(visible(folder.path)): nothing to repair"
                + (plan.examination.isUnmade ? ": \(ExaminationView.unmade)" : "")
        }
        let damage = plan.examination.failures.map(\.description)
        var blocks = [
            section("damaged", damage, output), section("will do", steps, output),
        ]
        blocks.append(
            plan.losses.isEmpty
                ? output.paint("nothing is lost", .green)
                : section("may be lost", plan.losses.map(\.words), output))
        if !plan.uncertain.isEmpty { blocks.append(uncertain(output)) }
        return blocks.joined(separator: "\n")
    }

    private func section(_ title: String, _ lines: [String], _ output: OutputOptions) -> String {
        let more = lines.count - Self.shownMax
        return output.paint(title, .bold) + "\n"
            + lines.prefix(Self.shownMax).map { "  " + visible($0) }.joined(separator: "\n")
            + (more > 0 ? "\n  and \(more) more (--json has all)" : "")
    }

    private var steps: [String] {
        var steps: [String] = []
        if plan.makesMarker { steps.append("make the marker ledger.id again") }
        steps.append(
            plan.read == 0
                ? "begin a generation in which all counters are 0"
                : "write a new generation from generation \(plan.read) and the journal behind it")
        for generation in Set(plan.elsewhere.map(\.generation)).sorted() {
            let shards = plan.elsewhere.filter { $0.generation == generation }.map { "\($0.shard)" }
            steps.append(
                "of shard \(shards.joined(separator: ", ")) take generation \(generation) and the"
                    + " journal behind that")
        }
        if plan.rewritesArchive { steps.append("write the closed periods that are whole anew") }
        let cuts = plan.cuts.filter { $0.bytes > 0 }
        if cuts.count > Self.cutsMax {
            steps.append("leave out \(cuts.count) ends of the journal that do not lead on")
        }
        for cut in cuts where cuts.count <= Self.cutsMax {
            steps.append(
                "leave out \(cut.path), byte \(cut.offset): an end of \(bytes(Double(cut.bytes)))"
                    + (cut.isLoss ? " that does not lead on" : " that was not written whole"))
        }
        let files = plan.setAside.count == 1 ? "1 file" : "\(plan.setAside.count) files"
        steps.append("move \(files) to \(folder.path)/quarantine/\(plan.folder)")
        return steps
    }

    private func uncertain(_ output: OutputOptions) -> String {
        let organizations = Set(plan.uncertain.map(\.organization)).count
        let shown = Array(plan.uncertain.prefix(Self.shownMax))
        let more = plan.uncertain.count - shown.count
        return output.paint("may stand too low", .bold)
            + ": \(grouped(plan.uncertain.count)) counters of \(grouped(organizations))"
            + " organizations, and whoever is new in their shards\n" + CounterTable.text(shown)
            + (more > 0 ? "\nand \(grouped(more)) more (--json has all)" : "")
    }

    func done(_ output: OutputOptions) -> String {
        output.paint("repaired", .green)
            + ": generation \(plan.written) is written, and the ledger starts\n  what was there:"
            + " \(visible(folder.path))/quarantine/\(plan.folder) (remove it when nobody wants to"
            + " look at it any more)"
    }

    // MARK: for programs

    var json: JSON {
        .object([
            ("path", .text(folder.path)), ("needed", .bool(plan.isNeeded)),
            ("done", .bool(isDone)), ("read", .count(plan.read)),
            ("written", plan.written == 0 ? .null : .count(plan.written)),
            (
                "damaged",
                .list(
                    plan.examination.failures.map {
                        .object([
                            ("path", .text($0.path)), ("offset", .optional($0.offset)),
                            ("what", .text($0.words)),
                        ])
                    })
            ),
            ("steps", .texts(plan.isNeeded ? steps : [])),
            (
                "losses",
                .list(
                    plan.losses.map {
                        .object([
                            ("kind", .text($0.kind.rawValue)), ("shard", .optional($0.shard)),
                            ("slots", .count($0.slots)),
                            ("what", .text($0.words)),
                        ])
                    })
            ),
            (
                "cuts",
                .list(
                    plan.cuts.map {
                        .object([
                            ("path", .text($0.path)), ("offset", .count($0.offset)),
                            ("bytes", .count($0.bytes)),
                        ])
                    })
            ),
            ("uncertain", .list(plan.uncertain.map { CounterTable.json($0) })),
            ("set_aside", .texts(plan.setAside)),
            ("quarantine", .text("\(folder.path)/quarantine/\(plan.folder)")),
        ])
    }
}
