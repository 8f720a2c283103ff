/// Who may do what, by the user and the groups of the process at the other end of a socket. Names
/// are looked up when the daemon starts; here they are only names.
package struct RoleSettings: Sendable, Equatable {
    package enum Account: Sendable, Equatable {
        case name(String)
        case number(UInt32)
    }

    /// Who has a role: any of the users, or who is in any of the groups.
    package struct Members: Sendable, Equatable {
        package var users: [Account] = []
        package var groups: [Account] = []

        package init() {}
    }

    /// Who may ask for decisions; `nil`: whoever may open the data socket.
    package var check: Members?
    /// Who may log users in, besides.
    package var issue = Members()
    /// Who may administer, beside root, the daemon's user and the group of the admin socket.
    package var admin = Members()
    /// Who may read the daemon's numbers, besides, on the data socket too.
    package var observe = Members()
    /// Who may, besides, read who is busiest, by organization's name, on the data socket too.
    package var watch = Members()

    private static let membersMax = 256
    private static let nameBytesMax = 256
    /// One less than 2^32 - 1, which the kernel takes for nobody.
    private static let numberMax: UInt64 = 4_294_967_294

    package init() {}

    init(_ node: YAMLNode, _ reader: SchemaReader) {
        let values = reader.mapping(node, "roles", known: PolicySchema.roleKeys)
        if let node = values["check"] {
            let members = Self.members(node, "check", reader)
            if let members, members == Members() {
                reader.fail(
                    node,
                    "check names nobody: leave it out for whoever may open the data socket")
            }
            check = members
        }
        issue = values["issue"].flatMap { Self.members($0, "issue", reader) } ?? issue
        admin = values["admin"].flatMap { Self.members($0, "admin", reader) } ?? admin
        observe = values["observe"].flatMap { Self.members($0, "observe", reader) } ?? observe
        watch = values["watch"].flatMap { Self.members($0, "watch", reader) } ?? watch
    }

    /// `nil` when something is wrong with them.
    private static func members(
        _ node: YAMLNode, _ what: String, _ reader: SchemaReader
    ) -> Members? {
        let before = reader.errors.count
        let values = reader.mapping(node, what, known: PolicySchema.memberKeys)
        var members = Members()
        members.users = accounts(values["users"], "users", reader)
        members.groups = accounts(values["groups"], "groups", reader)
        return reader.errors.count == before ? members : nil
    }

    private static func accounts(
        _ node: YAMLNode?, _ what: String, _ reader: SchemaReader
    ) -> [Account] {
        let nodes = reader.list(node, what)
        if let node, nodes.count > membersMax {
            reader.fail(node, "\(what) are at most \(membersMax)")
        }
        var accounts: [Account] = []
        for node in nodes.prefix(membersMax) {
            guard let account = account(node, "an element of \(what)", reader) else { continue }
            if accounts.contains(account) { reader.fail(node, "\(node.shown) stands twice") }
            accounts.append(account)
        }
        return accounts
    }

    /// Plain digits are a number; anything else, digits in quotes too, is a name.
    private static func account(
        _ node: YAMLNode, _ what: String, _ reader: SchemaReader
    ) -> Account? {
        if case .scalar(let text, isPlain: true) = node.content, !text.isEmpty,
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) })
        {
            return reader.integer(node, what, 0...numberMax).map { .number(UInt32($0)) }
        }
        guard let name = reader.text(node, what) else { return nil }
        guard name.utf8.count <= nameBytesMax,
            name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f && $0 != UInt8(ascii: ":") })
        else {
            reader.fail(node, "\(what) is a name of at most \(nameBytesMax) bytes, or a number")
            return nil
        }
        return .name(name)
    }
}
