/// What a generator reached: one that is too narrow hides bugs.
struct SimulationStatistics {
    private(set) var operations: [String: Int] = [:]
    /// One after the other.
    private(set) var pairs: [String: Int] = [:]
    /// How requests ended, how crashes and recoveries did, what the disk refused.
    private(set) var outcomes: [String: Int] = [:]
    private var last = "start"

    mutating func operation(_ name: String) {
        operations[name, default: 0] += 1
        pairs["\(last), \(name)", default: 0] += 1
        last = name
    }

    mutating func outcome(_ name: String) { outcomes[name, default: 0] += 1 }

    mutating func count(_ name: String, _ times: Int) {
        if times > 0 { outcomes[name, default: 0] += times }
    }

    mutating func add(_ other: SimulationStatistics) {
        operations.merge(other.operations, uniquingKeysWith: +)
        pairs.merge(other.pairs, uniquingKeysWith: +)
        outcomes.merge(other.outcomes, uniquingKeysWith: +)
    }

    /// The rarest pair of those operations, among all that could be.
    func rarestPair(of names: [String]) -> (pair: String, count: Int) {
        var rarest = (pair: "", count: Int.max)
        for first in names {
            for second in names {
                let count = pairs["\(first), \(second)", default: 0]
                if count < rarest.count { rarest = ("\(first), \(second)", count) }
            }
        }
        return rarest
    }

    var text: String {
        func lines(_ counts: [String: Int]) -> String {
            counts.sorted { $0.key < $1.key }.map { "  \($0.key): \($0.value)" }
                .joined(separator: "\n")
        }
        let names = operations.keys.sorted()
        let rarest = rarestPair(of: names)
        let reached = "\(pairs.count) of \(names.count * names.count) pairs of operations reached,"
            + " the rarest, \(rarest.pair), \(rarest.count) times"
        return "operations\n\(lines(operations))\n\(reached)\noutcomes\n\(lines(outcomes))"
    }
}
