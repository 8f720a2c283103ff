import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

@Suite struct DirectoryRoleTests {
    private func roles(
        _ rules: RoleRules, uid: UInt32 = 1_000, gid: UInt32 = 100, groups: [UInt32] = [],
        adminGroup: UInt32? = nil
    ) -> Roles {
        rules.roles(
            uid: uid, gid: gid, ownUser: 900, adminGroup: adminGroup,
            isInGroup: { groups.contains($0) })
    }

    @Test func rootTheDaemonsUserAndTheSocketsGroupHaveEveryRole() {
        var rules = RoleRules()
        rules.check = .init()
        #expect(roles(rules, uid: 0) == .all)
        #expect(roles(rules, uid: 900) == .all)
        #expect(roles(rules, gid: 50, adminGroup: 50) == .all)
        #expect(roles(rules, groups: [50], adminGroup: 50) == .all)
        #expect(roles(rules, adminGroup: 50) == [])
    }

    @Test func aRoleIsOfThoseThatItNames() {
        var rules = RoleRules()
        #expect(roles(rules) == [.check])
        rules.issue = .init(users: [1_000])
        #expect(roles(rules) == [.check, .issue])
        #expect(roles(rules, uid: 1_001) == [.check])
        rules.check = .init(groups: [33])
        #expect(roles(rules) == [.issue])
        #expect(roles(rules, groups: [33]) == [.check, .issue])
        #expect(roles(rules, uid: 1_001, gid: 33) == [.check])
        rules.admin = .init(groups: [44])
        #expect(roles(rules, uid: 1_001, groups: [44]) == .all)
    }

    @Test func whoObservesHasToBeNamedWhoeverItIs() {
        var rules = RoleRules()
        rules.check = .init(users: [1])
        rules.observe = .init(users: [1_000, 0], groups: [70])
        #expect(roles(rules) == [.observe])
        #expect(roles(rules, uid: 1_001, groups: [70]) == [.observe])
        #expect(roles(rules, uid: 1_001) == [])
        #expect(roles(rules, uid: 0) == [.check, .issue, .admin, .observe])
        #expect(roles(rules, uid: 900) == .all)
    }

    @Test func aPeerMayWhatItsRoleAndItsSocketAllow() {
        func may(_ roles: Roles, _ isAdminSocket: Bool, _ needed: Roles) -> Bool {
            CallPeer(uid: 1, pid: 1, roles: roles, isAdminSocket: isAdminSocket).may(needed)
        }
        #expect(may(.all, true, .admin) && may(.all, true, .issue))
        #expect(!may(.all, false, .admin) && may(.all, false, .issue))
        #expect(!may([.check, .issue], true, .admin) && may([.issue], true, .issue))
        #expect(!may([.check], true, .issue) && !may([.check], false, .issue))
        #expect(!may([.admin], false, .issue))
    }

    @Test func onTheDataSocketOnlyLoggingInIsTaken() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let peer = try harness.server.peer()
        let refused = try DirectoryHarness.call(.listOrganizations, [:], peer)
        #expect(refused.status == .forbidden)
        // Whatever else is wrong with it: nothing is told of calls that are not the peer's.
        #expect(try DirectoryHarness.call(.showOrganization, [:], peer).status == .forbidden)
        let issued = try DirectoryHarness.call(
            .issueTokens, ["organization": "acme", "user": "ada"], peer)
        issued.expectOK()
        let text = harness.logged.text
        #expect(text.contains("org.list refused on the data socket: uid 0, pid"))
    }

    @Test func withoutADirectoryEveryCallIsToldSo() throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let peer = try harness.peer(admin: true)
        #expect(
            try DirectoryHarness.call(.listOrganizations, [:], peer).status == .noDirectory)
    }
}
