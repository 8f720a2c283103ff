import TollgateClient

/// How the audit log is, by the daemon's statistics.
struct AuditHealth {
    enum State: String {
        case recording
        /// Its disk takes nothing, and nothing is to be decided unrecorded.
        case refusing
        /// Its disk takes nothing, and decisions that find no room are left out.
        case dropping
    }

    let state: State
    let path: String
    let recorded: UInt64
    /// Left out, since the daemon's start.
    let dropped: UInt64
    /// Requests refused because they could not be recorded, since the daemon's start.
    let refused: UInt64
    let waitingBytes: UInt64

    /// `nil`: the daemon has no audit log.
    init?(_ statistics: [StatisticEntry]) {
        let prefix = "tollgate_audit_info{path=\""
        guard let info = statistics.first(where: { $0.name.hasPrefix(prefix) })?.name else {
            return nil
        }
        func value(_ name: String) -> UInt64 {
            statistics.first { $0.name == "tollgate_audit_\(name)" }?.value ?? 0
        }
        // Quotation marks in the path itself stand behind a backslash.
        let isDropping = info.hasSuffix("\",overload=\"drop\"}")
        state = value("trouble") == 0 ? .recording : isDropping ? .dropping : .refusing
        path = Self.label(info.dropFirst(prefix.count))
        (recorded, dropped) = (value("recorded_total"), value("dropped_total"))
        waitingBytes = value("waiting_bytes")
        refused =
            statistics.first {
                $0.name == #"tollgate_decisions_total{verdict="deny",reason="auditUnavailable"}"#
            }?.value ?? 0
    }

    /// The label's value that `text` begins with, as it was before it was written as one.
    private static func label(_ text: Substring) -> String {
        var value = ""
        var isEscaped = false
        for character in text {
            if isEscaped {
                value.append(character == "n" ? "\n" : character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else if character == "\"" {
                break
            } else {
                value.append(character)
            }
        }
        return value
    }

    var problem: (what: String, next: String)? {
        let next =
            "make room on its disk, or mend it: the daemon's log says what the disk said; it goes"
            + " on by itself"
        switch state {
        case .recording: return nil
        case .refusing:
            return (
                "the audit log in \(path) cannot be written, and what finds no room to wait for it"
                    + " is refused (auditUnavailable): \(grouped(refused)) requests so far", next
            )
        case .dropping:
            return (
                "the audit log in \(path) cannot be written, and decisions that find no room to"
                    + " wait for it are left out: \(grouped(dropped)) so far", next
            )
        }
    }

    var text: String {
        var text: String
        switch state {
        case .recording: text = "recording"
        case .refusing: text = "refuses what it has no room for: its disk takes nothing"
        case .dropping: text = "leaves out what it has no room for: its disk takes nothing"
        }
        text += ", \(path); \(grouped(recorded)) decisions since the start"
        if dropped > 0 { text += ", and \(grouped(dropped)) left out" }
        if refused > 0 { text += ", and \(grouped(refused)) refused for want of room" }
        return text
    }

    var json: JSON {
        .object([
            ("state", .text(state.rawValue)), ("path", .text(path)),
            ("recorded", .count(recorded)), ("dropped", .count(dropped)),
            ("refused", .count(refused)), ("waiting_bytes", .count(waitingBytes)),
        ])
    }
}

/// How what the rules found is kept and told, by the daemon's statistics.
struct AlertsHealth {
    let fired: UInt64
    /// Noted, and not told yet: for that they have to be on the disk.
    let untold: UInt64
    /// Told to nobody, for too many waited.
    let lost: UInt64
    let writeFailures: UInt64
    let isUnwritten: Bool
    /// Of the way to the sinks; `nil`: the policy has none.
    let spool: (waiting: UInt64, isFull: Bool, dropped: UInt64)?

    /// `nil`: the daemon has no alerts.
    init?(_ statistics: [StatisticEntry]) {
        func value(_ name: String) -> UInt64? {
            statistics.first { $0.name == "tollgate_alerts_\(name)" }?.value
        }
        guard let fired = value("fired_total") else { return nil }
        self.fired = fired
        untold = value("waiting") ?? 0
        writeFailures = value("write_failures_total") ?? 0
        lost = value("lost_total") ?? 0
        isUnwritten = value("failing") ?? 0 > 0
        spool = value("spool_waiting").map {
            ($0, value("spool_full") ?? 0 > 0, value("spool_dropped_total") ?? 0)
        }
    }

    var problems: [(what: String, next: String)] {
        var problems: [(what: String, next: String)] = []
        if isUnwritten {
            problems.append(
                (
                    "the disk takes no alerts: \(untold) wait to be told, and \(lost) were lost"
                        + " since the start",
                    "see to the disk of the alerts' directory: what is wrong with it is in the"
                        + " daemon's log"
                ))
        }
        if let spool, spool.isFull {
            problems.append(
                (
                    "\(spool.waiting) alerts wait to be delivered, and no more find room:"
                        + " \(spool.dropped) were left out",
                    "see to tollgate alerts deliver: does it run, and what does it say of its"
                        + " sinks?"
                ))
        }
        return problems
    }

    var text: String {
        var text = "\(grouped(fired)) since the start"
        if isUnwritten { text += "; cannot be written, \(grouped(untold)) wait for that" }
        guard let spool else { return text }
        text += "; \(grouped(spool.waiting)) wait to be delivered"
        return spool.isFull ? text + ", and no more find room" : text
    }

    var json: JSON {
        .object([
            ("fired", .count(fired)), ("untold", .count(untold)),
            ("lost", .count(lost)), ("writable", .bool(!isUnwritten)),
            ("write_failures", .count(writeFailures)),
            (
                "spool",
                spool.map {
                    .object([
                        ("waiting", .count($0.waiting)), ("full", .bool($0.isFull)),
                        ("dropped", .count($0.dropped)),
                    ])
                } ?? .null
            ),
        ])
    }
}
