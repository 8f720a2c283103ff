import ArgumentParser
import TollgateCore
import TollgateStorage

struct LedgerInspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show what a ledger holds, as a start would find it.",
        discussion: """
            Generations, files of the journal, closed periods, and how much of everything; with \
            --organization or --limit the counters themselves. Changes nothing.

            Exit code 1: a start would be refused; what can be told is told.
            """)
    @OptionGroup var output: OutputOptions
    @OptionGroup var ledger: LedgerArgument
    @Option(help: "Show the counters of this organization.") var organization: String?
    @Option(help: "Show so many counters at most (with --organization: 100).") var limit: Int?
    @Flag(help: "Show each shard of which something was ever journaled.") var shards = false

    static let limitDefault = 100

    func validate() throws {
        guard (1...1_000_000_000).contains(limit ?? 1) else {
            throw ValidationError("--limit is 1 to 1000000000")
        }
    }

    func run() throws {
        let folder = try LedgerFolder(ledger.path)
        let inspection = try folder.open()
        let examination = try folder.ask { () throws(LedgerFailure) in
            try inspection.examine(now: LedgerFolder.now)
        }
        var view = InspectionView(path: folder.path, examination: examination)
        view.showsShards = shards
        if organization != nil || limit != nil {
            view.counters = Self.counters(
                of: view.summary?.usage ?? [], organization, limit ?? Self.limitDefault)
        }
        try output.print(view.json, view.text(output))
        if let counters = view.counters, counters.shown.count < counters.all, !output.json {
            Console.printError(
                "\(grouped(counters.all - counters.shown.count)) more: --limit \(counters.all)")
        }
        if case .failure(let failure) = examination.start { throw folder.failure(failure) }
    }

    private static func counters(
        of usage: [SavedUsage], _ organization: String?, _ limit: Int
    ) -> (shown: [SavedUsage], all: Int) {
        let wanted = usage.filter { organization == nil || $0.organization == organization }
            .sorted {
                ($0.organization, $0.user ?? "", $0.counter)
                    < ($1.organization, $1.user ?? "", $1.counter)
            }
        return (Array(wanted.prefix(limit)), wanted.count)
    }
}

/// What `ledger inspect` says.
struct InspectionView {
    let path: String
    let examination: LedgerExamination
    var showsShards = false
    /// `nil`: they were not asked for.
    var counters: (shown: [SavedUsage], all: Int)?

    /// `nil` when a start would be refused.
    var summary: LedgerSummary? {
        if case .success(let summary) = examination.start { summary } else { nil }
    }

    private var archived: Int { examination.archives.reduce(0) { $0 + $1.periods } }

    // MARK: for people

    func text(_ output: OutputOptions) -> String {
        if examination.isUnmade { return "\(visible(path)): \(ExaminationView.unmade)" }
        var blocks = [output.paint("ledger \(visible(path))", .bold) + "\n" + pairs(facts)]
        blocks.append(generations)
        if !examination.segments.isEmpty { blocks.append(segments) }
        if !examination.archives.isEmpty { blocks.append(archives) }
        if showsShards, let summary { blocks.append(shards(of: summary)) }
        if let counters {
            blocks.append(
                counters.shown.isEmpty ? "no counters" : CounterTable.text(counters.shown))
        }
        return blocks.joined(separator: "\n\n")
    }

    private var facts: [(String, String)] {
        guard let summary else {
            return [("state", "a start would be refused")]
        }
        let used = summary.shards.enumerated().filter { $0.element.next > 1 }
        let newest = used.max { $0.element.next < $1.element.next }
        let slots = summary.next.reduce(0) { $0 &+ ($1 &- 1) }
        return [
            (
                "state",
                "generation \(summary.generation) and \(grouped(summary.items)) items of the"
                    + " journal behind it, life \(summary.life)"
            ),
            (
                "holds",
                "\(grouped(summary.organizations)) organizations, \(grouped(summary.users)) users,"
                    + " \(grouped(summary.usage.count)) counters that are not 0,"
                    + " \(grouped(summary.reservations)) reservations,"
                    + " \(grouped(summary.idempotencyRecords)) idempotency records"
            ),
            (
                "closed",
                "\(grouped(archived)) periods archived, \(grouped(summary.closedWaiting)) waiting"
            ),
            (
                "shards",
                "\(used.count) of \(summary.shards.count) in use, \(grouped(slots)) slots ever"
                    + " journaled"
                    + (newest.map {
                        "; the newest sequence number is \($0.element.next - 1), in shard"
                            + " \($0.offset)"
                    } ?? "")
            ),
        ]
            + (summary.cuts.isEmpty
                ? []
                : [
                    (
                        "torn",
                        "\(summary.cuts.count) ends that were not written whole; a start cuts them"
                            + " off, and keeps them in quarantine"
                    )
                ])
    }

    private var generations: String {
        table(
            ["GENERATION", "LIFE", "BEGUN", "SIZE", "CLOSED", "SEGMENTS FROM", "STATE"],
            examination.generations.reversed().map {
                [
                    "\($0.number)", "\($0.life)", Times.shown($0.at.milliseconds),
                    bytes(Double($0.bytes)), "\($0.closed)", "\($0.segmentsFrom)",
                    Self.state($0.failure),
                ]
            })
    }

    private var segments: String {
        table(
            ["SEGMENT", "LIFE", "SIZE", "REGIONS", "SLOTS", "STATE"],
            examination.segments.map {
                [
                    "\($0.number)", "\($0.life)", bytes(Double($0.bytes)), "\($0.regions)",
                    "\($0.slots)", Self.state($0.failure),
                ]
            })
    }

    private var archives: String {
        table(
            ["ARCHIVE", "PERIODS", "STATE"],
            examination.archives.map {
                ["\($0.number)", "\($0.periods)", Self.state($0.failure)]
            })
    }

    private func shards(of summary: LedgerSummary) -> String {
        table(
            ["SHARD", "NEXT SEQUENCE", "COUNTERS"],
            summary.shards.enumerated().filter { $0.element.next > 1 }.map {
                ["\($0.offset)", "\($0.element.next)", "\($0.element.usage.count)"]
            })
    }

    private static func state(_ failure: LedgerFailure?) -> String {
        failure == nil ? "whole" : "damaged"
    }

    // MARK: for programs

    var json: JSON {
        var members: [(String, JSON)] = [
            ("path", .text(path)), ("starts", .bool(summary != nil || examination.isUnmade)),
            ("unmade", .bool(examination.isUnmade)),
        ]
        if let summary { members += Self.members(of: summary) }
        members += [
            ("closed_archived", .count(archived)),
            ("generations", .list(examination.generations.reversed().map(Self.json))),
            ("segments", .list(examination.segments.map(Self.json))),
            ("archives", .list(examination.archives.map(Self.json))),
        ]
        if let counters {
            members += [
                ("counters", .list(counters.shown.map { CounterTable.json($0) })),
                ("counters_in_all", .count(counters.all)),
            ]
        }
        return .object(members)
    }

    private static func members(of summary: LedgerSummary) -> [(String, JSON)] {
        [
            ("ledger", .text(String(summary.ledger, radix: 16))), ("life", .count(summary.life)),
            ("generation", .count(summary.generation)), ("items", .count(summary.items)),
            ("organizations", .count(summary.organizations)), ("users", .count(summary.users)),
            ("reservations", .count(summary.reservations)),
            ("idempotency_records", .count(summary.idempotencyRecords)),
            ("closed_waiting", .count(summary.closedWaiting)), ("torn", .count(summary.cuts.count)),
            (
                "shards",
                .list(
                    summary.shards.map {
                        .object([
                            ("next_sequence", .count($0.next)),
                            ("counters", .count($0.usage.count)),
                        ])
                    })
            ),
        ]
    }

    private static func json(_ generation: GenerationSummary) -> JSON {
        .object([
            ("generation", .count(generation.number)), ("path", .text(generation.path)),
            ("life", .count(generation.life)),
            ("at", .text(Times.shown(generation.at.milliseconds))),
            ("bytes", .count(generation.bytes)), ("closed", .count(generation.closed)),
            ("segments_from", .count(generation.segmentsFrom)),
            ("failure", .optional(generation.failure?.description)),
        ])
    }

    private static func json(_ segment: SegmentSummary) -> JSON {
        .object([
            ("segment", .count(segment.number)), ("path", .text(segment.path)),
            ("life", .count(segment.life)), ("bytes", .count(segment.bytes)),
            ("regions", .count(segment.regions)), ("slots", .count(segment.slots)),
            ("failure", .optional(segment.failure?.description)),
        ])
    }

    private static func json(_ archive: ArchiveSummary) -> JSON {
        .object([
            ("archive", .count(archive.number)), ("path", .text(archive.path)),
            ("periods", .count(archive.periods)),
            ("failure", .optional(archive.failure?.description)),
        ])
    }
}

/// Counters as a ledger has them, without the policy: who, which limit, and how much is used.
enum CounterTable {
    static func text(_ usage: [SavedUsage]) -> String {
        table(
            ["ORGANIZATION", "USER", "LIMIT", "METER", "PERIOD", "BEGAN", "ENDS", "USED"],
            usage.map { entry in
                let counter = parts(of: entry)
                return [
                    entry.organization + (entry.isPersonal ? " (personal)" : ""),
                    entry.user ?? "-", counter.limit, counter.meter, counter.period,
                    begins(entry) ?? "-", ends(entry) ?? "-", grouped(entry.used),
                ]
            })
    }

    static func json(_ entry: SavedUsage) -> JSON {
        let counter = parts(of: entry)
        return .object([
            ("organization", .text(entry.organization)), ("personal", .bool(entry.isPersonal)),
            ("user", .optional(entry.user)), ("limit", .text(counter.limit)),
            ("meter", .text(counter.meter)), ("period", .text(counter.period)),
            ("begins_on", .optional(begins(entry))), ("ends_at", .optional(ends(entry))),
            ("used", .count(entry.used)),
        ])
    }

    /// Of `q NAME METER PERIOD`.
    private static func parts(
        of entry: SavedUsage
    ) -> (limit: String, meter: String, period: String) {
        let words = entry.counter.split(separator: " ").map(String.init)
        guard words.count == 4 else { return (entry.counter, "-", "-") }
        let period = UInt8(words[3]).flatMap { PeriodKind(rawValue: $0) }?.word ?? words[3]
        return (words[1], words[2], period)
    }

    /// `nil` for a period without an end, which began with the first use.
    private static func begins(_ entry: SavedUsage) -> String? {
        guard ends(entry) != nil else { return nil }
        return Times.shown(Int64(entry.startDay) * 86_400_000).split(separator: "T").first
            .map(String.init)
    }

    private static func ends(_ entry: SavedUsage) -> String? {
        guard entry.endSeconds > 0, entry.endSeconds < .max / 1_000 else { return nil }
        return Times.shown(entry.endSeconds * 1_000)
    }
}
