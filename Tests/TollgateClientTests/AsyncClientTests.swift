import CLinux
import Glibc
import Synchronization
import Testing
import TollgateClient
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// The pipelined client against a real server in the same process.
@Suite(.serialized) struct AsyncClientTests {
    @Test func everyRequestHasItsAnswer() async throws {
        try await ClientHarness.withServer { directory in
            let client = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            try await client.ping()
            let hello = try await client.hello()
            #expect(hello == ("9.9", 1))
            let question = CheckQuestion(
                token: ClientHarness.token(), operation: .name("chat"),
                meters: [MeterUnits("tokens", 30)], explains: true)
            let decision = try await client.check(question)
            #expect(decision.isAllowed && decision.rateLimit?.remaining == 3)
            #expect(decision.explanation.map(\.used) == [1, 30])
            let consumed = try await client.consume(
                Consumption(
                    organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                    meters: [MeterUnits("tokens", 80)]))
            #expect(consumed.isOverage)
            let usage = try await client.usage(organization: "acme", user: "ada")
            #expect(usage.limits.map(\.used) == [1, 110])
            let admin = AsyncClient(path: directory + "/a.sock", timeoutMilliseconds: 20_000)
            #expect(try await admin.reload() == 2)
            let statistics = try await admin.statistics()
            #expect(statistics.contains { $0.name == "tollgate_users" && $0.value == 1 })
            try await admin.shutdown()
            let refusal = await failureOf { () async throws(ClientError) in
                try await client.statistics()
            }
            guard case .refused(.forbidden, _) = refusal else {
                Issue.record("\(String(describing: refusal))")
                return
            }
        }
    }

    @Test func aThousandTasksGetExactlyWhatIsThere() async throws {
        try await ClientHarness.withServer(hourly: 137) { directory in
            let client = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 60_000)
            let tokens = (0..<4).map { ClientHarness.token(user: "user-\($0)") }
            let decisions = try await withThrowingTaskGroup(
                of: (Int, CheckDecision).self
            ) { group in
                for task in 0..<1_000 {
                    group.addTask {
                        let user = task % tokens.count
                        return (
                            user,
                            try await client.check(
                                CheckQuestion(token: tokens[user], operation: .name("chat")))
                        )
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(decisions.count == 1_000)
            // Every answer is about who asked, and each of them has 137.
            for user in 0..<tokens.count {
                let own = decisions.filter { $0.0 == user }.map(\.1)
                #expect(own.allSatisfy { $0.user == "user-\(user)" })
                #expect(own.filter(\.isAllowed).count == 137)
            }
        }
    }

    @Test func theNextDaemonIsFoundByItself() async throws {
        let directory = try ClientHarness.makeDirectory()
        defer { ClientHarness.remove(directory) }
        let client = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
        let question = CheckQuestion(token: ClientHarness.token(), operation: .name("chat"))
        #expect(await client.pingFailure() == .unreachable(path: client.path, code: ENOENT))
        #expect(await !client.isAllowed(question))
        #expect(await client.isAllowed(question, failMode: .allow))
        for _ in 0..<3 {
            let server = try ClientHarness.start(directory)
            // Three failures lie behind at the first: the attempt waits for its time, and comes.
            #expect(await client.isAllowed(question))
            server.drain()
            server.join()
        }
    }

    @Test func requestsGoOnThroughRestarts() async throws {
        let directory = try ClientHarness.makeDirectory()
        defer { ClientHarness.remove(directory) }
        let client = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
        let score = Score()
        try await withThrowingTaskGroup(of: ClientError?.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    while !score.isOver.load(ordering: .relaxed) {
                        switch await client.pingFailure() {
                        case nil: score.answered.wrappingAdd(1, ordering: .relaxed)
                        case .disconnected?, .unreachable?, .refused(.unavailable, _)?: continue
                        case let other: return other
                        }
                    }
                    return nil
                }
            }
            for _ in 0..<4 {
                let server = try ClientHarness.start(directory)
                await score.waitForAnswers(20)
                server.drain()
                server.join()
            }
            score.isOver.store(true, ordering: .relaxed)
            for try await unexpected in group { #expect(unexpected == nil) }
        }
    }

    private final class Score: Sendable {
        let isOver = Atomic<Bool>(false)
        let answered = Atomic<Int>(0)

        func waitForAnswers(_ count: Int) async {
            let before = answered.load(ordering: .relaxed)
            while answered.load(ordering: .relaxed) < before + count { await Task.yield() }
        }
    }

    @Test func aFullDaemonSaysSo() async throws {
        try await ClientHarness.withServer(change: { $0.connectionsMax = 1 }) { directory in
            let first = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            try await first.ping()
            let second = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
            guard case .refused(.tooManyConnections, _) = await second.pingFailure() else {
                Issue.record("the second connection was let in, or not told why")
                return
            }
            #expect(
                await second.isAllowed(
                    CheckQuestion(token: "", operation: .name("chat")), failMode: .allow))
        }
    }

    @Test func aClientLetGoLeavesNoDescriptorBehind() async throws {
        try await ClientHarness.withServer { directory in
            let before = ClientHarness.openDescriptors()
            for _ in 0..<50 {
                let client = AsyncClient(path: directory + "/d.sock", timeoutMilliseconds: 20_000)
                try await client.ping()
            }
            // Each had a socket, the daemon's end of it and an eventfd; their threads end in their
            // own time, and other suites have descriptors too.
            let deadline = tg_boottime() + 20_000_000_000
            while ClientHarness.openDescriptors() > before + 75, tg_boottime() < deadline {
                await Task.yield()
            }
            #expect(ClientHarness.openDescriptors() <= before + 75)
        }
    }
}
