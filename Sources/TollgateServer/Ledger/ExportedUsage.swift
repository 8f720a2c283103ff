import TollgateStorage

/// Which usage was listed from its beginning to its end since the daemon started: what may be
/// pruned without being asked twice. Forgotten at a restart, which refuses too much, never too
/// little.
struct ExportedUsage {
    /// Walks that go on, and those that have ended, that are remembered.
    static let remembered = 64

    /// Where walks without a gap so far go on.
    private var walks: [(days: ClosedRange<UInt32>, next: String)] = []
    private var ended: [(days: ClosedRange<UInt32>, through: UsageCursor)] = []

    /// A page that began at the beginning, or where an earlier one had ended.
    func isWithoutGap(_ days: ClosedRange<UInt32>, after: String?) -> Bool {
        guard let after else { return true }
        return walks.contains { $0.days == days && $0.next == after }
    }

    /// A page without a gap was given, and there are more behind it.
    mutating func goOn(_ days: ClosedRange<UInt32>, at next: String) {
        guard !isWithoutGap(days, after: next) else { return }
        if walks.count >= Self.remembered { walks.removeFirst() }
        walks.append((days, next))
    }

    /// The last page was given: everything that was archived up to there.
    mutating func end(_ days: ClosedRange<UInt32>, through cursor: UsageCursor) {
        ended.removeAll { $0.days == days }
        if ended.count >= Self.remembered { ended.removeFirst() }
        ended.append((days, cursor))
    }

    /// Up to where everything of those days was listed; `nil` when it was not.
    func through(_ days: ClosedRange<UInt32>) -> UsageCursor? {
        ended.last {
            $0.days.lowerBound <= days.lowerBound && $0.days.upperBound >= days.upperBound
        }?.through
    }
}
