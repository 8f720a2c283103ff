import CLinux
import Glibc
import TollgateWire

/// A connection to the daemon for one thread at a time: connects when first used, and again after
/// a failure, and keeps a deadline for every request. `checkAll` sends many questions before it
/// waits for the answers, which may come in any order.
///
/// It throws when there is no answer; what a caller makes of that (deny, by default) is the
/// caller's to state: `decision(for:failMode:)`.
public final class BlockingClient {
    public let path: String
    /// For each request, from the first byte sent to the last byte of the answer.
    public var timeoutMilliseconds: Int
    private var descriptor: Int32 = -1
    private var nextID: UInt64 = 1
    private var buffer: [UInt8] = []

    /// What to make of a question that got no answer.
    public enum FailMode: Sendable {
        /// Nobody passes.
        case deny
        /// Everybody passes, unmetered: for operations that must go on whatever happens.
        case allow
    }

    public init(path: String = "/run/tollgate/tollgate.sock", timeoutMilliseconds: Int = 1_000) {
        self.path = path
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    deinit { disconnect() }

    public func disconnect() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        buffer = []
    }

    // MARK: requests

    public func check(_ question: CheckQuestion) throws(ClientError) -> CheckDecision {
        try CheckDecision(try request(.check, try question.body()))
    }

    /// Whether the caller may go on, also when the daemon gave no answer.
    public func isAllowed(_ question: CheckQuestion, failMode: FailMode = .deny) -> Bool {
        do throws(ClientError) { return try check(question).isAllowed } catch {
            return failMode == .allow
        }
    }

    /// Asks all questions at once; the answers are in the questions' order.
    public func checkAll(_ questions: [CheckQuestion]) throws(ClientError) -> [CheckDecision] {
        let bodies = try questions.map { (question) throws(ClientError) in try question.body() }
        var decisions: [CheckDecision] = []
        for start in stride(from: 0, to: bodies.count, by: WireLimits.inFlightMax) {
            let slice = bodies[start..<min(start + WireLimits.inFlightMax, bodies.count)]
            for body in try exchange(.check, Array(slice)) {
                decisions.append(try CheckDecision(body))
            }
        }
        return decisions
    }

    public func consume(_ consumption: Consumption) throws(ClientError) -> CheckDecision {
        try CheckDecision(try request(.consume, try consumption.body()))
    }

    /// With an empty user, the organization's limits alone; with an empty plan, the plan that was
    /// last decided with.
    public func usage(
        organization: String, user: String = "", plan: String = "", isPersonal: Bool = false
    ) throws(ClientError) -> UsageReport {
        var writer = BodyWriter()
        for text in [organization, user, plan] {
            guard text.utf8.count <= WireLimits.identifierBytesMax else {
                throw .invalidRequest("\"\(text)\" is longer than 128 bytes")
            }
            writer.byte(UInt8(text.utf8.count))
        }
        writer.byte(0)
        writer.little(isPersonal ? RequestFlags.personalOrganization : 0)
        writer.zeros(2)
        for text in [organization, user, plan] { writer.text(text) }
        return try UsageReport(try request(.usage, writer.bytes))
    }

    public func ping() throws(ClientError) {
        guard try request(.ping, [1, 2, 3, 4]) == [1, 2, 3, 4] else {
            throw .malformedReply("PING came back changed")
        }
    }

    /// The daemon's version and the generation of its policy.
    public func hello() throws(ClientError) -> (version: String, policyGeneration: UInt64) {
        var writer = BodyWriter()
        writer.little(WireLimits.versionMin)
        writer.little(WireLimits.version)
        writer.zeros(8)
        var reader = ReplyReader(try request(.hello, writer.bytes))
        _ = try reader.bytes(16)
        let generation = try reader.integer(UInt64.self)
        let bytes = Int(try reader.integer(UInt8.self))
        _ = try reader.bytes(7)
        return (try reader.text(bytes), generation)
    }

    /// On the admin socket.
    public func statistics() throws(ClientError) -> [StatisticEntry] {
        try StatisticEntry.list(try request(.stats, []))
    }

    /// On the admin socket: the generation of the policy now in force.
    public func reload() throws(ClientError) -> UInt64 {
        var reader = ReplyReader(try request(.reload, []))
        return try reader.integer(UInt64.self)
    }

    /// On the admin socket: ends the daemon.
    public func shutdown(graceMilliseconds: UInt32 = 5_000) throws(ClientError) {
        var writer = BodyWriter()
        writer.little(graceMilliseconds)
        _ = try request(.shutdown, writer.bytes)
    }

    // MARK: exchange

    private func request(_ opcode: Opcode, _ body: [UInt8]) throws(ClientError) -> [UInt8] {
        let bodies = try exchange(opcode, [body])
        guard let first = bodies.first else { throw .disconnected }
        return first
    }

    /// Sends all, and waits for all. A connection that an earlier daemon left behind is replaced
    /// once; a request is never sent twice on a connection that answered.
    private func exchange(
        _ opcode: Opcode, _ bodies: [[UInt8]]
    ) throws(ClientError) -> [[UInt8]] {
        let wasConnected = descriptor >= 0
        do { return try attempt(opcode, bodies) } catch {
            if case .refused = error { throw error }
            disconnect()
            // CONSUME and CHECK charge: only what surely did not arrive is sent again.
            guard wasConnected, error == .disconnected, !didSend else { throw error }
        }
        return try attempt(opcode, bodies)
    }

    /// Whether the last attempt got any byte out.
    private var didSend = false

    private func attempt(
        _ opcode: Opcode, _ bodies: [[UInt8]]
    ) throws(ClientError) -> [[UInt8]] {
        didSend = false
        let deadline = tg_boottime() + UInt64(max(1, timeoutMilliseconds)) * 1_000_000
        if descriptor < 0 { try connect() }
        let first = nextID
        nextID += UInt64(bodies.count)
        var frames: [UInt8] = []
        for (index, body) in bodies.enumerated() {
            let header = FrameHeader(
                opcode: opcode.rawValue, requestID: first + UInt64(index), bodyBytes: body.count)
            let start = frames.count
            frames += [UInt8](repeating: 0, count: WireLimits.headerBytes)
            frames.withUnsafeMutableBytes { header.write(to: $0, at: start) }
            frames += body
        }
        try send(frames, deadline)
        var answers = [[UInt8]?](repeating: nil, count: bodies.count)
        var missing = bodies.count
        var refusal: ClientError?
        while missing > 0 {
            let (header, body) = try receive(deadline)
            guard header.requestID >= first, header.requestID - first < UInt64(bodies.count),
                header.opcode == opcode.rawValue | Opcode.replyBit
            else {
                if header.requestID == 0 || header.requestID < first, header.status == 0 { continue }
                disconnect()
                throw Self.failure(header.status, body)
            }
            let index = Int(header.requestID - first)
            guard answers[index] == nil else { throw .malformedReply("two answers to one request") }
            if header.status != 0 { refusal = Self.failure(header.status, body) }
            answers[index] = body
            missing -= 1
        }
        if let refusal { throw refusal }
        return answers.compactMap { $0 }
    }

    private static func failure(_ status: UInt16, _ body: [UInt8]) -> ClientError {
        guard let known = Status(rawValue: status), known != .ok else {
            return .malformedReply("status \(status)")
        }
        return .refused(known, detail: String(decoding: body, as: UTF8.self))
    }

    private func connect() throws(ClientError) {
        let made = tg_unix_socket()
        guard made >= 0 else { throw .unreachable(path: path, reason: reason(-made)) }
        let result = path.withCString { tg_unix_attach(made, $0, path.utf8.count, 1) }
        guard result == 0 else {
            close(made)
            throw .unreachable(path: path, reason: reason(-result))
        }
        descriptor = made
        buffer = []
    }

    private func reason(_ number: Int32) -> String { String(cString: strerror(number)) }

    private func wait(_ events: Int32, _ deadline: UInt64) throws(ClientError) {
        while true {
            let now = tg_boottime()
            guard now < deadline else { throw .timedOut }
            var polled = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let milliseconds = Int32(clamping: (deadline - now) / 1_000_000 + 1)
            if poll(&polled, 1, milliseconds) > 0 { return }
        }
    }

    private func send(_ bytes: [UInt8], _ deadline: UInt64) throws(ClientError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { view -> Int in
                guard let base = view.baseAddress else { return 0 }
                return tg_send(descriptor, base + sent, view.count - sent)
            }
            if count > 0 {
                sent += count
                didSend = true
            } else if count == -Int(EAGAIN) || count == -Int(EINTR) {
                try wait(POLLOUT, deadline)
            } else {
                throw .disconnected
            }
        }
    }

    private func receive(
        _ deadline: UInt64
    ) throws(ClientError) -> (FrameHeader, [UInt8]) {
        try fill(WireLimits.headerBytes, deadline)
        let header = buffer.withUnsafeBytes { FrameHeader(reading: $0) }
        guard header.length >= WireLimits.lengthMin, header.length <= WireLimits.lengthMax else {
            throw .malformedReply("a frame's length")
        }
        let total = WireLimits.lengthFieldBytes + Int(header.length)
        try fill(total, deadline)
        let body = Array(buffer[WireLimits.headerBytes..<total])
        buffer.removeFirst(total)
        return (header, body)
    }

    private func fill(_ count: Int, _ deadline: UInt64) throws(ClientError) {
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while buffer.count < count {
            let got = chunk.withUnsafeMutableBytes { view -> Int in
                guard let base = view.baseAddress else { return 0 }
                return tg_read(descriptor, base, view.count)
            }
            if got > 0 {
                buffer += chunk[..<got]
            } else if got == -Int(EAGAIN) || got == -Int(EINTR) {
                try wait(POLLIN, deadline)
            } else {
                throw .disconnected
            }
        }
    }
}
