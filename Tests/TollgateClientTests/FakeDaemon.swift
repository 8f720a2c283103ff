import CLinux
import Glibc
import Synchronization
import Testing
import TollgateClient
import TollgateWire

/// Listens like a daemon, and answers as a test has it: each connection runs `script` on a thread
/// of its own. Ends with `stop`, which waits for the threads.
final class FakeDaemon: Sendable {
    let directory: String
    var path: String { directory + "/d.sock" }
    private let listener: Int32
    /// Connections taken so far.
    let connections = Atomic<Int>(0)
    private let script: @Sendable (FakePeer) -> Void
    private let isStopping = Atomic<Bool>(false)
    private nonisolated(unsafe) var thread: pthread_t?

    init(_ script: @escaping @Sendable (FakePeer) -> Void) throws {
        directory = try ClientHarness.makeDirectory()
        self.script = script
        listener = tg_unix_socket()
        let path = directory + "/d.sock"
        try #require(path.withCString { tg_unix_attach(listener, $0, path.utf8.count, 0) } == 0)
        try #require(listen(listener, 64) == 0)
        thread = spawn { [self] in serve() }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        if let thread { pthread_join(thread, nil) }
        close(listener)
        ClientHarness.remove(directory)
    }

    private func serve() {
        var peers: [(FakePeer, pthread_t)] = []
        while !isStopping.load(ordering: .acquiring) {
            var polled = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, 10) > 0 else { continue }
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else { continue }
            let number = connections.wrappingAdd(1, ordering: .relaxed).newValue
            let peer = FakePeer(descriptor, number: number)
            let script = self.script
            peers.append((peer, spawn { script(peer) }))
        }
        for (peer, thread) in peers {
            peer.end()
            pthread_join(thread, nil)
        }
    }
}

/// One connection, seen from the daemon's end.
final class FakePeer: Sendable {
    private let descriptor: Int32
    /// Of this connection: 1 is the first.
    let number: Int
    // The script's thread alone.
    private nonisolated(unsafe) var buffer: [UInt8] = []

    struct Request: Sendable {
        var opcode: UInt8
        var id: UInt64
        var body: [UInt8]
    }

    init(_ descriptor: Int32, number: Int) {
        self.descriptor = descriptor
        self.number = number
    }

    deinit { close(descriptor) }

    /// The next request; `nil` when the client closed, or `end` was called.
    func request() -> Request? {
        guard fill(WireLimits.headerBytes) else { return nil }
        let header = buffer.withUnsafeBytes { FrameHeader(reading: $0) }
        let total = WireLimits.lengthFieldBytes + Int(header.length)
        guard fill(total) else { return nil }
        let body = Array(buffer[WireLimits.headerBytes..<total])
        buffer.removeFirst(total)
        return Request(opcode: header.opcode, id: header.requestID, body: body)
    }

    /// Answers with `body`, or with the request's own: what PING is to answer.
    func answer(
        _ request: Request, _ body: [UInt8]? = nil, status: Status = .ok, id: UInt64? = nil
    ) {
        send(Self.reply(request, body, status: status, id: id))
    }

    static func reply(
        _ request: Request, _ body: [UInt8]? = nil, status: Status = .ok, id: UInt64? = nil
    ) -> [UInt8] {
        let body = body ?? request.body
        var bytes = [UInt8](repeating: 0, count: WireLimits.headerBytes)
        let header = FrameHeader(
            opcode: request.opcode | Opcode.replyBit, status: status, requestID: id ?? request.id,
            bodyBytes: body.count)
        bytes.withUnsafeMutableBytes { header.write(to: $0) }
        return bytes + body
    }

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

    /// Whether more comes within that time.
    func hasMore(milliseconds: Int32) -> Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return !buffer.isEmpty || poll(&polled, 1, milliseconds) > 0
    }

    /// Closes for both; the script's next read ends.
    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    private func fill(_ count: Int) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while buffer.count < count {
            let got = tg_read(descriptor, &chunk, chunk.count)
            guard got > 0 else { return false }
            buffer += chunk[..<got]
        }
        return true
    }
}

/// Runs `work` on a thread of its own.
func spawn(_ work: @escaping @Sendable () -> Void) -> pthread_t {
    final class Box {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, { argument in
        guard let argument else { return nil }
        Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().work()
        return nil
    }, Unmanaged.passRetained(Box(work)).toOpaque())
    precondition(result == 0)
    return thread
}

/// The error that `work` ends with.
func failure<T>(_ work: () throws(ClientError) -> T) -> ClientError? {
    do throws(ClientError) {
        _ = try work()
        return nil
    } catch { return error }
}

func failureOf<T>(_ work: () async throws(ClientError) -> T) async -> ClientError? {
    do throws(ClientError) {
        _ = try await work()
        return nil
    } catch { return error }
}

extension BlockingClient {
    func pingFailure() -> ClientError? { failure { () throws(ClientError) in try ping() } }

    func checkFailure(_ question: CheckQuestion) -> ClientError? {
        failure { () throws(ClientError) in try check(question) }
    }
}

extension AsyncClient {
    func pingFailure() async -> ClientError? {
        await failureOf { () async throws(ClientError) in try await ping() }
    }

    func checkFailure(_ question: CheckQuestion) async -> ClientError? {
        await failureOf { () async throws(ClientError) in try await check(question) }
    }
}
