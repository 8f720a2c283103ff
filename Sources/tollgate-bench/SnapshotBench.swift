import ArgumentParser
import CLinux
import Glibc
import Histogram
import Synchronization
import TollgateClient
import TollgateWire

extension BenchCommand {
    func measureSnapshots(users: Int) throws {
        try measure(users: users, beside: Beside(name: "snapshots", restMicroseconds: 0) {
            (client) throws(ClientError) in _ = try client.perform(.createSnapshot())
        })
    }

    /// As `tollgate top` asks: once a second.
    func measureTop(users: Int) throws {
        try measure(users: users, beside: Beside(name: "looks", restMicroseconds: 1_000_000) {
            (client) throws(ClientError) in _ = try client.perform(.top(limit: 10))
        })
    }

    /// Latency at a fixed rate, between what the daemon does for an operator and during it, in
    /// turns.
    private func measure(users: Int, beside: Beside) throws {
        guard let daemon, let admin, let keyFile else {
            throw ValidationError("it needs --daemon, --admin and --key-file")
        }
        try Self.fill(daemon, users: users)
        let workload = Workload.checks(secret: try Self.secret(keyFile))
        let generator = try Generator(path: daemon, connections: 16, depth: 32, workload: workload)
        try generator.warm(nanoseconds: 500_000_000)
        var (between, during) = (Generator.emptyHistogram(), Generator.emptyHistogram())
        var (count, longest) = (0, UInt64(0))
        for _ in 0..<max(1, rounds) {
            _ = try generator.paced(rate: rate ?? 20_000, nanoseconds: milliseconds * 1_000_000)
            between.add(generator.latency)
            let running = try BesideLoop(beside, admin: admin)
            _ = try generator.paced(rate: rate ?? 20_000, nanoseconds: milliseconds * 1_000_000)
            during.add(generator.latency)
            let ended = try running.end()
            count += ended.count
            longest = max(longest, ended.longest)
        }
        let name = { (latency: Histogram<UInt64>) in
            [50.0, 99, 99.9].map { Report.fixed(Double(latency.valueAtPercentile($0)) / 1_000, 1) }
        }
        let ratio =
            Double(during.valueAtPercentile(99.9)) / Double(max(1, between.valueAtPercentile(99.9)))
        let verdict = Verdict(
            name: "p99.9 during \(beside.name) of that between, \(users) users", figure: ratio,
            wanted: 2, isLeast: false)
        let milliseconds = Report.fixed(Double(longest) / 1_000_000, 1)
        guard !json else {
            return print(
                "{\"users\":\(users),\"\(beside.name)\":\(count),\"longest_ms\":\(milliseconds),"
                    + "\"verdicts\":[\(verdict.json)],"
                    + "\"between_us\":[\(name(between).joined(separator: ","))],"
                    + "\"during_us\":[\(name(during).joined(separator: ","))],"
                    + "\"p99_9_ratio\":\(Report.fixed(ratio, 3))}")
        }
        print(
            "p50, p99, p99.9 µs between \(beside.name): \(name(between).joined(separator: ", "));"
                + " during \(count) \(beside.name) of \(users) users, of which the longest took"
                + " \(milliseconds) ms: \(name(during).joined(separator: ", "))\n" + verdict.text)
    }

    /// Gives each user counters.
    static func fill(_ daemon: String, users: Int) throws {
        for start in stride(from: 0, to: users, by: 50_000) {
            let part = Workload.consumes(users: start..<min(users, start + 50_000))
            _ = try Generator(path: daemon, connections: 4, depth: 64, workload: part).once()
        }
    }
}

/// What a daemon does beside deciding.
private struct Beside: Sendable {
    /// Several of it.
    var name: String
    var restMicroseconds: UInt32
    var perform: @Sendable (BlockingClient) throws(ClientError) -> Void
}

/// Has a daemon do one after the other, on a thread of its own, until it is ended.
private final class BesideLoop: Sendable {
    private let beside: Beside
    private let admin: String
    private let isEnding = Atomic<Bool>(false)
    private let count = Atomic<Int>(0)
    /// Nanoseconds.
    private let longest = Atomic<UInt64>(0)
    private let hasFailed = Atomic<Bool>(false)
    // Written by `init`, read by `end`, both of one thread.
    private nonisolated(unsafe) var thread = pthread_t()

    init(_ beside: Beside, admin: String) throws {
        self.beside = beside
        self.admin = admin
        let box = Unmanaged.passRetained(self)
        let result = pthread_create(&thread, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<BesideLoop>.fromOpaque(argument).takeRetainedValue().run()
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
            let began = tg_boottime()
            do throws(ClientError) {
                try beside.perform(client)
                count.add(1, ordering: .relaxed)
            } catch {
                hasFailed.store(true, ordering: .relaxed)
                return
            }
            longest.max(tg_boottime() &- began, ordering: .relaxed)
            if beside.restMicroseconds > 0 { usleep(beside.restMicroseconds) }
        }
    }

    /// How many, and nanoseconds of the longest.
    func end() throws -> (count: Int, longest: UInt64) {
        isEnding.store(true, ordering: .relaxed)
        pthread_join(thread, nil)
        guard !hasFailed.load(ordering: .relaxed) else {
            throw BenchError(description: "the daemon refused one of the \(beside.name)")
        }
        return (count.load(ordering: .relaxed), longest.load(ordering: .relaxed))
    }
}
