/// What was done, and how often. Each owner counts for itself; they are added up at the end.
struct Counts {
    enum What: Int, CaseIterable {
        case lives, deathsInStart, orderlyEnds, answers, denials, charges
        case check, consume, reserve, extend, settle, cancel
        case askedAgain, answeredAlike, unanswered, cutHolds, lateSettles, heldOver
        case usersCompared, organizationsCompared, quotasUsedUp
        case snapshots, segments

        /// As it is printed.
        var words: String {
            switch self {
            case .lives: "lives ended by kill -9"
            case .deathsInStart: "of them while they started"
            case .orderlyEnds: "orderly ends"
            case .answers: "answers"
            case .denials: "of them denials"
            case .charges: "charges told to clients"
            case .askedAgain: "asked again, with an id or a reservation's"
            case .answeredAlike: "answers given twice, alike"
            case .unanswered: "without an answer and an id"
            case .cutHolds: "holds cut by a death"
            case .lateSettles: "of them settled late"
            case .heldOver: "holds that outlived a death"
            case .usersCompared: "users compared"
            case .organizationsCompared: "organizations compared"
            case .quotasUsedUp: "quotas used up to the unit"
            case .snapshots: "snapshots"
            case .segments: "files of the journal"
            default: "\(self)"
            }
        }
    }

    private var numbers = [Int](repeating: 0, count: What.allCases.count)

    subscript(_ what: What) -> Int {
        get { numbers[what.rawValue] }
        set { numbers[what.rawValue] = newValue }
    }

    mutating func add(_ other: Counts) {
        for what in What.allCases { self[what] += other[what] }
    }

    var lines: String {
        What.allCases.map { "\(self[$0]) \($0.words)" }.joined(separator: "\n")
    }
}

/// The daemon said something else than it had told, or could not say anything.
struct Mismatch: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
