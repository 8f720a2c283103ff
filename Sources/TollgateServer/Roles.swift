/// What a peer may ask of the daemon (DESIGN.md, "Security").
package struct Roles: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// CHECK, CONSUME, USAGE.
    package static let check = Roles(rawValue: 1 << 0)
    /// To log users in and out.
    package static let issue = Roles(rawValue: 1 << 1)
    /// Everything, on the admin socket; what the others have, on both.
    package static let admin = Roles(rawValue: 1 << 2)
    /// STATS, on both sockets. An admin has it on the admin socket, named or not.
    package static let observe = Roles(rawValue: 1 << 3)
    /// What `observe` has, and `top.show`, which names organizations; on both sockets.
    package static let watch = Roles(rawValue: 1 << 4)
    /// Of an admin.
    package static let all: Roles = [.check, .issue, .admin]
}

/// Who has which role, by what the kernel says of a peer when it connects.
package struct RoleRules: Sendable, Equatable {
    package struct Members: Sendable, Equatable {
        package var users: [UInt32]
        package var groups: [UInt32]

        package init(users: [UInt32] = [], groups: [UInt32] = []) {
            self.users = users
            self.groups = groups
        }

        /// `isInGroup` is asked for the groups that are not the peer's first.
        func has(uid: UInt32, gid: UInt32, isInGroup: (UInt32) -> Bool) -> Bool {
            users.contains(uid) || groups.contains(gid) || groups.contains(where: isInGroup)
        }
    }

    /// `nil`: whoever may open the data socket.
    package var check: Members?
    package var issue: Members
    /// Beside root, the daemon's own user, and the group that the admin socket is given to.
    package var admin: Members
    /// On the data socket root and the daemon's own user too have to be named.
    package var observe: Members
    /// As with `observe`.
    package var watch: Members

    package init(
        check: Members? = nil, issue: Members = Members(), admin: Members = Members(),
        observe: Members = Members(), watch: Members = Members()
    ) {
        self.check = check
        self.issue = issue
        self.admin = admin
        self.observe = observe
        self.watch = watch
    }

    /// The roles of a peer. `adminGroup`: of the admin socket's file.
    func roles(
        uid: UInt32, gid: UInt32, ownUser: UInt32, adminGroup: UInt32?,
        isInGroup: (UInt32) -> Bool
    ) -> Roles {
        var admins = admin
        if let adminGroup { admins.groups.append(adminGroup) }
        var roles: Roles = []
        if observe.has(uid: uid, gid: gid, isInGroup: isInGroup) { roles.insert(.observe) }
        if watch.has(uid: uid, gid: gid, isInGroup: isInGroup) {
            roles.formUnion([.observe, .watch])
        }
        if uid == 0 || uid == ownUser { return roles.union(.all) }
        if admins.has(uid: uid, gid: gid, isInGroup: isInGroup) { return roles.union(.all) }
        if check?.has(uid: uid, gid: gid, isInGroup: isInGroup) ?? true { roles.insert(.check) }
        if issue.has(uid: uid, gid: gid, isInGroup: isInGroup) { roles.insert(.issue) }
        return roles
    }
}
