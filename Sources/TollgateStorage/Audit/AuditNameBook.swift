import TollgateCore

/// How many organizations, users and key ids: of a segment up to a place, or of one block.
struct AuditNameCounts: Sendable, Equatable {
    var organizations = 0
    var users = 0
    var keys = 0

    static func + (a: AuditNameCounts, b: AuditNameCounts) -> AuditNameCounts {
        AuditNameCounts(
            organizations: a.organizations &+ b.organizations, users: a.users &+ b.users,
            keys: a.keys &+ b.keys)
    }

    static func - (a: AuditNameCounts, b: AuditNameCounts) -> AuditNameCounts {
        AuditNameCounts(
            organizations: a.organizations &- b.organizations, users: a.users &- b.users,
            keys: a.keys &- b.keys)
    }

    subscript(_ list: AuditNameKind) -> Int {
        switch list {
        case .organizations: organizations
        case .users: users
        case .keys: keys
        }
    }

    var isEmpty: Bool { self == AuditNameCounts() }
}

/// Whose names.
enum AuditNameKind: Int, CaseIterable { case organizations, users, keys }

/// The names that the open segment may refer to. A name is said once in a segment, in the first
/// block that has it. Blocks that are not written yet know names by their indices, and get numbers
/// when they are: after a failed sync they are written again, into another segment.
struct AuditNameBook: ~Copyable {
    var organizations = AuditNameTable()
    var users = AuditNameTable()
    var keys = AuditNameTable()
    private var blocks: UInt32 = 0

    /// A number for a block that is begun.
    mutating func begin() -> UInt32 {
        // A name that was in none has 0.
        blocks = max(1, blocks &+ 1)
        return blocks
    }

    /// Names that the open segment has said.
    var counts: AuditNameCounts {
        AuditNameCounts(
            organizations: organizations.said.count, users: users.said.count,
            keys: keys.said.count)
    }

    /// What it takes in memory, about.
    var weight: Int { organizations.weight &+ users.weight &+ keys.weight }

    /// Takes back what was said since there were so many; of another segment: 0.
    mutating func unsay(to counts: AuditNameCounts = AuditNameCounts()) {
        organizations.unsay(to: counts.organizations)
        users.unsay(to: counts.users)
        keys.unsay(to: counts.keys)
    }

    /// No block that is still to be written knows any.
    mutating func removeAll() {
        organizations.removeAll()
        users.removeAll()
        keys.removeAll()
    }
}
