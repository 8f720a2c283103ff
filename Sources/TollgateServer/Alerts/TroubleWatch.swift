import TollgateCore

/// What can be wrong with the daemon, by one word each, as alerts and silences have it.
enum DaemonTrouble: String, Sendable, CaseIterable {
    case ledger
    case audit
    case auditUnproven = "audit_unproven"
    case auditDropped = "audit_dropped"
    case auditRefused = "audit_refused"
    case alertsSpool = "alerts_spool"
    case clock
    case capacity
    case addresses
}

/// How it stands with them.
struct DaemonTroubles: Sendable {
    /// `nil`: nothing is.
    var states: [(name: DaemonTrouble, words: String?)] = []
    /// Counts of what should not happen: wrong while they grow.
    var counts: [(name: DaemonTrouble, count: UInt64, words: String)] = []
}

/// Tells the rules when the daemon's own trouble begins and ends. Of the audit log's thread.
struct TroubleWatch {
    private static let everyMilliseconds: Int64 = 1_000

    private var known: Set<DaemonTrouble> = []
    private var counts: [DaemonTrouble: UInt64] = [:]
    private var last = Int64.min

    /// Once a second; `troubles` is asked then alone.
    mutating func look(
        now: Int64, _ alerts: AlertService, _ troubles: () -> DaemonTroubles
    ) {
        guard last == .min || now < last || now &- last >= Self.everyMilliseconds else { return }
        last = now
        let all = troubles()
        var states = all.states
        for (name, count, words) in all.counts {
            let before = counts[name] ?? 0
            counts[name] = count
            states.append((name, count > before ? "\(count &- before) \(words)" : nil))
        }
        for (name, words) in states where known.contains(name) != (words != nil) {
            // Told when it begins; other words for it are no other trouble.
            if words == nil { known.remove(name) } else { known.insert(name) }
            alerts.observe(
                .trouble(name: name.rawValue, isOn: words != nil, words: words ?? ""), now: now)
        }
    }
}
