import TollgateCore
import TollgatePolicy

extension PolicyJSON {
    /// Every rule that holds, with what its kind looks at.
    static func alerts(_ alerts: AlertSettings) -> JSON {
        .object([
            ("path", .text(alerts.path)),
            ("rules", .object(alerts.rules.rules.map { ($0.name, rule($0)) })),
        ])
    }

    private static func rule(_ rule: AlertRule) -> JSON {
        .object(
            [("kind", .text(rule.kind.word)), ("enabled", .bool(rule.isEnabled))] + own(rule))
    }

    private static func own(_ rule: AlertRule) -> [(String, JSON)] {
        let quotas: [(String, JSON)] = [
            ("hysteresis", .count(UInt64(rule.hysteresisPercent))),
            ("quotas", .texts(rule.quotas)), ("plans", .texts(rule.plans)),
        ]
        switch rule.kind {
        case .quotaThreshold:
            let percents = rule.percents.map { JSON.count(UInt64($0)) }
            return [("percents", .list(percents))] + quotas
        case .quotaExhaustedEarly:
            return [("before", .count(UInt64(rule.periodPercent)))] + quotas
        case .quotaForecast: return [("after", .count(UInt64(rule.periodPercent)))] + quotas
        case .invalidCredentials:
            return [
                ("scope", .text(rule.scope.word)), ("count", .count(rule.count)),
                ("window_ms", .count(rule.windowMilliseconds)),
            ]
        case .keyNetworks: return [("count", .count(rule.count))]
        case .suddenRise: return [("count", .count(rule.count)), ("factor", .count(rule.factor))]
        case .costlyOperation:
            return [("cost_min", .count(rule.costMin)), ("operations", .texts(rule.operations))]
        case .refreshReuse, .daemonTrouble, .test: return []
        }
    }
}

extension PolicyText {
    func alerts(_ alerts: AlertSettings?) -> String {
        guard let alerts else { return pairs([("path", "none: nobody is told of anything")]) }
        let rules = alerts.rules.rules.map { rule in
            (rule.name, rule.isEnabled ? words(rule) : "off")
        }
        return pairs([("path", alerts.path)] + rules)
    }

    private func words(_ rule: AlertRule) -> String {
        let of = rule.quotas.isEmpty ? "any quota" : rule.quotas.joined(separator: ", ")
        let plans = rule.plans.isEmpty ? "" : " of \(rule.plans.joined(separator: ", "))"
        switch rule.kind {
        case .quotaThreshold:
            let percents = rule.percents.map { "\($0)" }.joined(separator: ", ")
            return "\(percents) % of \(of)\(plans) used"
        case .quotaExhaustedEarly:
            return "\(of)\(plans) gone before \(rule.periodPercent) % of its period"
        case .quotaForecast:
            return "\(of)\(plans) gone before its period ends, at the rate so far, once"
                + " \(rule.periodPercent) % of it have passed"
        case .invalidCredentials:
            let whose = rule.scope == .overall ? "everybody" : "one \(rule.scope.word)"
            return "\(rule.count) invalid credentials by \(whose) in"
                + " \(span(rule.windowMilliseconds))"
        case .refreshReuse: return "a refresh token used again after its successor"
        case .keyNetworks: return "an API key used from \(rule.count) networks in a day"
        case .suddenRise:
            return "\(rule.factor) times the busiest hour of an organization's week, from"
                + " \(rule.count) requests on"
        case .costlyOperation:
            return "an organization's first request that costs \(rule.costMin) micro-units"
                + (rule.operations.isEmpty
                    ? "" : ", or of \(rule.operations.joined(separator: ", "))")
        case .daemonTrouble: return "a disk that fails, decisions left out of the audit log"
        case .test: return ""
        }
    }
}
