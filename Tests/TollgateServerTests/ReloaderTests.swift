import Glibc
import Synchronization
import Testing

@testable import TollgateCore
@testable import TollgateServer

@Suite struct ReloaderTests {
    /// Loads that wait to be let go, and count themselves.
    private final class Gate: Sendable {
        let loads = Atomic<UInt64>(0)
        let gate = Lock()

        func load() -> Reloader.Outcome {
            let number = loads.wrappingAdd(1, ordering: .relaxed).newValue
            gate.lock()
            gate.unlock()
            return .success(number)
        }
    }

    private final class Answers: Sendable {
        private let lock = Lock()
        private nonisolated(unsafe) var outcomes: [Reloader.Outcome] = []
        func add(_ outcome: Reloader.Outcome) {
            lock.lock()
            outcomes.append(outcome)
            lock.unlock()
        }
        var all: [Reloader.Outcome] {
            lock.lock()
            defer { lock.unlock() }
            return outcomes
        }
    }

    private func started(_ gate: Gate) throws -> Reloader {
        let reloader = try Reloader(load: { gate.load() })
        try reloader.start()
        return reloader
    }

    @Test func whoeverAsksWhileALoadRunsSharesTheNextOne() throws {
        let (gate, answers) = (Gate(), Answers())
        gate.gate.lock()
        let reloader = try started(gate)
        reloader.request { answers.add($0) }
        while gate.loads.load(ordering: .relaxed) == 0 { sched_yield() }
        for _ in 0..<500 { reloader.request { answers.add($0) } }
        for _ in 0..<500 { reloader.request() }
        gate.gate.unlock()
        while answers.all.count < 501 { sched_yield() }
        reloader.end()
        #expect(gate.loads.load(ordering: .relaxed) == 2)
        #expect(answers.all.first == .success(1))
        #expect(answers.all.dropFirst().allSatisfy { $0 == .success(2) })
    }

    @Test func noMoreThanACeilingWaitAndNobodyIsLeftWithoutAnAnswer() throws {
        let (gate, answers) = (Gate(), Answers())
        gate.gate.lock()
        let reloader = try started(gate)
        reloader.request()
        while gate.loads.load(ordering: .relaxed) == 0 { sched_yield() }
        for _ in 0..<(Reloader.waitersMax + 5) { reloader.request { answers.add($0) } }
        let refused = answers.all
        #expect(refused.count == 5)
        #expect(refused.allSatisfy { if case .failure = $0 { true } else { false } })
        gate.gate.unlock()
        reloader.end()
        #expect(answers.all.count == Reloader.waitersMax + 5)
        reloader.request { answers.add($0) }
        #expect(answers.all.count == Reloader.waitersMax + 6)
    }
}
