import Foundation
import Glibc
import TestSupport
import Testing
import TollgateStorage

/// What is worse than a crash: bytes that rot, a disk that lies, a call that fails at every place
/// where one can, and an order of writes that only a crash at the right moment would tell of.
@Suite struct SimulationFaultTests {
    @Test func bytesThatRotAreNoWrongNumber() throws {
        let seeds = SimulationTests.seeds(21)
        let statistics = try SimulationTests.simulate("rot", seeds: seeds) {
            ($0.rots, $0.crashes) = (true, [.kill])
        }
        guard seeds.count > 20 else { return }
        for kind in ["journal", "snapshot"] {
            #expect(statistics.outcomes["rot of a \(kind): refused", default: 0] > 0)
        }
        #expect(statistics.outcomes["repaired, nothing lost", default: 0] > 0)
    }

    /// The labelled mode: every other sync reports success and leaves things in a cache, which is
    /// lost with the power, or, of one disk in six, never written out at all. What came back after
    /// a power cut is a state that each shard went through, or a start is refused.
    @Test func aDiskThatLiesLosesAndNeverInvents() throws {
        let seeds = SimulationTests.seeds(30)
        let statistics = try SimulationTests.simulate("lying sync", seeds: seeds) {
            $0.liesAboutSync = true
        }
        guard seeds.count > 20 else { return }
        #expect(statistics.outcomes["recovered after power", default: 0] > 20)
        #expect(statistics.outcomes["lost what was not synced", default: 0] > 10)
    }

    /// That the disk lies excuses none of these.
    @Test(arguments: [Mutation.reordersJournal, .dropsDamagedFiles, .forgetsShares])
    func aBrokenSystemIsSeenOnADiskThatLies(_ mutation: Mutation) throws {
        for seed in UInt64(1)...60 {
            var plan = SimulationPlan(seed: seed)
            (plan.mutation, plan.liesAboutSync) = (mutation, true)
            do { try Simulation(plan).run() } catch {
                print("\(mutation), lying: seen with seed \(seed)")
                return
            }
        }
        Issue.record("\(mutation) went unseen for 60 seeds")
    }

    private static func plan(_ seed: UInt64, failing call: Int, _ errno: Int32) -> SimulationPlan {
        var plan = SimulationPlan(seed: seed)
        (plan.steps, plan.failsOnce) = (24, (call, errno))
        return plan
    }

    /// Places of a run's calls: of each kind the first and the last, and of a larger scale more
    /// between, in the end all.
    private static func places(_ seed: UInt64, _ errno: Int32, ofEach most: Int) throws -> [Int] {
        let run = try Simulation(plan(seed, failing: .max, errno))
        try run.run()
        var places: [DiskError.Call: [Int]] = [:]
        for (index, call) in run.disk.counted.enumerated() {
            places[call, default: []].append(index + 1)
        }
        return places.values.flatMap { all in
            guard all.count > most else { return all }
            return (0..<most).map { all[$0 * (all.count - 1) / (most - 1)] }
        }.sorted()
    }

    /// A call of the disk fails, once, at each of many places of one run after the other.
    @Test(arguments: [EIO, ENOSPC])
    func aCallThatFailsAtAnyPlaceLosesNothing(_ errno: Int32) throws {
        var statistics = SimulationStatistics()
        var (runs, failed) = (0, 0)
        var reached: [String: Int] = [:]
        for seed in SimulationTests.seeds(2) {
            for call in try Self.places(seed, errno, ofEach: 2 * testScale) {
                let run = try Simulation(Self.plan(seed, failing: call, errno))
                do { try run.run() } catch {
                    failed += 1
                    if failed <= 3 { Issue.record("call \(call): \(error)") }
                }
                statistics.add(run.statistics)
                reached.merge(run.disk.failures, uniquingKeysWith: +)
                runs += 1
            }
        }
        print("\(runs) runs, \(failed) failed; failed calls \(reached.sorted { $0.key < $1.key })")
        print(statistics.text)
        #expect(failed == 0)
        guard errno == EIO else { return }
        for call in DiskError.Call.allCases {
            #expect(reached["\(call.rawValue) EIO", default: 0] > 0, "\(call)")
        }
    }

    @Test func nothingIsDoneBeforeWhatItStandsOnIsOnTheDisk() throws {
        let statistics = try SimulationTests.simulate("order", seeds: SimulationTests.seeds(10)) {
            ($0.crashes, $0.isAlways) = ([], true)
        }
        #expect(statistics.outcomes["order of writes checked", default: 0] > 500)
    }

    /// Broken so that only a crash at the right moment would show it: seen without any.
    @Test(arguments: [
        Mutation.skipsSync, .skipsDirectorySync, .skipsSnapshotSync, .removesSegmentsEarly,
        .repliesBeforeSync, .snapshotsAheadOfJournal,
    ])
    func aWrongOrderIsSeenWithoutACrash(_ mutation: Mutation) throws {
        for seed in UInt64(1)...300 {
            var plan = SimulationPlan(seed: seed)
            (plan.mutation, plan.crashes, plan.isAlways) = (mutation, [], true)
            let run = try Simulation(plan)
            // Where nobody is charged while a shard is copied, a snapshot needs no journal.
            if mutation == .snapshotsAheadOfJournal, run.crowd.isEmpty { continue }
            do { try run.run() } catch {
                let words = "\(error)"
                #expect(words.contains(WriteOrder.prefix), "\(words)")
                print("\(mutation): seen with seed \(seed)")
                return
            }
        }
        Issue.record("\(mutation) went unseen for 300 seeds")
    }
}
