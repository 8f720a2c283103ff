import CLinux
import Glibc
import Testing
import TollgateClient
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// A real server for the client to talk to, and what it decides by.
enum ClientHarness {
    static let secret = SecretBytes(
        copying: (0..<32).map { UInt8(truncatingIfNeeded: $0 * 11 + 5) })

    /// Four calls an hour a user, 100 tokens a month an organization.
    static func policy(hourly: UInt64 = 4) -> PolicyDefinition {
        var policy = PolicyDefinition()
        policy.meters = ["calls", "tokens"]
        policy.plans = [
            PlanDefinition(
                name: "pro_tier",
                rateLimits: [
                    RateLimitDefinition(
                        name: "hourly", scope: .user, limit: hourly,
                        windowNanoseconds: 3_600_000_000_000)
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

    static func token(user: String = "ada") -> String {
        let now = tg_walltime() / 1_000
        return TokenMinter.mint(
            claims: [
                ("iss", .string("i")), ("sub", .string(user)), ("org", .string("acme")),
                ("plan", .string("pro_tier")), ("exp", .integer(now + 600)),
            ], algorithm: .hs256, keyID: nil, secret: secret) ?? ""
    }

    static func start(
        _ directory: String, hourly: UInt64 = 4, change: (inout ServerSettings) -> Void = { _ in }
    ) throws -> Server {
        var settings = ServerSettings(
            data: .init(path: directory + "/d.sock", mode: 0o660),
            admin: .init(path: directory + "/a.sock", mode: 0o600))
        change(&settings)
        return try Server(
            settings, policy: try PolicyImage(compiling: policy(hourly: hourly), generation: 1),
            engine: Engine(EngineConfiguration(hashKey: (7, 8))), version: "9.9",
            loader: { .success(ReloadedPolicy(policy(hourly: hourly))) }, onShutdown: { _ in })
    }

    static func makeDirectory() throws -> String {
        var template = Array("/tmp/tollgate.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        return String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func remove(_ directory: String) {
        for name in ["/d.sock", "/d.sock.lock", "/a.sock.lock"] { unlink(directory + name) }
        rmdir(directory)
    }

    static func withDirectory(_ body: (String) throws -> Void) throws {
        let path = try makeDirectory()
        defer { remove(path) }
        try body(path)
    }

    static func withServer(
        hourly: UInt64 = 4, change: (inout ServerSettings) -> Void = { _ in },
        _ body: (String) async throws -> Void
    ) async throws {
        let path = try makeDirectory()
        defer { remove(path) }
        let server = try start(path, hourly: hourly, change: change)
        defer {
            server.drain()
            server.join()
        }
        try await body(path)
    }

    /// Descriptors of this process that are open.
    static func openDescriptors() -> Int {
        (0..<1_024).reduce(0) { $0 + (fcntl(Int32($1), F_GETFD) >= 0 ? 1 : 0) }
    }
}
