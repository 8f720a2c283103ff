import TollgateCore
import TollgatePolicy

/// What two policies have otherwise. Found in what each comes to, which `policy show --json` shows
/// whole: so nothing that is shown there can be left out here.
struct PolicyChanges {
    enum What: String {
        case added, removed, changed
    }

    struct Change {
        /// Names of members, from the whole policy on.
        var path: [String]
        var what: What
        /// Of what was added, the new alone; of what was removed, the old.
        var old = JSON.null
        var new = JSON.null
        /// It is of a list: one element of it.
        var isElement = false

        /// A reload does not take it.
        var wantsRestart: Bool {
            switch path.first {
            case "daemon", "directory", "ledger", "audit": true
            case "alerts": path.count == 1 || path[1] == "path"
            default: false
            }
        }
    }

    private(set) var all: [Change] = []

    init(_ old: LoadedPolicy, _ new: LoadedPolicy) {
        compare(PolicyJSON.value(old), PolicyJSON.value(new), [])
        compareSecrets(old.definition, new.definition)
    }

    private mutating func compare(_ old: JSON, _ new: JSON, _ path: [String]) {
        switch (old, new) {
        case (.object(let old), .object(let new)):
            for (name, value) in old {
                if let other = new.first(where: { $0.0 == name })?.1 {
                    compare(value, other, path + [name])
                } else {
                    all.append(Change(path: path + [name], what: .removed, old: value))
                }
            }
            for (name, value) in new where !old.contains(where: { $0.0 == name }) {
                all.append(Change(path: path + [name], what: .added, new: value))
            }
        case (.list(let old), .list(let new)): compare(old, new, path)
        default:
            guard old.text != new.text else { return }
            all.append(Change(path: path, what: .changed, old: old, new: new))
        }
    }

    /// By element; the order alone is a change of the whole.
    private mutating func compare(_ old: [JSON], _ new: [JSON], _ path: [String]) {
        let (before, after) = (old.map(\.text), new.map(\.text))
        guard before != after else { return }
        var isOrder = true
        for (value, text) in zip(old, before) where !after.contains(text) {
            all.append(Change(path: path, what: .removed, old: value, isElement: true))
            isOrder = false
        }
        for (value, text) in zip(new, after) where !before.contains(text) {
            all.append(Change(path: path, what: .added, new: value, isElement: true))
            isOrder = false
        }
        guard isOrder else { return }
        all.append(Change(path: path, what: .changed, old: .list(old), new: .list(new)))
    }

    /// Keys that are called as before, and are others: what `policy show` does not show.
    private mutating func compareSecrets(_ old: PolicyDefinition, _ new: PolicyDefinition) {
        for issuer in new.issuers {
            let before = old.issuers.first { $0.name == issuer.name }?.keys ?? []
            for key in issuer.keys {
                let named = before.filter { PolicyText.key($0) == PolicyText.key(key) }
                guard !named.isEmpty, !named.contains(where: { Self.isSame($0, key) }) else {
                    continue
                }
                all.append(
                    Change(
                        path: ["issuers", issuer.name, "keys", PolicyText.key(key)],
                        what: .changed, old: .text("one"),
                        new: .text("another under the same name")))
            }
        }
    }

    private static func isSame(_ a: SigningKeyDefinition, _ b: SigningKeyDefinition) -> Bool {
        a.secret.withBytes { a in b.secret.withBytes { a.elementsEqual($0) } }
    }

    // MARK: shown

    var json: JSON {
        .object([
            ("differences", .count(all.count)),
            (
                "changes",
                .list(
                    all.map { change in
                        .object([
                            ("path", .texts(change.path)), ("change", .text(change.what.rawValue)),
                            ("old", change.old), ("new", change.new),
                            ("restart", .bool(change.wantsRestart)),
                            ("text", .text(change.text)),
                        ])
                    })
            ),
        ])
    }

    /// One line for each, and at the end what a reload does not take.
    var text: String {
        guard !all.isEmpty else { return "The two policies come to the same." }
        var lines = all.map { change in
            let mark =
                switch change.what {
                case .added: "+ "
                case .removed: "- "
                case .changed: "~ "
                }
            return mark + visible(change.text, onOneLine: true)
        }
        let later = all.filter(\.wantsRestart).count
        if later > 0 {
            lines.append("\(later) of these in force only after a restart of the daemon.")
        }
        return lines.joined(separator: "\n")
    }
}

extension PolicyChanges.Change {
    /// What the members of an object are, one of them and as a whole.
    private static let kinds = [
        "plans": "plan", "operations": "operation", "rate_limits": "rate limit",
        "quotas": "quota", "concurrency": "limit of open reservations", "prices": "price of",
        "charges": "charge of", "address_limits": "address limit", "issuers": "issuer",
        "rules": "alert rule", "sinks": "alert sink", "keys": "key",
    ]

    /// In words: where, and what becomes of it.
    var text: String {
        var place: [String] = []
        var index = 0
        var member: String?
        while index < path.count {
            let name = path[index]
            if let kind = Self.kinds[name], index + 1 < path.count {
                place.append("\(kind) \(path[index + 1])")
                index += 2
                continue
            }
            if index == path.count - 1 {
                member = name
            } else if index > 0 || path.count == 2 || Self.kinds[path[1]] == nil {
                place.append(name.replacing("_", with: " "))
            }
            index += 1
        }
        let (before, after) = (Self.words(old, member), Self.words(new, member))
        let here = place.joined(separator: ": ")
        guard let member else {
            switch what {
            case .added: return "\(here) is added: \(after)"
            case .removed: return "\(here) is gone: \(before)"
            case .changed: return "\(here): \(before) becomes \(after)"
            }
        }
        let lead = here.isEmpty ? "" : here + ": "
        if let known = known(member, before, after) { return lead + known }
        let name = Self.named(member)
        switch what {
        case .added: return lead + "\(name) is added: \(after)"
        case .removed: return lead + "\(name) is gone: \(before)"
        case .changed: return lead + "\(name) \(before) becomes \(after)"
        }
    }

    /// What has words of its own.
    private func known(_ member: String, _ before: String, _ after: String) -> String? {
        switch (member, what, isElement) {
        case ("permissions", .added, true): return "grants permission \(after)"
        case ("permissions", .removed, true): return "grants permission \(before) no more"
        case ("permission", .changed, _):
            if before == Self.none { return "needs permission \(after) now" }
            if after == Self.none { return "needs no permission now, and needed \(before)" }
            return "needs permission \(after) in place of \(before)"
        case ("shadow", .changed, _):
            if case .bool(true) = new { return "is in shadow now: it refuses nobody" }
            return "is enforced now"
        case (_, .added, true): return "\(Self.named(member)): \(after) added"
        case (_, .removed, true): return "\(Self.named(member)): \(before) gone"
        case (_, .changed, _):
            guard case .list = new else { return nil }
            return "\(Self.named(member)) in another order: \(after)"
        default: return nil
        }
    }

    private static let none = "none"

    private static func named(_ member: String) -> String {
        var name = member
        for ending in ["_ms", "_s"] where name.hasSuffix(ending) {
            name.removeLast(ending.utf8.count)
        }
        return name.replacing("_", with: " ")
    }

    private static func words(_ value: JSON, _ member: String?) -> String {
        switch value {
        case .null: return member == "limit" ? "unlimited" : none
        case .bool(let isSo): return isSo ? "yes" : "no"
        case .text(let text), .verbatim(let text): return text
        case .number(let number):
            guard let count = UInt64(number) else { return number }
            if member?.hasSuffix("_ms") == true { return length(count) }
            if member?.hasSuffix("_s") == true {
                let milliseconds = count.multipliedReportingOverflow(by: 1_000)
                return milliseconds.overflow ? "\(count) s" : length(milliseconds.partialValue)
            }
            return number
        case .list(let values):
            return values.isEmpty
                ? none : values.map { words($0, nil) }.joined(separator: ", ")
        case .object(let members):
            let said = members.filter { !isUnsaid($0.1) }
            guard !said.isEmpty else { return "with nothing of its own" }
            return said.map { name, value in
                if case .object = value { return "\(named(name)) (\(words(value, name)))" }
                return "\(named(name)) \(words(value, name))"
            }.joined(separator: ", ")
        }
    }

    /// What an added or removed thing has not.
    private static func isUnsaid(_ value: JSON) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .list(let values): values.isEmpty
        case .object(let members): members.allSatisfy { isUnsaid($0.1) }
        default: false
        }
    }

    /// Exactly: in the largest unit that measures it.
    private static func length(_ milliseconds: UInt64) -> String {
        let units: [(UInt64, String)] = [
            (86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"),
        ]
        for (unit, name) in units where milliseconds >= unit && milliseconds % unit == 0 {
            return "\(milliseconds / unit) \(name)"
        }
        return "\(milliseconds) ms"
    }
}
