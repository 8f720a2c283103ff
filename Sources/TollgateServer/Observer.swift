import TollgateWire

/// Tells the log what the reactors only count: refused connections, deadlines, tables at their
/// ceiling. Looks about once a second, off the threads that decide; a condition that lasts has a
/// line at once and then one every `repeatSeconds`.
package struct Observer {
    private struct Subject {
        var name: String
        var level: Log.Level
        /// What `count` more of it mean.
        var words: String
        var reported: UInt64 = 0
        var silentUntil: UInt64 = 0
    }
    static let repeatSeconds: UInt64 = 10

    private var subjects: [Subject] = []
    private let isDebugging: Bool

    package init(_ settings: ServerSettings, level: Log.Level) {
        isDebugging = level == .debug
        func watch(_ name: String, _ level: Log.Level, _ words: String) {
            subjects.append(Subject(name: name, level: level, words: words))
        }
        func watch(_ status: Status, _ level: Log.Level, _ words: String) {
            watch("tollgate_refused_frames_total{status=\"\(status)\"}", level, words)
        }
        let perUser = settings.connectionsPerUserMax.map { ", \($0) a user" } ?? ""
        watch(
            "tollgate_connections_refused_total", .warning,
            "connections refused: connections_max is \(settings.connectionsMax)\(perUser), and no"
                + " more descriptors than the process' limit can be open")
        watch(
            "tollgate_deadline_closes_total", .warning,
            "connections closed at a deadline: a frame was not whole in time, or replies were not"
                + " read")
        watch(
            "tollgate_buffer_closes_total", .warning,
            "connections closed: they hold too much, sending without reading or within frames")
        watch(
            "tollgate_capacity_refusals_total", .error,
            "requests refused because a table is at its ceiling; raise organizations_max or"
                + " users_max")
        watch(
            "tollgate_address_overflows_total", .warning,
            "requests from addresses beyond addresses_max, which share 64 sets of limits")
        watch(
            "tollgate_clock_held_forward", .error,
            "jump of the wall clock by more than 21 hours, or since the daemon ended, is not"
                + " believed, and quotas go on by the old clock; if it is right now, say so with"
                + " tollgate reload")
        watch(
            .forbidden, .warning,
            "requests refused: outside of the user's role, or an operator's opcode on data")
        watch(
            .storageFailed, .error,
            "calls refused: the disk did not take, or give, what they are about")
        watch(.busy, .warning, "calls refused: too many wait for the directory")
        watch(.malformedFrame, .warning, "connections closed: a header that breaks the grid")
        watch(.frameTooLarge, .warning, "connections closed: a frame above frame_bytes_max")
        watch(.internalError, .error, "requests met a defect of the daemon")
        guard isDebugging else { return }
        for status in [Status.malformedBody, .unknownOpcode, .unsupportedField] {
            watch(status, .debug, "frames refused: \(status)")
        }
        for reason in Reason.allCases where reason != .none {
            watch(
                "tollgate_decisions_total{verdict=\"deny\",reason=\"\(reason)\"}", .debug,
                "requests denied: \(reason)")
        }
    }

    /// The statistics that are looked at.
    var names: [String] { subjects.map(\.name) }

    /// What is new since the last look. `seconds`: any clock that only goes forward.
    package mutating func lines(
        _ statistics: [Statistic], seconds: UInt64
    ) -> [(level: Log.Level, words: String)] {
        var values: [String: UInt64] = [:]
        for entry in statistics { values[entry.name] = entry.value }
        var lines: [(level: Log.Level, words: String)] = []
        for index in subjects.indices {
            let total = values[subjects[index].name] ?? 0
            let subject = subjects[index]
            guard total > subject.reported, seconds >= subject.silentUntil else { continue }
            lines.append((subject.level, "\(total - subject.reported) \(subject.words)"))
            subjects[index].reported = total
            subjects[index].silentUntil = seconds + Self.repeatSeconds
        }
        return lines
    }
}
