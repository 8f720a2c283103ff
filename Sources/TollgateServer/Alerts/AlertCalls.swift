import CLinux
import TollgateCore
import TollgateStorage
import TollgateWire

/// Calls about alerts: Protocol.md, "Calls".
enum AlertCalls {
    static let absence =
        "the policy has no alerts; add the section, and start the daemon again"
    static let withoutAlerts = CallReply.refused(.conflict, absence)

    static func reply(
        to request: DirectoryRequest, by peer: CallPeer, _ alerts: AlertService?
    ) -> CallReply {
        guard let alerts else { return withoutAlerts }
        let call = AlertCall(
            alerts: alerts, arguments: CallArguments(request), peer: peer, now: tg_walltime())
        do throws(AlertRefusal) {
            return CallReply(status: .ok, body: try call.perform().bytes)
        } catch { return .refused(error.status, error.detail) }
    }
}

/// Why nothing was changed.
struct AlertRefusal: Error {
    var status: Status
    var detail: String

    init(_ status: Status, _ detail: String) {
        self.status = status
        self.detail = detail
    }
}

/// One call, with what it is carried out with.
private struct AlertCall {
    let alerts: AlertService
    let arguments: CallArguments
    let peer: CallPeer
    let now: Int64

    private var who: String { "uid \(peer.uid), pid \(peer.pid)" }

    func perform() throws(AlertRefusal) -> JSONValue {
        switch arguments.request.call {
        case .listAlerts: try listAlerts()
        case .acknowledgeAlert: try acknowledge()
        case .testAlerts: try test()
        case .createSilence: try silence()
        case .listSilences: try listSilences()
        case .removeSilence: try removeSilence()
        default: throw AlertRefusal(.internalError, "a call that is not about alerts")
        }
    }

    private func id() throws(AlertRefusal) -> UInt64 {
        guard let id = arguments.integer("id") else {
            throw AlertRefusal(.invalidValue, "id: is missing")
        }
        return UInt64(clamping: id)
    }

    /// The member `rule`, where it is there.
    private func rule() throws(AlertRefusal) -> String? {
        guard let rule = arguments.optionalText("rule") else { return nil }
        guard alerts.hasRule(rule) else {
            throw AlertRefusal(
                .invalidValue,
                "rule: the policy has no rule of that name; tollgate policy show lists them")
        }
        return rule
    }

    /// A member that names something of the policy.
    private func named(
        _ member: String, _ isKnown: (String) -> Bool
    ) throws(AlertRefusal) -> String? {
        guard let name = arguments.optionalText(member) else { return nil }
        guard isKnown(name) else {
            throw AlertRefusal(
                .invalidValue, "\(member): the policy has no \(member) of that name;"
                    + " tollgate policy show lists them")
        }
        return name
    }

    /// The member `address`, as alerts spell it.
    private func address() throws(AlertRefusal) -> String? {
        guard let text = arguments.optionalText("address") else { return nil }
        guard let address = AlertAddress.spelled(text) else {
            throw AlertRefusal(
                .invalidValue, "address: is neither one IPv4 address, such as 192.0.2.7, nor an"
                    + " IPv6 address or its /64, such as 2001:db8::/64: alerts are about these;"
                    + " of other networks silence each, or the rule")
        }
        return address
    }

    private func trouble() throws(AlertRefusal) -> String? {
        guard let word = arguments.optionalText("trouble") else { return nil }
        guard DaemonTrouble(rawValue: word) != nil else {
            let all = DaemonTrouble.allCases.map(\.rawValue).joined(separator: ", ")
            throw AlertRefusal(.invalidValue, "trouble: is none of the daemon's: \(all)")
        }
        return word
    }

    private func words(_ note: String?) -> String { note.map { ": \($0)" } ?? "" }

    // MARK: alerts

    private func listAlerts() throws(AlertRefusal) -> JSONValue {
        let (rule, organization) = (
            arguments.optionalText("rule"), arguments.optionalText("organization")
        )
        let wanted = alerts.recent.reversed().filter {
            (rule ?? $0.rule) == $0.rule
                && (organization ?? $0.subject.organization) == $0.subject.organization
        }
        return try page(wanted, id: \.id) { AlertInfo($0) }
    }

    private func acknowledge() throws(AlertRefusal) -> JSONValue {
        let (id, note) = (try id(), arguments.optionalText("note"))
        let line = "alert \(id) acknowledged by \(who)\(words(note))"
        let noted = try alerts.change(saying: { _ in line }) { engine in
            engine.acknowledge(id, by: peer.uid, note: note, now: now)
        }
        guard let noted else {
            throw AlertRefusal(
                .notFound, "there is no alert of that id among the newest"
                    + " \(AlertState.recentMax)")
        }
        return .object(["alert": AlertInfo(noted).json])
    }

    private func test() throws(AlertRefusal) -> JSONValue {
        let rule = try rule()
        let alert = try alerts.change(saying: { "alert \($0.id) is a test asked for by \(who)" }) {
            $0.fireTest(rule: rule, now: now)
        }
        guard let alert else { throw AlertRefusal(.internalError, "no test was made") }
        return .object(["alert": AlertInfo(alert).json])
    }

    // MARK: silences

    private func silence() throws(AlertRefusal) -> JSONValue {
        var wanted = AlertSilence(until: try until())
        wanted.rule = try rule() ?? ""
        wanted.subject.organization = arguments.optionalText("organization") ?? ""
        wanted.subject.user = arguments.optionalText("user") ?? ""
        wanted.subject.key = arguments.optionalText("key") ?? ""
        wanted.subject.address = try address() ?? ""
        wanted.subject.quota = try named("quota") { alerts.hasQuota($0) } ?? ""
        wanted.subject.operation = try named("operation") { alerts.hasOperation($0) } ?? ""
        wanted.subject.trouble = try trouble() ?? ""
        wanted.isPersonal = arguments.optionalFlag("personal")
        wanted.uid = peer.uid
        wanted.note = arguments.optionalText("note") ?? ""
        let asked = wanted
        let made = try alerts.change(saying: { made in
            "alerts: silence \(made.id) made by \(who)\(words(arguments.optionalText("note")))"
        }) { $0.silence(asked, now: now) }
        guard let made else {
            throw AlertRefusal(
                .conflict, "\(AlertState.silencesMax) silences hold already; remove one"
                    + " (silence.list, silence.remove)")
        }
        return .object(["silence": AlertSilenceInfo(made).json])
    }

    /// `until_at`, or so long from now.
    private func until() throws(AlertRefusal) -> Int64 {
        let latest = now &+ AlertSilenceInfo.secondsMax &* 1_000
        switch (arguments.integer("until_at"), arguments.integer("for_seconds")) {
        case (let until?, nil):
            guard until > now, until <= latest else {
                throw AlertRefusal(
                    .invalidValue, "until_at: is not ahead of now, or by more than 366 days")
            }
            return until
        case (nil, let seconds?): return now &+ seconds &* 1_000
        default:
            throw AlertRefusal(.invalidValue, "until_at: give it or for_seconds, one of the two")
        }
    }

    private func listSilences() throws(AlertRefusal) -> JSONValue {
        try page(alerts.silences(now: now).reversed(), id: \.id) { AlertSilenceInfo($0) }
    }

    private func removeSilence() throws(AlertRefusal) -> JSONValue {
        let id = try id()
        let line = "alerts: silence \(id) removed by \(who)"
        let removed = try alerts.change(saying: { _ in line }) {
            $0.removeSilence(id, now: now)
        }
        guard let removed else {
            throw AlertRefusal(.notFound, "there is no silence of that id, or it is over")
        }
        return .object(["silence": AlertSilenceInfo(removed).json])
    }

    // MARK: parts

    /// Of a list by descending ids: as many as were asked for and fit a frame.
    private func page<Item, Document: DirectoryDocument>(
        _ all: [Item], id: (Item) -> UInt64, _ document: (Item) -> Document
    ) throws(AlertRefusal) -> JSONValue {
        var left = all[...]
        if let after = arguments.optionalText("after") {
            guard let before = UInt64(after) else {
                throw AlertRefusal(.invalidValue, "after: is no cursor of this list")
            }
            left = left.drop { id($0) >= before }
        }
        var items: [Document] = []
        var (bytes, last) = (0, UInt64(0))
        for item in left.prefix(Int(clamping: arguments.integer("limit") ?? 100)) {
            let made = document(item)
            bytes += made.json.bytes.count + 1
            guard items.isEmpty || bytes <= CallReply.listBytesMax else { break }
            items.append(made)
            last = id(item)
        }
        return DirectoryPage(
            items: items, next: items.count < left.count ? String(last) : nil).json
    }
}

extension CallHandlers {
    /// They come here where there is a directory and no rules of alerts.
    static func ofAlerts(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        throw context.refuse(.conflict, AlertCalls.absence)
    }
}

private func present(_ text: String) -> String? { text.isEmpty ? nil : text }

extension AlertSubjectInfo {
    fileprivate init(_ subject: AlertSubject, isPersonal: Bool?) {
        self.init()
        organization = present(subject.organization)
        self.isPersonal = isPersonal
        user = present(subject.user)
        key = present(subject.key)
        address = present(subject.address)
        quota = present(subject.quota)
        operation = present(subject.operation)
        trouble = present(subject.trouble)
    }
}

extension AlertInfo {
    init(_ alert: Alert) {
        self.init(
            id: alert.id, rule: alert.rule, kind: Kind(rawValue: alert.kind.word) ?? .test,
            severity: Severity(rawValue: alert.severity.word) ?? .info,
            at: Timestamp(milliseconds: alert.at), text: alert.text,
            subject: AlertSubjectInfo(alert.subject, isPersonal: alert.subject.isPersonal))
        (threshold, value, limit) = (alert.threshold, alert.value, alert.limit)
        if alert.periodEnd != .max {
            periodEndsAt = Timestamp(milliseconds: alert.periodEnd)
        }
        exhaustedAt = alert.exhaustedAt.map { Timestamp(milliseconds: $0) }
        isShadow = alert.subject.isShadow
        isSilenced = alert.isSilenced
        acknowledgedAt = alert.acknowledgedAt.map { Timestamp(milliseconds: $0) }
        acknowledgedBy = alert.acknowledgedBy.map { UInt64($0) }
        note = alert.note
    }
}

extension AlertSilenceInfo {
    init(_ silence: AlertSilence) {
        self.init(
            id: silence.id, rule: present(silence.rule),
            subject: AlertSubjectInfo(silence.subject, isPersonal: silence.isPersonal),
            at: Timestamp(milliseconds: silence.at),
            untilAt: Timestamp(milliseconds: silence.until), uid: UInt64(silence.uid),
            note: silence.note)
    }
}
