import CLinux
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Logging in, going on, out; and what ends access tokens.
@Suite struct DirectoryTokenTests {
    private let ada: JSONObject = ["organization": "acme", "user": "ada"]

    private func withTenant(
        _ policy: PolicyDefinition = DirectoryHarness.policy(),
        _ body: (DirectoryHarness) throws -> Void
    ) throws {
        let harness = try DirectoryHarness(definition: policy)
        defer { harness.stop() }
        try harness.makeTenant()
        try body(harness)
    }

    private func tokens(_ answer: CallAnswer) throws -> IssuedTokens {
        answer.expectOK()
        return try IssuedTokens(json: answer.json)
    }

    private func isGood(_ tokens: IssuedTokens, _ harness: DirectoryHarness) throws -> Bool {
        try harness.check(.accessToken, tokens.accessToken.revealed()) == (.allow, .none)
    }

    private func refresh(
        _ tokens: IssuedTokens, _ harness: DirectoryHarness
    ) throws -> CallAnswer {
        try harness.call(
            .refreshTokens, ["refresh_token": .string(tokens.refreshToken.revealed())])
    }

    /// The payload of a token, as text: its numbers may have fractions.
    private func payload(_ token: String) throws -> String {
        let parts = token.split(separator: ".")
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let text = Array(parts[1].utf8)
        let count = text.withUnsafeBytes { from in
            bytes.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        return String(decoding: bytes[..<(try #require(count))], as: UTF8.self)
    }

    private func claim(_ name: String, _ tokens: IssuedTokens) throws -> String? {
        try claim(name, tokens.accessToken.revealed())
    }

    private func claim(_ name: String, _ token: String) throws -> String? {
        let text = try payload(token)
        guard let start = text.range(of: "\"\(name)\":") else { return nil }
        return String(text[start.upperBound...].prefix { $0 != "," && $0 != "}" })
    }

    @Test func aLoginGivesATokenThatIsGoodAndSaysWhoAndWhatAndUntilWhen() throws {
        try withTenant { harness in
            let issued = try tokens(try harness.call(.issueTokens, ada))
            #expect(try isGood(issued, harness))
            #expect(issued.tokenType == "Bearer" && issued.expiresInSeconds == 600)
            #expect(try claim("iss", issued) == "\"https://tollgate.test\"")
            #expect(try claim("sub", issued) == "\"ada\"")
            #expect(try claim("org", issued) == "\"acme\"")
            #expect(try claim("plan", issued) == "\"pro_tier\"")
            #expect(try claim("sid", issued) == "\"\(issued.session.id)\"")
            #expect(try claim("permissions", issued) == nil)
            let issuedAt = try #require(Int64(try claim("iat", issued) ?? ""))
            #expect(try claim("exp", issued) == String(issuedAt + 600))
            #expect(issued.expiresAt.milliseconds == (issuedAt + 600) * 1_000)
            #expect(issued.session.idleSeconds == 14 * 86_400)
        }
    }

    @Test func aPersonalOrganizationIsNotNamed() throws {
        try withTenant { harness in
            try harness.call(
                .createOrganization, ["id": "bob", "personal": .bool(true), "plan": "free_tier"]
            ).expectOK()
            let issued = try tokens(
                try harness.call(.issueTokens, ["organization": "bob", "user": "bob"]))
            #expect(try claim("org", issued) == nil)
            #expect(try isGood(issued, harness))
        }
    }

    @Test func whoIsNotServedIsNotLoggedIn() throws {
        try withTenant { harness in
            let acme: JSONObject = ["organization": "acme"]
            func expectRefused(_ words: String) throws {
                let answer = try harness.call(.issueTokens, ada)
                #expect(answer.status == .conflict && answer.detail.contains(words))
            }
            try harness.call(.suspendOrganization, acme).expectOK()
            try expectRefused("organization is suspended")
            try harness.call(.resumeOrganization, acme).expectOK()
            try harness.call(.suspendUser, ada).expectOK()
            try expectRefused("user is suspended")
            try harness.call(.resumeUser, ada).expectOK()
            var unseated = ada
            unseated.append("role", .null)
            try harness.call(.setUserRole, unseated).expectOK()
            try expectRefused("no seat")
            unseated.members[2].value = "member"
            try harness.call(.setUserRole, unseated).expectOK()
            try harness.call(
                .setSubscription, ["organization": "acme", "status": "suspended"]).expectOK()
            try expectRefused("subscription is suspended")
            try harness.call(
                .setSubscription, ["organization": "acme", "status": "past_due"]).expectOK()
            try harness.call(.issueTokens, ada).expectOK()
        }
    }

    @Test func aRefreshGivesTheNextTokenAndARetryTheSame() throws {
        try withTenant { harness in
            let first = try tokens(try harness.call(.issueTokens, ada))
            let second = try tokens(try refresh(first, harness))
            #expect(second.isRetried == false && second.session.id == first.session.id)
            #expect(try isGood(second, harness))
            let again = try tokens(try refresh(first, harness))
            #expect(again.isRetried == true && again.refreshToken == second.refreshToken)
            #expect(try isGood(again, harness) && isGood(first, harness))
        }
    }

    @Test func aTokenUsedTwiceEndsTheSessionForGoodAndIsToldWithoutASecret() throws {
        try withTenant { harness in
            let first = try tokens(try harness.call(.issueTokens, ada))
            let second = try tokens(try refresh(first, harness))
            let third = try tokens(try refresh(second, harness))
            let reused = try refresh(first, harness)
            #expect(reused.status == .refreshRefused && reused.detail == "log in again")
            for issued in [first, second, third] {
                let (verdict, reason) = try harness.check(
                    .accessToken, issued.accessToken.revealed())
                #expect(verdict == .deny && reason == .credentialRevoked)
            }
            #expect(try refresh(third, harness).status == .refreshRefused)
            let named: JSONObject = [
                "organization": "acme", "session": .string(first.session.id),
            ]
            let shown = try harness.call(.showSession, named)
            #expect(shown.text("session", "reason") == "reuse")
            let log = harness.logged.text
            #expect(log.contains("used twice") && log.contains(first.session.id))
            for issued in [first, second, third] {
                #expect(!log.contains(issued.refreshToken.revealed()))
                #expect(!log.contains(issued.accessToken.revealed()))
            }
            let statistics = harness.server.server.statistics()
            #expect(statistics.first { $0.name == "tollgate_refresh_reuse_total" }?.value == 1)
            try harness.restart()
            #expect(
                try harness.check(.accessToken, third.accessToken.revealed())
                    == (.deny, .credentialRevoked))
        }
    }

    @Test func everyRefusedRefreshTokenLooksTheSame() throws {
        try withTenant { harness in
            let issued = try tokens(try harness.call(.issueTokens, ada))
            let flipped = String(issued.refreshToken.revealed().reversed())
            var answers = try [flipped, "", "tgr_", String(repeating: "x", count: 5_000)].map {
                try harness.call(.refreshTokens, ["refresh_token": .string($0)])
            }
            try harness.call(.suspendUser, ada).expectOK()
            answers.append(try refresh(issued, harness))
            try harness.call(.resumeUser, ada).expectOK()
            try harness.call(
                .setSubscription, ["organization": "acme", "status": "canceled"]).expectOK()
            answers.append(try refresh(issued, harness))
            try harness.call(
                .setSubscription, ["organization": "acme", "status": "active"]).expectOK()
            // None of these spent it.
            let next = try tokens(try refresh(issued, harness))
            #expect(next.isRetried == false)
            try harness.call(
                .endSession, ["refresh_token": .string(next.refreshToken.revealed())]).expectOK()
            answers.append(try refresh(next, harness))
            for answer in answers {
                #expect(answer.status == .refreshRefused && answer.detail == "log in again")
            }
        }
    }

    @Test func aNarrowedLoginStaysNarrowWhenItIsRefreshed() throws {
        var policy = DirectoryHarness.policy()
        policy.operations = [OperationDefinition(name: "models", permission: "write")]
        try withTenant(policy) { harness in
            var members = ada
            members.append("permissions", .array(["read"]))
            let narrow = try tokens(try harness.call(.issueTokens, members))
            let next = try tokens(try refresh(narrow, harness))
            for issued in [narrow, next] {
                #expect(try claim("permissions", issued) == "[\"read\"]")
                #expect(
                    try harness.check(.accessToken, issued.accessToken.revealed())
                        == (.deny, .permissionDenied))
            }
            #expect(try isGood(try tokens(try harness.call(.issueTokens, ada)), harness))
        }
    }

    @Test func aLogoutEndsTheSessionAndItsTokens() throws {
        try withTenant { harness in
            let first = try tokens(try harness.call(.issueTokens, ada))
            let other = try tokens(try harness.call(.issueTokens, ada))
            let ended = try harness.call(
                .endSession, ["refresh_token": .string(first.refreshToken.revealed())])
            #expect(try ended.document("session", Session.self).reason == .asked)
            #expect(try !isGood(first, harness))
            #expect(try isGood(other, harness))
            let listed = try harness.call(.listSessions, ada)
            #expect(listed.items.count == 2)
        }
    }

    @Test func eachRevocationEndsWhatItNamesAndNothingElse() throws {
        try withTenant { harness in
            try harness.call(.createUser, ["organization": "acme", "id": "bob"]).expectOK()
            let bob: JSONObject = ["organization": "acme", "user": "bob"]
            let one = try tokens(try harness.call(.issueTokens, ada))
            let two = try tokens(try refresh(one, harness))
            let three = try tokens(try harness.call(.issueTokens, ada))
            let four = try tokens(try harness.call(.issueTokens, bob))
            func good() throws -> [Bool] {
                try [one, two, three, four].map { try isGood($0, harness) }
            }
            #expect(try good() == [true, true, true, true])
            let jti = try #require(try claim("jti", one)).dropFirst().dropLast()
            let token = try harness.call(
                .revokeToken, ["organization": "acme", "jti": .string(String(jti))])
            #expect(token.text("revocation", "kind") == "token" && token["known"] == .bool(true))
            #expect(try good() == [false, true, true, true])
            try harness.call(
                .revokeSession, ["organization": "acme", "session": .string(two.session.id)]
            ).expectOK()
            #expect(try good() == [false, false, true, true])
            try harness.call(.revokeUser, ada).expectOK()
            #expect(try good() == [false, false, false, true])
            try harness.call(.revokeOrganization, ["organization": "acme"]).expectOK()
            #expect(try good() == [false, false, false, false])
            let listed = try DirectoryPage<Revocation>(
                json: harness.call(.listRevocations, ["organization": "acme"]).json)
            #expect(Set(listed.items.map(\.kind)) == [.token, .session, .user, .organization])
            let unknown = try harness.call(
                .revokeUser, ["organization": "none", "user": "x", "personal": .bool(true)])
            unknown.expectOK()
            #expect(unknown["known"] == .bool(false))
        }
    }

    @Test func aLoginJustAfterARevocationIsGood() throws {
        try withTenant { harness in
            for call in [CallName.revokeUser, .revokeOrganization] {
                for _ in 0..<20 {
                    let old = try tokens(try harness.call(.issueTokens, ada))
                    let members = call == .revokeUser ? ada : ["organization": "acme"]
                    try harness.call(call, members).expectOK()
                    let new = try tokens(try harness.call(.issueTokens, ada))
                    // A token is good from the instant that it names, a millisecond ahead at most.
                    while try claim("iat", new) ?? "" > now() {}
                    #expect(try isGood(new, harness))
                    #expect(try !isGood(old, harness))
                }
            }
        }
    }

    @Test func issuedAtIsWholeUnlessARevocationInItsSecondDecides() throws {
        let record = SigningKeyRecord(
            id: SigningKeyID(unchecked: "k"), state: .signing,
            added: WallTime(milliseconds: 0))
        let key = OwnKey(record: record, secret: ServerHarness.secret)
        let claims = AccessTokenClaims(
            organization: OrganizationRecord(
                id: OrganizationID(unchecked: "acme"), name: "Acme", isPersonal: false,
                status: .active, created: WallTime(milliseconds: 0)),
            user: UserID(unchecked: "ada"), session: SessionID(unchecked: "s"),
            plan: PlanName(unchecked: "p"), permissions: nil)
        // Revoked at; what `iat` says of a token of 7.250 s.
        let cases: [(Int64?, String)] = [
            (nil, "7"), (6_999, "7"), (7_000, "7.250"), (7_249, "7.250"), (7_250, "7.251"),
            (7_999, "8.000"), (8_004, "8.005"),
        ]
        for (revoked, issued) in cases {
            let token = try #require(
                AccessToken(
                    claims, terms: TokenTerms(issuer: "i"), key: key,
                    now: WallTime(milliseconds: 7_250),
                    refusedUntil: revoked.map { WallTime(milliseconds: $0) }))
            #expect(try claim("iat", token.text) == issued, "\(String(describing: revoked))")
            #expect(try claim("nbf", token.text) == "7" && claim("exp", token.text) == "607")
        }
    }

    /// Seconds with three decimals.
    private func now() -> String {
        let milliseconds = tg_walltime()
        return "\(milliseconds / 1_000).\(String(1_000 + milliseconds % 1_000).dropFirst())"
    }
}

extension String {
    /// Foundation's, for which these tests need no more than this.
    fileprivate func range(of part: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(part) {
                return start..<index(start, offsetBy: part.count)
            }
            start = index(after: start)
        }
        return nil
    }
}
