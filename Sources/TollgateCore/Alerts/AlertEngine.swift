import TollgateWire

/// Evaluates the rules: a function of what it is fed, in its order. Reads no clock and touches no
/// disk; times are the wall clock of what is fed. One thread.
///
/// Each rule fires once for a subject in a period: of quotas their own period, of the first use of
/// an operation and of a refresh token's reuse none that ends, of all others the day (UTC), and
/// there never twice within a day's length unless it was well below meanwhile.
package struct AlertEngine {
    static let dayMilliseconds: Int64 = 86_400_000
    static let hourMilliseconds: Int64 = 3_600_000
    /// Of a rule that anybody can make fire: alerts in an hour.
    static let alertsPerHourMax: UInt64 = 100

    package internal(set) var rules: AlertRules
    package var state: AlertState
    /// Fired and not yet taken, in their order.
    private(set) var pending: [Alert] = []
    var counters: [AlertState.Counters]
    /// By organization whose quotas began anew in this life: the boottime. What was decided before
    /// is of what ended.
    var resetBoots: [AlertSubject: UInt64] = [:]
    /// Of allowed CHECKs one in so many is fed.
    package var sampleOneIn: UInt64 = 1

    package init(_ rules: AlertRules, _ state: AlertState = AlertState()) {
        self.rules = rules
        self.state = state
        counters = rules.rules.map { state.counters[$0.name] ?? AlertState.Counters() }
    }

    /// The state as it is to be kept.
    package var snapshot: AlertState {
        var kept = state
        kept.counters = [:]
        for (rule, counters) in zip(rules.rules, counters)
        where counters != AlertState.Counters() {
            kept.counters[rule.name] = counters
        }
        return kept
    }

    /// Other rules from now on; what has fired stays so, and those of the same names go on counting
    /// where they count the same.
    package mutating func replace(_ rules: AlertRules) {
        let kept = snapshot
        let before = Dictionary(
            self.rules.rules.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.rules = rules
        counters = rules.rules.map { rule in
            guard let old = before[rule.name], let counted = kept.counters[rule.name],
                old.countsAs(rule)
            else { return AlertState.Counters() }
            return counted
        }
    }

    package mutating func takePending() -> [Alert] {
        let taken = pending
        pending.removeAll(keepingCapacity: true)
        return taken
    }

    package var hasPending: Bool { !pending.isEmpty }

    // MARK: feeding

    package mutating func observe(_ entry: AuditEntry, _ names: AlertNames) {
        let head = entry.head
        guard !head.flags.contains(.dryRun), !head.flags.contains(.repeated) else { return }
        let reason = Reason(rawValue: head.reason)
        let isInvalid = Self.isInvalid(reason)
        for index in rules.rules.indices where rules.rules[index].isEnabled {
            switch rules.rules[index].kind {
            case .quotaThreshold, .quotaExhaustedEarly, .quotaForecast: continue
            case .invalidCredentials: if isInvalid { observeFlood(entry, index) }
            case .keyNetworks: if !isInvalid { observeNetworks(entry, index) }
            case .suddenRise: observeRise(entry, index)
            case .costlyOperation: if head.reason == 0 { observeCost(entry, names, index) }
            case .refreshReuse, .daemonTrouble, .test: continue
            }
        }
        observeQuotas(entry, names)
    }

    /// What counts as an attempt: not what is merely missing or out of date.
    private static func isInvalid(_ reason: Reason?) -> Bool {
        switch reason {
        case .credentialInvalid, .credentialMalformed, .algorithmNotAllowed, .issuerUnknown,
            .keyUnknown, .signatureInvalid, .audienceMismatch, .claimInvalid, .credentialRevoked,
            .addressNotAllowed, .invalidCredentialLimited:
            true
        default: false
        }
    }

    package mutating func observe(_ event: AlertEvent, now: Int64) {
        switch event {
        case .refreshReuse(let organization, let isPersonal, let user):
            var subject = AlertSubject()
            (subject.organization, subject.isPersonal) = (organization, isPersonal)
            subject.user = user
            for rule in enabled(.refreshReuse) {
                // Each is an event of its own; more than one a day is no news.
                clear(rule, subject)
                if mayFire(rule, subject, now) { fire(rule, subject, now) { _ in } }
            }
        case .trouble(let name, let isOn, let words):
            var subject = AlertSubject()
            subject.trouble = name
            for rule in enabled(.daemonTrouble) {
                if !isOn {
                    clear(rule, subject)
                } else if mayFire(rule, subject, now) {
                    fire(rule, subject, now) { $0.words = words }
                }
            }
        case .quotasReset(let organization, let isPersonal, let id, let boot):
            rearm(organization, isPersonal, id, boot)
        }
    }

    private func enabled(_ kind: AlertKind) -> [AlertRule] {
        rules.rules.filter { $0.kind == kind && $0.isEnabled }
    }

    // MARK: firing

    /// Whether the rule may fire for the subject, by what it remembers.
    func mayFire(_ rule: AlertRule, _ subject: AlertSubject, _ now: Int64) -> Bool {
        let key = AlertState.FiringKey(rule: rule.name, subject: subject)
        guard let last = state.firings[key] else { return true }
        guard rule.kind != .costlyOperation else { return false }
        let isSameDay = now / Self.dayMilliseconds <= last.firedAt / Self.dayMilliseconds
        return !isSameDay && (last.isCleared || now &- last.firedAt >= Self.dayMilliseconds)
    }

    func hasFired(_ rule: AlertRule, _ subject: AlertSubject) -> Bool {
        state.firings[AlertState.FiringKey(rule: rule.name, subject: subject)] != nil
    }

    mutating func clear(_ rule: AlertRule, _ subject: AlertSubject) {
        state.firings[AlertState.FiringKey(rule: rule.name, subject: subject)]?.isCleared = true
    }

    mutating func fire(
        _ rule: AlertRule, _ subject: AlertSubject, _ now: Int64, _ fill: (inout Alert) -> Void
    ) {
        if state.firings.count >= AlertState.firingsMax { forgetFirings(now) }
        state.firings[AlertState.FiringKey(rule: rule.name, subject: subject)] =
            AlertState.Firing(firedAt: now)
        raise(rule, subject, now, fill)
    }

    /// Makes the alert; that it fired is remembered elsewhere.
    mutating func raise(
        _ rule: AlertRule, _ subject: AlertSubject, _ now: Int64, _ fill: (inout Alert) -> Void
    ) {
        var alert = Alert(
            id: state.nextID, rule: rule.name, kind: rule.kind, severity: .warning,
            subject: subject, at: now)
        fill(&alert)
        alert.severity = Self.severity(alert)
        note(&alert)
    }

    mutating func note(_ alert: inout Alert) {
        state.nextID &+= 1
        state.silences.removeAll { $0.until <= alert.at }
        alert.isSilenced = state.silences.contains { $0.covers(alert) }
        state.recent.append(alert)
        if state.recent.count > AlertState.recentMax { state.recent.removeFirst() }
        pending.append(alert)
    }

    private static func severity(_ alert: Alert) -> AlertSeverity {
        // It stops nobody.
        if alert.subject.isShadow { return .warning }
        return switch alert.kind {
        case .quotaThreshold: alert.threshold >= 100 ? .critical : .warning
        case .quotaExhaustedEarly, .refreshReuse, .keyNetworks, .daemonTrouble: .critical
        case .quotaForecast, .invalidCredentials, .suddenRise: .warning
        case .costlyOperation, .test: .info
        }
    }

    private mutating func forgetFirings(_ now: Int64) {
        let order = state.firings.sorted {
            let ended = ($0.value.isCleared ? 0 : 1, $1.value.isCleared ? 0 : 1)
            if ended.0 != ended.1 { return ended.0 < ended.1 }
            if $0.value.firedAt != $1.value.firedAt { return $0.value.firedAt < $1.value.firedAt }
            if $0.key.rule != $1.key.rule { return $0.key.rule < $1.key.rule }
            return $0.key.subject < $1.key.subject
        }
        for (key, firing) in order.prefix(order.count / 2) {
            if !firing.isCleared { state.evicted &+= 1 }
            state.firings[key] = nil
        }
    }
}
