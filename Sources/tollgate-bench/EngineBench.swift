import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// CHECK, RESERVE and SETTLE in this process, without sockets and files: what the engine takes of
/// each, with a journal in memory. In turns, so that all suffer the same of their surroundings.
final class EngineBench {
    /// Of one kind, before another has its turn; and before the clock is read again.
    private static let blockRequests = 5_000
    private static let turnRequests = 32
    /// Their rows take more than the processor's last cache.
    private static let reservationsKept = 100_000

    private let engine: Engine
    private let worker: DecisionWorker
    private let policy: PolicyImage
    private let checks: [[UInt8]]
    private let reserves: [[UInt8]]
    private let reply = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DecisionWorker.replyBytesMax, alignment: 64)
    private var next = 0
    /// The engine's clocks, which go on by so much with each request: instructions that are counted
    /// are the same each time. 300,000 requests a second.
    private var now: Moment
    private static let requestNanoseconds: UInt64 = 3_333
    /// Regions by shard, in order: all but the last two are written through.
    private var regions = [[UnsafeMutableRawPointer]](repeating: [], count: Engine.shardCount)

    init(isJournaled: Bool, reservationsMax: Int? = nil) throws {
        var configuration = EngineConfiguration(hashKey: (1, 2))
        if let reservationsMax { configuration.reservationsMax = reservationsMax }
        engine = Engine(configuration)
        let secret = SecretBytes(copying: (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 73 &+ 5) })
        policy = try PolicyImage(compiling: Self.policy(secret), generation: 1)
        worker = engine.makeWorker()
        checks = Workload.checks(secret: secret).requests.map(Self.body)
        reserves = Workload.reserves(secret: secret).requests.map(Self.body)
        // Not before the tokens were issued.
        now = Moment(
            boot: BootTime(nanoseconds: 1_000_000_000_000),
            wall: WallTime(milliseconds: tg_walltime() + 1_000))
        if isJournaled { engine.beginJournal(ledgerID: 7, life: 1) }
        turn()
    }

    deinit {
        reply.deallocate()
        for list in regions { list.forEach { $0.deallocate() } }
    }

    static func run(rounds: Int, json: Bool) throws {
        let bench = try EngineBench(isJournaled: true)
        let bare = try EngineBench(isJournaled: false)
        // As in a daemon that has run for a while: each new one takes the memory of an old one.
        let full = try EngineBench(isJournaled: true, reservationsMax: Self.reservationsKept)
        for _ in 0...(Self.reservationsKept / Self.blockRequests) { _ = try full.hold() }
        for kind in 0..<2 { _ = try kind == 0 ? bench.check() : bare.check() }
        for _ in 0..<3 { _ = try (bench.check(), bare.check(), bench.hold()) }
        var taken: [String: [Double]] = [:]
        for _ in 0..<(max(1, rounds) * 8) {
            taken["check without journal", default: []].append(try bare.check())
            taken["check", default: []].append(try bench.check())
            let (reserve, settle) = try bench.hold()
            taken["reserve", default: []].append(reserve)
            taken["settle", default: []].append(settle)
            let kept = try full.hold()
            taken["reserve at the ceiling", default: []].append(kept.reserve)
            taken["settle at the ceiling", default: []].append(kept.settle)
        }
        let names = [
            "check without journal", "check", "reserve", "settle", "reserve at the ceiling",
            "settle at the ceiling",
        ]
        let medians = names.map { BenchCommand.Figure.median(taken[$0] ?? []) }
        guard !json else {
            let members = zip(names, medians).map { "\"\($0)_ns\":\(Report.fixed($1, 0))" }
            return print("{\(members.joined(separator: ","))}")
        }
        for (name, median) in zip(names, medians) {
            print("\(name): \(Report.fixed(median, 0)) ns")
        }
    }

    /// Nanoseconds of a CHECK.
    private func check() throws -> Double {
        try timed(Self.blockRequests) { index in
            let body = checks[(next + index) % checks.count]
            return body.withUnsafeBytes { worker.check($0, into: reply) }
        }
    }

    /// Nanoseconds of a RESERVE, and of the SETTLE of each.
    private func hold() throws -> (reserve: Double, settle: Double) {
        var settles: [[UInt8]] = []
        settles.reserveCapacity(Self.blockRequests)
        var ids = [UInt8](repeating: 0, count: Self.blockRequests * 16)
        let reserve = try timed(Self.blockRequests) { index in
            let body = reserves[(next + index) % reserves.count]
            let outcome = body.withUnsafeBytes { worker.reserve($0, connection: 1, into: reply) }
            // The id stands in the extension field at the end: 16 bytes, and 8 more.
            ids.withUnsafeMutableBytes { ids in
                for byte in 0..<16 { ids[index * 16 + byte] = reply[outcome.bytes - 24 + byte] }
            }
            return outcome
        }
        for index in 0..<Self.blockRequests {
            settles.append(
                Array(ids[(index * 16)..<(index * 16 + 16)]) + [UInt8](repeating: 0, count: 8))
        }
        let settle = try timed(Self.blockRequests) { index in
            settles[index].withUnsafeBytes { worker.settle($0, into: reply) }
        }
        return (reserve, settle)
    }

    private func timed(_ count: Int, _ request: (Int) -> Outcome) throws -> Double {
        var nanoseconds: UInt64 = 0
        var index = 0
        while index < count {
            turn()
            let end = min(count, index + Self.turnRequests)
            let start = Self.processorTime
            while index < end {
                let outcome = request(index)
                guard outcome.status == .ok, reply[0] == 1 else {
                    throw BenchError(description: "request \(index) was refused")
                }
                index += 1
            }
            nanoseconds += Self.processorTime - start
        }
        next = (next + count) % checks.count
        return Double(nanoseconds) / Double(count)
    }

    /// Of this thread alone, in nanoseconds: others may be at work.
    private static var processorTime: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private func turn() {
        now.boot = BootTime(
            nanoseconds: now.boot.nanoseconds
                + UInt64(Self.turnRequests) * Self.requestNanoseconds)
        worker.beginTurn(now, policy: policy)
        var wants = engine.currentLedgerState == .off ? 0 : engine.wantsRegions
        while wants != 0 {
            let shard = wants.trailingZeroBitCount
            wants &= wants &- 1
            supply(shard)
        }
    }

    private func supply(_ shard: Int) {
        // As pages of a mapped file that was touched before.
        let bytes = engine.regionBytesWanted(shard: shard)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4_096)
        memset(memory, 0, bytes)
        let region = JournalRegion(base: memory, bytes: bytes, file: 1)
        guard engine.supply(region, shard: shard) else { return memory.deallocate() }
        regions[shard].append(memory)
        if regions[shard].count > 2 { regions[shard].removeFirst().deallocate() }
    }

    static func body(_ frame: [UInt8]) -> [UInt8] {
        Array(frame[WireLimits.headerBytes...])
    }

    /// That of `Deploy/bench`.
    static func policy(_ secret: SecretBytes) -> PolicyDefinition {
        var policy = PolicyDefinition()
        let second: UInt64 = 1_000_000_000
        policy.meters = ["calls", "tokens"]
        policy.operations = [
            OperationDefinition(
                name: "chat.completions", permission: "can_use_gpt4o",
                charges: [
                    ChargeDefinition(), ChargeDefinition(meter: "tokens", defaultUnits: 10),
                ])
        ]
        policy.plans = [
            PlanDefinition(
                name: "pro_tier", permissions: ["can_use_gpt4o"],
                rateLimits: [
                    RateLimitDefinition(
                        name: "per_second", scope: .user, limit: 1_000_000,
                        windowNanoseconds: second),
                    RateLimitDefinition(
                        name: "per_minute", scope: .user, limit: 10_000_000,
                        windowNanoseconds: 60 * second),
                    RateLimitDefinition(
                        name: "organization_per_minute", scope: .organization,
                        limit: 100_000_000, windowNanoseconds: 60 * second),
                ],
                quotas: [
                    QuotaDefinition(
                        name: "daily_calls", scope: .user, limit: 1_000_000_000_000, period: .day),
                    QuotaDefinition(
                        name: "monthly_tokens", scope: .organization, meter: "tokens",
                        limit: 1_000_000_000_000_000, period: .month),
                ])
        ]
        policy.addressLimits = [
            RateLimitDefinition(
                name: "address_per_second", scope: .address, limit: 1_000_000,
                windowNanoseconds: second)
        ]
        policy.issuers = [
            IssuerDefinition(
                name: "main", issuer: "https://login.example.com",
                audiences: ["https://api.example.com"],
                keys: [
                    SigningKeyDefinition(keyID: "bench-1", algorithm: .hs256, secret: secret)
                ])
        ]
        return policy
    }
}
