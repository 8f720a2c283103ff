import ArgumentParser
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "The record of every decision.",
        discussion: """
            Reads the log's files, also while the daemon writes them; what it decides stands there \
            a tenth of a second later.
            """,
        subcommands: [
            AuditTail.self, AuditQueryCommand.self, AuditExport.self, AuditVerify.self,
            AuditList.self,
        ])
}

extension AuditView.Format: ExpressibleByArgument {}

extension AuditView {
    mutating func print(_ records: [AuditRecord]) throws {
        let lines = lines(records)
        if !lines.isEmpty { try Console.print(lines.joined(separator: "\n")) }
    }
}

/// Which decisions are wanted.
struct AuditFilter: ParsableArguments {
    @Option(help: "From then on: a date in ISO 8601, or a length of time ago (1h).")
    var since: String?
    @Option(help: "Before then, written in the same way.") var until: String?
    @Option(help: "Of this organization.") var organization: String?
    @Option(help: "Of this user.") var user: String?
    @Option(help: "By this API key: its id.") var key: String?
    @Option(help: "From this address, or one with this beginning: 192.0.2.7, 2001:db8::/64.")
    var address: String?
    @Option(help: "Of this operation.") var operation: String?
    @Option(help: "By this plan.") var plan: String?
    @Option(help: "For this reason, as quotaExhausted; may be given again.")
    var reason: [String] = []
    @Option(help: "check, consume, reserve, extend, settle, cancel or cut; may be given again.")
    var kind: [String] = []
    @Option(help: "About this reservation: 32 hexadecimal digits.") var reservation: String?
    enum Verdict: String, ExpressibleByArgument, CaseIterable { case allow, deny }
    @Option(help: "Only what came out so: allow or deny.") var decision: Verdict?
    @Flag(help: "Only what was denied: --decision deny.") var denied = false
    @Flag(help: "Only what was allowed because a limit, or the policy, is in shadow.")
    var wouldDeny = false
    @Flag(help: "Only what was allowed: --decision allow.") var allowed = false

    func validate() throws {
        guard [denied, allowed, decision != nil].filter({ $0 }).count < 2 else {
            throw ValidationError("give one of --decision, --denied and --allowed")
        }
        _ = try query()
    }

    func query() throws -> AuditQuery {
        var query = AuditQuery()
        query.since = try since.map { WallTime(milliseconds: try Instants.past($0)) }
        query.until = try until.map { WallTime(milliseconds: try Instants.past($0)) }
        query.organization = organization
        query.user = user
        query.keyID = key
        query.operation = operation
        query.plan = plan
        query.addresses = try address.map(Self.addresses)
        if !reason.isEmpty { query.reasons = Set(try reason.map(Self.reason)) }
        if !kind.isEmpty { query.kinds = Set(try kind.map(Self.kind)) }
        query.hold = try reservation.map(Self.bytes)
        query.isShadow = wouldDeny
        if denied || decision == .deny { query.isDenied = true }
        if allowed || decision == .allow { query.isDenied = false }
        return query
    }

    private static func addresses(_ text: String) throws -> AddressBlock {
        if let block = AddressBlock(text) { return block }
        if text.lowercased().hasPrefix("::ffff:"), text.contains(".") {
            throw ValidationError(
                "an IPv4 address in one of IPv6 stands in the log as it is: write"
                    + " \(text.dropFirst(7))")
        }
        throw ValidationError(
            "an address is 192.0.2.7 or 2001:db8::7, or with a length and zeros behind it"
                + " 192.0.2.0/24 or 2001:db8::/64, not \"\(text)\"")
    }

    private static func reason(_ name: String) throws -> UInt16 {
        if let known = Reason.allCases.first(where: { "\($0)" == name }) { return known.rawValue }
        let names = Reason.allCases.map { "\($0)" }
        let meant = likelyMeant(name, names).map { " (did you mean \($0)?)" } ?? ""
        throw ValidationError("there is no reason \"\(name)\"\(meant)")
    }

    private static func kind(_ name: String) throws -> AuditKind {
        if let known = AuditKind.allCases.first(where: { "\($0)" == name }) { return known }
        let names = AuditKind.allCases.map { "\($0)" }.joined(separator: ", ")
        throw ValidationError("a kind is one of \(names), not \"\(name)\"")
    }

    private static func bytes(_ text: String) throws -> [UInt8] {
        let digits = text.compactMap { $0.hexDigitValue.map { UInt8($0) } }
        guard digits.count == 32, text.utf8.count == 32 else {
            throw ValidationError("a reservation is 32 hexadecimal digits, not \"\(text)\"")
        }
        return stride(from: 0, to: 32, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

struct AuditTail: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail", abstract: "The newest decisions, and with -f those that come.")
    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var filter: AuditFilter
    @Option(name: .shortAndLong, help: "So many of the newest.") var number = 10
    @Flag(name: .shortAndLong, help: "Go on, until interrupted.") var follow = false
    @Option(help: "table, jsonl or csv.") var format = AuditView.Format.table
    @OptionGroup var output: OutputOptions

    private static let lookMicroseconds: UInt32 = 200_000
    /// Decisions of several threads stand in the log as they were taken in: one may be told later
    /// than another that is younger.
    private static let overlapMilliseconds: Int64 = 60_000

    func validate() throws {
        guard (0...1_000_000).contains(number) else {
            throw ValidationError("-n is 0 to 1000000")
        }
    }

    func run() throws {
        let reader = try place.reader()
        var view = AuditView(output.json ? .jsonl : format)
        var query = try filter.query()
        // What is there when it begins is known by the newest block, wanted or not.
        var seen = try newestBlock(reader)
        query.isNewestFirst = true
        var newest: [AuditRecord] = []
        if number > 0 {
            _ = try onAudit { () throws(AuditFailure) in
                try reader.run(query) { record in
                    // What came meanwhile is told by who follows, and by it alone.
                    if !follow || record.block <= seen.block { newest.append(record) }
                    return newest.count < number
                }
            }
        }
        try view.print(newest.reversed())
        var whole = AuditWhole()
        try whole.look(at: reader, since: query.since)
        guard follow else { return try whole.end() }
        if let failure = whole.failure { Console.printError(failure.words) }
        query.isNewestFirst = false
        let asked = query.since
        while !Console.isClosed {
            usleep(Self.lookMicroseconds)
            let from = seen.wall - Self.overlapMilliseconds
            query.since = WallTime(milliseconds: max(asked?.milliseconds ?? from, from))
            let now = try newestBlock(reader)
            guard now.block > seen.block else { continue }
            var fresh: [AuditRecord] = []
            let last = seen.block
            _ = try onAudit { () throws(AuditFailure) in
                try reader.run(query) { record in
                    if record.block > last, record.block <= now.block { fresh.append(record) }
                    return true
                }
            }
            try view.print(fresh)
            seen = now
        }
    }

    private func newestBlock(_ reader: AuditReader) throws -> (block: UInt64, wall: Int64) {
        var query = AuditQuery()
        query.limit = 1
        query.isNewestFirst = true
        var found: (block: UInt64, wall: Int64) = (0, Times.now * 1_000)
        _ = try onAudit { () throws(AuditFailure) in
            try reader.run(query) {
                found = ($0.block, $0.wall.milliseconds)
                return false
            }
        }
        return found
    }
}

struct AuditQueryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query", abstract: "Decisions that meet every condition given.",
        discussion: "Without --all the newest of them, 100 or as --limit says; oldest first.")
    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var filter: AuditFilter
    @Option(help: "Decisions to show at most: the newest.") var limit: Int?
    @Flag(help: "Show all, however many.") var all = false
    @Flag(help: "Say how many there are, and show none.") var count = false
    @Option(help: "table, jsonl or csv.") var format = AuditView.Format.table
    @OptionGroup var damage: AuditDamageOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard [limit != nil, all, count].filter({ $0 }).count < 2 else {
            throw ValidationError("give one of --limit, --all and --count")
        }
        guard (1...1_000_000).contains(limit ?? 1) else {
            throw ValidationError("--limit is 1 to 1000000; for more: --all")
        }
    }

    func run() throws {
        let reader = try place.reader()
        var query = try filter.query()
        query.skipsDamaged = damage.skipDamaged
        let scan = try damage.run { try show(query, reader) }
        try AuditWhole.check(reader, since: query.since, scan)
    }

    private func show(_ query: AuditQuery, _ reader: AuditReader) throws -> AuditScan {
        let view = AuditView(output.json ? .jsonl : format)
        if all { return try AuditPrinting.stream(reader, query, view) }
        if count {
            let scan = try onAudit { () throws(AuditFailure) in
                try reader.run(query) { _ in true }
            }
            try output.print(.object([("count", .count(scan.matched))]), "\(scan.matched)")
            return scan
        }
        var query = query
        query.limit = limit ?? 100
        query.isNewestFirst = true
        var found: [AuditRecord] = []
        let scan = try onAudit { () throws(AuditFailure) in
            try reader.run(query) { found.append($0); return true }
        }
        var printing = view
        try printing.print(found.reversed())
        if found.isEmpty {
            Console.printError("no decision meets that")
        } else if scan.matched == query.limit, limit == nil {
            Console.printError("the newest \(scan.matched); for more: --limit N, or --all")
        }
        return scan
    }
}
