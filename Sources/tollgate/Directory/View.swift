import TollgateWire

/// How documents of one kind look to people: as the rows of a table, and one alone.
struct View {
    struct Field {
        var title: String
        /// In tables too, or only where the document stands alone.
        var isColumn: Bool
        var cell: (JSONObject) -> String

        /// A member as it is.
        static func member(_ name: String, _ title: String? = nil, alone: Bool = false) -> Field {
            let words = name.hasSuffix("_at") ? String(name.dropLast(3)) : name
            let shown = title ?? words.split(separator: "_").joined(separator: " ")
            return Field(title: shown, isColumn: !alone) { $0.shown(name) }
        }

        /// What is worked out of a document.
        static func made(
            _ title: String, alone: Bool = false, _ cell: @escaping (JSONObject) -> String
        ) -> Field {
            Field(title: title, isColumn: !alone, cell: cell)
        }
    }

    /// `organization`, `API key`.
    var noun: String
    var fields: [Field]

    var columns: [Field] { fields.filter(\.isColumn) }

    var header: [String] { columns.map { $0.title.uppercased() } }

    func row(_ document: JSONObject) -> [String] { columns.map { $0.cell(document) } }

    /// The document alone, one field a line.
    func text(_ document: JSONObject, _ output: OutputOptions) -> String {
        output.paint(noun, .bold) + "\n" + pairs(fields.map { ($0.title, $0.cell(document)) })
    }
}

extension View {
    static var organization: View {
        View(
            noun: "organization",
            fields: [
                .member("id"), .member("name"), .member("status"),
                .made("kind") { $0.bool("personal") == true ? "personal" : "team" },
                .made("plan") { $0.object("subscription")?.shown("plan") ?? "-" },
                .made("subscription") { $0.object("subscription")?.shown("status") ?? "-" },
                .made("since", alone: true) { $0.object("subscription")?.shown("since_at") ?? "-" },
                .made("anchor", alone: true) {
                    $0.object("subscription")?.shown("anchor_at") ?? "-"
                },
                .made("time zone", alone: true) {
                    $0.object("subscription")?.shown("time_zone") ?? "-"
                },
                .made("pending") { organization in
                    guard let pending = organization.object("subscription")?.object("pending")
                    else { return "-" }
                    return "\(pending.shown("plan")) at \(pending.shown("at"))"
                        + " (\(pending.shown("mode")))"
                },
                .member("created_at"),
            ])
    }

    static var user: View {
        View(
            noun: "user",
            fields: [
                .member("organization", alone: true), .member("id"), .member("name"),
                .made("role") { $0.shown("role", or: "none: no seat") }, .member("status"),
                .member("created_at"),
            ])
    }

    static var key: View {
        View(
            noun: "API key",
            fields: [
                .member("organization", alone: true), .member("id", alone: true),
                .member("prefix"), .member("user"), .member("name"),
                .member("environment", alone: true), .member("state"),
                .made("old secret good until", alone: true) { $0.shown("rotating_until_at") },
                .member("creator"), .member("created_at"), .member("last_used_at"),
                .made("expires") { $0.shown("expires_at", or: "never") },
                .member("revoked_at", alone: true),
                .made("permissions", alone: true) {
                    $0.shown("permissions", or: "all of the plan")
                },
                .made("addresses", alone: true) { $0.shown("addresses", or: "any") },
                .made("rate", alone: true) { Rate.shown($0.object("rate")) },
                .member("pepper", alone: true),
            ])
    }

    static var session: View {
        View(
            noun: "session",
            fields: [
                .member("organization", alone: true), .member("id"),
                .member("user", alone: true), .member("created_at"), .member("expires_at"),
                .made("idle at most") { $0.integer("idle_seconds").map(Lengths.shown) ?? "-" },
                .member("revoked_at"), .member("reason"),
            ])
    }

    static var override: View {
        View(
            noun: "override",
            fields: [
                .member("organization", alone: true),
                .made("user") { $0.shown("user", or: "(all)") }, .member("limit"),
                .member("units"),
                .made("expires") { $0.shown("expires_at", or: "never") },
            ])
    }

    static var credit: View {
        View(
            noun: "grant",
            fields: [
                .member("organization", alone: true), .member("id"), .member("quota"),
                .member("meter", alone: true), .member("units"), .member("burnt"),
                .member("remaining"), .member("priority"), .member("state"),
                .member("effective_at", "begins"),
                .made("expires") { $0.shown("expires_at", or: "never") },
                .member("note", alone: true), .member("created_at", alone: true),
                .member("voided_at", alone: true),
            ])
    }

    static var revocation: View {
        View(
            noun: "revocation",
            fields: [
                .member("organization", alone: true), .member("kind"), .member("subject"),
                .member("at"), .member("expires_at", "kept until"),
            ])
    }

    static var signingKey: View {
        View(
            noun: "signing key",
            fields: [
                .member("id"), .member("algorithm"), .member("state"), .member("added_at"),
                .member("promoted_at"), .member("demoted_at"),
                .member("retirable_at", "retirable from"), .member("retired_at"),
            ])
    }

    static var plan: View {
        View(
            noun: "plan",
            fields: [
                .member("name"), .member("permissions"),
                .made("limits") { "\($0.objects("limits").count)" },
            ])
    }

    static var logEntry: View {
        View(
            noun: "entry",
            fields: [
                .member("number"), .member("at"),
                .made("who") { "uid \($0.shown("uid")) pid \($0.shown("pid"))" },
                .member("organization"), .member("action"), .member("subject"),
                .made("change", LogChange.text),
            ])
    }
}

/// What an entry of the admin log changed, member by member.
enum LogChange {
    /// `status: active → suspended`; of what is new or gone, all members.
    static func text(_ entry: JSONObject) -> String {
        let before = entry.object("before") ?? JSONObject()
        let after = entry.object("after") ?? JSONObject()
        let added = after.members.map(\.name).filter { before[$0] == nil }
        let changes = (before.members.map(\.name) + added).filter { before[$0] != after[$0] }
        return changes.map { name in
            switch (before[name], after[name]) {
            case (nil, _?): "\(name): \(after.shown(name))"
            case (_?, nil): "\(name): was \(before.shown(name))"
            default: "\(name): \(before.shown(name)) → \(after.shown(name))"
            }
        }.joined(separator: "; ")
    }
}
