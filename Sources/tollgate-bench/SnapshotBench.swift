import ArgumentParser
import CLinux
import Glibc
import Histogram
import Synchronization
import TollgateClient
import TollgateWire

extension BenchCommand {
    /// Latency at a fixed rate, between snapshots and during them, in turns.
    func measureSnapshots(users: Int) throws {
        guard let daemon, let admin, let keyFile else {
            throw ValidationError("--snapshot-users needs --daemon, --admin and --key-file")
        }
        try Self.fill(daemon, users: users)
        let workload = Workload.checks(secret: try Self.secret(keyFile))
        let generator = try Generator(path: daemon, connections: 16, depth: 32, workload: workload)
        try generator.warm(nanoseconds: 500_000_000)
        var (between, during) = (Generator.emptyHistogram(), Generator.emptyHistogram())
        var snapshots = 0
        for _ in 0..<max(1, rounds) {
            _ = try generator.paced(rate: rate ?? 20_000, nanoseconds: milliseconds * 1_000_000)
            between.add(generator.latency)
            let running = try SnapshotLoop(admin: admin)
            _ = try generator.paced(rate: rate ?? 20_000, nanoseconds: milliseconds * 1_000_000)
            during.add(generator.latency)
            snapshots += try running.end()
        }
        let name = { (latency: Histogram<UInt64>) in
            [50.0, 99, 99.9].map { Report.fixed(Double(latency.valueAtPercentile($0)) / 1_000, 1) }
        }
        let ratio =
            Double(during.valueAtPercentile(99.9)) / Double(max(1, between.valueAtPercentile(99.9)))
        let verdict = Verdict(
            name: "p99.9 during snapshots of that between, \(users) users", figure: ratio,
            wanted: 2, isLeast: false)
        guard !json else {
            return print(
                "{\"users\":\(users),\"snapshots\":\(snapshots),\"verdicts\":[\(verdict.json)],"
                    + "\"between_us\":[\(name(between).joined(separator: ","))],"
                    + "\"during_us\":[\(name(during).joined(separator: ","))],"
                    + "\"p99_9_ratio\":\(Report.fixed(ratio, 3))}")
        }
        print(
            "p50, p99, p99.9 µs between snapshots: \(name(between).joined(separator: ", "));"
                + " during \(snapshots) snapshots of \(users) users:"
                + " \(name(during).joined(separator: ", "))\n" + verdict.text)
    }

    /// Gives each user counters.
    static func fill(_ daemon: String, users: Int) throws {
        for start in stride(from: 0, to: users, by: 50_000) {
            let part = Workload.consumes(users: start..<min(users, start + 50_000))
            _ = try Generator(path: daemon, connections: 4, depth: 64, workload: part).once()
        }
    }
}

/// Has a daemon write one snapshot after the other, on a thread of its own, until it is ended.
private final class SnapshotLoop: Sendable {
    private let admin: String
    private let isEnding = Atomic<Bool>(false)
    private let count = Atomic<Int>(0)
    private let hasFailed = Atomic<Bool>(false)
    // Written by `init`, read by `end`, both of one thread.
    private nonisolated(unsafe) var thread = pthread_t()

    init(admin: String) throws {
        self.admin = admin
        let box = Unmanaged.passRetained(self)
        let result = pthread_create(&thread, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<SnapshotLoop>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw BenchError(description: "a thread cannot be made")
        }
    }

    private func run() {
        let client = BlockingClient(path: admin, timeoutMilliseconds: 60_000)
        while !isEnding.load(ordering: .relaxed) {
            do throws(ClientError) {
                _ = try client.perform(.createSnapshot())
                count.wrappingAdd(1, ordering: .relaxed)
            } catch {
                hasFailed.store(true, ordering: .relaxed)
                return
            }
        }
    }

    /// Snapshots that were written.
    func end() throws -> Int {
        isEnding.store(true, ordering: .relaxed)
        pthread_join(thread, nil)
        guard !hasFailed.load(ordering: .relaxed) else {
            throw BenchError(description: "a snapshot failed")
        }
        return count.load(ordering: .relaxed)
    }
}
