import ArgumentParser
import TollgateClient
import TollgateWire

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "What was used.",
        discussion: """
            Without a command of its own: usage ORGANIZATION [USER], as usage show. An \
            organization that is named like one of the commands: tollgate usage show export.
            """,
        subcommands: [UsageShow.self, UsageExport.self, UsagePrune.self],
        defaultSubcommand: UsageShow.self)
}

/// Of what the archive of closed periods is asked.
struct PeriodOption: ParsableArguments {
    @Option(help: "Periods that began in this month (2026-10) or on this day (2026-10-31).")
    var period: String

    func validate() throws {
        let digits = period.split(separator: "-", omittingEmptySubsequences: false)
        let isWritten = [[4, 2], [4, 2, 2]].contains(digits.map(\.count))
            && digits.allSatisfy { $0.allSatisfy { ("0"..."9").contains($0) } }
        guard isWritten else {
            throw ValidationError(
                "--period is a month (2026-10) or a day (2026-10-31), not \"\(period)\"")
        }
    }
}

struct UsagePrune: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Take closed periods out of the archive, for good.",
        discussion: """
            Export them first (tollgate usage export): what is pruned cannot be billed. The daemon \
            remembers until it ends which months and days were exported as a whole, of all \
            organizations, and prunes no others, unless --not-exported says so.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var period: PeriodOption
    @OptionGroup var confirmation: Confirmation
    @Flag(help: "Also what was not exported since the daemon started.") var notExported = false

    func run() throws {
        try confirmation.confirm("prune all usage of periods that began in \(period.period)")
        try options.tell(
            .pruneUsage, [
                "period": .string(period.period),
                "not_exported": notExported ? .bool(true) : nil,
            ]
        ) {
            "\(grouped($0.integer("pruned") ?? 0)) entries pruned"
        }
    }
}

struct UsageExport: ParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable { case csv, jsonl, cloudevents }

    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write what was used in periods that are over.",
        discussion: """
            One line for each quota of an organization, or of a user, and each period that began \
            in the month or on the day. Of an organization's quota that its members share there is \
            a line for each member too (share: true), whose units the organization's line has in \
            it: bill either. Periods that are over are closed first; while one goes on, \
            the export is refused, unless --open asks for those as well.

            cloudevents: CloudEvents 1.0 as JSON Lines, whose ids are the same each time, so that \
            what takes them in can tell them apart. Units are exact: in csv and jsonl as whole \
            numbers of up to 64 bits, in cloudevents as a text where they are above 2^53, which \
            many readers of JSON would round. In csv a name that a spreadsheet would take for a \
            formula, for it begins with = + - @ or a tab, has an apostrophe before it.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var period: PeriodOption
    @Option(help: "Of this organization alone.") var organization: String?
    @Option(help: "csv, jsonl or cloudevents.") var format = Format.csv
    @Flag(help: "Also what is used so far in periods that go on.") var open = false
    @Option(
        name: .shortAndLong, help: "A new file; default: standard output.", completion: .file())
    var output: String?

    func run() throws {
        let rows = try collect()
        let lines = UsageLines(format: format).lines(of: rows)
        if let output {
            try NewFile.write(lines.map { $0 + "\n" }.joined(), to: output)
        } else if !lines.isEmpty {
            try Console.print(lines.joined(separator: "\n"))
        }
        if !options.output.json { Console.printError("\(grouped(rows.count)) lines exported") }
    }

    /// Parts of one period, as before and after a reset, are one line.
    private func collect() throws -> [PeriodUsage] {
        var sums: [PeriodKey: PeriodUsage] = [:]
        var options = options
        options.timeout = options.timeout ?? 60_000
        let members: [(String, JSONValue?)] = [
            ("period", .string(period.period)), ("organization", .optional(organization)),
            ("open", open ? .bool(true) : nil),
        ]
        try options.parts(.listUsage, members) { items, _ in
            for item in items {
                let usage: PeriodUsage
                do throws(DocumentError) { usage = try PeriodUsage(json: .object(item)) } catch {
                    throw Failure(.unexpected, "the daemon lists what is no usage: \(error)")
                }
                let key = PeriodKey(usage)
                guard var sum = sums[key] else {
                    sums[key] = usage
                    continue
                }
                let (used, isBeyond) = sum.used.addingReportingOverflow(usage.used)
                guard !isBeyond else { throw Failure(.unexpected, "a sum beyond 64 bits") }
                sum.used = used
                // At most what is used.
                sum.credits &+= usage.credits
                sum.isOpen = sum.isOpen || usage.isOpen
                sums[key] = sum
            }
        }
        return sums.sorted { $0.key < $1.key }.map(\.value)
    }
}

/// What one line of an export is about, in its order.
private struct PeriodKey: Hashable, Comparable {
    let parts: [String]

    init(_ usage: PeriodUsage) {
        parts = [
            usage.organization, usage.isPersonal ? "1" : "0", usage.user == nil ? "0" : "1",
            usage.user ?? "", usage.limit, usage.meter, usage.period.rawValue, usage.beginsOn,
            usage.isShare ? "1" : "0",
        ]
    }

    static func < (one: PeriodKey, other: PeriodKey) -> Bool {
        // By bytes, and not as a language would: the same everywhere.
        for (left, right) in zip(one.parts, other.parts)
        where !left.utf8.elementsEqual(right.utf8) {
            return left.utf8.lexicographicallyPrecedes(right.utf8)
        }
        return false
    }
}

/// Usage as lines of a file.
struct UsageLines {
    let format: UsageExport.Format

    static let columns = [
        "organization", "personal", "user", "limit", "meter", "period", "begins_on", "ends_at",
        "used", "open", "share", "credits",
    ]

    func lines(of rows: [PeriodUsage]) -> [String] {
        switch format {
        case .csv: [CSV.row(Self.columns)] + rows.map(Self.csv)
        case .jsonl: rows.map { Self.json($0).text }
        case .cloudevents: rows.map { Self.event($0).text }
        }
    }

    private static func csv(_ usage: PeriodUsage) -> String {
        CSV.row([
            usage.organization, "\(usage.isPersonal)", usage.user ?? "", usage.limit, usage.meter,
            usage.period.rawValue, usage.beginsOn,
            usage.endsAt.map { Times.shown($0.milliseconds) } ?? "", "\(usage.used)",
            "\(usage.isOpen)", "\(usage.isShare)", "\(usage.credits)",
        ])
    }

    private static func json(
        _ usage: PeriodUsage, _ units: (UInt64) -> JSON = { .count($0) }
    ) -> JSON {
        .object([
            ("organization", .text(usage.organization)), ("personal", .bool(usage.isPersonal)),
            ("user", .optional(usage.user)), ("limit", .text(usage.limit)),
            ("meter", .text(usage.meter)), ("period", .text(usage.period.rawValue)),
            ("begins_on", .text(usage.beginsOn)),
            ("ends_at", .optional(usage.endsAt.map { Times.shown($0.milliseconds) })),
            ("used", units(usage.used)), ("open", .bool(usage.isOpen)),
            ("share", .bool(usage.isShare)), ("credits", units(usage.credits)),
        ])
    }

    /// A text where a reader that goes by RFC 7493 (2.2) could not hold the number.
    private static func portable(_ units: UInt64) -> JSON {
        units > documentCountMax ? .text("\(units)") : .count(units)
    }

    /// https://github.com/cloudevents/spec, version 1.0.2, JSON format.
    private static func event(_ usage: PeriodUsage) -> JSON {
        let kind = usage.isOpen ? "open" : "closed"
        let id = JSON.texts([
            usage.organization, usage.isPersonal ? "personal" : "", usage.user ?? "", usage.limit,
            usage.meter, usage.period.rawValue, usage.beginsOn,
        ] + (usage.isShare ? ["share"] : []) + (usage.isOpen ? ["\(usage.used)"] : [])).text
        return .object(
            [
                ("specversion", .text("1.0")), ("id", .text(id)), ("source", .text("tollgate")),
                ("type", .text("tollgate.usage.\(kind)")),
                ("subject", .text(usage.organization)),
            ]
                + (usage.endsAt.map {
                    usage.isOpen ? [] : [("time", .text(Times.shown($0.milliseconds)))]
                } ?? [])
                + [
                    ("datacontenttype", .text("application/json")), ("data", json(usage, portable)),
                ])
    }
}
