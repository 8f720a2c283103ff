/// The figures as a table for people, or as JSON.
enum Report {
    private static let percentiles = [50.0, 90, 99, 99.9, 99.99]
    private static let percentileNames = ["p50", "p90", "p99", "p99_9", "p99_99"]

    static func text(_ rows: [BenchCommand.Row]) -> String {
        var lines = [
            "load     target     1000/s  daemon is   p50 µs   p90 µs   p99 µs p99.9 µs p99.99 µs"
                + "   denied"
        ]
        for row in rows {
            for figure in row.figures {
                let ratio = row.daemon.map { "×" + fixed(figure.ratio(ofDaemon: $0), 2) } ?? "-"
                let latencies = percentiles.map {
                    padLeft(fixed(Double(figure.latency.valueAtPercentile($0)) / 1_000, 1), 9)
                }
                lines.append(
                    pad(row.load.text, 9) + pad(figure.target, 9)
                        + padLeft(fixed(figure.rate / 1_000, 1), 8) + padLeft(ratio, 11)
                        + latencies.joined() + padLeft("\(figure.denied)", 10))
            }
        }
        lines.append("daemon is: the daemon's rate divided by the target's, median of the rounds")
        return lines.joined(separator: "\n")
    }

    static func json(_ rows: [BenchCommand.Row]) -> String {
        let entries = rows.flatMap { row in
            row.figures.map { figure in
                let latencies = zip(percentiles, percentileNames).map { percentile, name in
                    "\"\(name)_ns\":\(figure.latency.valueAtPercentile(percentile))"
                }
                let ratio =
                    row.daemon.map { fixed(figure.ratio(ofDaemon: $0), 3) } ?? "null"
                let rounds = figure.rates.map { "\(Int($0))" }.joined(separator: ",")
                return "{\"load\":\"\(row.load.text)\",\"target\":\"\(figure.target)\","
                    + "\"per_second\":\(Int(figure.rate)),\"rounds\":[\(rounds)],"
                    + "\"daemon_ratio\":\(ratio)," + latencies.joined(separator: ",")
                    + ",\"denied\":\(figure.denied)}"
            }
        }
        return "[" + entries.joined(separator: ",\n ") + "]"
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func padLeft(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    static func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value * scale).rounded())
        let fraction = String(whole % Int(scale))
        return "\(whole / Int(scale))."
            + String(repeating: "0", count: max(0, digits - fraction.count)) + fraction
    }
}
