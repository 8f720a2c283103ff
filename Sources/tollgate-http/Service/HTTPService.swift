#if HTTP
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// Listens and answers, on one event loop.
struct HTTPService {
    /// A request's line and headers together: bytes, and headers.
    static let headBytesMax = 16_384
    static let headersMax = 100

    private let group: MultiThreadedEventLoopGroup
    private let loop: any EventLoop
    private let connections: NIOLoopBound<Connections>
    private let listeners: [any Channel]

    init(
        _ sockets: [BoundSocket], _ router: Router, _ hosts: HostRule, _ tally: Tally,
        connectionsMax: Int,
        times: RequestHandler.Times
    ) throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        self.loop = loop
        let connections = try loop.submit {
            NIOLoopBound(Connections(most: connectionsMax, tally), eventLoop: loop)
        }.wait()
        self.connections = connections
        let group = group
        listeners = try sockets.map { socket in
            let isTCP = socket.isTCP
            let bootstrap = ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: BoundSocket.backlog)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try Self.equip(
                            channel,
                            RequestHandler(
                                router, hosts, isTCP: isTCP, connections.value, tally, times))
                    }
                }
                .childChannelOption(
                    .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 8_192))
                .childChannelOption(.maxMessagesPerRead, value: 1)
            return try bootstrap.withBoundSocket(socket.descriptor).wait()
        }
    }

    private static func equip(_ channel: any Channel, _ handler: RequestHandler) throws {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = headBytesMax
        limits.maxHeaderListSize = headBytesMax
        limits.maxHeaderFieldCount = headersMax
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: true, withErrorHandling: true,
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
        try pipeline.addHandler(handler)
    }

    /// Takes no new connection, answers what was asked, and ends: after the grace at the latest.
    func drain(graceMilliseconds: Int64) throws {
        for listener in listeners { try listener.close().wait() }
        let ended = loop.makePromise(of: Void.self)
        let connections = connections
        loop.execute { connections.value.drain(ended) }
        loop.scheduleTask(in: .milliseconds(graceMilliseconds)) { ended.succeed() }
        try ended.futureResult.wait()
        try group.syncShutdownGracefully()
    }
}
#endif
