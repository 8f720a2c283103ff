import TollgateWire

/// The state as bytes, little-endian: "TGALERT3", then its parts in the order below, each list with
/// its u32 count first and sorted, so that one state has one spelling. A text is its u16 length and
/// its UTF-8; a number is a u64, an optional number a u8 (0: none) and then it.
///
/// next id, evicted, suppressed, handed; quotas (subject, end, fired at, marks of rule and limit);
/// firings (rule, subject, fired at, u8 cleared); counters (rule, hour, alerts of the hour, windows
/// of key, stretch, current, previous; networks of key, day, list of seen; rises of key, since,
/// hour, count, last day, list of peaks), a key being u8 scope and two numbers; alerts; silences;
/// resets of quotas (two numbers). A subject begins with a u8: bit 0 personal, bit 1 of a quota in
/// shadow. "TGALERT2" is read as well, which has no such quotas, and "TGALERT1": it has no resets
/// either, alerts end with the time of acknowledgement, and silences are of at most one rule and
/// organization.
extension AlertState {
    private static let magic = Array("TGALERT3".utf8)
    private static let magicWithoutShadow = Array("TGALERT2".utf8)
    private static let magicBefore = Array("TGALERT1".utf8)

    package var encoded: [UInt8] {
        var bytes = AlertBytes()
        bytes.all = Self.magic
        for number in [nextID, evicted, suppressed, handed] { bytes.put(number) }
        bytes.put(quotas.sorted { $0.key < $1.key }) { bytes, quota in
            bytes.put(quota.key)
            bytes.put(quota.value.end)
            bytes.put(quota.value.firedAt)
            bytes.put(quota.value.marks) { bytes, mark in
                bytes.put(mark.rule)
                bytes.put(mark.limit)
            }
        }
        let sorted = firings.sorted {
            $0.key.rule != $1.key.rule
                ? $0.key.rule < $1.key.rule : $0.key.subject < $1.key.subject
        }
        bytes.put(sorted) { bytes, firing in
            bytes.put(firing.key.rule)
            bytes.put(firing.key.subject)
            bytes.put(firing.value.firedAt)
            bytes.all.append(firing.value.isCleared ? 1 : 0)
        }
        bytes.put(counters.sorted { $0.key < $1.key }) { bytes, counters in
            bytes.put(counters.key)
            bytes.put(counters.value)
        }
        bytes.put(recent) { bytes, alert in bytes.put(alert) }
        bytes.put(silences) { bytes, silence in
            bytes.put(silence.id)
            bytes.put(silence.rule)
            bytes.put(silence.subject)
            bytes.put(silence.isPersonal.map { $0 ? Int64(1) : 0 })
            for time in [silence.until, silence.at] { bytes.put(time) }
            bytes.put(UInt64(silence.uid))
            bytes.put(silence.note)
        }
        bytes.put(resets) { bytes, reset in
            bytes.put(UInt64(littleEndian: reset.low))
            bytes.put(UInt64(littleEndian: reset.high))
        }
        return bytes.all
    }

    /// `nil` when the bytes are not what `encoded` makes.
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        self.init()
        var reader = AlertReader(ByteReader(bytes))
        guard let magic = reader.bytes.take(Self.magic.count) else { return nil }
        reader.isBefore = magic.elementsEqual(Self.magicBefore)
        guard
            [Self.magic, Self.magicWithoutShadow, Self.magicBefore].contains(where: {
                magic.elementsEqual($0)
            })
        else { return nil }
        nextID = reader.number()
        evicted = reader.number()
        suppressed = reader.number()
        handed = reader.number()
        reader.each {
            let subject = $0.subject()
            let (end, firedAt) = ($0.instant(), $0.instant())
            var marks: [Mark] = []
            $0.each { marks.append(Mark(rule: $0.number(), limit: $0.number())) }
            quotas[subject] = Quota(end: end, firedAt: firedAt, marks: marks)
        }
        reader.each {
            let key = FiringKey(rule: $0.text(), subject: $0.subject())
            firings[key] = Firing(firedAt: $0.instant(), isCleared: $0.byte() != 0)
        }
        reader.each {
            let rule = $0.text()
            counters[rule] = $0.counters()
        }
        reader.each { recent.append($0.alert()) }
        reader.each { silences.append($0.silence()) }
        if !reader.isBefore {
            reader.each { resets.append(ResetID(low: $0.number(), high: $0.number())) }
        }
        guard !reader.hasFailed, reader.bytes.remaining == 0, nextID > 0 else { return nil }
    }
}

/// Writes the parts of a state.
struct AlertBytes {
    var all: [UInt8] = []

    mutating func put(_ value: UInt64) {
        for shift in 0..<8 { all.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
    }

    mutating func put(_ value: Int64) { put(UInt64(bitPattern: value)) }

    mutating func put(_ text: String) {
        let utf8 = text.utf8.prefix(Int(UInt16.max))
        all += [UInt8(utf8.count & 0xff), UInt8(utf8.count >> 8)]
        all += utf8
    }

    mutating func put(_ value: Int64?) {
        all.append(value == nil ? 0 : 1)
        if let value { put(value) }
    }

    mutating func put<T>(_ list: [T], _ body: (inout AlertBytes, T) -> Void) {
        for shift in 0..<4 { all.append(UInt8(truncatingIfNeeded: list.count >> (8 * shift))) }
        for one in list { body(&self, one) }
    }

    mutating func put(_ subject: AlertSubject) {
        all.append((subject.isPersonal ? 1 : 0) | (subject.isShadow ? 2 : 0))
        for text in [
            subject.organization, subject.user, subject.key, subject.address, subject.quota,
            subject.operation, subject.trouble,
        ] {
            put(text)
        }
    }

    mutating func put(_ key: AlertState.CounterKey) {
        all.append(key.scope)
        put(key.high)
        put(key.low)
    }

    mutating func put(_ counters: AlertState.Counters) {
        put(counters.hour)
        put(counters.alertsOfHour)
        put(counters.windows.sorted { $0.key < $1.key }) { bytes, window in
            bytes.put(window.key)
            bytes.put(window.value.stretch)
            bytes.put(window.value.current)
            bytes.put(window.value.previous)
        }
        put(counters.networks.sorted { $0.key < $1.key }) { bytes, networks in
            bytes.put(networks.key)
            bytes.put(networks.value.day)
            bytes.put(networks.value.seen) { $0.put($1) }
        }
        put(counters.rises.sorted { $0.key < $1.key }) { bytes, rise in
            bytes.put(rise.key)
            bytes.put(rise.value.since)
            bytes.put(rise.value.hour)
            bytes.put(rise.value.count)
            bytes.put(rise.value.lastDay)
            bytes.put(rise.value.peaks) { $0.put($1) }
        }
    }

    mutating func put(_ alert: Alert) {
        put(alert.id)
        put(alert.rule)
        all += [alert.kind.rawValue, alert.severity.rawValue]
        put(alert.subject)
        for number in [alert.threshold, alert.value, alert.limit] { put(number) }
        put(alert.at)
        put(alert.periodEnd)
        put(alert.exhaustedAt)
        put(alert.words)
        all.append(alert.isSilenced ? 1 : 0)
        put(alert.acknowledgedAt)
        put(alert.acknowledgedBy.map { Int64($0) })
        put(alert.note)
    }
}

/// Reads them; once something is wrong all reads as 0, and `hasFailed`.
struct AlertReader {
    var bytes: ByteReader
    private(set) var hasFailed = false
    /// Of the form before.
    var isBefore = false

    init(_ bytes: ByteReader) { self.bytes = bytes }

    mutating func byte() -> UInt8 { read(UInt8.self) }
    mutating func number() -> UInt64 { read(UInt64.self) }
    mutating func instant() -> Int64 { Int64(bitPattern: number()) }

    private mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T {
        guard !hasFailed, let value = bytes.read(type) else {
            hasFailed = true
            return 0
        }
        return value
    }

    mutating func text() -> String {
        let count = Int(read(UInt16.self))
        guard !hasFailed, let text = bytes.take(count) else {
            hasFailed = true
            return ""
        }
        return String(decoding: text, as: UTF8.self)
    }

    mutating func optionalInstant() -> Int64? { byte() == 0 ? nil : instant() }

    mutating func optionalText() -> String? {
        var found: String?
        each { found = $0.text() }
        return found
    }

    /// A list: stops at the first that cannot be read.
    mutating func each(_ body: (inout AlertReader) -> Void) {
        var left = read(UInt32.self)
        while left > 0, !hasFailed {
            body(&self)
            left &-= 1
        }
    }

    mutating func subject() -> AlertSubject {
        var subject = AlertSubject()
        let flags = byte()
        (subject.isPersonal, subject.isShadow) = (flags & 1 != 0, flags & 2 != 0)
        subject.organization = text()
        subject.user = text()
        subject.key = text()
        let address = text()
        // Earlier versions wrote IPv6 without "::", and silences as they were typed.
        subject.address = AlertAddress.spelled(address) ?? address
        subject.quota = text()
        subject.operation = text()
        subject.trouble = text()
        return subject
    }

    private mutating func counterKey() -> AlertState.CounterKey {
        AlertState.CounterKey(scope: byte(), high: number(), low: number())
    }

    mutating func counters() -> AlertState.Counters {
        var counters = AlertState.Counters()
        counters.hour = instant()
        counters.alertsOfHour = number()
        each {
            let key = $0.counterKey()
            counters.windows[key] = AlertState.Window(
                stretch: $0.instant(), current: $0.number(), previous: $0.number())
        }
        each {
            let key = $0.counterKey()
            let day = $0.instant()
            var seen: [UInt64] = []
            $0.each { seen.append($0.number()) }
            counters.networks[key] = AlertState.Networks(day: day, seen: seen)
        }
        each {
            let key = $0.counterKey()
            let (since, hour) = ($0.instant(), $0.instant())
            let (count, lastDay) = ($0.number(), $0.instant())
            var peaks: [UInt64] = []
            $0.each { peaks.append($0.number()) }
            // Days are remembered modulo their number.
            if peaks.count != AlertEngine.peakDays { $0.fail() }
            counters.rises[key] = AlertState.Rise(
                since: since, hour: hour, count: count, peaks: peaks, lastDay: lastDay)
        }
        return counters
    }

    mutating func fail() { hasFailed = true }

    mutating func alert() -> Alert {
        let (id, rule) = (number(), text())
        let kind = AlertKind(rawValue: byte())
        let severity = AlertSeverity(rawValue: byte())
        if kind == nil || severity == nil { hasFailed = true }
        let subject = subject()
        let (threshold, value, limit) = (number(), number(), number())
        var alert = Alert(
            id: id, rule: rule, kind: kind ?? .test, severity: severity ?? .info,
            subject: subject, at: instant())
        (alert.threshold, alert.value, alert.limit) = (threshold, value, limit)
        alert.periodEnd = instant()
        alert.exhaustedAt = optionalInstant()
        alert.words = text()
        alert.isSilenced = byte() != 0
        alert.acknowledgedAt = optionalInstant()
        guard !isBefore else { return alert }
        alert.acknowledgedBy = optionalInstant().map { UInt32(truncatingIfNeeded: $0) }
        alert.note = text()
        return alert
    }

    mutating func silence() -> AlertSilence {
        var silence = AlertSilence(until: 0)
        silence.id = number()
        if isBefore {
            silence.rule = optionalText() ?? ""
            silence.subject.organization = optionalText() ?? ""
            silence.until = instant()
            return silence
        }
        silence.rule = text()
        silence.subject = subject()
        silence.isPersonal = optionalInstant().map { $0 != 0 }
        (silence.until, silence.at) = (instant(), instant())
        silence.uid = UInt32(truncatingIfNeeded: number())
        silence.note = text()
        return silence
    }
}
