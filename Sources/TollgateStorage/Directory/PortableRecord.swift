import TollgateCore

/// The kinds in the order of an export.
enum PortableKind: String, CaseIterable {
    case organization, user, override, grant, key, revocation

    /// The key of its table, by which it is ordered.
    var order: String {
        switch self {
        case .organization: "id"
        case .user, .grant: "organization, id"
        case .override: "organization, user, limit_name"
        case .key: "organization, user, id"
        case .revocation: "organization, personal, kind, subject"
        }
    }

    var columns: Int {
        switch self {
        case .organization: 1
        case .user, .grant: 2
        case .override, .key: 3
        case .revocation: 4
        }
    }
}

/// Behind which record a part of an export begins: its kind and the columns of its key, as lines.
/// No id has a line feed.
struct PortablePlace {
    let kind: PortableKind
    let values: [SQLiteValue]

    init(beforeAll kind: PortableKind) {
        self.kind = kind
        values = [SQLiteValue](repeating: .text(""), count: kind.columns)
    }

    init(_ cursor: String?) throws(DirectoryError) {
        guard let cursor else {
            self = Self(beforeAll: .organization)
            return
        }
        let lines = cursor.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard let kind = lines.first.flatMap({ PortableKind(rawValue: $0) }),
            lines.count == kind.columns + 1
        else { throw .invalid(field: "cursor", why: "is none of ours") }
        self.kind = kind
        values = lines.dropFirst().enumerated().map { column, text in
            kind == .revocation && column == 1 ? .flag(text == "1") : .text(text)
        }
    }
}

extension PortableRecord {
    package var organization: OrganizationID {
        switch self {
        case .organization(let record, _): record.id
        case .user(let record): record.organization
        case .override(let record): record.organization
        case .grant(let record): record.organization
        case .key(let record): record.organization
        case .revocation(let record): record.organization
        }
    }

    /// Where an export goes on behind this record.
    package var cursor: String {
        switch self {
        case .organization: "organization\n\(organization)"
        case .user(let record): "user\n\(organization)\n\(record.id)"
        case .override(let record): "override\n\(organization)\n\(record.cursor)"
        case .grant(let record): "grant\n\(organization)\n\(record.id)"
        case .key(let record): "key\n\(organization)\n\(record.user)\n\(record.id)"
        case .revocation(let record): "revocation\n\(organization)\n\(record.cursor)"
        }
    }

    var action: String {
        switch self {
        case .organization: "org.import"
        case .user: "user.import"
        case .override: "override.import"
        case .grant: "credit.import"
        case .key: "key.import"
        case .revocation: "revocation.import"
        }
    }

    var subject: String {
        switch self {
        case .organization(let record, _): record.id.text
        case .user(let record): record.id.text
        case .override(let record): record.cursor
        case .grant(let record): record.id
        case .key(let record): record.id.description
        case .revocation(let record): record.subject
        }
    }

    var logText: String {
        switch self {
        case .organization(let record, _): record.logText
        case .user(let record): record.logText
        case .override(let record): record.logText
        case .grant(let record): record.logText
        case .key(let record): record.logText
        case .revocation(let record): record.logText
        }
    }

    /// Of what no type has checked.
    func check() throws(DirectoryError) {
        switch self {
        case .organization(let record, let subscription):
            try OrganizationID.check(record.name, field: "name")
            guard let subscription else { return }
            try PlanName.check(subscription.zone, field: "time zone")
            guard subscription.organization == record.id else {
                throw .invalid(field: "subscription", why: "is the organization's own")
            }
        case .user(let record): try UserID.check(record.name, field: "name")
        case .override(let record): try record.check()
        case .grant(let record): try record.check()
        case .key(let record): try record.check()
        case .revocation(let record):
            try UserID.check(record.subject, field: "subject")
            guard record.kind != .organization || record.subject == record.organization.text else {
                throw .invalid(field: "subject", why: "is the organization")
            }
        }
    }

    /// But for when a key was last used, which goes on where it is used.
    func isSame(as other: Self) -> Bool {
        guard case .key(var mine) = self, case .key(let theirs) = other else {
            return self == other
        }
        mine.lastUsed = theirs.lastUsed
        return mine == theirs
    }
}
