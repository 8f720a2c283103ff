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
        let holes = try onAudit { () throws(AuditFailure) in try reader.holes() }
        let json = JSON.object([
            ("directory", .text(reader.directory)), ("segments", .list(segments.map(Self.json))),
            ("missing", .texts(holes.map { "\($0)" })),
        ])
        try output.print(
            json,
            table(
                ["SEGMENT", "BYTES", "BEGUN", "DECISIONS", "FROM", "TO", ""],
                segments.map(Self.row)))
        try AuditWhole.check(reader, since: nil)
    }

    private static func row(_ segment: AuditSegmentInfo) -> [String] {
        [
            "\(segment.number)", grouped(segment.bytes), AuditView.time(segment.created),
            segment.records.map { grouped($0) } ?? "-",
            segment.first.map(AuditView.time) ?? "-", segment.last.map(AuditView.time) ?? "-",
            segment.isSealed ? "sealed" : "open",
        ].enumerated().map { column, cell in
            guard column == 6, let before = segment.bytesBefore else { return cell }
            return "\(cell), compressed from \(grouped(before))"
        }
    }

    private static func json(_ segment: AuditSegmentInfo) -> JSON {
        .object([
            ("segment", .count(segment.number)), ("path", .text(segment.path)),
            ("bytes", .count(segment.bytes)), ("begun_ms", .count(segment.created.milliseconds)),
            ("sealed", .bool(segment.isSealed)), ("decisions", .optional(segment.records)),
            ("first_ms", .optional(segment.first?.milliseconds)),
            ("last_ms", .optional(segment.last?.milliseconds)),
            ("compressed", .bool(segment.bytesBefore != nil)),
            ("bytes_before", .optional(segment.bytesBefore)),
        ])
    }
}

struct AuditVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every byte of the log, and name what was changed.",
        discussion: """
            Looks at every block's hash and its place in the chain, at the files' order, their \
            seals, how far the log was known to go, and the signatures of both with the log's \
            key. Ends with 1 where something is not as it was written. Ends with 3 where all fits \
            together and is not proven: the key cannot be read, a daemon went on from an end that \
            was not the signed one, or the last blocks are not signed though they are older than \
            ten seconds.
            """)
    /// A daemon that runs signs what it has written within so long, with room to spare.
    private static let signedWithinSeconds: Int64 = 10
    private static let notProven = ExitCode(3)
    @OptionGroup var place: AuditPlaceOptions
    @Option(
        help: "The key that seals are signed with (default: audit.key of the directory).",
        completion: .file())
    var key: String?
    @OptionGroup var output: OutputOptions

    func run() throws {
        let reader = try place.reader()
        var signing: AuditKey?
        var doubt: String?
        if let key {
            signing = try onAudit { () throws(AuditFailure) in try reader.key(path: key) }
        } else {
            do throws(AuditFailure) { signing = try reader.key() } catch {
                doubt = "its signatures were not checked: \(error); name the key with --key"
            }
        }
        let result = try onAudit { () throws(AuditFailure) in try reader.verify(key: signing) }
        doubt = doubt ?? Self.doubt(result)
        try output.print(Self.json(result, doubt), Self.text(result, doubt))
        guard result.isWhole else { throw ExitCode(1) }
        if doubt != nil { throw Self.notProven }
    }

    /// Why a log that fits together need not be the one that was written.
    private static func doubt(_ result: AuditVerification) -> String? {
        if let gap = result.doubt {
            return "at \(AuditView.time(WallTime(milliseconds: gap.last))) a daemon went on from an"
                + " end that was not the one it had signed; what stands before is what it found"
        }
        guard result.unsigned > 0, let since = result.unsignedSince,
            Times.now &* 1_000 &- since.milliseconds > signedWithinSeconds &* 1_000
        else { return nil }
        return "its last \(grouped(result.unsigned)) blocks, from \(AuditView.time(since)) on, are"
            + " not signed: their daemon was killed or its disk fails, or somebody added them; the"
            + " next start of the daemon takes them over"
    }

    private static func text(_ result: AuditVerification, _ doubt: String?) -> String {
        var lines = [
            pairs([
                ("segments", grouped(result.segments)
                    + (result.firstSegment > 1
                        ? ", from \(result.firstSegment) on: older ones were removed" : "")),
                ("blocks", grouped(result.blocks)), ("decisions", grouped(result.records)),
                ("seals", "\(result.seals), \(result.sealsSigned) signed with the key"),
                ("signed to", signedTo(result)),
            ])
        ]
        lines += result.gaps.map { "  gap: " + words($0) }
        lines += result.faults.map { "  FAULT: \($0)" }
        if !result.isWhole {
            lines.append("The log is not as it was written: \(result.faults.count) faults.")
        } else if let doubt {
            lines.append("The log fits together, and is not proven: \(doubt).")
        } else {
            lines.append("The log is as it was written.")
        }
        return lines.joined(separator: "\n")
    }

    /// What to compare with what was noted elsewhere: an earlier state that was put back is signed.
    private static func signedTo(_ result: AuditVerification) -> String {
        guard result.hasKey, let end = result.head?.end else { return "-" }
        return "segment \(end.segment), byte \(grouped(end.offset)), block \(grouped(end.block))"
            + (result.unsigned > 0 ? "; \(grouped(result.unsigned)) blocks behind it are not" : "")
    }

    private static func words(_ gap: AuditGap) -> String {
        let count = grouped(gap.count)
        let what =
            switch gap.cause {
            case .dropped: "\(count) decisions or refusals of thread \(gap.ring) found no room"
            case .torn: "\(count) bytes that were not written to their end were cut off"
            case .powerLoss: "the host lost power: \(count) bytes were not in the log yet"
            case .unreadable: "\(count) bytes of thread \(gap.ring) were not readable"
            case .pruned: "\(count) files were removed for their age or size"
            case .lost where gap.count == 0: "what was found was not the end that was signed"
            case .lost: "\(count) blocks that had been durable are gone"
            }
        return what + ", " + AuditView.time(WallTime(milliseconds: gap.first)) + " to "
            + AuditView.time(WallTime(milliseconds: gap.last))
    }

    private static func json(_ result: AuditVerification, _ doubt: String?) -> JSON {
        .object([
            ("sound", .bool(result.isWhole)),
            ("proven", .bool(result.isWhole && doubt == nil)), ("doubt", .optional(doubt)),
            ("unsigned_blocks", .count(result.unsigned)), ("segments", .count(result.segments)),
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
                            ("compressed", .bool($0.isPacked)),
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
