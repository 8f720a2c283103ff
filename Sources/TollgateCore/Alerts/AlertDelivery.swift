/// Which alert goes to which sink next, and when: each to every sink at least once, in the order in
/// which they came, however long a sink is down. A function of what it is told; reads no clock.
///
/// A sink that fails rests for `restMilliseconds`; the first success ends that. What a sink refuses
/// for the alert's own sake lets those behind it go first.
package struct AlertDelivery: Sendable {
    /// How an attempt failed.
    package enum Failure: Sendable, Equatable {
        /// The sink cannot be reached or does not answer; it may say for how long it is not to be
        /// asked, in milliseconds.
        case sink(retryAfter: UInt64?)
        /// The sink answers, and does not take this alert.
        case alert
    }

    package struct Attempt: Sendable, Hashable {
        package var sink: Int
        package var alert: UInt64
    }

    /// Longer than this no sink keeps itself from being asked.
    package static let retryAfterMax: UInt64 = 86_400_000

    private struct Sink {
        var waiting: [UInt64] = []
        var failures = 0
        /// Milliseconds of a clock that never goes back.
        var restsUntil: UInt64 = 0
    }

    private var sinks: [Sink]
    /// How many sinks an alert is still to go to.
    private var left: [UInt64: Int] = [:]
    private let firstMilliseconds: UInt64
    private let longestMilliseconds: UInt64

    package init(sinks: Int, firstMilliseconds: UInt64, longestMilliseconds: UInt64) {
        self.sinks = Array(repeating: Sink(), count: sinks)
        self.firstMilliseconds = firstMilliseconds
        self.longestMilliseconds = max(firstMilliseconds, longestMilliseconds)
    }

    package func knows(_ alert: UInt64) -> Bool { left[alert] != nil }
    package var isEmpty: Bool { left.isEmpty }
    package var waiting: Int { left.count }

    /// An alert that is to go to those sinks; behind all that came before. Known ones stay as they
    /// are. With no sink it is done already, and not taken.
    package mutating func add(_ alert: UInt64, to wanted: [Int]) {
        guard !knows(alert), !wanted.isEmpty else { return }
        left[alert] = wanted.count
        for sink in wanted { sinks[sink].waiting.append(alert) }
    }

    /// What may be tried now; of several sinks the first that may.
    package func next(now: UInt64) -> Attempt? {
        for (index, sink) in sinks.enumerated() where sink.restsUntil <= now {
            if let alert = sink.waiting.first { return Attempt(sink: index, alert: alert) }
        }
        return nil
    }

    /// What is next for who tries each once, whatever rests: of the sinks but those that are out,
    /// the first whose next was not tried.
    package func next(beyond tried: Set<Attempt>, out: Set<Int>) -> Attempt? {
        for (index, sink) in sinks.enumerated() where !out.contains(index) {
            guard let alert = sink.waiting.first else { continue }
            let attempt = Attempt(sink: index, alert: alert)
            if !tried.contains(attempt) { return attempt }
        }
        return nil
    }

    /// When there may be something to try; `nil`: not before something is added.
    package var nextAt: UInt64? {
        sinks.filter { !$0.waiting.isEmpty }.map(\.restsUntil).min()
    }

    /// It arrived; whether it has now arrived everywhere, and is forgotten.
    package mutating func delivered(_ attempt: Attempt) -> Bool {
        sinks[attempt.sink].failures = 0
        sinks[attempt.sink].restsUntil = 0
        sinks[attempt.sink].waiting.removeAll { $0 == attempt.alert }
        let others = (left[attempt.alert] ?? 1) &- 1
        left[attempt.alert] = others > 0 ? others : nil
        return others <= 0
    }

    /// It did not; for how long the sink rests. `random` is any number, another each time.
    package mutating func failed(
        _ attempt: Attempt, _ failure: Failure, now: UInt64, random: UInt64
    ) -> UInt64 {
        var rest = restMilliseconds(sinks[attempt.sink].failures, random: random)
        sinks[attempt.sink].failures = min(sinks[attempt.sink].failures &+ 1, 63)
        switch failure {
        case .sink(let retryAfter?): rest = max(rest, min(retryAfter, Self.retryAfterMax))
        case .sink(nil): break
        case .alert:
            sinks[attempt.sink].waiting.removeAll { $0 == attempt.alert }
            sinks[attempt.sink].waiting.append(attempt.alert)
        }
        sinks[attempt.sink].restsUntil = now &+ rest
        return rest
    }

    /// Doubles with each failure in a row, to the longest; of that between the half and the whole.
    private func restMilliseconds(_ failures: Int, random: UInt64) -> UInt64 {
        let doubled = firstMilliseconds.multipliedReportingOverflow(
            by: 1 << UInt64(min(failures, 40)))
        let whole = doubled.overflow ? longestMilliseconds : doubled.partialValue
        let bounded = min(whole, longestMilliseconds)
        let half = bounded / 2
        return bounded &- half &+ random % (half &+ 1)
    }
}
