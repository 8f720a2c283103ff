/// What operators do about alerts; and what becomes of what was told when they reset quotas.
extension AlertEngine {
    /// The alert as it is then; `nil` where none of that id is kept. Acknowledged again, when and
    /// by whom it was first stays, and a note takes the place of the one before.
    package mutating func acknowledge(
        _ id: UInt64, by uid: UInt32, note: String?, now: Int64
    ) -> Alert? {
        guard let index = state.recent.firstIndex(where: { $0.id == id }) else { return nil }
        if state.recent[index].acknowledgedAt == nil {
            state.recent[index].acknowledgedAt = now
            state.recent[index].acknowledgedBy = uid
        }
        if let note { state.recent[index].note = note }
        return state.recent[index]
    }

    /// Takes the silence under an id of its own; `nil` when there are too many already.
    package mutating func silence(_ wanted: AlertSilence, now: Int64) -> AlertSilence? {
        state.silences.removeAll { $0.until <= now }
        guard state.silences.count < AlertState.silencesMax else { return nil }
        var silence = wanted
        silence.id = state.nextID
        silence.at = now
        state.nextID &+= 1
        state.silences.append(silence)
        return silence
    }

    /// The silence that was; `nil` where there is none of that id, or it is over.
    package mutating func removeSilence(_ id: UInt64, now: Int64) -> AlertSilence? {
        state.silences.removeAll { $0.until <= now }
        guard let index = state.silences.firstIndex(where: { $0.id == id }) else { return nil }
        return state.silences.remove(at: index)
    }

    /// Those that hold, the oldest first.
    package func silences(now: Int64) -> [AlertSilence] {
        state.silences.filter { $0.until > now }
    }

    /// An alert that an operator asks for, to see whether it arrives: marked by its kind, under the
    /// name of a rule or of none, whatever is silenced. No rule remembers it.
    package mutating func fireTest(rule: String?, now: Int64) -> Alert {
        var alert = Alert(
            id: state.nextID, rule: rule ?? AlertKind.test.word, kind: .test, severity: .info,
            subject: AlertSubject(), at: now)
        alert.words = "a test that an operator asked for"
        note(&alert)
        return alert
    }

    /// What was told of an organization's quotas may be told again in the periods that go on.
    mutating func rearm(
        _ organization: String, _ isPersonal: Bool, _ id: ResetID, _ boot: UInt64
    ) {
        guard !state.resets.contains(id) else { return }
        state.resets.append(id)
        if state.resets.count > AlertState.resetsMax { state.resets.removeFirst() }
        state.quotas = state.quotas.filter {
            $0.key.organization != organization || $0.key.isPersonal != isPersonal
        }
        if resetBoots.count >= AlertState.resetsMax {
            // Decisions of so long ago have all been fed.
            let order = resetBoots.sorted { ($0.value, $0.key) < ($1.value, $1.key) }
            for (key, _) in order.prefix(order.count / 2) { resetBoots[key] = nil }
        }
        resetBoots[Self.tenant(organization, isPersonal)] = boot
    }

    private static func tenant(_ organization: String, _ isPersonal: Bool) -> AlertSubject {
        var subject = AlertSubject()
        (subject.organization, subject.isPersonal) = (organization, isPersonal)
        return subject
    }

    /// Whether the decision was made before the quotas that it shows began anew.
    func isBeforeReset(_ subject: AlertSubject, _ head: AuditHead) -> Bool {
        guard !resetBoots.isEmpty,
            let boot = resetBoots[Self.tenant(subject.organization, subject.isPersonal)]
        else { return false }
        return head.bootNanoseconds <= boot
    }
}
