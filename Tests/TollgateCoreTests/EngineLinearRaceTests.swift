import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore

/// What several workers were told, one organization's quota between them, is what one of them
/// alone could have been told in some order that agrees with time (RELIABILITY C2).
@Suite struct EngineLinearRaceTests {
    /// One operation: when it was called and when it returned, in the order of one counter, what
    /// it asked and what it was told.
    struct Operation {
        enum Kind { case check, dryRun, consume }
        var kind: Kind
        var units: UInt64
        var called: Int
        var returned: Int
        var allowed: Bool
        var remaining: UInt64

        /// What is used after it, if it may come when `used` is; `nil` when its answer says not.
        func after(_ used: UInt64, limit: UInt64) -> UInt64? {
            let fits = used + units <= limit
            guard allowed == (fits || kind == .consume) else { return nil }
            let after = kind == .dryRun || !allowed ? used : used + units
            return remaining == (after < limit ? limit - after : 0) ? after : nil
        }
    }

    /// Whether an order exists (Wing, Gong: "Testing and verifying concurrent objects", 1993;
    /// Lowe's memory of states seen). Each thread's operations are in their order.
    static func isLinear(_ threads: [[Operation]], limit: UInt64) -> Bool {
        var seen: Set<[Int]> = []
        func search(_ done: [Int], _ used: UInt64) -> Bool {
            let next = threads.indices.filter { done[$0] < threads[$0].count }
            if next.isEmpty { return true }
            guard seen.insert(done).inserted else { return false }
            // Nothing that was called after another returned may come before it.
            let first = next.map { threads[$0][done[$0]].returned }.min() ?? 0
            for thread in next {
                let operation = threads[thread][done[thread]]
                guard operation.called < first,
                    let after = operation.after(used, limit: limit)
                else { continue }
                var more = done
                more[thread] += 1
                if search(more, after) { return true }
            }
            return false
        }
        return search(threads.map { _ in 0 }, 0)
    }

    private static let threadCount = 8
    private static let operationCount = 40

    /// All threads' operations on one organization, by history and thread.
    private static func histories(
        _ count: Int, limit: UInt64, seed: UInt64
    ) throws -> [[[Operation]]] {
        var definition = PolicyDefinition.small()
        definition.plans[1].rateLimits = []
        definition.plans[1].quotas = [
            QuotaDefinition(name: "q", scope: .organization, limit: limit, period: .day)
        ]
        let policy = try PolicyImage(compiling: definition, generation: 1)
        let engine = Engine(EngineConfiguration(hashKey: (5, 6)))
        let stamps = Atomic<Int>(0)
        let gate = Gate(threadCount)
        let byThread = onThreads(threadCount) { thread -> [[Operation]] in
            let asker = Asker(engine, policy)
            var random = SeededRandom(seed: seed &+ UInt64(thread))
            return (0..<count).map { history in
                asker.begin(organization: "h\(history)", user: "u\(thread)")
                gate.pass(history)
                return (0..<operationCount).map { _ in asker.operation(stamps, &random) }
            }
        }
        return (0..<count).map { history in byThread.map { $0[history] } }
    }

    /// One thread's worker, and the requests that it sends for one history.
    private final class Asker {
        let worker: DecisionWorker
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        var bodies: [[UInt8]] = []

        init(_ engine: Engine, _ policy: PolicyImage) {
            worker = engine.makeWorker()
            worker.beginTurn(EngineHarness.startMoment, policy: policy)
        }

        deinit { reply.deallocate() }

        /// Requests of 0 to 3 units: CHECK, dry runs, CONSUME.
        func begin(organization: String, user: String) {
            let token = EngineHarness.token(user: user, organization: organization)
            bodies = [0, RequestFlags.dryRun].flatMap { flags in
                (0...3 as ClosedRange<UInt64>).map {
                    EngineHarness.body(
                        token: token, operation: "models", meters: [("calls", $0)], address: [],
                        flags: flags)
                }
            }
            bodies += (0...3 as ClosedRange<UInt64>).map {
                EngineHarness.consumeBody(
                    organization: organization, user: user, plan: "pro_tier", operation: "models",
                    meters: [("calls", $0)])
            }
        }

        func operation(_ stamps: borrowing Atomic<Int>, _ random: inout SeededRandom) -> Operation {
            let number = [0, 0, 0, 0, 1, 2].randomElement(using: &random) ?? 0
            let units = UInt64.random(in: 0...3, using: &random)
            let called = stamps.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
            let outcome = bodies[number * 4 + Int(units)].withUnsafeBytes {
                number == 2 ? worker.consume($0, into: reply) : worker.check($0, into: reply)
            }
            let returned = stamps.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
            let answer = Answer(outcome, UnsafeRawBufferPointer(reply))
            return Operation(
                kind: [.check, .dryRun, .consume][number], units: units, called: called,
                returned: returned, allowed: answer.isAllowed, remaining: answer.quota.remaining)
        }
    }

    @Test func whatWorkersAreToldHasAnOrder() throws {
        var random = SeededRandom.printed("histories")
        let count = 100 * testScale
        var overlapping = 0
        for limit in [0, 7, 60, 150, 400] as [UInt64] {
            for history in try Self.histories(count, limit: limit, seed: random.next()) {
                #expect(Self.isLinear(history, limit: limit), "limit \(limit)")
                let all = history.flatMap { $0 }.sorted { $0.called < $1.called }
                overlapping += zip(all, all.dropFirst()).filter { $0.returned > $1.called }.count
            }
        }
        print("histories: \(5 * count), \(overlapping) operations called while another ran")
        #expect(overlapping > 100)
    }

    @Test func aHistoryThatNoOrderExplainsIsFound() throws {
        // Never reached, so that every answer pins what was used before it.
        let limit: UInt64 = 1_000_000
        for history in try Self.histories(10, limit: limit, seed: 1) {
            #expect(Self.isLinear(history, limit: limit))
            let charge = history[1].firstIndex { $0.kind != .dryRun && $0.units > 0 }
            let place = try #require(charge)
            for change in 0..<4 {
                var wrong = history
                switch change {
                case 0: wrong[1][place].remaining += 1_000
                case 1: wrong[1][place].allowed.toggle()
                case 2: wrong[1][place].units += 1
                // A lost update: what it was told holds, and it never came to be.
                default: wrong[1].remove(at: place)
                }
                #expect(!Self.isLinear(wrong, limit: limit), "change \(change)")
            }
        }
    }
}
