import CLinux
import Glibc
import TollgateCore
import TollgateStorage

/// Makes an audit log as a daemon does, only faster: CHECKs of two workers that take turns, their
/// rings, blocks and segments, on a clock that goes on by so much with each decision.
///
/// A hundred organizations have half of the users, ten thousand have four each, and ten thousand
/// one: of 50 million decisions about 250,000, 2,000 and 500.
final class AuditBench {
    static let users = 100_000
    private static let requestNanoseconds: UInt64 = 100_000
    private static let turnRequests = 32
    private static let drainRequests = 8_192

    private let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
    private let policy: PolicyImage
    private let workers: [DecisionWorker]
    private let log: AuditLog
    private let checks: [[UInt8]]
    private let reply = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DecisionWorker.replyBytesMax, alignment: 64)
    private var now: Moment
    private var state: UInt64 = 0x9e37_79b9_7f4a_7c15

    /// The directory is not there yet.
    init(directory: String, nameBytes: Int) throws {
        let secret = SecretBytes(copying: (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 73 &+ 5) })
        policy = try PolicyImage(compiling: EngineBench.policy(secret), generation: 1)
        let engine = engine
        workers = (0..<2).map { _ in engine.makeWorker() }
        checks = Workload.checks(
            secret: secret, users: Self.users,
            user: { Self.padded("user-\(100_000 + $0)", nameBytes) },
            organization: { Self.padded(Self.organization($0), nameBytes) }
        ).requests.map(EngineBench.body)
        now = Moment(
            boot: BootTime(nanoseconds: 1_000_000_000_000),
            wall: WallTime(milliseconds: tg_walltime() + 1_000))
        log = try AuditLog.open(
            AuditSettings(directory: directory), rings: workers.count, boot: (1, 2), life: nil,
            now: now.wall
        ) { print($0) }
        try log.add(policy.auditNames)
        for (worker, ring) in zip(workers, log.rings) {
            worker.openAudit(ring, isBlocking: true)
        }
    }

    deinit { reply.deallocate() }

    static func organization(_ user: Int) -> String {
        switch user {
        case ..<50_000: "large-\(user % 100)"
        case ..<90_000: "middle-\(user % 10_000)"
        default: "small-\(user)"
        }
    }

    private static func padded(_ name: String, _ bytes: Int) -> String {
        name + String(repeating: "x", count: max(0, bytes - name.utf8.count))
    }

    /// What the log has in the end.
    func run(decisions: Int) throws -> (bytes: Int64, segments: Int) {
        var made = 0
        while made < decisions {
            let end = min(decisions, made + Self.drainRequests)
            while made < end {
                let count = min(Self.turnRequests, end - made)
                try turn(workers[made / Self.turnRequests % workers.count], count)
                made += count
            }
            log.drain(now: now.wall)
            try look()
        }
        log.close(now: now.wall)
        try look()
        let status = log.status
        guard status.recorded == UInt64(decisions), status.dropped == 0 else {
            throw BenchError(
                description: "\(status.recorded) of \(decisions) decisions are in the log")
        }
        return (status.bytes, status.segments)
    }

    private func look() throws {
        if let failure = log.status.failure { throw BenchError(description: failure) }
    }

    private func turn(_ worker: DecisionWorker, _ count: Int) throws {
        worker.beginTurn(now, policy: policy)
        for _ in 0..<count {
            let body = checks[Int(random() % UInt64(checks.count))]
            let outcome = body.withUnsafeBytes { worker.check($0, into: reply) }
            guard outcome.status == .ok, reply[0] == 1 else {
                throw BenchError(description: "a CHECK was refused")
            }
        }
        // Between 20 and 280 microseconds until the replies leave.
        let end = now.boot.nanoseconds + 20_000 + random() % 260_000
        worker.publishAudit(now: BootTime(nanoseconds: end))
        now.boot = BootTime(
            nanoseconds: now.boot.nanoseconds + UInt64(count) * Self.requestNanoseconds)
        now.wall.milliseconds =
            start.wall.milliseconds
            + Int64((now.boot.nanoseconds - start.boot.nanoseconds) / 1_000_000)
    }

    private lazy var start = now

    /// SplitMix64: the same log each time, but for its key.
    private func random() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

extension BenchCommand {
    func measureAuditLog(_ directory: String) throws {
        guard decisions > 0, (0...128).contains(nameBytes) else {
            throw BenchError(description: "--decisions is above 0, --name-bytes 0 to 128")
        }
        let bench = try AuditBench(directory: directory, nameBytes: nameBytes)
        let began = tg_boottime()
        let (bytes, segments) = try bench.run(decisions: decisions)
        let seconds = Double(tg_boottime() - began) / 1e9
        let each = Double(bytes) / Double(decisions)
        let names = nameBytes > 0 ? "names of \(nameBytes) bytes" : "short names"
        let verdict = bytesMax.map {
            Verdict(
                name: "bytes a decision, \(names)", figure: each, wanted: $0, isLeast: false,
                digits: 1)
        }
        guard !json else {
            return print(
                "{\"decisions\":\(decisions),\"bytes\":\(bytes),\"segments\":\(segments),"
                    + "\"seconds\":\(Report.fixed(seconds, 1)),\"verdicts\":["
                    + (verdict?.json ?? "") + "]}")
        }
        print(
            "\(decisions) decisions, \(names): \(bytes) bytes in \(segments) segments,"
                + " \(Report.fixed(each, 1)) each; made in \(Report.fixed(seconds, 1)) s"
                + (verdict.map { "\n" + $0.text } ?? ""))
    }
}
