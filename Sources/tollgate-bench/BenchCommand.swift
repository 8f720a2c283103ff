import ArgumentParser
import CLinux
import Glibc
import TollgateCore

/// Measures the daemon beside its floor and its rivals, interleaved, in one run. `Deploy/bench`
/// starts the servers, each on one core, and this on the other.
@main
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tollgate-bench",
        abstract: "Throughput and latency of the daemon, its floor and Redis, in one run.")

    @Option(help: "The daemon's data socket.") var daemon: String?
    @Option(help: "The floor's socket.") var floor: String?
    @Option(help: "Redis' socket: measured as INCRBY and as a Lua script.") var redis: String?
    @Option(name: .customLong("key-file"), help: "32 raw bytes that sign the tokens (kid bench-1).")
    var keyFile: String?
    @Option(help: "Connections × requests in flight.") var loads = "1x1,16x1,64x1,4x16,16x32"
    @Option(help: "Rounds; medians are printed.") var rounds = 5
    @Option(help: "Milliseconds of each measurement.") var milliseconds: UInt64 = 700
    @Option(help: "Fixed rate, requests a second, with latency from when they were due.")
    var rate: Double?
    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "Memory per counter with a million users, in this process.") var memory = false

    func run() throws {
        if memory { return try MemoryBench.run(json: json) }
        let targets = try targets()
        guard !targets.isEmpty else {
            throw ValidationError("name at least one of --daemon, --floor, --redis")
        }
        var rows: [Row] = []
        for load in try parsedLoads() { rows.append(try measure(load, targets)) }
        print(json ? Report.json(rows) : Report.text(rows))
    }

    struct Target {
        var name: String
        var path: String
        var workload: Workload
    }

    struct Load { var connections: Int, depth: Int }

    struct Row {
        var load: Load
        /// Per target: requests a second (median of the rounds), and latency in nanoseconds.
        var figures: [(target: String, rate: Double, p50: UInt64, p99: UInt64, p9999: UInt64, denied: Int)]
    }

    private func targets() throws -> [Target] {
        var targets: [Target] = []
        if daemon != nil || floor != nil {
            guard let keyFile else { throw ValidationError("--key-file is needed for tokens") }
            let workload = Workload.checks(secret: try Self.secret(keyFile))
            if let floor { targets.append(Target(name: "floor", path: floor, workload: workload)) }
            if let daemon { targets.append(Target(name: "daemon", path: daemon, workload: workload)) }
        }
        if let redis {
            targets.append(Target(name: "incrby", path: redis, workload: .incrby()))
            let sha = try Self.loadScript(redis)
            targets.append(Target(name: "lua", path: redis, workload: .lua(sha: sha)))
        }
        return targets
    }

    private static func secret(_ path: String) throws -> SecretBytes {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw ValidationError("\(path): cannot be opened") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 32)
        guard read(descriptor, &bytes, 32) == 32 else {
            throw ValidationError("\(path): fewer than 32 bytes")
        }
        return SecretBytes(copying: bytes)
    }

    private static func loadScript(_ path: String) throws -> String {
        let descriptor = try Generator.connect(path)
        defer { close(descriptor) }
        let request = Workload.loadScript
        _ = request.withUnsafeBytes { $0.baseAddress.map { tg_send(descriptor, $0, request.count) } }
        var reply = [UInt8](repeating: 0, count: 128)
        let got = read(descriptor, &reply, 128)
        let lines = String(decoding: reply[..<max(0, got)], as: UTF8.self).split(separator: "\r\n")
        guard lines.count == 2 else { throw BenchError(description: "SCRIPT LOAD: \(lines)") }
        return String(lines[1])
    }

    private func parsedLoads() throws -> [Load] {
        try loads.split(separator: ",").map { text in
            let parts = text.split(separator: "x").compactMap { Int($0) }
            guard parts.count == 2, parts[0] > 0, parts[1] > 0 else {
                throw ValidationError("a load is CONNECTIONSxINFLIGHT, not \(text)")
            }
            return Load(connections: parts[0], depth: parts[1])
        }
    }

    private func measure(_ load: Load, _ targets: [Target]) throws -> Row {
        var rates = [[Double]](repeating: [], count: targets.count)
        var figures: [(target: String, rate: Double, p50: UInt64, p99: UInt64, p9999: UInt64, denied: Int)] = []
        var last: [Generator?] = Array(repeating: nil, count: targets.count)
        for _ in 0..<max(1, rounds) {
            for (index, target) in targets.enumerated() {
                let generator = try Generator(
                    path: target.path, connections: load.connections, depth: load.depth,
                    workload: target.workload)
                // The first part warms caches and is not counted.
                _ = try generator.saturate(nanoseconds: milliseconds * 200_000)
                generator.latency.reset()
                if let rate {
                    let before = generator.answered
                    try generator.paced(rate: rate, nanoseconds: milliseconds * 1_000_000)
                    rates[index].append(
                        Double(generator.answered - before) * 1_000 / Double(milliseconds))
                } else {
                    rates[index].append(try generator.saturate(nanoseconds: milliseconds * 1_000_000))
                }
                last[index] = generator
            }
        }
        for (index, target) in targets.enumerated() {
            guard let generator = last[index] else { continue }
            let sorted = rates[index].sorted()
            figures.append(
                (
                    target.name, sorted[sorted.count / 2],
                    generator.latency.valueAtPercentile(50),
                    generator.latency.valueAtPercentile(99),
                    generator.latency.valueAtPercentile(99.99), generator.denied
                ))
        }
        return Row(load: load, figures: figures)
    }
}

enum Report {
    static func text(_ rows: [BenchCommand.Row]) -> String {
        var lines = ["load     target     1000/s   of daemon   p50 µs    p99 µs  p99.99 µs   denied"]
        for row in rows {
            let daemon = row.figures.first { $0.target == "daemon" }?.rate
            for figure in row.figures {
                let ratio = daemon.map { fixed($0 / figure.rate, 2) } ?? "-"
                lines.append(
                    pad("\(row.load.connections)x\(row.load.depth)", 9) + pad(figure.target, 9)
                        + padLeft(fixed(figure.rate / 1_000, 1), 8) + padLeft(ratio, 12)
                        + padLeft(fixed(Double(figure.p50) / 1_000, 1), 9)
                        + padLeft(fixed(Double(figure.p99) / 1_000, 1), 10)
                        + padLeft(fixed(Double(figure.p9999) / 1_000, 1), 11)
                        + padLeft("\(figure.denied)", 9))
            }
        }
        lines.append("of daemon: the daemon's rate divided by the target's")
        return lines.joined(separator: "\n")
    }

    static func json(_ rows: [BenchCommand.Row]) -> String {
        let entries = rows.flatMap { row in
            row.figures.map { figure in
                "{\"load\":\"\(row.load.connections)x\(row.load.depth)\",\"target\":\"\(figure.target)\","
                    + "\"per_second\":\(Int(figure.rate)),\"p50_ns\":\(figure.p50),"
                    + "\"p99_ns\":\(figure.p99),\"p99_99_ns\":\(figure.p9999),\"denied\":\(figure.denied)}"
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
