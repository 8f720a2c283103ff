/// Rules of traffic: floods, keys in many places, rises, what costs much.
extension AlertEngine {
    // MARK: invalid credentials

    /// Counts of the last window, as if those of the stretch before were spread over it evenly.
    private static func estimate(
        _ window: AlertState.Window, _ now: Int64, _ length: Int64
    ) -> UInt64 {
        let stretch = now / length
        let into = UInt64(max(0, now &- stretch &* length))
        let whole = UInt64(length)
        func share(_ count: UInt64) -> UInt64 {
            let (high, low) = count.multipliedFullWidth(by: whole &- min(into, whole))
            return high < whole ? whole.dividingFullWidth((high, low)).quotient : .max
        }
        if stretch <= window.stretch { return window.current.addingClamped(share(window.previous)) }
        return stretch == window.stretch &+ 1 ? share(window.current) : 0
    }

    mutating func observeFlood(_ entry: AuditEntry, _ index: Int) {
        let rule = rules.rules[index]
        guard let key = Self.floodKey(entry, rule.scope) else { return }
        let now = entry.head.wallMilliseconds
        let length = Int64(clamping: rule.windowMilliseconds)
        let stretch = now / length
        if counters[index].windows[key] == nil,
            counters[index].windows.count >= AlertState.tableMax
        {
            forgetWindows(index, stretch)
        }
        var window = counters[index].windows[key]
            ?? AlertState.Window(stretch: stretch, current: 0, previous: 0)
        // Far ahead, it was counted in stretches of another length, before a restart, or by a clock
        // that was set back.
        let isFarAhead = window.stretch > stretch && window.stretch &- stretch > 1
        if stretch > window.stretch || isFarAhead {
            window.previous = stretch == window.stretch &+ 1 ? window.current : 0
            window.current = 0
            window.stretch = stretch
        }
        window.current = window.current.addingClamped(1)
        counters[index].windows[key] = window
        let level = Self.estimate(window, now, length)
        let subject = Self.floodSubject(entry, rule.scope)
        if level < rule.count {
            // Half of it is well below.
            if level < rule.count / 2, hasFired(rule, subject) { clear(rule, subject) }
            return
        }
        guard mayFire(rule, subject, now), mayRaise(index, now) else { return }
        fire(rule, subject, now) { ($0.threshold, $0.value) = (rule.count, level) }
    }

    private static func floodKey(
        _ entry: AuditEntry, _ scope: FloodScope
    ) -> AlertState.CounterKey? {
        switch scope {
        case .overall: return AlertState.CounterKey(scope: scope.rawValue, high: 0, low: 0)
        case .source:
            let source = AlertAddress.source(entry.head)
            guard source.family != 0 else { return nil }
            return AlertState.CounterKey(
                scope: scope.rawValue, high: UInt64(source.family), low: source.high)
        case .key: return keyCounter(entry, scope.rawValue)
        }
    }

    private static func keyCounter(_ entry: AuditEntry, _ scope: UInt8) -> AlertState.CounterKey? {
        guard let id = entry.keyID else { return nil }
        return AlertState.CounterKey(
            scope: scope, high: id.loadUnaligned(fromByteOffset: 0, as: UInt64.self).littleEndian,
            low: id.loadUnaligned(fromByteOffset: 8, as: UInt64.self).littleEndian)
    }

    private static func floodSubject(_ entry: AuditEntry, _ scope: FloodScope) -> AlertSubject {
        var subject = AlertSubject()
        switch scope {
        case .overall: break
        case .source:
            let source = AlertAddress.source(entry.head)
            subject.address = AlertAddress.text(family: source.family, high: source.high)
        case .key:
            if let id = entry.keyID { subject.key = String(decoding: id, as: UTF8.self) }
        }
        return subject
    }

    private mutating func forgetWindows(_ index: Int, _ stretch: Int64) {
        let order = counters[index].windows.sorted {
            let old = ($0.value.stretch < stretch &- 1, $1.value.stretch < stretch &- 1)
            if old.0 != old.1 { return old.0 }
            if $0.value.current != $1.value.current { return $0.value.current < $1.value.current }
            return $0.key < $1.key
        }
        for (key, window) in order.prefix(order.count / 2) {
            if window.stretch >= stretch &- 1 { state.evicted &+= 1 }
            counters[index].windows[key] = nil
        }
    }

    /// Of what anybody can bring about, so many alerts in an hour; more are counted alone.
    private mutating func mayRaise(_ index: Int, _ now: Int64) -> Bool {
        let hour = now / Self.hourMilliseconds
        if hour != counters[index].hour {
            counters[index].hour = hour
            counters[index].alertsOfHour = 0
        }
        guard counters[index].alertsOfHour < Self.alertsPerHourMax else {
            state.suppressed &+= 1
            return false
        }
        counters[index].alertsOfHour &+= 1
        return true
    }

    // MARK: keys

    mutating func observeNetworks(_ entry: AuditEntry, _ index: Int) {
        let head = entry.head
        guard head.addressFamily != 0, head.organizationBytes > 0,
            let key = Self.keyCounter(entry, 2)
        else { return }
        let rule = rules.rules[index]
        let day = head.wallMilliseconds / Self.dayMilliseconds
        let source = AlertAddress.source(head)
        let network = AlertAddress.network(family: source.family, high: source.high)
        if let known = counters[index].networks[key], known.day == day {
            guard known.seen.count < Int(clamping: rule.count), !known.seen.contains(network) else {
                return
            }
            counters[index].networks[key]?.seen.append(network)
        } else {
            if counters[index].networks[key] == nil,
                counters[index].networks.count >= AlertState.tableMax
            {
                forgetNetworks(index, day)
            }
            counters[index].networks[key] = AlertState.Networks(day: day, seen: [network])
        }
        let count = UInt64(counters[index].networks[key]?.seen.count ?? 0)
        guard count >= rule.count else { return }
        var subject = AlertSubject()
        subject.organization = String(decoding: entry.organization, as: UTF8.self)
        subject.isPersonal = head.flags.contains(.personal)
        subject.user = String(decoding: entry.user, as: UTF8.self)
        if let id = entry.keyID { subject.key = String(decoding: id, as: UTF8.self) }
        // A day's networks are counted anew: it was none in between.
        clear(rule, subject)
        guard mayFire(rule, subject, head.wallMilliseconds) else { return }
        fire(rule, subject, head.wallMilliseconds) {
            ($0.threshold, $0.value) = (rule.count, count)
        }
    }

    private mutating func forgetNetworks(_ index: Int, _ day: Int64) {
        let order = counters[index].networks.sorted {
            let old = ($0.value.day != day, $1.value.day != day)
            if old.0 != old.1 { return old.0 }
            let (a, b) = ($0.value.seen.count, $1.value.seen.count)
            return a != b ? a < b : $0.key < $1.key
        }
        for (key, networks) in order.prefix(order.count / 2) {
            if networks.day == day { state.evicted &+= 1 }
            counters[index].networks[key] = nil
        }
    }

    // MARK: rises

    static let peakDays = 8
    /// A new caller has no baseline before it has been there so long.
    private static let learningDays: Int64 = 3

    mutating func observeRise(_ entry: AuditEntry, _ index: Int) {
        let head = entry.head
        guard head.organizationBytes > 0 else { return }
        let rule = rules.rules[index]
        let isPersonal = head.flags.contains(.personal)
        // Names are told apart by their hash: two that share it would be taken together.
        let key = AlertState.CounterKey(
            scope: isPersonal ? 4 : 5, high: AlertHash.of(entry.organization), low: 0)
        let now = head.wallMilliseconds
        let (hour, day) = (now / Self.hourMilliseconds, now / Self.dayMilliseconds)
        if counters[index].rises[key] == nil,
            counters[index].rises.count >= AlertState.quotasMax
        {
            forgetRises(index)
        }
        var rise = counters[index].rises[key]
            ?? AlertState.Rise(
                since: day, hour: hour, count: 0,
                peaks: [UInt64](repeating: 0, count: Self.peakDays), lastDay: day)
        if hour > rise.hour { Self.close(&rise, hour, day) }
        let isSampled = head.kind == AuditKind.check.rawValue && head.reason == 0
        rise.count = rise.count.addingClamped(isSampled ? sampleOneIn : 1)
        counters[index].rises[key] = rise
        guard rise.count >= rule.count, day &- rise.since >= Self.learningDays else { return }
        let before = rise.peaks.max() ?? 0
        guard rise.count / rule.factor >= before else { return }
        var subject = AlertSubject()
        subject.organization = String(decoding: entry.organization, as: UTF8.self)
        subject.isPersonal = isPersonal
        // The hour that fired is the next one's baseline: only a further rise fires again.
        clear(rule, subject)
        guard mayFire(rule, subject, now) else { return }
        fire(rule, subject, now) {
            $0.threshold = max(rule.count, before.multipliedClamped(rule.factor))
            $0.value = rise.count
            $0.limit = before
        }
    }

    /// The hour is over: it counts for its day, and days without requests count nothing.
    private static func close(_ rise: inout AlertState.Rise, _ hour: Int64, _ day: Int64) {
        let ofDay = rise.hour / 24
        let place = Int(ofDay % Int64(peakDays))
        rise.peaks[place] = max(rise.peaks[place], rise.count)
        for passed in 1...Int64(peakDays) where ofDay &+ passed <= day {
            rise.peaks[Int((ofDay &+ passed) % Int64(peakDays))] = 0
        }
        rise.lastDay = day
        rise.hour = hour
        rise.count = 0
    }

    private mutating func forgetRises(_ index: Int) {
        let order = counters[index].rises.sorted {
            $0.value.hour != $1.value.hour ? $0.value.hour < $1.value.hour : $0.key < $1.key
        }
        for (key, _) in order.prefix(order.count / 2) {
            state.evicted &+= 1
            counters[index].rises[key] = nil
        }
    }

    // MARK: what costs much

    mutating func observeCost(_ entry: AuditEntry, _ names: AlertNames, _ index: Int) {
        let rule = rules.rules[index]
        let head = entry.head
        let isNamed: Bool
        let operations = names.names.operations
        guard Int(head.operation) < operations.count, head.organizationBytes > 0 else { return }
        let operation = operations[Int(head.operation)]
        isNamed = !rule.operations.isEmpty && rule.operations.contains(operation)
        guard isNamed || head.cost >= rule.costMin else { return }
        var subject = AlertSubject()
        subject.organization = String(decoding: entry.organization, as: UTF8.self)
        subject.isPersonal = head.flags.contains(.personal)
        subject.operation = operation
        guard mayFire(rule, subject, head.wallMilliseconds) else { return }
        fire(rule, subject, head.wallMilliseconds) {
            ($0.threshold, $0.value) = (rule.costMin, head.cost)
        }
    }
}

extension UInt64 {
    func multipliedClamped(_ other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
