import CLinux
import Glibc
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// A server of its own in a fresh directory, and peers that speak to it in bytes.
final class ServerHarness: Sendable {
    let server: Server
    let directory: String
    let settings: ServerSettings
    /// Regions of the journal, where there is one.
    private nonisolated(unsafe) var memory: UnsafeMutableRawPointer?
    private static let regionBytes = 4 << 20
    static let secret = SecretBytes(copying: (0..<32).map { UInt8($0 &* 5 &+ 1) })

    init(
        definition: PolicyDefinition = ServerHarness.policy(),
        plan: DirectoryPlan? = nil, log: Log? = nil, rounds: SyncRounds? = nil,
        onStorageFailure: @escaping @Sendable () -> Void = {},
        loader: Server.Loader? = nil, onShutdown: @escaping @Sendable (UInt32) -> Void = { _ in },
        change: (inout ServerSettings) -> Void = { _ in }
    ) throws {
        directory = try Self.freshDirectory()
        var settings = ServerSettings(
            data: .init(path: directory + "/d.sock", mode: 0o660),
            admin: .init(path: directory + "/a.sock", mode: 0o600))
        settings.threads = 2
        change(&settings)
        self.settings = settings
        let engine = Engine(EngineConfiguration(hashKey: (5, 6)))
        let directoryService = try plan.map {
            try DirectoryService(
                $0, definition: definition, engine: engine,
                log: log ?? Log(level: .error, isJSON: false, hasPriorities: false))
        }
        let image = try PolicyImage(
            compiling: directoryService?.definition ?? definition, generation: 1)
        let bells = try rounds.map { LedgerBells(supply: try Bell(), rounds: $0) }
        if bells != nil { memory = Self.beginJournal(engine) }
        var events = ServerEvents()
        events.onStorageFailure = onStorageFailure
        server = try Server(
            settings, policy: image, engine: engine, version: "test",
            directory: directoryService, bells: bells, events: events,
            loader: loader ?? { .success(ReloadedPolicy(definition)) }, onShutdown: onShutdown)
    }

    deinit { if let memory { munmap(memory, Self.regionBytes * Engine.shardCount) } }

    /// Charges are journaled into memory.
    private static func beginJournal(_ engine: Engine) -> UnsafeMutableRawPointer {
        let all = regionBytes * Engine.shardCount
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let memory = mmap(nil, all, PROT_READ | PROT_WRITE, flags, -1, 0),
            memory != MAP_FAILED
        else { fatalError("mmap") }
        engine.beginJournal(ledgerID: 1, life: 1)
        for shard in 0..<Engine.shardCount {
            let region = JournalRegion(
                base: memory + shard * regionBytes, bytes: regionBytes, file: 1)
            #expect(engine.supply(region, shard: shard))
        }
        return memory
    }

    /// Of a number of STATS.
    func value(_ name: String) -> UInt64 {
        server.statistics().first { $0.name == name }?.value ?? 0
    }

    func stop() {
        server.drain()
        server.join()
        for name in ["/d.sock.lock", "/a.sock.lock"] { unlink(directory + name) }
        rmdir(directory)
    }

    static func freshDirectory() throws -> String {
        var template = Array("/tmp/tollgate.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw StartError("mkdtemp", exitCode: 71) }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func policy(daily: UInt64 = 1 << 40) -> PolicyDefinition {
        var policy = PolicyDefinition()
        policy.plans = [
            PlanDefinition(
                name: "pro_tier",
                quotas: [
                    QuotaDefinition(name: "daily", scope: .organization, limit: daily, period: .day)
                ])
        ]
        policy.operations = [OperationDefinition(name: "models")]
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
                ("plan", .string("pro_tier")), ("iat", .integer(now)), ("exp", .integer(now + 600)),
            ], algorithm: .hs256, keyID: nil, secret: secret) ?? ""
    }

    static func check(
        _ token: String, kind: CredentialKind = .accessToken, id: UInt64
    ) -> [UInt8] {
        var body: [UInt8] = [kind.rawValue, 0, 1, 0, 0, 0]
        body += [UInt8(token.utf8.count & 255), UInt8(token.utf8.count >> 8), 6, 0]
        body += [UInt8](repeating: 0, count: 22)
        return frame(.check, body + Array(token.utf8) + Array("models".utf8), id: id)
    }

    static func frame(_ opcode: Opcode, _ body: [UInt8] = [], id: UInt64 = 1) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: WireLimits.headerBytes)
        let header = FrameHeader(opcode: opcode.rawValue, requestID: id, bodyBytes: body.count)
        bytes.withUnsafeMutableBytes { header.write(to: $0) }
        return bytes + body
    }

    func peer(admin: Bool = false) throws -> Peer {
        try Peer(admin ? settings.admin.path : settings.data.path)
    }
}

/// A blocking client of bytes. Reads give up after ten seconds, so that a test fails, not hangs.
final class Peer {
    let descriptor: Int32
    private var buffer: [UInt8] = []

    struct Reply: Equatable {
        var opcode: UInt8
        var status: UInt16
        var id: UInt64
        var body: [UInt8]
    }

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let result = path.withCString { tg_unix_attach(descriptor, $0, path.utf8.count, 1) }
        guard result == 0 else { throw StartError("connect: \(-result)", exitCode: 69) }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) {
        var sent = 0
        bytes.withUnsafeBytes { view in
            while sent < view.count, let base = view.baseAddress {
                let count = tg_send(descriptor, base + sent, view.count - sent)
                guard count > 0 else { return }
                sent += count
            }
        }
    }

    /// The next reply, or `nil` at the end of the stream.
    func reply() -> Reply? {
        guard fill(4) else { return nil }
        let length = Int(buffer.withUnsafeBytes { $0.loadLittle(at: 0, as: UInt32.self) })
        guard fill(4 + length) else { return nil }
        let header = buffer.withUnsafeBytes { FrameHeader(reading: $0) }
        let reply = Reply(
            opcode: header.opcode, status: header.status, id: header.requestID,
            body: Array(buffer[16..<(4 + length)]))
        buffer.removeFirst(4 + length)
        return reply
    }

    /// Whether one was read already.
    var hasWholeReply: Bool {
        guard buffer.count >= 4 else { return false }
        let length = Int(buffer.withUnsafeBytes { $0.loadLittle(at: 0, as: UInt32.self) })
        return buffer.count >= 4 + length
    }

    private func fill(_ count: Int) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while buffer.count < count {
            let got = tg_read(descriptor, &chunk, chunk.count)
            // A server that says nothing has not ended the connection.
            if got == -Int(EAGAIN) { Issue.record("no answer within ten seconds") }
            guard got > 0 else { return false }
            buffer += chunk[..<got]
        }
        return true
    }
}
