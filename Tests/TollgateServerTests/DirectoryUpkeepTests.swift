import CLinux
import Glibc
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// What a deletion leaves to be done, keys that could not work, and sessions beyond the ceiling.
@Suite struct DirectoryUpkeepTests {
    private let ada: JSONObject = ["organization": "acme", "user": "ada"]

    private func used(_ harness: DirectoryHarness) -> [UsedLimit] {
        let shared = harness.server.server.shared
        return shared.engine.used(
            by: "acme", isPersonal: false, plan: "pro_tier", shared.policy, at: .present)
    }

    private func charge(_ harness: DirectoryHarness) throws {
        let issued = try IssuedTokens(json: harness.call(.issueTokens, ada).json)
        let decision = try harness.check(.accessToken, issued.accessToken.revealed())
        #expect(decision == (.allow, .none))
    }

    @Test func anIdIsNotGivenAgainWhileItsFormerUseIsNotForgotten() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        try charge(harness)
        #expect(!used(harness).isEmpty)
        let engine = harness.server.server.shared.engine
        engine.setLedgerState(.refusing)
        try harness.call(.deleteOrganization, ["organization": "acme"]).expectOK()
        #expect(!used(harness).isEmpty)
        let refused = try harness.call(
            .createOrganization, ["id": "acme", "plan": "pro_tier"])
        #expect(refused.status == .conflict && refused.detail.contains("not forgotten yet"))
        // The directory knows it over a restart of its own, too.
        let exported = JSONValue.object([
            "kind": "organization", "id": "acme", "name": "acme", "personal": .bool(false),
            "status": "active", "created_at": 1_700_000_000_000, "subscription": .null,
        ])
        #expect(
            try harness.call(.importDirectory, ["records": .array([exported])]).status != .ok)
        engine.setLedgerState(.off)
        try harness.makeTenant()
        #expect(used(harness).isEmpty)
        try charge(harness)
    }

    /// Of one that has no room now it is asked again.
    @Test func nobodyWaitsForAJournalThatIsNotWritten() {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        for state in [LedgerState.refusing, .off, .unjournaled] {
            engine.setLedgerState(state)
            var tries = 0
            let isDone = engine.journaled {
                tries += 1
                return false
            }
            #expect(!isDone && tries == 1, "\(state)")
        }
        engine.setLedgerState(.serving)
        var tries = 0
        let isDone = engine.journaled {
            tries += 1
            return tries == 3
        }
        #expect(isDone && tries == 3)
    }

    @Test func whatCouldNotBeForgottenIsForgottenLater() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        try charge(harness)
        let engine = harness.server.server.shared.engine
        engine.setLedgerState(.refusing)
        try harness.call(.deleteOrganization, ["organization": "acme"]).expectOK()
        engine.setLedgerState(.off)
        let end = tg_boottime() + 10_000_000_000
        while !used(harness).isEmpty, tg_boottime() < end { usleep(10_000) }
        #expect(used(harness).isEmpty)
    }

    @Test func aKeyThatCouldNotWorkIsRefused() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let now = tg_walltime()
        func with(_ members: JSONObject, _ name: String, _ value: JSONValue) -> JSONObject {
            var more = members
            more.append(name, value)
            return more
        }
        let unknown = JSONValue.array(["read", "raed"])
        let refused = try harness.call(.createKey, with(ada, "permissions", unknown))
        #expect(refused.status == .invalidValue && refused.detail.contains("permissions[1]"))
        let past = try harness.call(.createKey, with(ada, "expires_at", .integer(now - 1_000)))
        #expect(past.status == .invalidValue && past.detail.contains("lies ahead"))
        let made = try harness.call(
            .createKey, with(ada, "permissions", .array(["read"])))
        made.expectOK()
        let key: JSONObject = ["organization": "acme", "key": made["key", "id"] ?? .null]
        for (name, value) in [
            ("permissions", unknown), ("expires_at", .integer(now - 1)),
        ] {
            #expect(try harness.call(.editKey, with(key, name, value)).status == .invalidValue)
        }
        try harness.call(.editKey, with(key, "expires_at", .integer(now + 60_000))).expectOK()
        try harness.call(.editKey, with(key, "expires_at", .null)).expectOK()
    }

    @Test func whoLogsInTooOftenEndsTheSessionBegunFirst() throws {
        let harness = try DirectoryHarness(change: { $0.sessionsPerUserMax = 3 })
        defer { harness.stop() }
        try harness.makeTenant()
        var issued: [IssuedTokens] = []
        for _ in 0..<5 {
            issued.append(try IssuedTokens(json: harness.call(.issueTokens, ada).json))
            // Instants of sessions are milliseconds.
            usleep(2_000)
        }
        for (place, tokens) in issued.enumerated() {
            let decision = try harness.check(.accessToken, tokens.accessToken.revealed())
            #expect((decision.0 == .allow) == (place >= 2), "\(place)")
            let renewed = try harness.call(
                .refreshTokens, ["refresh_token": .string(tokens.refreshToken.revealed())])
            #expect((renewed.status == .ok) == (place >= 2), "\(place)")
        }
        #expect(harness.server.value("tollgate_sessions_displaced_total") == 2)
        for _ in 0..<20 { try harness.call(.issueTokens, ada).expectOK() }
        let listed = try harness.call(.listSessions, ada)
        #expect(listed.items.count <= 6)
    }
}
