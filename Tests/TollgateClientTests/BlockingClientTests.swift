import CLinux
import Glibc
import Testing
import TollgateClient
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// The client against a real server in the same process.
@Suite(.serialized) struct BlockingClientTests {
    private static let secret = SecretBytes(copying: (0..<32).map { UInt8(truncatingIfNeeded: $0 * 11 + 5) })

    private static func policy() -> PolicyDefinition {
        var policy = PolicyDefinition()
        policy.meters = ["calls", "tokens"]
        policy.plans = [
            PlanDefinition(
                name: "pro_tier",
                rateLimits: [
                    RateLimitDefinition(
                        name: "hourly", scope: .user, limit: 4, windowNanoseconds: 3_600_000_000_000)
                ],
                quotas: [
                    QuotaDefinition(
                        name: "tokens", scope: .organization, meter: "tokens", limit: 100,
                        period: .month)
                ])
        ]
        policy.operations = [
            OperationDefinition(
                name: "chat", routes: [RouteDefinition(method: "POST", path: "/v1/chat")],
                charges: [
                    ChargeDefinition(), ChargeDefinition(meter: "tokens", defaultUnits: 0),
                ])
        ]
        policy.issuers = [
            IssuerDefinition(
                name: "main", issuer: "i",
                keys: [SigningKeyDefinition(keyID: nil, algorithm: .hs256, secret: secret)])
        ]
        return policy
    }

    private static var token: String {
        let now = tg_walltime() / 1_000
        return TokenMinter.mint(
            claims: [
                ("iss", .string("i")), ("sub", .string("ada")), ("org", .string("acme")),
                ("plan", .string("pro_tier")), ("exp", .integer(now + 600)),
            ], algorithm: .hs256, keyID: nil, secret: secret) ?? ""
    }

    private static func start(_ directory: String) throws -> Server {
        let settings = ServerSettings(
            data: .init(path: directory + "/d.sock", mode: 0o660),
            admin: .init(path: directory + "/a.sock", mode: 0o600))
        return try Server(
            settings, policy: try PolicyImage(compiling: policy(), generation: 1),
            engine: Engine(EngineConfiguration(hashKey: (7, 8))), version: "9.9",
            loader: { .success(policy()) }, onShutdown: { _ in })
    }

    private static func withDirectory(_ body: (String) throws -> Void) throws {
        var template = Array("/tmp/tollgate.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            for name in ["/d.sock.lock", "/a.sock.lock"] { unlink(path + name) }
            rmdir(path)
        }
        try body(path)
    }

    @Test func everyRequestHasItsAnswer() throws {
        try Self.withDirectory { directory in
            let server = try Self.start(directory)
            defer {
                server.drain()
                server.join()
            }
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 5_000)
            try client.ping()
            #expect(try client.hello() == ("9.9", 1))
            var question = CheckQuestion(
                token: Self.token, operation: .route(method: "POST", path: "/v1/chat?a=b"),
                address: .v4([127, 0, 0, 1]), meters: [MeterUnits("tokens", 30)], explains: true)
            let decision = try client.check(question)
            #expect(decision.isAllowed && decision.user == "ada" && decision.organization == "acme")
            #expect(decision.rateLimit?.name == "hourly" && decision.rateLimit?.remaining == 3)
            #expect(decision.quota?.remaining == 70 && decision.operation == "chat")
            #expect(decision.explanation.map(\.used) == [1, 30])
            question.explains = false
            question.meters = []
            let decisions = try client.checkAll(Array(repeating: question, count: 600))
            #expect(decisions.filter(\.isAllowed).count == 3)
            #expect(decisions.last?.reason == .rateLimited)
            #expect((decisions.last?.retryAfterMilliseconds ?? 0) > 0)
            let consumed = try client.consume(
                Consumption(
                    organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                    meters: [MeterUnits("tokens", 80)]))
            #expect(consumed.isAllowed && consumed.isOverage)
            let usage = try client.usage(organization: "acme", user: "ada")
            #expect(usage.plan == "pro_tier" && usage.limits.map(\.used) == [4, 110])
            let admin = BlockingClient(path: directory + "/a.sock", timeoutMilliseconds: 5_000)
            #expect(try admin.reload() == 2)
            #expect(try admin.statistics().contains { $0.name == "tollgate_users" && $0.value == 1 })
        }
    }

    @Test func refusalsNameTheirStatus() throws {
        try Self.withDirectory { directory in
            let server = try Self.start(directory)
            defer {
                server.drain()
                server.join()
            }
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 5_000)
            func status(_ work: () throws(ClientError) -> Void) -> Status? {
                do { try work() } catch {
                    if case .refused(let status, _) = error { return status }
                }
                return nil
            }
            #expect(status { () throws(ClientError) in _ = try client.statistics() } == .forbidden)
            let question = CheckQuestion(
                token: Self.token, operation: .name("chat"), meters: [MeterUnits("nothing", 1)])
            #expect(status { () throws(ClientError) in _ = try client.check(question) } == .unknownMeter)
            let consumption = Consumption(
                organization: "a", user: "b", plan: "c", operation: "chat",
                meters: [MeterUnits("tokens", 1)])
            #expect(status { () throws(ClientError) in _ = try client.consume(consumption) } == .unknownPlan)
            try client.ping()
        }
    }

    @Test func aClientFindsTheNextDaemonAndStatesWhatItDoesWithoutOne() throws {
        try Self.withDirectory { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 2_000)
            let question = CheckQuestion(token: Self.token, operation: .name("chat"))
            #expect(throws: ClientError.self) { try client.ping() }
            #expect(!client.isAllowed(question))
            #expect(client.isAllowed(question, failMode: .allow))
            for _ in 0..<2 {
                let server = try Self.start(directory)
                // The connection of the daemon before may fail once; the next request connects.
                try? client.ping()
                #expect(client.isAllowed(question))
                server.drain()
                server.join()
            }
        }
    }

    @Test func aDaemonThatDoesNotAnswerIsNotWaitedForLongerThanAsked() throws {
        try Self.withDirectory { directory in
            let silent = try Listener(.init(path: directory + "/d.sock", mode: 0o600))
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 30)
            #expect(throws: ClientError.timedOut) { try client.ping() }
            silent.unlinkOwn()
        }
    }
}
