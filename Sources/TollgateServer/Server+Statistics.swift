import CLinux
import TollgateCore
import TollgateWire

extension Server {
    /// What STATS answers.
    package func statistics() -> [Statistic] {
        var entries: [Statistic] = []
        func add(_ name: String, _ value: UInt64, gauge: Bool = false) {
            entries.append(Statistic(name: name, value: value, isGauge: gauge))
        }
        for reason in Reason.allCases {
            let count = decisions.reduce(0) { $0 &+ $1.count(reason: reason) }
            let verdict = reason == .none ? "allow" : "deny"
            add("tollgate_decisions_total{verdict=\"\(verdict)\",reason=\"\(reason)\"}", count)
        }
        func sum(_ value: (ReactorCounters) -> UInt64) -> UInt64 {
            counters.reduce(0) { $0 &+ value($1) }
        }
        for status in Status.allCases where status != .ok {
            add(
                "tollgate_refused_frames_total{status=\"\(status)\"}",
                sum { $0.statuses[Int(status.rawValue)].load(ordering: .relaxed) })
        }
        add("tollgate_frames_total", sum { $0.frames.load(ordering: .relaxed) })
        add("tollgate_received_bytes_total", sum { $0.bytesIn.load(ordering: .relaxed) })
        add("tollgate_sent_bytes_total", sum { $0.bytesOut.load(ordering: .relaxed) })
        add("tollgate_connections_accepted_total", sum { $0.accepted.load(ordering: .relaxed) })
        add("tollgate_connections_refused_total", sum { $0.refused.load(ordering: .relaxed) })
        add("tollgate_deadline_closes_total", sum { $0.deadlineCloses.load(ordering: .relaxed) })
        add("tollgate_buffer_closes_total", sum { $0.bufferCloses.load(ordering: .relaxed) })
        let open = counters.reduce(0) { $0 + $1.open.load(ordering: .relaxed) }
        add("tollgate_connections", UInt64(max(0, open)), gauge: true)
        let gauges = shared.engine.gauges
        add("tollgate_organizations", UInt64(max(0, gauges.organizations)), gauge: true)
        add("tollgate_users", UInt64(max(0, gauges.users)), gauge: true)
        add("tollgate_addresses", UInt64(max(0, gauges.addresses)), gauge: true)
        add("tollgate_tables_bytes", UInt64(gauges.counterBytes), gauge: true)
        add("tollgate_capacity_refusals_total", gauges.capacityRefusals)
        add("tollgate_address_overflows_total", gauges.addressOverflows)
        add("tollgate_clock_held_forward", gauges.clockHeldForward ? 1 : 0, gauge: true)
        entries += directoryStatistics() + ledgerStatistics() + callStatistics()
        entries += auditStatistics() + alertStatistics() + latencyStatistics()
        entries += policyStatistics() + processStatistics() + shadowStatistics()
        // The last: it is the only part that grows with the policy, and a reply is bounded.
        return entries + operationStatistics()
    }

    /// By operation, as far as there are slots for them.
    private func operationStatistics() -> [Statistic] {
        var entries: [Statistic] = []
        for (slot, name) in shared.engine.operationNames.all.enumerated() {
            for (verdict, isAllowed) in [("allow", true), ("deny", false)] {
                let labels = "{operation=\"\(name)\",verdict=\"\(verdict)\"}"
                let count = decisions.reduce(0) { $0 &+ $1.count(slot: slot, isAllowed: isAllowed) }
                entries.append(
                    Statistic(
                        name: "tollgate_operation_decisions_total\(labels)", value: count,
                        isGauge: false))
            }
        }
        return entries
    }

    private func policyStatistics() -> [Statistic] {
        let readAt = shared.policyReadAt.load(ordering: .relaxed)
        let reloads = "tollgate_policy_reloads_total"
        let policy = shared.policy
        return [
            Statistic(
                name: "tollgate_policy_in_shadow", value: policy.isShadow ? 1 : 0, isGauge: true),
            Statistic(
                name: "tollgate_policy_limits_in_shadow", value: UInt64(policy.limitsInShadow),
                isGauge: true),
            Statistic(
                name: "tollgate_policy_generation",
                value: shared.generation.load(ordering: .relaxed), isGauge: true),
            Statistic(
                name: "tollgate_policy_read_timestamp_seconds",
                value: UInt64(max(0, readAt)) / 1_000, isGauge: true),
            Statistic(
                name: "\(reloads){result=\"success\"}",
                value: shared.reloads.load(ordering: .relaxed), isGauge: false),
            Statistic(
                name: "\(reloads){result=\"failure\"}",
                value: shared.reloadFailures.load(ordering: .relaxed), isGauge: false),
        ]
    }

    /// What the directory holds and was asked; nothing without one.
    private func directoryStatistics() -> [Statistic] {
        guard let directory else { return [] }
        let image = shared.engine.directory
        let (organizations, users, keys, revocations) = image.counts
        var entries = [
            ("organizations", organizations), ("users", users), ("keys", keys),
            ("revocations", revocations), ("image_bytes", image.bytesTaken),
        ].map {
            Statistic(
                name: "tollgate_directory_\($0)", value: UInt64(clamping: $1), isGauge: true)
        }
        func add(_ name: String, _ value: UInt64) {
            entries.append(Statistic(name: name, value: value, isGauge: false))
        }
        add(
            "tollgate_directory_commits_total",
            directory.counters.batches.load(ordering: .relaxed))
        add(
            "tollgate_refresh_reuse_total",
            directory.counters.refreshReuses.load(ordering: .relaxed))
        add(
            "tollgate_sessions_displaced_total",
            directory.counters.sessionsDisplaced.load(ordering: .relaxed))
        return entries
    }

    /// What is, or was, in shadow, busiest first: as many as fit beside everything else.
    private func shadowStatistics() -> [Statistic] {
        let shown = shared.engine.wouldDenials.sorted { $0.count > $1.count }.prefix(64)
        return shown.map {
            let limit = Self.label($0.limit)
            return Statistic(
                name: "tollgate_would_deny_total{reason=\"\($0.reason)\",limit=\"\(limit)\"}",
                value: $0.count, isGauge: false)
        }
    }

    /// As a label's value, cut so that the number's name is at most 255 bytes.
    private static func label(_ name: String) -> String {
        var text = ""
        for character in name {
            let next = character == "\\" || character == "\"" ? "\\\(character)" : "\(character)"
            guard text.utf8.count + next.utf8.count <= 180 else { break }
            text += next
        }
        return text
    }

    /// Calls.
    private func callStatistics() -> [Statistic] {
        let counters = [
            directory?.counters.calls, ledger?.counters.calls, desk.counters,
        ].compactMap { $0 }
        return Status.allCases.compactMap { status in
            let count = counters.reduce(0) { $0 &+ $1.total(status) }
            guard count > 0 || status == .ok else { return nil }
            return Statistic(
                name: "tollgate_calls_total{status=\"\(status)\"}", value: count, isGauge: false)
        }
    }
}
