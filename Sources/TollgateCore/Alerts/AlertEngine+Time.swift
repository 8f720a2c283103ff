/// What passes without a request.
extension AlertEngine {
    /// Notices what has become quiet. Every second or so; in the order of time with what is fed.
    package mutating func tick(now: Int64) {
        for (index, rule) in rules.rules.enumerated()
        where rule.kind == .invalidCredentials && rule.isEnabled {
            let length = Int64(clamping: rule.windowMilliseconds)
            // Windows of two stretches ago count nothing any more.
            let oldest = now / length &- 1
            guard counters[index].windows.values.contains(where: { $0.stretch < oldest }) else {
                continue
            }
            counters[index].windows = counters[index].windows.filter { $0.value.stretch >= oldest }
            for (key, firing) in state.firings where key.rule == rule.name && !firing.isCleared {
                if now &- firing.firedAt > 2 &* length, isQuiet(key.subject, index) {
                    state.firings[key]?.isCleared = true
                }
            }
        }
    }

    /// Nothing of the subject is counted.
    private func isQuiet(_ subject: AlertSubject, _ index: Int) -> Bool {
        !counters[index].windows.keys.contains { key in
            switch rules.rules[index].scope {
            case .overall: true
            case .source:
                AlertAddress.text(
                    family: UInt8(truncatingIfNeeded: key.high), high: key.low)
                    == subject.address
            case .key:
                subject.key
                    == String(
                        decoding: [key.high, key.low].flatMap { word in
                            (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
                        }, as: UTF8.self)
            }
        }
    }
}
