import CLinux
import Glibc
import TollgateCore

/// A million users of a hundred thousand organizations, each decided once: bytes a counter.
enum MemoryBench {
    static let users = 1_000_000
    /// Two user windows, one user quota; one organization window and quota for ten users.
    static let counters = users * 3 + users / 10 * 2

    static func run(json: Bool) throws {
        var policy = PolicyDefinition()
        let second: UInt64 = 1_000_000_000
        policy.plans = [
            PlanDefinition(
                name: "pro_tier",
                rateLimits: [
                    RateLimitDefinition(
                        name: "second", scope: .user, limit: 20, windowNanoseconds: second),
                    RateLimitDefinition(
                        name: "minute", scope: .user, limit: 600, windowNanoseconds: 60 * second),
                    RateLimitDefinition(
                        name: "organization", scope: .organization, limit: 5_000,
                        windowNanoseconds: 60 * second),
                ],
                quotas: [
                    QuotaDefinition(name: "day", scope: .user, limit: 20_000, period: .day),
                    QuotaDefinition(
                        name: "month", scope: .organization, limit: 1_000_000, period: .month),
                ])
        ]
        policy.operations = [OperationDefinition(name: "models")]
        let image = try PolicyImage(compiling: policy, generation: 1)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        let worker = engine.makeWorker()
        worker.beginTurn(
            Moment(
                boot: BootTime(nanoseconds: tg_boottime()),
                wall: WallTime(milliseconds: tg_walltime())), policy: image)
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        defer { reply.deallocate() }
        let start = tg_boottime()
        for user in 0..<users {
            let body = consumption(organization: "org-\(user / 10)", user: "user-\(user)")
            body.withUnsafeBytes { _ = worker.consume($0, into: reply) }
        }
        let elapsed = tg_boottime() - start
        let gauges = engine.gauges
        precondition(gauges.users == users && reply[0] == 1)
        let each = Double(gauges.counterBytes) / Double(counters)
        print(
            json
                ? "{\"counters\":\(counters),\"bytes\":\(gauges.counterBytes),"
                    + "\"bytes_per_counter\":\(Report.fixed(each, 1))}"
                : "\(counters) counters of \(gauges.users) users in"
                    + " \(gauges.counterBytes >> 20) MiB: \(Report.fixed(each, 1)) bytes each"
                    + " (made in \(elapsed / 1_000_000) ms)")
    }

    private static func consumption(organization: String, user: String) -> [UInt8] {
        var body: [UInt8] = [UInt8(organization.utf8.count), UInt8(user.utf8.count), 8, 1, 0, 0, 6]
        body += [UInt8](repeating: 0, count: 9)
        body += Array((organization + user + "pro_tier" + "models").utf8)
        return body + [5] + Array("calls".utf8) + [1, 0, 0, 0, 0, 0, 0, 0]
    }
}
