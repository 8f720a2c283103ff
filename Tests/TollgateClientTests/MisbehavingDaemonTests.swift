import CLinux
import Glibc
import Synchronization
import Testing
import TollgateWire

@testable import TollgateClient

/// The pipelined client against a daemon that answers out of order, late, twice, nonsense or never.
@Suite(.serialized) struct MisbehavingDaemonTests {
    private func client(_ daemon: FakeDaemon, milliseconds: Int = 20_000) -> AsyncClient {
        AsyncClient(path: daemon.path, timeoutMilliseconds: milliseconds)
    }

    private static let question = CheckQuestion(token: "t", operation: .name("chat"))

    /// A decision whose user is the name asked about.
    @Sendable private static func decision(_ request: FakePeer.Request) -> [UInt8] {
        let name = request.body.suffix(request.body.count - 32)
        var body = [UInt8](repeating: 0, count: BodyBytes.decisionReply)
        body[0] = Verdict.allow.rawValue
        body[56] = UInt8(name.count)
        return body + name
    }

    private func askAll(_ client: AsyncClient, _ names: [String]) async throws -> [String: String] {
        try await withThrowingTaskGroup(of: (String, String).self) { group in
            for name in names {
                group.addTask {
                    let question = CheckQuestion(token: "", operation: .name(name))
                    return (name, try await client.check(question).user)
                }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
    }

    @Test func answersFindTheirRequestInAnyOrder() async throws {
        var random = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 0...UInt64.max, using: &random)
        print("answersFindTheirRequestInAnyOrder: seed \(seed)")
        let daemon = try FakeDaemon { peer in
            var state = seed
            var held: [FakePeer.Request] = []
            for _ in 0..<200 {
                guard let request = peer.request() else { return }
                held.append(request)
            }
            while !held.isEmpty {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let next = held.remove(at: Int(state >> 33) % held.count)
                peer.answer(next, Self.decision(next))
            }
            _ = peer.request()
        }
        defer { daemon.stop() }
        let names = (0..<200).map { "operation-\($0)" }
        let answers = try await askAll(client(daemon), names)
        #expect(answers.count == 200 && answers.allSatisfy { $0.key == $0.value })
    }

    @Test func noMoreThan256AreInFlightAndTheOthersWait() async throws {
        let most = Atomic<Int>(0)
        let daemon = try FakeDaemon { peer in
            var held: [FakePeer.Request] = []
            while let request = peer.request() {
                held.append(request)
                most.max(held.count, ordering: .relaxed)
                // A full house that nobody joins, or the last ones: answered from the back.
                if held.count < 256 ? request.id < 1_000 : peer.hasMore(milliseconds: 30) {
                    continue
                }
                for request in held.reversed() { peer.answer(request, Self.decision(request)) }
                held = []
            }
        }
        defer { daemon.stop() }
        let answers = try await askAll(client(daemon), (0..<1_000).map { "operation-\($0)" })
        #expect(answers.count == 1_000 && answers.allSatisfy { $0.key == $0.value })
        #expect(most.load(ordering: .relaxed) == 256)
    }

    @Test func aSilentDaemonIsLeftAtTheDeadlineAndTheNextConnectionServes() async throws {
        let daemon = try FakeDaemon { peer in
            while let request = peer.request() { if peer.number > 1 { peer.answer(request) } }
        }
        defer { daemon.stop() }
        let client = client(daemon, milliseconds: 300)
        #expect(await client.pingFailure() == .timedOut)
        // The hanging connection was given up: later requests have a new one.
        #expect(await client.pingFailure() == nil)
        #expect(daemon.connections.load(ordering: .relaxed) == 2)
    }

    @Test func aLateAnswerIsDroppedAndTheConnectionGoesOn() async throws {
        let hasBoth = Atomic<Bool>(false)
        let mayAnswer = Atomic<Bool>(false)
        let daemon = try FakeDaemon { peer in
            guard let late = peer.request(), let other = peer.request() else { return }
            hasBoth.store(true, ordering: .releasing)
            while !mayAnswer.load(ordering: .acquiring) { usleep(1_000) }
            // Both at once: the late one first.
            peer.send(FakePeer.reply(late) + FakePeer.reply(other))
            while let request = peer.request() { peer.answer(request) }
        }
        defer { daemon.stop() }
        let client = client(daemon)
        let late = Task { await client.pingFailure() }
        let other = Task { await client.pingFailure() }
        while !hasBoth.load(ordering: .acquiring) { await Task.yield() }
        late.cancel()
        #expect(await late.value == .cancelled)
        mayAnswer.store(true, ordering: .releasing)
        #expect(await other.value == nil)
        #expect(await client.pingFailure() == nil)
        #expect(daemon.connections.load(ordering: .relaxed) == 1)
    }

    @Test func aCancelledTaskWaitsNoLonger() async throws {
        let daemon = try FakeDaemon { peer in while peer.request() != nil {} }
        defer { daemon.stop() }
        let client = client(daemon, milliseconds: 600_000)
        let tasks = (0..<600).map { _ in Task { await client.checkFailure(Self.question) } }
        await Task.yield()
        for task in tasks { task.cancel() }
        for task in tasks { #expect(await task.value == .cancelled) }
        let before = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await client.isAllowed(Self.question, failMode: .allow)
        }
        #expect(await !before.value)
    }

    @Test func brokenAnswersEndTheConnectionAndTheNextServes() async throws {
        typealias Script = @Sendable (FakePeer, FakePeer.Request) -> Void
        let scripts: [Script] = [
            { (peer, ping) in peer.answer(ping, id: ping.id + 1) },
            { (peer, _) in peer.send([UInt8](repeating: 0xff, count: 64)) },
            { (peer, _) in peer.send([3] + [UInt8](repeating: 0, count: 15)) },
            { (peer, ping) in peer.answer(.init(opcode: 1, id: ping.id, body: [])) },
            { (peer, ping) in
                var reply = FakePeer.reply(ping)
                reply[6] = 0xee
                peer.send(reply)
            },
            { (peer, ping) in peer.answer(ping, [], status: .malformedFrame, id: 0) },
        ]
        for (index, script) in scripts.enumerated() {
            let daemon = try FakeDaemon { peer in
                guard let first = peer.request() else { return }
                if peer.number == 1 { script(peer, first) } else { peer.answer(first) }
                while let next = peer.request() { peer.answer(next) }
            }
            defer { daemon.stop() }
            let client = client(daemon)
            guard case .malformedReply = await client.pingFailure() else {
                Issue.record("script \(index) was taken for an answer")
                continue
            }
            #expect(await client.pingFailure() == nil)
            #expect(daemon.connections.load(ordering: .relaxed) == 2, "script \(index)")
        }
    }

    @Test func aSecondAnswerToARequestReachesNobody() async throws {
        let daemon = try FakeDaemon { peer in
            guard let first = peer.request(), let second = peer.request() else { return }
            peer.send(FakePeer.reply(first) + FakePeer.reply(first))
            _ = peer.request()
            peer.answer(second)
        }
        defer { daemon.stop() }
        let client = client(daemon)
        async let one = client.pingFailure()
        async let two = client.pingFailure()
        let failures = await [one, two].compactMap { $0 }
        guard failures.count == 1,
            case .malformedReply = failures[0] else {
            Issue.record("\(failures)")
            return
        }
    }

    @Test func aConnectionThatEndsMidReplyIsReportedAndNothingIsSentAgain() async throws {
        let checks = Atomic<Int>(0)
        let daemon = try FakeDaemon { peer in
            while let request = peer.request() {
                guard request.opcode == Opcode.check.rawValue else {
                    peer.answer(request)
                    continue
                }
                checks.wrappingAdd(1, ordering: .relaxed)
                peer.send(Array(FakePeer.reply(request, Self.decision(request)).dropLast(3)))
                return peer.end()
            }
        }
        defer { daemon.stop() }
        let client = client(daemon)
        for count in 1...5 {
            #expect(await client.pingFailure() == nil)
            #expect(await client.checkFailure(Self.question) == .disconnected)
            #expect(checks.load(ordering: .relaxed) == count)
        }
    }

    @Test func aDaemonThatHangsUpIsNotHammered() async throws {
        let daemon = try FakeDaemon { peer in peer.end() }
        defer { daemon.stop() }
        let client = client(daemon, milliseconds: 1_000)
        let start = tg_boottime()
        for _ in 0..<3 { #expect(await client.pingFailure() != nil) }
        let elapsed = tg_boottime() - start
        // Between two attempts lie at least 2.5, 5, 10 … 250 ms; a slow machine only adds to them.
        var least: UInt64 = 0
        var attempts = 1
        while least + Backoff.leastWait(afterFailures: attempts) <= elapsed {
            least += Backoff.leastWait(afterFailures: attempts)
            attempts += 1
        }
        let connections = daemon.connections.load(ordering: .relaxed)
        #expect(connections > 1 && connections <= attempts)
    }

    @Test func waitsGrowToHalfASecondAndAreNotTheSameForAll() {
        var seen: Set<UInt64> = []
        for _ in 0..<20 {
            var backoff = Backoff()
            for failures in 1...40 {
                backoff.failed(now: 7)
                let wait = backoff.retryAt - 7
                #expect(wait >= Backoff.leastWait(afterFailures: failures))
                #expect(wait <= min(500_000_000, 2 * Backoff.leastWait(afterFailures: failures)))
                seen.insert(wait)
            }
            backoff.succeeded()
            #expect(backoff.retryAt == 0)
        }
        #expect(seen.count > 100)
    }
}

extension Backoff {
    fileprivate static func leastWait(afterFailures count: Int) -> UInt64 {
        min(2_500_000 << UInt64(min(count - 1, 16)), 250_000_000)
    }
}
