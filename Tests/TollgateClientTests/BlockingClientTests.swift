import CLinux
import Glibc
import Synchronization
import Testing
import TollgateClient
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// The client against a real server in the same process, and against one that misbehaves.
@Suite(.serialized) struct BlockingClientTests {
    @Test func everyRequestHasItsAnswer() async throws {
        try await ClientHarness.withServer { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            try client.ping()
            #expect(try client.hello() == ("9.9", 1))
            var question = CheckQuestion(
                token: ClientHarness.token(),
                operation: .route(method: "POST", path: "/v1/chat?a=b"),
                address: .v4([127, 0, 0, 1]), meters: [MeterUnits("tokens", 30)], explains: true)
            let decision = try client.check(question)
            #expect(decision.isAllowed && decision.user == "ada" && decision.organization == "acme")
            #expect(decision.rateLimit?.name == "hourly" && decision.rateLimit?.remaining == 3)
            #expect(decision.quota?.remaining == 70 && decision.operation == "chat")
            #expect(decision.explanation.map(\.used) == [1, 30])
            question.explains = false
            question.meters = []
            let decisions = try client.checkAll(Array(repeating: question, count: 600))
                .map { (result) throws(ClientError) in try result.get() }
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
            let admin = BlockingClient(path: directory + "/a.sock", timeoutMilliseconds: 20_000)
            #expect(try admin.reload() == 2)
            let users = try admin.statistics().filter { $0.name == "tollgate_users" }
            #expect(users.map(\.value) == [1])
        }
    }

    @Test func refusalsNameTheirStatus() async throws {
        try await ClientHarness.withServer { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            func expect(_ status: Status, _ work: () throws(ClientError) -> Void) {
                guard case .refused(status, _) = failure(work) else {
                    Issue.record("not refused with \(status)")
                    return
                }
            }
            expect(.forbidden) { () throws(ClientError) in _ = try client.statistics() }
            let question = CheckQuestion(
                token: ClientHarness.token(), operation: .name("chat"),
                meters: [MeterUnits("nothing", 1)])
            expect(.unknownMeter) { () throws(ClientError) in _ = try client.check(question) }
            let consumption = Consumption(
                organization: "a", user: "b", plan: "c", operation: "chat",
                meters: [MeterUnits("tokens", 1)])
            expect(.unknownPlan) { () throws(ClientError) in _ = try client.consume(consumption) }
            try client.ping()
        }
    }

    @Test func aQuestionThatFailsTakesNoOtherWithIt() async throws {
        try await ClientHarness.withServer { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            let good = CheckQuestion(token: ClientHarness.token(), operation: .name("chat"))
            var refused = good
            refused.meters = [MeterUnits("nothing", 1)]
            let unsendable = CheckQuestion(token: "", operation: .name(""))
            let results = client.checkAll([good, refused, unsendable, good])
            #expect(results.count == 4)
            let decisions = [try results[0].get(), try results[3].get()]
            #expect(decisions.filter(\.isAllowed).count == 2)
            guard case .failure(.refused(.unknownMeter, _)) = results[1],
                case .failure(.invalidRequest) = results[2]
            else {
                Issue.record("\(results)")
                return
            }
        }
    }

    @Test func aClientFindsTheNextDaemonAndStatesWhatItDoesWithoutOne() throws {
        try ClientHarness.withDirectory { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            let question = CheckQuestion(token: ClientHarness.token(), operation: .name("chat"))
            #expect(client.pingFailure() == .unreachable(path: client.path, code: ENOENT))
            #expect(!client.isAllowed(question))
            #expect(client.isAllowed(question, failMode: .allow))
            for _ in 0..<3 {
                let server = try ClientHarness.start(directory)
                // The connection of the daemon before is replaced, and nothing is lost.
                #expect(client.isAllowed(question))
                server.drain()
                server.join()
            }
        }
    }

    @Test func noCallerOpensTheGateByWhatItSends() async throws {
        try await ClientHarness.withServer { directory in
            let client = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            let pipelined = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            let long = String(repeating: "x", count: 9_000)
            let questions = [
                CheckQuestion(token: long, operation: .name("chat")),
                CheckQuestion(token: "t", operation: .route(method: "GET", path: "/" + long)),
                CheckQuestion(token: "t", operation: .route(method: "", path: "/v1/chat")),
                CheckQuestion(token: "t", operation: .name("")),
                CheckQuestion(token: "t", operation: .name("chat"), address: .v4([1])),
                CheckQuestion(
                    token: "t", operation: .name("chat"), meters: [MeterUnits("nothing", 1)]),
                CheckQuestion(
                    token: "t", operation: .name("chat"), meters: [MeterUnits("calls", .max)]),
            ]
            for question in questions {
                #expect(!client.isAllowed(question, failMode: .allow))
                #expect(await !pipelined.isAllowed(question, failMode: .allow))
            }
            // Without its method a path would go as the name of an operation.
            #expect(client.checkFailure(questions[2]) == .invalidRequest("the method is empty"))
        }
    }

    @Test func aDaemonThatDoesNotAnswerIsNotWaitedForLongerThanAsked() throws {
        let daemon = try FakeDaemon { peer in while peer.request() != nil {} }
        defer { daemon.stop() }
        let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 30)
        let question = CheckQuestion(token: "t", operation: .name("chat"))
        #expect(client.checkFailure(question) == .timedOut)
        #expect(client.isAllowed(question, failMode: .allow))
        #expect(!client.isAllowed(question))
    }

    @Test func aLateAnswerReachesNobody() throws {
        let mayAnswer = Atomic<Bool>(false)
        let daemon = try FakeDaemon { peer in
            guard let first = peer.request() else { return }
            if peer.number == 1 {
                while !mayAnswer.load(ordering: .acquiring) { usleep(1_000) }
            }
            peer.answer(first)
            while let next = peer.request() { peer.answer(next) }
        }
        defer { daemon.stop() }
        let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 50)
        #expect(client.pingFailure() == .timedOut)
        mayAnswer.store(true, ordering: .releasing)
        client.timeoutMilliseconds = 20_000
        try client.ping()
        #expect(daemon.connections.load(ordering: .relaxed) == 2)
    }

    @Test func brokenAnswersAreRefusedAndTheConnectionWithThem() throws {
        typealias Script = @Sendable (FakePeer, FakePeer.Request) -> Void
        let scripts: [Script] = [
            { (peer, ping) in peer.answer(ping, id: ping.id + 1) },
            { (peer, ping) in peer.answer(ping, [9, 9]) },
            { (peer, _) in peer.send([UInt8](repeating: 0xff, count: 64)) },
            { (peer, _) in peer.send([3] + [UInt8](repeating: 0, count: 15)) },
            { (peer, ping) in peer.answer(.init(opcode: 1, id: ping.id, body: [])) },
        ]
        for (index, script) in scripts.enumerated() {
            let daemon = try FakeDaemon { peer in
                guard let first = peer.request() else { return }
                if peer.number == 1 { script(peer, first) } else { peer.answer(first) }
                while let next = peer.request() { peer.answer(next) }
            }
            defer { daemon.stop() }
            let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
            guard case .malformedReply = client.pingFailure() else {
                Issue.record("script \(index) was taken for an answer")
                continue
            }
            if index == 1 { continue }  // A body that does not read leaves the stream in order.
            try client.ping()
            #expect(daemon.connections.load(ordering: .relaxed) == 2, "script \(index)")
        }
    }

    @Test func aSecondAnswerToARequestReachesNobody() throws {
        let daemon = try FakeDaemon { peer in
            while let ping = peer.request() {
                peer.send(FakePeer.reply(ping) + FakePeer.reply(ping))
            }
        }
        defer { daemon.stop() }
        let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        for count in 1...3 {
            // The answer stands; the connection that brought two does not.
            try client.ping()
            #expect(daemon.connections.load(ordering: .relaxed) == count)
        }
    }

    @Test func aRequestThatChargesIsNeverSentTwice() throws {
        let checks = Atomic<Int>(0)
        let pings = Atomic<Int>(0)
        let daemon = try FakeDaemon { peer in
            while let request = peer.request() {
                let count =
                    request.opcode == Opcode.check.rawValue
                    ? checks.wrappingAdd(1, ordering: .relaxed).newValue
                    : pings.wrappingAdd(1, ordering: .relaxed).newValue
                // Every second of a kind is taken, and the connection ends without an answer.
                if count % 2 == 0 { return peer.end() }
                peer.answer(request)
            }
        }
        defer { daemon.stop() }
        let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        let question = CheckQuestion(token: "t", operation: .name("chat"))
        try client.ping()
        try client.ping()  // Lost on a connection that had answered: asked again.
        #expect(pings.load(ordering: .relaxed) == 3)
        #expect(client.checkFailure(question) != nil)
        #expect(client.checkFailure(question) == .disconnected)
        #expect(checks.load(ordering: .relaxed) == 2)
    }

    @Test func manyLongAnswersAreReadWhileQuestionsAreStillSent() throws {
        let daemon = try FakeDaemon { peer in
            // Like the daemon, it does not read on while its answers are not read.
            while let request = peer.request() {
                peer.answer(request, [UInt8](repeating: 7, count: 60_000), status: .malformedBody)
            }
        }
        defer { daemon.stop() }
        let client = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        let question = CheckQuestion(
            token: String(repeating: "t", count: 8_000), operation: .name("chat"))
        let results = client.checkAll(Array(repeating: question, count: 256))
        for result in results {
            guard case .failure(.refused(.malformedBody, let detail)) = result else {
                Issue.record("\(result)")
                return
            }
            #expect(detail.utf8.count == 60_000)
        }
    }

    @Test func aFullDaemonSaysSo() async throws {
        try await ClientHarness.withServer(change: { $0.connectionsMax = 1 }) { directory in
            let first = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            try first.ping()
            let second = BlockingClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            guard case .refused(.tooManyConnections, _) = second.pingFailure()
            else {
                Issue.record("the second connection was let in, or not told why")
                return
            }
        }
    }

    @Test func failedConnectionsLeaveNoDescriptorBehind() throws {
        let before = ClientHarness.openDescriptors()
        let client = BlockingClient(path: "/tmp/there-is-no-such.sock")
        for _ in 0..<200 { #expect(client.pingFailure() != nil) }
        #expect(ClientHarness.openDescriptors() < before + 100)
    }
}
