import TollgateCore

/// What an operator is told of, and where that is remembered: the `alerts` part of a policy file.
package struct AlertSettings: Sendable, Equatable {
    /// A directory of its own.
    package var path: String
    /// The standard rules, as the policy changes them, then those that it adds.
    package var rules = AlertRules()
    /// Where they are delivered to beside the log.
    package var sinks = AlertSinks()

    package init(path: String) { self.path = path }

    /// `others`: paths that belong to something else, by name.
    init?(
        _ node: YAMLNode, others: [(name: String, path: String)], _ policy: PolicyDefinition,
        _ reader: SchemaReader
    ) {
        let values = reader.mapping(node, "alerts", known: PolicySchema.alertKeys)
        let place = reader.required(values, "path", node)
        let read = place.flatMap { DirectorySettings.path($0, reader) }
        path = read ?? ""
        if let node = values["rules"] {
            let rules = AlertRuleReader(reader: reader, policy: policy)
            self.rules = rules.read(node)
        }
        let sinks = AlertSinkReader(
            reader: reader, directory: KeyFiles.directory(of: reader.file))
        self.sinks = sinks.read(values)
        guard let place, let read else { return nil }
        for other in others where other.path.split(separator: "/") == read.split(separator: "/") {
            reader.fail(
                place, "alerts and \(other.name) each have a directory of their own: choose another"
                    + " path, such as \(read)/alerts")
        }
    }
}

/// Reads rules of alerts.
struct AlertRuleReader {
    let reader: SchemaReader
    let policy: PolicyDefinition

    func read(_ node: YAMLNode) -> AlertRules {
        var rules = AlertRules.standard
        for (key, node) in reader.entries(node, "rules") {
            guard let name = reader.text(key, "a rule's name") else { continue }
            guard name.utf8.count <= 64, name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else {
                reader.fail(key, "a rule's name is 1 to 64 bytes without spaces or controls")
                continue
            }
            let known = rules.firstIndex { $0.name == name }
            guard let rule = rule(name, node, known.map { rules[$0] }) else { continue }
            if let known { rules[known] = rule } else { rules.append(rule) }
        }
        if rules.count > AlertRules.rulesMax {
            reader.fail(node, "at most \(AlertRules.rulesMax) rules, the standard ones too")
        }
        return AlertRules(rules)
    }

    private func rule(_ name: String, _ node: YAMLNode, _ standard: AlertRule?) -> AlertRule? {
        // First of which kind it is: that says what else it may have.
        let all = reader.mapping(node, "rule \(name)", known: PolicySchema.alertRuleKeys)
        let kinds = AlertKind.allCases.filter { $0 != .test }
        var rule: AlertRule
        if let standard {
            rule = standard
            if let node = all["kind"] {
                reader.fail(node, "rule \(name) is a standard one: its kind is not to be said")
            }
        } else {
            guard let said = reader.required(all, "kind", node),
                let kind = reader.choice(said, "kind", kinds.map { ($0.word, $0) })
            else { return nil }
            rule = AlertRule(name, kind)
        }
        let known = PolicySchema.keys(of: rule.kind)
        for (key, _) in reader.entries(node, "rule \(name)") {
            guard let word = key.text, PolicySchema.alertRuleKeys.contains(word) else { continue }
            if !known.contains(word) {
                reader.fail(
                    key, "a rule of kind \(rule.kind.word) has no \(word)"
                        + "; it has: \(known.joined(separator: ", "))")
            }
        }
        fill(&rule, all)
        return rule
    }

    private func fill(_ rule: inout AlertRule, _ values: [String: YAMLNode]) {
        rule.isEnabled = reader.boolean(values["enabled"], "enabled") ?? rule.isEnabled
        rule.percents = percents(values["percents"]) ?? rule.percents
        rule.hysteresisPercent = percent(values["hysteresis"], "hysteresis", 0...100)
            ?? rule.hysteresisPercent
        let passed = values["before"] ?? values["after"]
        rule.periodPercent = percent(passed, "before (or after)", 1...99) ?? rule.periodPercent
        let quotas = Set(policy.plans.flatMap { $0.quotas.map(\.name) }).sorted()
        rule.quotas = names(values["quotas"], "quota", quotas) ?? rule.quotas
        rule.plans = names(values["plans"], "plan", policy.plans.map(\.name)) ?? rule.plans
        rule.operations = names(values["operations"], "operation", policy.operations.map(\.name))
            ?? rule.operations
        rule.scope =
            reader.choice(values["scope"], "scope", FloodScope.allCases.map { ($0.word, $0) })
            ?? rule.scope
        let most: UInt64 = rule.kind == .keyNetworks ? 64 : 1_000_000_000
        rule.count = reader.integer(values["count"], "count", 2...most) ?? rule.count
        rule.windowMilliseconds =
            reader.milliseconds(
                values["window"], "window", 1_000...86_400_000, "1s to 24h")
            ?? rule.windowMilliseconds
        rule.factor = reader.integer(values["factor"], "factor", 2...1_000) ?? rule.factor
        rule.costMin =
            reader.integer(values["cost_min"], "cost_min", 1...(1 << 50)) ?? rule.costMin
    }

    private func percent(
        _ node: YAMLNode?, _ what: String, _ range: ClosedRange<UInt64>
    ) -> UInt32? {
        reader.integer(node, what, range).map { UInt32(truncatingIfNeeded: $0) }
    }

    /// Ascending, each once.
    private func percents(_ node: YAMLNode?) -> [UInt32]? {
        guard let node else { return nil }
        let elements = reader.filledList(node, "percents", "leave it out, or say enabled: false")
        let all = elements.compactMap {
            percent($0, "an element of percents", AlertRule.percentRange)
        }
        if zip(all, all.dropFirst()).contains(where: { $0 >= $1 }) {
            reader.fail(node, "percents ascend, each once: such as [80, 95, 100]")
        }
        if all.count > AlertRule.percentsMax {
            reader.fail(node, "at most \(AlertRule.percentsMax) percents")
        }
        return all
    }

    /// Names that the policy has.
    private func names(_ node: YAMLNode?, _ what: String, _ known: [String]) -> [String]? {
        guard let node else { return nil }
        let elements = reader.filledList(node, "\(what)s", "leave it out for all")
        return elements.compactMap { element in
            guard let name = reader.text(element, "an element of \(what)s") else { return nil }
            guard known.contains(name) else {
                reader.fail(element, "no \(what) \"\(name)\"" + reader.meant(name, known))
                return nil
            }
            return name
        }
    }
}

extension PolicySchema {
    static let alertKeys = ["path", "rules", "sinks", "spool_max", "retry", "source"]
    static let alertRuleKeys = [
        "kind", "enabled", "percents", "hysteresis", "before", "after", "quotas", "plans", "scope",
        "count", "window", "factor", "cost_min", "operations",
    ]

    /// What a rule of a kind may have.
    static func keys(of kind: AlertKind) -> [String] {
        let own: [String] =
            switch kind {
            case .quotaThreshold: ["percents", "hysteresis", "quotas", "plans"]
            case .quotaExhaustedEarly: ["before", "hysteresis", "quotas", "plans"]
            case .quotaForecast: ["after", "hysteresis", "quotas", "plans"]
            case .invalidCredentials: ["scope", "count", "window"]
            case .keyNetworks: ["count"]
            case .suddenRise: ["count", "factor"]
            case .costlyOperation: ["cost_min", "operations"]
            case .refreshReuse, .daemonTrouble, .test: []
            }
        return ["kind", "enabled"] + own
    }
}
