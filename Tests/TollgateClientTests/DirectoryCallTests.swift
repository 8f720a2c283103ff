import Testing
import TollgateWire

@testable import TollgateClient

/// What each call of the directory sends, and what the clients make of what comes back.
@Suite(.serialized) struct DirectoryCallTests {
    struct Sent {
        var call: CallName
        var body: String
        var isRepeatable: Bool
        var fault: ClientError?
    }

    static func sent<Answer>(_ call: DirectoryCall<Answer>) -> Sent {
        Sent(
            call: call.request.call,
            body: String(decoding: call.request.body, as: UTF8.self),
            isRepeatable: call.isRepeatable,
            fault: failure { () throws(ClientError) in try Calls.directory(call) })
    }

    private static let at = Timestamp(milliseconds: 1_767_225_600_000)
    private static let refresh = SecretText("hidden")

    private static var organizations: [(Sent, String)] { [
        (sent(.createOrganization(id: "o")), #""org.create","id":"o"}"#),
        (
            sent(
                .createOrganization(
                    id: "o", name: "n", isPersonal: true, plan: "p", timeZone: "Europe/Berlin",
                    anchorAt: at, subscriptionStatus: .pastDue)),
            #""org.create","id":"o","name":"n","personal":true,"plan":"p","#
                + #""time_zone":"Europe/Berlin","anchor_at":1767225600000,"#
                + #""subscription_status":"past_due"}"#
        ),
        (sent(.organizations()), #""org.list"}"#),
        (sent(.organizations(after: "c", limit: 7)), #""org.list","after":"c","limit":7}"#),
        (sent(.organization("o")), #""org.show","organization":"o"}"#),
        (sent(.renameOrganization("o", to: "n")), #""org.rename","organization":"o","name":"n"}"#),
        (sent(.suspendOrganization("o")), #""org.suspend","organization":"o"}"#),
        (sent(.resumeOrganization("o")), #""org.resume","organization":"o"}"#),
        (sent(.deleteOrganization("o")), #""org.delete","organization":"o"}"#),
        (
            sent(.changePlan(organization: "o", to: "p", mode: .prorate, when: .periodEnd)),
            #""org.change_plan","organization":"o","plan":"p","mode":"prorate","#
                + #""when":"period_end"}"#
        ),
        (
            sent(.previewPlanChange(organization: "o", to: "p")),
            #""org.change_plan","organization":"o","plan":"p","preview":true}"#
        ),
        (
            sent(.cancelPlanChange(organization: "o")),
            #""org.cancel_plan_change","organization":"o"}"#
        ),
        (
            sent(
                .setSubscription(
                    organization: "o", status: .canceled, timeZone: "UTC", anchorAt: at)),
            #""org.set_subscription","organization":"o","status":"canceled","time_zone":"UTC","#
                + #""anchor_at":1767225600000}"#
        ),
    ] }

    private static var users: [(Sent, String)] { [
        (
            sent(.createUser(organization: "o", id: "u")),
            #""user.create","organization":"o","id":"u","role":"member"}"#
        ),
        (
            sent(.createUser(organization: "o", id: "u", name: "n", role: nil)),
            #""user.create","organization":"o","id":"u","name":"n","role":null}"#
        ),
        (
            sent(.users(organization: "o", after: "c", limit: 1)),
            #""user.list","organization":"o","after":"c","limit":1}"#
        ),
        (sent(.user("u", organization: "o")), #""user.show","organization":"o","user":"u"}"#),
        (
            sent(.renameUser("u", organization: "o", to: "n")),
            #""user.rename","organization":"o","user":"u","name":"n"}"#
        ),
        (
            sent(.setRole(.owner, user: "u", organization: "o")),
            #""user.set_role","organization":"o","user":"u","role":"owner"}"#
        ),
        (
            sent(.setRole(nil, user: "u", organization: "o")),
            #""user.set_role","organization":"o","user":"u","role":null}"#
        ),
        (
            sent(.suspendUser("u", organization: "o")),
            #""user.suspend","organization":"o","user":"u"}"#
        ),
        (
            sent(.resumeUser("u", organization: "o")),
            #""user.resume","organization":"o","user":"u"}"#
        ),
        (
            sent(.deleteUser("u", organization: "o")),
            #""user.delete","organization":"o","user":"u"}"#
        ),
    ] }

    private static var keys: [(Sent, String)] { [
        (
            sent(.createKey(organization: "o", user: "u")),
            #""key.create","organization":"o","user":"u"}"#
        ),
        (
            sent(
                .createKey(
                    organization: "o", user: "u", name: "n", environment: "test",
                    permissions: ["a"], addresses: ["::/0"],
                    rate: .init(limit: 5, windowSeconds: 60), expiresAt: at, creator: "ops")),
            #""key.create","organization":"o","user":"u","name":"n","environment":"test","#
                + #""permissions":["a"],"addresses":["::/0"],"#
                + #""rate":{"limit":5,"window_seconds":60},"expires_at":1767225600000,"#
                + #""creator":"ops"}"#
        ),
        (
            sent(.keys(organization: "o", user: "u", after: "c", limit: 2)),
            #""key.list","organization":"o","user":"u","after":"c","limit":2}"#
        ),
        (sent(.key("k", organization: "o")), #""key.show","organization":"o","key":"k"}"#),
        (
            sent(.rotateKey("k", organization: "o", overlapSeconds: 0)),
            #""key.rotate","organization":"o","key":"k","overlap_seconds":0}"#
        ),
        (sent(.editKey("k", organization: "o")), #""key.edit","organization":"o","key":"k"}"#),
        (
            sent(
                .editKey(
                    "k", organization: "o", name: "n", permissions: .to([]), addresses: .removed,
                    rate: .to(.init(limit: 1, windowSeconds: 1)), expiresAt: .removed)),
            #""key.edit","organization":"o","key":"k","name":"n","permissions":[],"#
                + #""addresses":null,"rate":{"limit":1,"window_seconds":1},"expires_at":null}"#
        ),
        (sent(.revokeKey("k", organization: "o")), #""key.revoke","organization":"o","key":"k"}"#),
    ] }

    private static var credentials: [(Sent, String)] { [
        (
            sent(.issueTokens(organization: "o", user: "u", permissions: ["a"])),
            #""token.issue","organization":"o","user":"u","permissions":["a"]}"#
        ),
        (sent(.refreshTokens(refresh)), #""token.refresh","refresh_token":"hidden"}"#),
        (sent(.endSession(refresh)), #""session.end","refresh_token":"hidden"}"#),
        (
            sent(.sessions(organization: "o", user: "u")),
            #""session.list","organization":"o","user":"u"}"#
        ),
        (
            sent(.session("s", organization: "o")),
            #""session.show","organization":"o","session":"s"}"#
        ),
        (
            sent(.revokeSession("s", organization: "o")),
            #""session.revoke","organization":"o","session":"s"}"#
        ),
        (
            sent(.revokeToken(jti: "j", organization: "o", isPersonal: true, expiresAt: at)),
            #""revoke.token","organization":"o","personal":true,"jti":"j","#
                + #""expires_at":1767225600000}"#
        ),
        (
            sent(.revokeUser("u", organization: "o")),
            #""revoke.user","organization":"o","user":"u"}"#
        ),
        (sent(.revokeOrganization("o")), #""revoke.organization","organization":"o"}"#),
        (
            sent(.revocations(organization: "o", isPersonal: false, kind: .token)),
            #""revoke.list","organization":"o","personal":false,"kind":"token"}"#
        ),
    ] }

    private static var upkeep: [(Sent, String)] { [
        (
            sent(
                .setOverride(
                    organization: "o", user: "u", limit: "l", units: 1 << 53, expiresAt: at)),
            #""override.set","organization":"o","user":"u","limit":"l","units":9007199254740992,"#
                + #""expires_at":1767225600000}"#
        ),
        (
            sent(.removeOverride(organization: "o", limit: "l")),
            #""override.remove","organization":"o","limit":"l"}"#
        ),
        (sent(.overrides(organization: "o")), #""override.list","organization":"o"}"#),
        (
            sent(.grantCredits(organization: "o", quota: "q", units: 3, priority: 7, id: "i")),
            #""credit.grant","organization":"o","quota":"q","units":3,"priority":7,"id":"i"}"#
        ),
        (
            sent(.voidCredits(organization: "o", id: "i")),
            #""credit.void","organization":"o","id":"i"}"#
        ),
        (sent(.credits(organization: "o")), #""credit.list","organization":"o"}"#),
        (sent(.addSigningKey()), #""signing_key.add"}"#),
        (sent(.addSigningKey(id: "k")), #""signing_key.add","id":"k"}"#),
        (sent(.promoteSigningKey("k")), #""signing_key.promote","id":"k"}"#),
        (sent(.retireSigningKey("k")), #""signing_key.retire","id":"k"}"#),
        (sent(.signingKeys()), #""signing_key.list"}"#),
        (sent(.plans(after: "c", limit: 3)), #""plan.list","after":"c","limit":3}"#),
        (sent(.plan("p")), #""plan.show","plan":"p"}"#),
        (
            sent(.log(organization: "o", limit: 1_000)),
            #""log.list","organization":"o","limit":1000}"#
        ),
        (sent(.createBackup(path: "/b")), #""backup.create","path":"/b"}"#),
        (sent(.directoryStatus()), #""directory.status"}"#),
        (sent(.exportDirectory(after: "c")), #""directory.export","after":"c"}"#),
        (sent(.ledgerStatus()), #""ledger.status"}"#),
        (sent(.createSnapshot()), #""snapshot.create"}"#),
        (sent(.snapshots(limit: 2)), #""snapshot.list","limit":2}"#),
        (sent(.usage(period: "2026-10")), #""usage.closed","period":"2026-10"}"#),
        (
            sent(.usage(period: "2026-10", organization: "o", includingOpen: true, after: "c")),
            #""usage.closed","period":"2026-10","organization":"o","open":true,"after":"c"}"#
        ),
        (sent(.top()), #""top.show"}"#), (sent(.top(limit: 9)), #""top.show","limit":9}"#),
        (sent(.pruneUsage(period: "2026-10-31")), #""usage.prune","period":"2026-10-31"}"#),
        (sent(.pruneUsage(period: "2026-10", notExported: true)),
            #""usage.prune","period":"2026-10","not_exported":true}"#),
        (
            sent(
                .importDirectory([
                    .user(
                        User(
                            organization: "o", id: "u", name: "n", role: nil, status: .active,
                            createdAt: at))
                ])),
            #""directory.import","records":[{"type":"user","organization":"o","id":"u","name":"n","#
                + #""role":null,"status":"active","created_at":1767225600000}]}"#
        ),
    ] }

    private static var all: [(Sent, String)] {
        organizations + users + keys + credentials + upkeep + alerts
    }

    @Test func everyCallSendsItsMembersAndWhatIsLeftOutIsNotSent() {
        for (sent, expected) in Self.all {
            #expect(sent.body == "{\"call\":" + expected)
            #expect(sent.fault == nil, "\(sent.body)")
        }
        #expect(Set(Self.all.map(\.0.call)) == Set(CallName.allCases))
    }

    @Test func whatChangesNothingMayBeAskedTwiceAndNothingElse() {
        for (sent, _) in Self.all {
            let isPreview = sent.body.contains("\"preview\":true")
            #expect(sent.isRepeatable == (sent.call.onlyReads || isPreview), "\(sent.body)")
        }
    }

    @Test func whatTheDaemonWouldRefuseForItsFormIsNotSent() {
        let client = BlockingClient(path: "/nowhere")
        func fault<Answer>(_ call: DirectoryCall<Answer>) -> ClientError? {
            failure { () throws(ClientError) in try client.perform(call) }
        }
        #expect(
            fault(.organization("")) == .invalidRequest("organization: is not 1 to 128 bytes long"))
        #expect(fault(.organizations(limit: 0)) == .invalidRequest("limit: is not in 1 to 1000"))
        #expect(
            fault(.setOverride(organization: "o", limit: "l", units: .max))
                == .invalidRequest("units: is not in 0 to 2^53"))
        #expect(
            fault(.raw(.showPlan, ["nam": .null]))
                == .invalidRequest("nam: is no member of plan.show"))
        let large = SecretText(String(repeating: "x", count: 65_536))
        #expect(
            fault(.endSession(large)) == .invalidRequest("session.end is larger than a frame"))
        // What is in order would be sent.
        guard case .unreachable = fault(.organization("o")) else {
            Issue.record("it was not sent")
            return
        }
    }

    /// Answers each call with what `replies` has for it.
    private static func daemon(
        _ replies: [CallName: (Status, String)]
    ) throws -> FakeDaemon {
        try FakeDaemon { peer in
            while let request = peer.request() {
                let object = request.body.withUnsafeBytes { body -> CallName? in
                    do throws(DirectoryRequest.Fault) {
                        return try DirectoryRequest(reading: body).call
                    } catch { return nil }
                }
                guard let object, let reply = replies[object] else { return }
                peer.answer(request, Array(reply.1.utf8), status: reply.0)
            }
        }
    }

    private static let user = User(
        organization: "o", id: "u", name: "n", role: .admin, status: .active, createdAt: at)

    @Test func bothClientsReadTheAnswerAndTheRefusal() async throws {
        let userText = Self.user.json.text
        let daemon = try Self.daemon([
            .showUser: (.ok, "{\"user\":\(userText),\"later\":1}"),
            .listUsers: (.ok, "{\"items\":[\(userText),\(userText)],\"next\":\"c\"}"),
            .showOrganization: (.notFound, "no such organization"),
            .showPlan: (.noDirectory, "the policy has no directory"),
            .showKey: (.ok, "{\"key\":\(userText)}"), .showStatus: (.ok, "[]"),
            .listLog: (.ok, "{\"items\":[]"), .endSession: (.refreshRefused, "log in again"),
        ])
        defer { daemon.stop() }
        let blocking = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        let async = AsyncClient(path: daemon.path, timeoutMilliseconds: 20_000)
        let page = DirectoryPage(items: [Self.user, Self.user], next: "c")
        #expect(try blocking.perform(.user("u", organization: "o")) == Self.user)
        #expect(try await async.perform(.user("u", organization: "o")) == Self.user)
        #expect(try blocking.perform(.users(organization: "o")) == page)
        #expect(try await async.perform(.users(organization: "o")) == page)
        let raw = try blocking.perform(
            .raw(.showUser, ["organization": .string("o"), "user": .string("u")]))
        #expect(raw["later"] == .integer(1))
        func fault<Answer>(_ call: DirectoryCall<Answer>) async -> ClientError? {
            let one = failure { () throws(ClientError) in try blocking.perform(call) }
            let other = await failureOf { () async throws(ClientError) in
                try await async.perform(call)
            }
            #expect(one == other)
            return one
        }
        #expect(
            await fault(.organization("o")) == .refused(.notFound, detail: "no such organization"))
        #expect(
            await fault(.plan("p"))
                == .refused(.noDirectory, detail: "the policy has no directory"))
        #expect(
            await fault(.endSession(Self.refresh))
                == .refused(.refreshRefused, detail: "log in again"))
        #expect(
            await fault(.key("k", organization: "o"))
                == .malformedReply("key.show: key.prefix: is missing"))
        #expect(
            await fault(.directoryStatus())
                == .malformedReply("directory.status: is not an object but an array"))
        #expect(
            await fault(.log())
                == .malformedReply("log.list: byte 11: neither a comma nor the closing bracket"))
    }

    @Test func aCallWhoseAnswerWasLostIsSentAgainOnlyIfItChangesNothing() throws {
        let answer = Array("{\"user\":\(Self.user.json.text)}".utf8)
        let daemon = try FakeDaemon { peer in
            // The first connection serves a PING, and ends at the call.
            guard let first = peer.request() else { return }
            peer.answer(first, first.opcode == Opcode.ping.rawValue ? nil : answer)
            guard let second = peer.request(), second.opcode == Opcode.ping.rawValue else {
                return peer.end()
            }
            peer.answer(second)
        }
        defer { daemon.stop() }
        let reading = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        try reading.ping()
        #expect(try reading.perform(.user("u", organization: "o")) == Self.user)
        #expect(daemon.connections.load(ordering: .relaxed) == 2)
        let changing = BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000)
        try changing.ping()
        let error = failure { () throws(ClientError) in
            try changing.perform(.suspendUser("u", organization: "o"))
        }
        #expect(error == .disconnected)
        #expect(daemon.connections.load(ordering: .relaxed) == 3)
    }

    @Test func aCallPrintsNoSecret() {
        for call in [DirectoryCall.refreshTokens(Self.refresh)] {
            var dumped = ""
            dump(call, to: &dumped)
            #expect(!"\(call) \(String(reflecting: call)) \(dumped)".contains("hidden"))
            #expect("\(call)" == "token.refresh")
        }
    }
}
