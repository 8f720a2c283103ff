#if HTTP
import NIOCore
import NIOHTTP1

/// Answers the requests of one connection, one after the other; on its event loop alone.
///
/// States: waiting for a request (ends with its head, with `waitTime`, or by giving way to another
/// connection) and answering (ends when the answer was taken by the kernel, or with `answerTime`).
/// The pipelining handler before this one holds back the next request until the answer's end was
/// written, and that is written only once its body was taken: a peer that does not read is not
/// read.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    struct Times: Sendable {
        /// Until the first request has arrived.
        let firstWait: TimeAmount
        /// Between an answer and the end of the next request's head.
        let wait: TimeAmount
        /// From a request to when the peer has taken its answer.
        let answer: TimeAmount

        init(patienceSeconds: Int, daemonMilliseconds: Int) {
            firstWait = .seconds(Int64(patienceSeconds))
            wait = .seconds(9 * Int64(patienceSeconds))
            answer = .seconds(Int64(patienceSeconds)) + .milliseconds(Int64(daemonMilliseconds))
        }
    }

    private let router: Router
    private let hosts: HostRule
    private let isTCP: Bool
    private let connections: Connections
    private let tally: Tally
    private let times: Times
    private var context: ChannelHandlerContext?
    private var deadline: Scheduled<Void>?
    private var head: HTTPRequestHead?
    private(set) var isAnswering = false
    /// By us: what there is of a request then is answered by nobody.
    private var isClosing = false
    private(set) var waitNumber: UInt64 = 0

    init(
        _ router: Router, _ hosts: HostRule, isTCP: Bool, _ connections: Connections,
        _ tally: Tally, _ times: Times
    ) {
        self.router = router
        self.hosts = hosts
        self.isTCP = isTCP
        self.connections = connections
        self.tally = tally
        self.times = times
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        waitNumber = connections.nextWait()
        guard connections.admit(self) else { return close() }
        expect(within: times.firstWait)
    }

    func handlerRemoved(context: ChannelHandlerContext) { leave() }

    func channelInactive(context: ChannelHandlerContext) { leave() }

    private func leave() {
        deadline?.cancel()
        deadline = nil
        context = nil
        connections.remove(self)
    }

    func close() {
        isClosing = true
        context?.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Whoever sent what is no HTTP was told 400 by the handler before this one; not whoever is
        // gone, or is answered something else.
        if let error = error as? HTTPParserError, error != .invalidEOFState, !isClosing,
            !isAnswering
        {
            tally.count(code: 400)
        }
        close()
    }

    private func expect(within time: TimeAmount) {
        deadline?.cancel()
        deadline = context?.eventLoop.assumeIsolated().scheduleTask(in: time) { [weak self] in
            guard let self else { return }
            tally.timeouts.wrappingAdd(1, ordering: .relaxed)
            close()
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            isAnswering = true
            self.head = head
            expect(within: times.answer)
            guard Self.hasNoBody(head) else {
                self.head = nil
                let response = HTTPResponse(413, "no request here has a body\n")
                return put(response, to: head, mayGoOn: false)
            }
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    private static func hasNoBody(_ head: HTTPRequestHead) -> Bool {
        let lengths = head.headers["content-length"]
        return head.headers["transfer-encoding"].isEmpty && lengths.allSatisfy { $0 == "0" }
    }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let path: String
        switch hosts.look(
            at: head.uri, hosts: head.headers["host"], isVersion11: head.version == .http1_1,
            isTCP: isTCP)
        {
        case .path(let asked): path = asked
        case .refused(let code, let text):
            return put(HTTPResponse(code, text + "\n"), to: head, mayGoOn: false)
        }
        let request = HTTPRequest(
            method: head.method.rawValue, path: path,
            accept: head.headers["accept"].joined(separator: ","))
        let promise = context.eventLoop.makePromise(of: HTTPResponse.self)
        let router = router
        promise.completeWithTask { await router.answer(request) }
        promise.futureResult.assumeIsolated().whenSuccess { response in
            self.put(response, to: head, mayGoOn: true)
        }
    }

    /// Writes the answer; when the kernel has taken it, waits for the next request or closes.
    private func put(_ response: HTTPResponse, to head: HTTPRequestHead, mayGoOn: Bool) {
        tally.count(code: response.code)
        // The peer may have gone meanwhile.
        guard let context else { return }
        let isLast =
            !mayGoOn || !head.isKeepAlive || connections.isDraining || connections.isFull
        var headers = HTTPHeaders([
            ("Content-Type", response.contentType),
            ("Content-Length", String(response.body.count)),
            ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
        ])
        headers.add(contentsOf: response.headers)
        if isLast { headers.add(name: "Connection", value: "close") }
        let status = HTTPResponseStatus(statusCode: response.code)
        context.write(
            wrapOutboundOut(.head(.init(version: .http1_1, status: status, headers: headers))),
            promise: nil)
        let body = context.channel.allocator.buffer(
            bytes: head.method == .HEAD ? [] : response.body)
        let taken = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(body))), promise: taken)
        taken.futureResult.assumeIsolated().whenComplete { outcome in
            self.finish(isLast: isLast, outcome)
        }
    }

    private func finish(isLast: Bool, _ outcome: Result<Void, any Error>) {
        guard let context else { return }
        guard case .success = outcome else { return close() }
        isAnswering = false
        waitNumber = connections.nextWait()
        expect(within: times.wait)
        let ended = isLast ? context.eventLoop.makePromise(of: Void.self) : nil
        ended?.futureResult.assumeIsolated().whenComplete { _ in self.close() }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: ended)
    }
}
#endif
