import Glibc
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

@Suite struct DirectorySigningKeyTests {
    private let ada: JSONObject = ["organization": "acme", "user": "ada"]

    private func keys(_ harness: DirectoryHarness) throws -> [SigningKey] {
        try DirectoryPage<SigningKey>(json: harness.call(.listSigningKeys).json).items
    }

    private func token(_ harness: DirectoryHarness) throws -> String {
        let answer = try harness.call(.issueTokens, ada)
        answer.expectOK()
        return answer.text("access_token")
    }

    @Test func theFirstStartMakesAKeyAndLaterOnesKeepIt() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        let first = try keys(harness)
        #expect(first.count == 1 && first[0].state == .signing)
        try harness.makeTenant()
        let made = try token(harness)
        try harness.restart()
        #expect(try keys(harness) == first)
        #expect(try harness.check(.accessToken, made) == (.allow, .none))
        let path = harness.folder + "/signing/\(first[0].id).key"
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }

    @Test func rotationRefusesNoTokenAndRetiresWhenTheLastHasExpired() throws {
        var policy = DirectoryHarness.policy()
        policy.tokens?.accessSeconds = 1
        let harness = try DirectoryHarness(definition: policy)
        defer { harness.stop() }
        try harness.makeTenant()
        let old = try keys(harness)[0].id
        try harness.call(.addSigningKey, ["id": "next"]).expectOK()
        #expect(try harness.call(.addSigningKey, ["id": "next"]).status == .alreadyExists)
        let before = try token(harness)
        #expect(try harness.call(.retireSigningKey, ["id": .string(old)]).status == .conflict)
        try harness.call(.promoteSigningKey, ["id": "next"]).expectOK()
        // One lives for a second, which a slow host may need until it asks.
        var after = try harness.check(.accessToken, token(harness))
        for _ in 0..<100 where after.1 == .tokenExpired {
            after = try harness.check(.accessToken, token(harness))
        }
        #expect(after == (.allow, .none))
        // Signed by the one before, which goes on verifying.
        let reason = try harness.check(.accessToken, before).1
        #expect(reason == .none || reason == .tokenExpired)
        let early = try harness.call(.retireSigningKey, ["id": .string(old)])
        let retirable = try #require(try keys(harness).first { $0.id == old }?.retirableAt)
        if early.status != .ok {
            #expect(early.status == .conflict)
            while try harness.call(.retireSigningKey, ["id": .string(old)]).status != .ok {}
        }
        let retired = try #require(try keys(harness).first { $0.id == old })
        #expect(retired.state == .retired && retired.retiredAt ?? retirable >= retirable)
        #expect(DirectoryHarness.names(in: harness.folder + "/signing") == ["next.key"])
        #expect(try harness.call(.promoteSigningKey, ["id": .string(old)]).status == .conflict)
        #expect(try harness.call(.addSigningKey, ["id": .string(old)]).status == .alreadyExists)
        try harness.restart()
        #expect(try keys(harness).count == 2)
    }

    @Test func aRetiredKeysTokensAreRefused() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        try harness.call(.addSigningKey, ["id": "spare"]).expectOK()
        let secret = try SigningKeyFiles(
            folder: harness.folder + "/signing", steps: StepCounter(nil)
        ).read("spare")
        let now = time(nil)
        let forged = try #require(
            TokenMinter.mint(
                claims: [
                    ("iss", .string("https://tollgate.test")), ("sub", .string("ada")),
                    ("org", .string("acme")), ("iat", .integer(Int64(now))),
                    ("exp", .integer(Int64(now) + 60)),
                ], algorithm: .hs256, keyID: "spare", secret: secret, type: "at+jwt"))
        #expect(try harness.check(.accessToken, forged) == (.allow, .none))
        try harness.call(.retireSigningKey, ["id": "spare"]).expectOK()
        #expect(try harness.check(.accessToken, forged) == (.deny, .keyUnknown))
    }

    @Test func anIdThatCouldNameAnotherFileIsRefused() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        for id in ["../x", "a/b", ".", "a.b", "é", String(repeating: "a", count: 65)] {
            let answer = try harness.call(.addSigningKey, ["id": .string(id)])
            #expect(answer.status == .invalidValue && answer.detail.hasPrefix("id:"), "\(id)")
        }
        #expect(DirectoryHarness.names(in: harness.folder + "/signing").count == 1)
    }

    @Test func aStartWithoutTheFileOfAKeyThatDoesNotSignServesAndLogsIt() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let first = try keys(harness)[0].id
        let old = try token(harness)
        for id in ["next", "spare"] {
            try harness.call(.addSigningKey, ["id": .string(id)]).expectOK()
        }
        try harness.call(.promoteSigningKey, ["id": "next"]).expectOK()
        for id in [first, "spare"] {
            let path = harness.folder + "/signing/\(id).key"
            #expect(rename(path, path + ".away") == 0)
        }
        try harness.restart()
        for id in [first, "spare"] {
            #expect(harness.logged.text.contains("\(id).key: the file is missing"))
        }
        #expect(try harness.check(.accessToken, old) == (.deny, .keyUnknown))
        #expect(try harness.check(.accessToken, try token(harness)) == (.allow, .none))
        let refused = try harness.call(.promoteSigningKey, ["id": "spare"])
        #expect(refused.status == .conflict && refused.detail.contains("the file is missing"))
        // Back again, it is taken.
        let path = harness.folder + "/signing/spare.key"
        #expect(rename(path + ".away", path) == 0)
        try harness.call(.promoteSigningKey, ["id": "spare"]).expectOK()
        #expect(try harness.check(.accessToken, try token(harness)) == (.allow, .none))
        #expect(try keys(harness).first { $0.state == .signing }?.id == "spare")
    }

    @Test func aStartOrAReloadWithoutAKeysFileIsRefused() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        let id = try keys(harness)[0].id
        let path = harness.folder + "/signing/\(id).key"
        #expect(rename(path, path + ".away") == 0)
        let reloaded = harness.server.server.reload()
        guard case .failure(let error) = reloaded else {
            Issue.record("reloaded")
            return
        }
        #expect(error.messages.first?.contains("\(id).key: the file is missing") == true)
        let refused = #expect(throws: StartError.self) { try harness.restart() }
        #expect(refused?.exitCode == 78 && refused?.message.contains(path) == true)
        #expect(rename(path + ".away", path) == 0)
        try harness.restart()
        #expect(chmod(path, 0o644) == 0)
        #expect(throws: StartError.self) { try harness.restart() }
        #expect(chmod(path, 0o600) == 0)
        try harness.restart()
    }
}
