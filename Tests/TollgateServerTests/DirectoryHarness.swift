import CLinux
import Glibc
import Synchronization
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// A server with a directory in fresh folders, started as often as a test wants, and its peers.
final class DirectoryHarness {
    let folder: String
    private(set) var server: ServerHarness
    private let definition: PolicyDefinition
    private let change: (inout DirectoryPlan) -> Void
    private let next: PolicyChoice
    private let settings: (inout ServerSettings) -> Void
    private(set) var admin: Peer
    let logged = LogPipe()
    private(set) var storageFailures = Counter()

    init(
        definition: PolicyDefinition = DirectoryHarness.policy(),
        settings: @escaping (inout ServerSettings) -> Void = { _ in },
        change: @escaping (inout DirectoryPlan) -> Void = { _ in }
    ) throws {
        folder = try ServerHarness.freshDirectory()
        self.definition = definition
        self.change = change
        self.settings = settings
        next = PolicyChoice(definition)
        server = try Self.start(
            folder, definition, settings, change, logged.log, storageFailures, next)
        admin = try server.peer(admin: true)
    }

    private static func start(
        _ folder: String, _ definition: PolicyDefinition,
        _ settings: @escaping (inout ServerSettings) -> Void,
        _ change: (inout DirectoryPlan) -> Void, _ log: Log, _ failures: Counter,
        _ next: PolicyChoice
    ) throws -> ServerHarness {
        var plan = DirectoryPlan(
            path: folder, signingKeysPath: folder + "/signing", peppers: [try pepper(1)],
            zone: { ["UTC", "Etc/UTC"].contains($0) ? .utc : nil })
        change(&plan)
        return try ServerHarness(
            definition: definition, plan: plan, log: log,
            onStorageFailure: { failures.add() },
            loader: { .success(ReloadedPolicy(next.definition)) }, change: settings)
    }

    func stopServer() { server.stop() }

    /// What the next reload reads.
    func nextPolicy(_ definition: PolicyDefinition) { next.set(definition) }

    /// Ends the server, and starts another in the same folder.
    func restart() throws {
        server.stop()
        server = try Self.start(
            folder, definition, settings, change, logged.log, storageFailures, next)
        admin = try server.peer(admin: true)
    }

    func stop() {
        server.stop()
        for name in Self.names(in: folder + "/signing") { unlink(folder + "/signing/" + name) }
        rmdir(folder + "/signing")
        for name in Self.names(in: folder) { unlink(folder + "/" + name) }
        rmdir(folder)
    }

    static func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static func pepper(_ generation: UInt32) throws -> APIKeyPepper {
        let secret = SecretBytes(copying: (0..<32).map { UInt8($0 &* 7 &+ UInt8(generation)) })
        return try APIKeyPepper(secret, generation: generation)
    }

    /// Two plans, and tokens of the daemon's own.
    static func policy() -> PolicyDefinition {
        var policy = ServerHarness.policy()
        policy.plans = [
            PlanDefinition(
                name: "free_tier", permissions: ["read"],
                rateLimits: [
                    RateLimitDefinition(
                        name: "per_minute", scope: .user, limit: 10,
                        windowNanoseconds: 60_000_000_000)
                ],
                quotas: [
                    QuotaDefinition(name: "daily", scope: .organization, limit: 10, period: .day)
                ]),
            PlanDefinition(
                name: "pro_tier", permissions: ["read", "write"],
                rateLimits: [
                    RateLimitDefinition(
                        name: "per_minute", scope: .user, limit: 100,
                        windowNanoseconds: 60_000_000_000)
                ],
                quotas: [
                    QuotaDefinition(name: "daily", scope: .organization, limit: 100, period: .day)
                ]),
        ]
        policy.revealsCredentialFailures = true
        policy.tokens = TokenTerms(issuer: "https://tollgate.test")
        return policy
    }

    // MARK: calls

    /// On the admin socket.
    @discardableResult
    func call(_ name: CallName, _ members: JSONObject = [:]) throws -> CallAnswer {
        try Self.call(name, members, admin)
    }

    static func call(
        _ name: CallName, _ members: JSONObject = [:], _ peer: Peer
    ) throws -> CallAnswer {
        peer.send(frame(name, members))
        return try answer(peer)
    }

    static func frame(_ name: CallName, _ members: JSONObject, id: UInt64 = 1) -> [UInt8] {
        ServerHarness.frame(.call, DirectoryRequest(name, members).body, id: id)
    }

    static func answer(_ peer: Peer) throws -> CallAnswer {
        try CallAnswer(#require(peer.reply()))
    }

    /// An organization with a plan, and a user with a seat.
    func makeTenant(_ organization: String = "acme", user: String = "ada") throws {
        try call(.createOrganization, ["id": .string(organization), "plan": "pro_tier"]).expectOK()
        try call(.createUser, ["organization": .string(organization), "id": .string(user)])
            .expectOK()
    }

    /// The decision on the data socket.
    func check(_ kind: CredentialKind, _ credential: String) throws -> (Verdict, Reason) {
        let peer = try server.peer()
        peer.send(ServerHarness.check(credential, kind: kind, id: 9))
        let reply = try #require(peer.reply())
        #expect(reply.status == 0)
        let body = reply.body
        let reason = UInt16(body[2]) | UInt16(body[3]) << 8
        return (try #require(Verdict(rawValue: body[0])), try #require(Reason(rawValue: reason)))
    }
}

/// What a call was answered.
struct CallAnswer {
    var status: Status
    var id: UInt64
    var detail: String
    var json: JSONValue

    init(_ reply: Peer.Reply) throws {
        status = try #require(Status(rawValue: reply.status))
        id = reply.id
        detail = status == .ok ? "" : String(decoding: reply.body, as: UTF8.self)
        json = status == .ok ? try JSONValue(reading: reply.body) : .null
    }

    func expectOK(_ location: SourceLocation = #_sourceLocation) {
        #expect(status == .ok, "\(detail)", sourceLocation: location)
    }

    subscript(_ path: String...) -> JSONValue? {
        path.reduce(Optional(json)) { value, name in
            guard case .object(let object)? = value else { return nil }
            return object[name]
        }
    }

    func text(_ path: String...) -> String {
        let found = path.reduce(Optional(json)) { value, name in
            guard case .object(let object)? = value else { return nil }
            return object[name]
        }
        guard case .string(let text)? = found else { return "" }
        return text
    }

    var items: [JSONValue] {
        guard case .array(let items)? = self["items"] else { return [] }
        return items
    }

    func document<T: DirectoryDocument>(_ name: String, _: T.Type = T.self) throws -> T {
        try T(json: #require(self[name]))
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) { self = .string(text) }
}

extension JSONValue: ExpressibleByUnicodeScalarLiteral {}
extension JSONValue: ExpressibleByExtendedGraphemeClusterLiteral {}

extension JSONValue: ExpressibleByIntegerLiteral {
    public init(integerLiteral number: Int64) { self = .integer(number) }
}

/// A policy that a test changes.
final class PolicyChoice: Sendable {
    private let lock = Lock()
    private nonisolated(unsafe) var chosen: PolicyDefinition

    init(_ definition: PolicyDefinition) { chosen = definition }

    func set(_ definition: PolicyDefinition) {
        lock.lock()
        chosen = definition
        lock.unlock()
    }

    var definition: PolicyDefinition {
        lock.lock()
        defer { lock.unlock() }
        return chosen
    }
}

/// Counts from any thread.
final class Counter: Sendable {
    private let lock = Lock()
    private nonisolated(unsafe) var number = 0

    func add() {
        lock.lock()
        number += 1
        lock.unlock()
    }

    var value: Int {
        lock.lock()
        defer { lock.unlock() }
        return number
    }
}

/// Holds the directory's thread at a step, the first time that it gets there while it is closed.
final class StepGate: Sendable {
    private let step: String
    private let state = Atomic<Int>(0)  // 0 open, 1 closed, 2 held
    private let lock = Lock()

    init(_ step: String) { self.step = step }

    func close() {
        lock.lock()
        state.store(1, ordering: .releasing)
    }

    func reach(_ step: String) {
        guard step == self.step,
            state.compareExchange(expected: 1, desired: 2, ordering: .acquiringAndReleasing)
                .exchanged
        else { return }
        lock.lock()
        lock.unlock()
    }

    func waitUntilHeld() { while state.load(ordering: .acquiring) != 2 { usleep(100) } }

    func open() {
        state.store(0, ordering: .releasing)
        lock.unlock()
    }
}

/// What a log wrote.
final class LogPipe: Sendable {
    let log: Log
    private let reading: Int32
    private let writing: Int32
    private let lock = Lock()
    private nonisolated(unsafe) var kept = ""

    init() {
        var ends: [Int32] = [0, 0]
        _ = pipe(&ends)
        (reading, writing) = (ends[0], ends[1])
        _ = fcntl(reading, F_SETFL, O_NONBLOCK)
        _ = fcntl(writing, 1_031, 1 << 20)  // F_SETPIPE_SZ
        log = Log(level: .debug, isJSON: false, hasPriorities: false, descriptor: writing)
    }

    deinit {
        close(reading)
        close(writing)
    }

    var text: String {
        lock.lock()
        defer { lock.unlock() }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let got = read(reading, &bytes, bytes.count)
            guard got > 0 else { return kept }
            kept += String(decoding: bytes[..<got], as: UTF8.self)
        }
    }
}
