import TollgateClient

/// How long frames took between two looks, by the buckets that STATS tells of.
struct TopLatency {
    private static let metric = "tollgate_frame_duration_seconds_bucket"

    /// Ascending: a bound, and how many frames took so long or less.
    private let buckets: [(seconds: Double, frames: UInt64)]

    init(before: [StatisticEntry], now: [StatisticEntry]) {
        let (old, new) = (Self.buckets(before), Self.buckets(now))
        let from = Dictionary(
            old.map { ($0.seconds, $0.frames) }, uniquingKeysWith: { first, _ in first })
        // Counts that shrank belong to a daemon that was started since.
        let isSame = new.allSatisfy { $0.frames >= from[$0.seconds] ?? 0 }
        buckets = new.map { bucket in
            (bucket.seconds, bucket.frames - (isSame ? from[bucket.seconds] ?? 0 : 0))
        }
    }

    private static func buckets(
        _ entries: [StatisticEntry]
    ) -> [(seconds: Double, frames: UInt64)] {
        entries.compactMap { entry in
            guard entry.name.hasPrefix(metric + "{"),
                let bound = TopView.label("le", of: entry.name),
                let seconds = bound == "+Inf" ? .infinity : Double(bound)
            else { return nil }
            return (seconds, entry.value)
        }.sorted { $0.seconds < $1.seconds }
    }

    var frames: UInt64 { buckets.last?.frames ?? 0 }

    /// Of these, how many took longer than the last bound that there is.
    var beyond: UInt64 {
        guard let last = buckets.last(where: { $0.seconds.isFinite }) else { return 0 }
        return frames >= last.frames ? frames - last.frames : 0
    }

    /// So many of a thousand took as many seconds or less: within a bucket in proportion, as
    /// histogram_quantile of Prometheus has it; beyond the last bound, that. `nil`: there was none.
    func seconds(thousandths: UInt64) -> Double? {
        guard frames > 0 else { return nil }
        let rank = Double(frames) * Double(thousandths) / 1_000
        var (low, below) = (0.0, 0.0)
        for (bound, frames) in buckets {
            let count = Double(frames)
            if count >= rank {
                guard bound.isFinite, count > below else { return bound.isFinite ? bound : low }
                return low + (bound - low) * (rank - below) / (count - below)
            }
            (low, below) = (bound, count)
        }
        return low
    }

    static let shown: [(name: String, member: String, thousandths: UInt64)] = [
        ("p50", "p50_us", 500), ("p99", "p99_us", 990), ("p99.9", "p999_us", 999),
    ]

    var text: String {
        guard frames > 0 else { return "latency: no frame was answered" }
        let parts = Self.shown.map { name, _, thousandths in
            "\(name) \(Self.words(seconds(thousandths: thousandths) ?? 0))"
        }
        let late = beyond > 0 ? "; \(grouped(beyond)) took longer than can be told" : ""
        return "latency \(parts.joined(separator: ", "))\(late)"
    }

    /// Two digits or more: `1.6 µs`, `380 µs`, `12 ms`, `1.1 s`.
    private static func words(_ seconds: Double) -> String {
        var (number, unit) = (seconds * 1e6, "µs")
        if number >= 1_000 { (number, unit) = (number / 1_000, "ms") }
        if unit == "ms", number >= 1_000 { (number, unit) = (number / 1_000, "s") }
        return (number < 10 ? "\((number * 10).rounded() / 10)" : "\(Int(number.rounded()))")
            + " " + unit
    }

    var json: JSON {
        .object(
            [("frames", .count(frames))]
                + Self.shown.map { _, member, thousandths in
                    (
                        member,
                        seconds(thousandths: thousandths).map { JSON.rate($0 * 1e6) } ?? .null
                    )
                } + [("beyond", .count(beyond))])
    }
}

/// How far what is written lies behind what was decided.
extension TopView {
    /// `nil` without a ledger.
    private var journalLag: UInt64? { gauge("tollgate_journal_lag_seconds") }
    /// `nil` without an audit log.
    private var auditWaiting: UInt64? { gauge("tollgate_audit_waiting_bytes") }

    var lag: String {
        var parts = [latency.text]
        if let journalLag { parts.append("journal \(journalLag) s behind") }
        if let auditWaiting { parts.append("audit log \(bytes(Double(auditWaiting))) behind") }
        return parts.joined(separator: "; ")
    }

    /// `null` for what the daemon does not keep.
    var lagMembers: [(String, JSON)] {
        [
            ("latency", latency.json), ("journal_lag_seconds", .optional(journalLag)),
            ("audit_waiting_bytes", .optional(auditWaiting)),
        ]
    }
}
