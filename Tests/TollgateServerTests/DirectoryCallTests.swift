import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Organizations, users and keys, over the sockets.
@Suite struct DirectoryCallTests {
    private func withDirectory(_ body: (DirectoryHarness) throws -> Void) throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try body(harness)
    }

    @Test func anOrganizationIsMadeShownRenamedSuspendedAndDeleted() throws {
        try withDirectory { harness in
            let made = try harness.call(
                .createOrganization,
                [
                    "id": "acme", "plan": "pro_tier", "time_zone": "Etc/UTC",
                    "anchor_at": 86_400_000,
                    "subscription_status": "trialing",
                ])
            made.expectOK()
            let organization = try made.document("organization", Organization.self)
            #expect(organization.name == "acme" && organization.status == .active)
            #expect(organization.subscription?.status == .trialing)
            #expect(organization.subscription?.timeZone == "Etc/UTC")
            #expect(organization.subscription?.anchorAt.milliseconds == 86_400_000)
            let acme: JSONObject = ["organization": "acme"]
            let renamed = try harness.call(
                .renameOrganization, ["organization": "acme", "name": "Acme Corp"])
            #expect(renamed.text("organization", "name") == "Acme Corp")
            #expect(try harness.call(.suspendOrganization, acme).text("organization", "status")
                == "suspended")
            #expect(try harness.call(.resumeOrganization, acme).text("organization", "status")
                == "active")
            let ended = try harness.call(
                .setSubscription, ["organization": "acme", "status": "canceled"])
            #expect(ended.text("organization", "subscription", "status") == "canceled")
            #expect(ended.text("organization", "subscription", "time_zone") == "Etc/UTC")
            let deleted = try harness.call(.deleteOrganization, acme)
            #expect(deleted.text("revocation", "kind") == "organization")
            #expect(try harness.call(.showOrganization, acme).status == .notFound)
        }
    }

    @Test func aPersonalOrganizationHasItsUserAndNoOther() throws {
        try withDirectory { harness in
            let made = try harness.call(
                .createOrganization, ["id": "ada", "personal": .bool(true), "plan": "free_tier"])
            #expect(try made.document("organization", Organization.self).isPersonal)
            let own: JSONObject = ["organization": "ada", "user": "ada"]
            #expect(try harness.call(.showUser, own).text("user", "role") == "owner")
            let other = try harness.call(.createUser, ["organization": "ada", "id": "bob"])
            #expect(other.status == .conflict)
            #expect(try harness.call(.deleteUser, own).status == .conflict)
        }
    }

    @Test func aUserIsSeatedUnseatedSuspendedAndDeleted() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            let ada: JSONObject = ["organization": "acme", "user": "ada"]
            func with(_ member: String, _ value: JSONValue) -> JSONObject {
                var object = ada
                object.append(member, value)
                return object
            }
            #expect(try harness.call(.showUser, ada).text("user", "role") == "member")
            #expect(try harness.call(.setUserRole, with("role", "admin")).text("user", "role")
                == "admin")
            let unseated = try harness.call(.setUserRole, with("role", .null))
            #expect(unseated["user", "role"] == .null)
            #expect(try harness.call(.setUserRole, ada).detail == "role: is missing")
            #expect(try harness.call(.renameUser, with("name", "Ada L.")).text("user", "name")
                == "Ada L.")
            #expect(try harness.call(.suspendUser, ada).text("user", "status") == "suspended")
            #expect(try harness.call(.resumeUser, ada).text("user", "status") == "active")
            let seatless = try harness.call(
                .createUser, ["organization": "acme", "id": "eve", "role": .null])
            #expect(seatless["user", "role"] == .null)
            #expect(try harness.call(.deleteUser, ada).text("revocation", "subject") == "ada")
            #expect(try harness.call(.showUser, ada).status == .notFound)
        }
    }

    @Test func aKeyIsGoodFromItsMakingToItsRevocation() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            let made = try harness.call(
                .createKey, ["organization": "acme", "user": "ada", "environment": "test"])
            made.expectOK()
            let key = try made.document("key", APIKeyInfo.self)
            let first = made.text("secret")
            #expect(first.hasPrefix(key.prefix) && key.prefix.hasPrefix("tg_test_"))
            #expect(key.creator.hasPrefix("uid ") && key.state == .active && key.pepper == 1)
            #expect(try harness.check(.apiKey, first) == (.allow, .none))
            let named: JSONObject = ["organization": "acme", "key": .string(key.id)]
            let rotated = try harness.call(.rotateKey, named)
            let second = rotated.text("secret")
            #expect(rotated.text("key", "state") == "rotating" && second != first)
            #expect(try harness.check(.apiKey, first) == (.allow, .none))
            #expect(try harness.check(.apiKey, second) == (.allow, .none))
            let at = try harness.call(
                .rotateKey,
                ["organization": "acme", "key": .string(key.id), "overlap_seconds": 0])
            #expect(try harness.check(.apiKey, second).0 == .deny)
            #expect(try harness.check(.apiKey, at.text("secret")) == (.allow, .none))
            #expect(try harness.call(.showKey, named)["key", "last_used_at"] != .null)
            #expect(try harness.call(.revokeKey, named).text("key", "state") == "revoked")
            #expect(
                try harness.check(.apiKey, at.text("secret")) == (.deny, .credentialRevoked))
        }
    }

    @Test func aKeyIsEditedMemberByMember() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            let made = try harness.call(
                .createKey,
                [
                    "organization": "acme", "user": "ada", "name": "ci",
                    "permissions": .array(["read"]), "addresses": .array(["192.0.2.0/24"]),
                    "rate": .object(["limit": 5, "window_seconds": 60]),
                    "expires_at": 4_000_000_000_000,
                ])
            made.expectOK()
            let id = made.text("key", "id")
            let edited = try harness.call(
                .editKey,
                [
                    "organization": "acme", "key": .string(id), "rate": .null,
                    "addresses": .array(["2001:db8::/32"]),
                ])
            let key = try edited.document("key", APIKeyInfo.self)
            #expect(key.rate == nil && key.addresses == ["2001:db8::/32"])
            #expect(key.permissions == ["read"] && key.name == "ci")
            #expect(key.expiresAt?.milliseconds == 4_000_000_000_000)
            let wrong = try harness.call(
                .editKey,
                ["organization": "acme", "key": .string(id), "addresses": .array(["10.0.0.1/8"])])
            #expect(wrong.status == .invalidValue && wrong.detail.hasPrefix("addresses[0]:"))
        }
    }

    @Test func whatIsNotInOrderIsRefusedByTheNameOfItsMember() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            let cases: [(CallName, JSONObject, Status, String)] = [
                (.showOrganization, [:], .invalidValue, "organization: is missing"),
                (.showOrganization, ["organization": 1], .invalidValue, "organization:"),
                (.showOrganization, ["organization": "acme", "plan": "x"], .invalidValue, "plan:"),
                (.createOrganization, ["id": "acme"], .alreadyExists, "the id is taken"),
                (.createOrganization, ["id": "a", "plan": "none"], .invalidValue, "plan:"),
                (
                    .createOrganization,
                    ["id": "a", "plan": "pro_tier", "time_zone": "Mars/Phobos"], .invalidValue,
                    "time_zone:"
                ),
                (
                    .createOrganization, ["id": "a", "time_zone": "UTC"], .invalidValue,
                    "time_zone: goes with a plan"
                ),
                (.createUser, ["organization": "none", "id": "a"], .notFound, "there is none"),
                (
                    .createUser, ["organization": "acme", "id": "a", "role": "king"],
                    .invalidValue, "role:"
                ),
                (
                    .createKey, ["organization": "acme", "user": "ada", "environment": "LIVE"],
                    .invalidValue, "environment:"
                ),
                (
                    .createKey,
                    [
                        "organization": "acme", "user": "ada",
                        "rate": .object(["limit": 1, "window_seconds": 7]),
                    ], .invalidValue, "rate"
                ),
                (.showKey, ["organization": "acme", "key": "x"], .notFound, "there is none"),
                (
                    .rotateKey,
                    ["organization": "acme", "key": "x", "overlap_seconds": 2_592_001],
                    .invalidValue, "overlap_seconds:"
                ),
            ]
            for (call, members, status, detail) in cases {
                let answer = try harness.call(call, members)
                #expect(answer.status == status, "\(call) \(answer.detail)")
                #expect(answer.detail.hasPrefix(detail), "\(call) \(answer.detail)")
            }
        }
    }

    @Test func aBodyThatIsNoCallIsRefused() throws {
        try withDirectory { harness in
            let cases: [(String, Status)] = [
                ("", .malformedBody), ("[]", .malformedBody), ("{", .malformedBody),
                (#"{"call":"org.list","call":"org.list"}"#, .malformedBody),
                (#"{}"#, .invalidValue), (#"{"call":"org.burn"}"#, .invalidValue),
                (#"{"call":7}"#, .invalidValue), (#"{"call":"org.list"} "#, .ok),
            ]
            for (body, status) in cases {
                harness.admin.send(ServerHarness.frame(.call, Array(body.utf8)))
                let answer = try DirectoryHarness.answer(harness.admin)
                #expect(answer.status == status, "\(body)")
            }
        }
    }

    @Test func anotherTenantsIdLooksLikeOneThatIsNotThere() throws {
        try withDirectory { harness in
            try harness.makeTenant("acme", user: "ada")
            try harness.makeTenant("evil", user: "eve")
            let key = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
            let id = key["key", "id"] ?? .null
            let foreign = try harness.call(.showKey, ["organization": "evil", "key": id])
            let absent = try harness.call(
                .showKey, ["organization": "evil", "key": "0123456789abcdef"])
            #expect(foreign.status == .notFound && foreign.detail == absent.detail)
            let user = try harness.call(.showUser, ["organization": "evil", "user": "ada"])
            #expect(user.status == .notFound && user.detail == absent.detail)
        }
    }

    @Test func listsComeInPartsThatGoOnWhereTheyEnded() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            for number in 0..<7 {
                let id = JSONValue.string("user\(number)")
                try harness.call(.createUser, ["organization": "acme", "id": id]).expectOK()
            }
            var seen: [String] = []
            var members: JSONObject = ["organization": "acme", "limit": 3]
            while true {
                let page = try DirectoryPage<User>(
                    json: harness.call(.listUsers, members).json)
                #expect(page.items.count <= 3)
                seen += page.items.map(\.id)
                guard let next = page.next else { break }
                members = ["organization": "acme", "limit": 3, "after": .string(next)]
            }
            #expect(seen == ["ada"] + (0..<7).map { "user\($0)" })
        }
    }

    @Test func everyListGoesOnWhereItsPartEnded() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            try harness.makeTenant("other", user: "eve")
            let acme: JSONObject = ["organization": "acme"]
            let ada: JSONObject = ["organization": "acme", "user": "ada"]
            for number in 0..<2 {
                let user = JSONValue.string("u\(number)")
                try harness.call(.createUser, ["organization": "acme", "id": user]).expectOK()
                try harness.call(.createKey, ada).expectOK()
                try harness.call(.issueTokens, ada).expectOK()
                try harness.call(.addSigningKey).expectOK()
                try harness.call(.revokeUser, ["organization": "acme", "user": user]).expectOK()
                try harness.call(
                    .setOverride,
                    ["organization": "acme", "user": user, "limit": "per_minute", "units": 1]
                ).expectOK()
            }
            let lists: [(CallName, JSONObject)] = [
                (.listOrganizations, [:]), (.listUsers, acme), (.listKeys, acme), (.listKeys, ada),
                (.listSessions, ada), (.listRevocations, acme), (.listOverrides, acme),
                (.listSigningKeys, [:]), (.listPlans, [:]), (.listLog, [:]), (.listLog, acme),
                (.exportDirectory, [:]),
            ]
            for (call, members) in lists {
                var all = members
                all.append("limit", 1_000)
                let whole = try harness.call(call, all)
                #expect(whole.items.count > 1 && whole["next"] == .null, "\(call)")
                var parts: [JSONValue] = []
                var next: JSONValue? = nil
                repeat {
                    var part = members
                    part.append("limit", 1)
                    if let next { part.append("after", next) }
                    let answer = try harness.call(call, part)
                    answer.expectOK()
                    parts += answer.items
                    next = answer["next"]
                } while next != .null && parts.count <= whole.items.count
                #expect(parts == whole.items, "\(call)")
                for junk in ["x", "AA==", "_w"] {
                    var part = members
                    part.append("after", .string(junk))
                    let answer = try harness.call(call, part)
                    #expect(
                        answer.status == .invalidValue && answer.detail.hasPrefix("after:"),
                        "\(call) \(junk)")
                }
            }
        }
    }

    @Test func aPartOfAListFitsAFrameHoweverMuchIsAskedFor() throws {
        try withDirectory { harness in
            let name = JSONValue.string(String(repeating: "\\", count: 128))
            try harness.makeTenant()
            for number in 0..<200 {
                let id = JSONValue.string("user\(1_000 + number)")
                harness.admin.send(
                    DirectoryHarness.frame(
                        .createUser, ["organization": "acme", "id": id, "name": name],
                        id: UInt64(number)))
            }
            for _ in 0..<200 { try DirectoryHarness.answer(harness.admin).expectOK() }
            var count = 0
            var parts = 0
            var members: JSONObject = ["organization": "acme", "limit": 1_000]
            repeat {
                let answer = try harness.call(.listUsers, members)
                answer.expectOK()
                count += answer.items.count
                parts += 1
                guard case .string(let next)? = answer["next"] else { break }
                members = ["organization": "acme", "limit": 1_000, "after": .string(next)]
            } while parts < 100
            #expect(count == 201 && parts > 1)
        }
    }

    @Test func whatWasAcknowledgedIsThereAfterARestart() throws {
        try withDirectory { harness in
            try harness.makeTenant()
            let key = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
            let organization = try harness.call(.showOrganization, ["organization": "acme"])
            try harness.restart()
            #expect(try harness.check(.apiKey, key.text("secret")) == (.allow, .none))
            let again = try harness.call(.showOrganization, ["organization": "acme"])
            #expect(again.json == organization.json)
            try harness.call(.suspendOrganization, ["organization": "acme"]).expectOK()
            try harness.restart()
            #expect(
                try harness.check(.apiKey, key.text("secret")) == (.deny, .subscriptionInactive))
        }
    }
}
