import ArgumentParser
import TollgateCore
import TollgateStorage

/// What a command that reads a log says where it could not read all of it: an answer that is
/// smaller than what was decided must not look like a whole one.
struct AuditWhole {
    /// In words, each with the log's directory.
    private var missing: [String] = []
    private var leftOut: [AuditLeftOut] = []

    /// What is missing of a log, and may be of the time asked for.
    mutating func look(at reader: AuditReader, since: WallTime? = nil) throws {
        let holes = try onAudit { () throws(AuditFailure) in try reader.holes() }
        for hole in holes {
            if let since, let until = hole.until, until < since { continue }
            missing.append("\(reader.directory): \(hole)")
        }
    }

    mutating func add(_ scan: AuditScan) { leftOut += scan.leftOut }

    /// `nil`: nothing is missing.
    var failure: Failure? {
        guard !missing.isEmpty || !leftOut.isEmpty else { return nil }
        let lines = missing + leftOut.map { "left out as damaged: \($0)" }
        var failure = Failure(
            .badData, "this is not all that was decided:\n  " + lines.joined(separator: "\n  "),
            next: "tollgate audit verify says what else is wrong")
        failure.members = [
            ("missing", .texts(missing)), ("left_out", .texts(leftOut.map { "\($0)" })),
        ]
        return failure
    }

    /// At a command's end; who does not read on needs not be told.
    func end() throws {
        if let failure, !Console.isClosed { throw failure }
    }

    static func check(
        _ reader: AuditReader, since: WallTime?, _ scan: AuditScan = AuditScan()
    ) throws {
        var whole = AuditWhole()
        try whole.look(at: reader, since: since)
        whole.add(scan)
        try whole.end()
    }
}

/// Whether damaged blocks end the answer.
struct AuditDamageOptions: ParsableArguments {
    @Flag(
        help: """
            Leave out blocks that are damaged, say on standard error which, and end with 65. A \
            name that stood in one is # and a number.
            """)
    var skipDamaged = false

    /// Runs what reads a log; an error of damage names the option.
    func run<T>(_ body: () throws -> T) throws -> T {
        do { return try body() } catch var failure as Failure
            where failure.isDamage && !skipDamaged
        {
            failure.next =
                "tollgate audit verify says what else is wrong; --skip-damaged goes on behind it"
            throw failure
        }
    }
}
