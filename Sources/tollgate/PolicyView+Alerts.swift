import TollgateCore
import TollgatePolicy

extension PolicyJSON {
    /// Every rule that holds, with what its kind looks at.
    static func alerts(_ alerts: AlertSettings) -> JSON {
        .object([
            ("path", .text(alerts.path)),
            ("rules", .object(alerts.rules.rules.map { ($0.name, rule($0)) })),
            ("spool_max", .count(alerts.sinks.spoolMax)), ("source", .text(alerts.sinks.source)),
            (
                "retry",
                .object([
                    ("first_ms", .count(alerts.sinks.firstMilliseconds)),
                    ("longest_ms", .count(alerts.sinks.longestMilliseconds)),
                ])
            ),
            ("sinks", .object(alerts.sinks.sinks.map { ($0.name, sink($0)) })),
        ])
    }

    private static func sink(_ sink: AlertSink) -> JSON {
        let common: [(String, JSON)] = [
            ("timeout_ms", .count(sink.timeoutMilliseconds)),
            ("severity_min", .text(sink.severityMin.word)),
        ]
        let own: [(String, JSON)]
        switch sink.way {
        case .log: own = [("kind", .text("log"))]
        case .command(let words): own = [("kind", .text("command")), ("command", .texts(words))]
        case .webhook(let hook):
            own = [
                ("kind", .text(hook.isSlack ? "slack" : "webhook")), ("url", .optional(hook.url)),
                ("url_file", .optional(hook.urlFile)),
                ("secret_file", .optional(hook.secretFile)),
            ]
        }
        return .object(own + common)
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
        let sinks = alerts.sinks.sinks.map { ("sink \($0.name)", words($0)) }
        return pairs([("path", alerts.path)] + rules + sinks)
    }

    private func words(_ sink: AlertSink) -> String {
        let from = sink.severityMin == .info ? "" : ", from \(sink.severityMin.word) on"
        switch sink.way {
        case .log: return "log of who delivers" + from
        case .command(let words): return "command \(words.joined(separator: " "))" + from
        case .webhook(let hook):
            let to = hook.url ?? "the URL in \(hook.urlFile ?? "?")"
            let signed = hook.secretFile == nil ? "" : ", signed"
            return (hook.isSlack ? "Slack, " : "webhook, ") + to + signed + from
        }
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
