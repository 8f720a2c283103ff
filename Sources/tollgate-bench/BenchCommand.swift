import ArgumentParser
import CLinux
import Glibc
import Histogram
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
    @Option(help: "The daemon's admin socket: API keys are measured beside tokens.")
    var admin: String?
    @Option(help: "The sockets of a daemon with a larger directory: DATA,ADMIN.")
    var large: String?
    @Option(help: "Users and keys in the larger directory.") var largeKeys = 1_000_000
    @Option(help: "32 raw bytes: the pepper of both directories, generation 1.")
    var pepperFile: String?
    @Option(help: "A further daemon, beside the one of --daemon: NAME=SOCKET. May come often.")
    var also: [String] = []
    @Option(help: "A directory in which one sync after the other is measured, as a rival.")
    var syncDirectory: String?
    @Flag(help: "Also RESERVE, and SETTLE of what was reserved.") var holds = false
    @Option(help: "Connections × requests in flight.") var loads = "1x1,16x1,64x1,4x16,16x32"
    @Option(help: "Rounds; medians are printed.") var rounds = 5
    @Option(help: "Milliseconds of each measurement.") var milliseconds: UInt64 = 700
    @Option(
        help: "Fixed rate, requests a second; latency counts from when each was due.")
    var rate: Double?
    @Option(
        help: """
            Give so many users a quota's counter, then measure the latency at --rate, between \
            snapshots and during them (with --daemon and --admin), and nothing else.
            """)
    var snapshotUsers: Int?
    @Option(help: "The same while somebody watches who is nearest to the end of a quota.")
    var topUsers: Int?
    @Option(
        help: """
            What a target's rate is to be of another's, at least: daemon/off=0.9. May come often.
            """)
    var wanted: [WantedRatio] = []
    @Option(
        help: """
            A daemon's command: how long it takes from its start to its first answer, with a \
            million users and 256 MB of journal (with --daemon, --admin, --ledger), --rounds \
            times, and nothing else.
            """)
    var restart: String?
    @Option(help: "The directory of that daemon's ledger.") var ledger: String?
    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "Memory per counter with a million users, in this process.") var memory = false
    @Flag(help: "CHECK, RESERVE and SETTLE in this process, without sockets.") var engine = false

    @Option(help: "Make an audit log in this directory, of --decisions CHECKs, and nothing else.")
    var auditLog: String?
    @Option(help: "Decisions of that log.") var decisions = 1_000_000
    @Option(help: "Its users and organizations have names of so many bytes.") var nameBytes = 0
    @Option(help: "What a decision of that log may take, bytes.") var bytesMax: Double?
    @Option(
        help: "A command: how long it takes and how much memory, --rounds times, and nothing else.")
    var timed: String?
    @Option(help: "What it may take, seconds.") var secondsMax: Double?

    func run() throws {
        if let auditLog { return try measureAuditLog(auditLog) }
        if let timed { return try measureCommand(timed) }
        if memory { return try MemoryBench.run(json: json) }
        if engine { return try EngineBench.run(rounds: rounds, json: json) }
        if let snapshotUsers { return try measureSnapshots(users: snapshotUsers) }
        if let topUsers { return try measureTop(users: topUsers) }
        if let restart { return try measureRestart(restart) }
        let targets = try targets()
        guard !targets.isEmpty else {
            throw ValidationError("name at least one of --daemon, --floor, --redis")
        }
        var rows: [Row] = []
        for load in try parsedLoads() { rows.append(try measure(load, targets)) }
        let verdicts = rows.flatMap { row in wanted.compactMap { $0.verdict(row) } }
        guard !wanted.isEmpty else { return print(json ? Report.json(rows) : Report.text(rows)) }
        print(
            json
                ? "{\"rows\":\(Report.json(rows)),\"verdicts\":["
                    + verdicts.map(\.json).joined(separator: ",") + "]}"
                : Report.text(rows) + "\n" + verdicts.map(\.text).joined(separator: "\n"))
    }

    struct Target {
        var name: String
        var path: String
        var workload: Workload
        var kind = Kind.requests

        enum Kind {
            case requests
            /// RESERVE for as long as is measured; what was reserved is settled after that.
            case reserve
            /// SETTLE of what is reserved before.
            case settle
            /// One sync after the other, in the directory `path`.
            case sync
        }
    }

    struct Load {
        var connections: Int
        var depth: Int
        var text: String { "\(connections)x\(depth)" }
    }

    /// One target under one load.
    struct Figure {
        var target: String
        /// Answers a second, by round.
        var rates: [Double]
        /// Nanoseconds, of all rounds.
        var latency: Histogram<UInt64>
        var denied: Int

        var rate: Double { Figure.median(rates) }

        mutating func take(_ round: Round) {
            rates.append(round.rate)
            latency.add(round.latency)
            denied += round.denied
        }

        /// The daemon's rate, or another's, divided by this one, the median of the rounds: what a
        /// round suffers from its surroundings both suffer.
        func ratio(ofDaemon daemon: Figure) -> Double {
            Figure.median(zip(daemon.rates, rates).map { $0 / $1 })
        }

        static func median(_ values: [Double]) -> Double {
            let sorted = values.sorted()
            let middle = sorted.count / 2
            return sorted.count % 2 == 1
                ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        }
    }

    /// One measurement of a figure.
    struct Round {
        var rate: Double
        var latency: Histogram<UInt64>
        var denied: Int
    }

    struct Row {
        var load: Load
        var figures: [Figure]
        var daemon: Figure? { figures.first { $0.target == "daemon" } }
    }

    private func targets() throws -> [Target] {
        var targets: [Target] = []
        if daemon != nil || floor != nil {
            guard let keyFile else { throw ValidationError("--key-file is needed for tokens") }
            let workload = Workload.checks(secret: try Self.secret(keyFile))
            if let floor { targets.append(Target(name: "floor", path: floor, workload: workload)) }
            if let daemon {
                targets.append(Target(name: "daemon", path: daemon, workload: workload))
                targets += try keyTargets(daemon)
                if holds {
                    let reserves = Workload.reserves(secret: try Self.secret(keyFile))
                    for (name, kind) in [("reserve", Target.Kind.reserve), ("settle", .settle)] {
                        targets.append(
                            Target(name: name, path: daemon, workload: reserves, kind: kind))
                    }
                }
            }
            for rival in also {
                let parts = rival.split(separator: "=", maxSplits: 1).map(String.init)
                guard parts.count == 2 else { throw ValidationError("--also is NAME=SOCKET") }
                targets.append(Target(name: parts[0], path: parts[1], workload: workload))
            }
        }
        if let syncDirectory {
            targets.append(
                Target(name: "sync", path: syncDirectory, workload: .incrby(), kind: .sync))
        }
        if let redis {
            targets.append(Target(name: "incrby", path: redis, workload: .incrby()))
            let sha = try Self.loadScript(redis)
            targets.append(Target(name: "lua", path: redis, workload: .lua(sha: sha)))
        }
        return targets
    }

    /// API keys, in a directory of the callers alone and in a large one.
    private func keyTargets(_ daemon: String) throws -> [Target] {
        guard let pepperFile else { return [] }
        let pepper = try APIKeyPepper(try Self.secret(pepperFile), generation: 1)
        var targets: [Target] = []
        if let admin {
            let keys = try DirectoryFill(admin: admin, pepper: pepper).keys(count: 0)
            targets.append(Target(name: "keys", path: daemon, workload: .checks(keys: keys)))
        }
        if let large {
            let sockets = large.split(separator: ",").map(String.init)
            guard sockets.count == 2 else { throw ValidationError("--large is DATA,ADMIN") }
            let keys = try DirectoryFill(admin: sockets[1], pepper: pepper).keys(count: largeKeys)
            targets.append(
                Target(name: "large", path: sockets[0], workload: .checks(keys: keys)))
        }
        return targets
    }

    static func secret(_ path: String) throws -> SecretBytes {
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
        _ = request.withUnsafeBytes {
            $0.baseAddress.map { tg_send(descriptor, $0, request.count) }
        }
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

    /// All targets in every round, one after the other.
    private func measure(_ load: Load, _ targets: [Target]) throws -> Row {
        var figures = targets.map {
            Figure(target: $0.name, rates: [], latency: Generator.emptyHistogram(), denied: 0)
        }
        for _ in 0..<max(1, rounds) {
            for (index, target) in targets.enumerated() {
                if target.kind != .requests {
                    figures[index].take(
                        try HoldBench(target: target, load: load, milliseconds: milliseconds).run())
                    continue
                }
                let generator = try Generator(
                    path: target.path, connections: load.connections, depth: load.depth,
                    workload: target.workload)
                // Every token at least once; then it is measured.
                try generator.warm(nanoseconds: milliseconds * 200_000)
                if let rate {
                    let sent = try generator.paced(
                        rate: rate, nanoseconds: milliseconds * 1_000_000)
                    figures[index].rates.append(sent)
                } else {
                    figures[index].rates.append(
                        try generator.saturate(nanoseconds: milliseconds * 1_000_000))
                }
                figures[index].latency.add(generator.latency)
                figures[index].denied += generator.denied
            }
        }
        return Row(load: load, figures: figures)
    }
}
