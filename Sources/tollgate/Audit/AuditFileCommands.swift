import ArgumentParser
import TollgateCore
import TollgateStorage

struct AuditList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "The log's files.")
    @OptionGroup var place: AuditPlaceOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
        let reader = try place.reader()
        let segments = try onAudit { () throws(AuditFailure) in try reader.segments() }
        let json = JSON.object([
            ("directory", .text(reader.directory)), ("segments", .list(segments.map(Self.json))),
        ])
        try output.print(
            json,
            table(
                ["SEGMENT", "BYTES", "BEGUN", "DECISIONS", "FROM", "TO", ""],
                segments.map(Self.row)))
    }

    private static func row(_ segment: AuditSegmentInfo) -> [String] {
        [
            "\(segment.number)", grouped(segment.bytes), AuditView.time(segment.created),
            segment.records.map { grouped($0) } ?? "-",
            segment.first.map(AuditView.time) ?? "-", segment.last.map(AuditView.time) ?? "-",
            segment.isSealed ? "sealed" : "open",
        ]
    }

    private static func json(_ segment: AuditSegmentInfo) -> JSON {
        .object([
            ("segment", .count(segment.number)), ("path", .text(segment.path)),
            ("bytes", .count(segment.bytes)), ("begun_ms", .count(segment.created.milliseconds)),
            ("sealed", .bool(segment.isSealed)), ("decisions", .optional(segment.records)),
            ("first_ms", .optional(segment.first?.milliseconds)),
            ("last_ms", .optional(segment.last?.milliseconds)),
        ])
    }
}

struct AuditVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every byte of the log, and name what was changed.",
        discussion: """
            Looks at every block's hash and its place in the chain, at the files' order, their \
            seals and how far the log was known to go. Ends with 1 where something is not as it \
            was written. Signatures of seals are checked with the log's key, where it may be read.
            """)
    @OptionGroup var place: AuditPlaceOptions
    @Option(
        help: "The key that seals are signed with (default: audit.key of the directory).",
        completion: .file())
    var key: String?
    @OptionGroup var output: OutputOptions

    func run() throws {
        let reader = try place.reader()
        var signing: AuditKey?
        if let key {
            signing = try onAudit { () throws(AuditFailure) in try reader.key(path: key) }
        } else {
            do throws(AuditFailure) { signing = try reader.key() } catch {
                Console.printError(
                    "signatures are not checked: \(error); name the key with --key")
            }
        }
        let result = try onAudit { () throws(AuditFailure) in try reader.verify(key: signing) }
        try output.print(Self.json(result), Self.text(result))
        guard result.isWhole else { throw ExitCode(1) }
    }

    private static func text(_ result: AuditVerification) -> String {
        var lines = [
            pairs([
                ("segments", grouped(result.segments)
                    + (result.firstSegment > 1
                        ? ", from \(result.firstSegment) on: older ones were removed" : "")),
                ("blocks", grouped(result.blocks)), ("decisions", grouped(result.records)),
                ("seals", "\(result.seals), \(result.sealsSigned) signed with the key"),
            ])
        ]
        lines += result.gaps.map { "  gap: " + words($0) }
        lines += result.faults.map { "  FAULT: \($0)" }
        lines.append(
            result.isWhole
                ? "The log is as it was written."
                : "The log is not as it was written: \(result.faults.count) faults.")
        return lines.joined(separator: "\n")
    }

    private static func words(_ gap: AuditGap) -> String {
        let count = grouped(gap.count)
        let what =
            switch gap.cause {
            case .dropped: "\(count) decisions of thread \(gap.ring) found no room"
            case .torn: "\(count) bytes that were not written to their end were cut off"
            case .powerLoss: "the host lost power: \(count) bytes were not in the log yet"
            case .unreadable: "\(count) bytes of thread \(gap.ring) were not readable"
            case .pruned: "\(count) files were removed for their age or size"
            case .lost: "\(count) blocks that had been durable are gone"
            }
        return what + ", " + AuditView.time(WallTime(milliseconds: gap.first)) + " to "
            + AuditView.time(WallTime(milliseconds: gap.last))
    }

    private static func json(_ result: AuditVerification) -> JSON {
        .object([
            ("sound", .bool(result.isWhole)), ("segments", .count(result.segments)),
            ("first_segment", .count(result.firstSegment)), ("blocks", .count(result.blocks)),
            ("decisions", .count(result.records)), ("seals", .count(result.seals)),
            ("seals_signed", .count(result.sealsSigned)), ("ended", .bool(result.isSealed)),
            (
                "faults",
                .list(
                    result.faults.map {
                        .object([
                            ("segment", .count($0.segment)), ("block", .optional($0.block)),
                            ("path", .text($0.path)), ("offset", .count($0.offset)),
                            ("what", .text($0.words)),
                        ])
                    })
            ),
            (
                "gaps",
                .list(
                    result.gaps.map {
                        .object([
                            ("cause", .text("\($0.cause)")), ("ring", .count($0.ring)),
                            ("count", .count($0.count)), ("first_ms", .count($0.first)),
                            ("last_ms", .count($0.last)),
                        ])
                    })
            ),
        ])
    }
}
