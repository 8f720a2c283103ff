import CLinux
import Glibc
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// The directory as a whole: moving in and out, its copy, its size, its log.
@Suite struct DirectoryWholeTests {
    private func filled(_ harness: DirectoryHarness) throws -> String {
        try harness.makeTenant()
        try harness.call(
            .createOrganization, ["id": "bob", "personal": .bool(true), "plan": "free_tier"]
        ).expectOK()
        let key = try harness.call(
            .createKey,
            [
                "organization": "acme", "user": "ada", "addresses": .array(["10.0.0.0/8"]),
                "rate": .object(["limit": 5, "window_seconds": 60]),
            ])
        let open = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        try harness.call(
            .rotateKey,
            ["organization": "acme", "key": open["key", "id"] ?? .null, "overlap_seconds": 600]
        ).expectOK()
        try harness.call(.revokeUser, ["organization": "bob", "user": "bob"]).expectOK()
        try harness.call(
            .setOverride, ["organization": "acme", "limit": "daily", "units": 50]).expectOK()
        try harness.call(.suspendUser, ["organization": "bob", "user": "bob"]).expectOK()
        key.expectOK()
        return open.text("secret")
    }

    private func export(_ harness: DirectoryHarness) throws -> [JSONValue] {
        var records: [JSONValue] = []
        var members: JSONObject = ["limit": 2]
        while true {
            let part = try harness.call(.exportDirectory, members)
            part.expectOK()
            records += part.items
            guard case .string(let next)? = part["next"] else { return records }
            members = ["limit": 2, "after": .string(next)]
        }
    }

    @Test func whatIsMovedInIsTheSameAndServesTheSameKeys() throws {
        let from = try DirectoryHarness()
        defer { from.stop() }
        let secret = try filled(from)
        let records = try export(from)
        #expect(records.count == 8)
        let to = try DirectoryHarness()
        defer { to.stop() }
        let moved = try to.call(.importDirectory, ["records": .array(records)])
        moved.expectOK()
        #expect(try ImportOutcome(json: moved.json) == ImportOutcome(created: 8, unchanged: 0))
        #expect(try export(to) == records)
        // The secret before the rotation too.
        #expect(try to.check(.apiKey, secret) == (.allow, .none))
        let again = try to.call(.importDirectory, ["records": .array(records)])
        #expect(try ImportOutcome(json: again.json) == ImportOutcome(created: 0, unchanged: 8))
        try to.restart()
        #expect(try to.check(.apiKey, secret) == (.allow, .none))
    }

    @Test func anImportIsWholeOrNotAndSaysWhichRecordStoppedIt() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let organization = Organization(
            id: "new", name: "new", isPersonal: false, status: .active,
            createdAt: Timestamp(milliseconds: 1), subscription: nil)
        let user = User(
            organization: "new", id: "eve", name: "Eve", role: .member, status: .active,
            createdAt: Timestamp(milliseconds: 2))
        func record(_ record: ExportedRecord) -> JSONValue { record.json }
        var lost = user
        lost.organization = "nowhere"
        var other = organization
        other.id = "acme"
        let subscribed = Organization(
            id: "more", name: "more", isPersonal: false, status: .active,
            createdAt: Timestamp(milliseconds: 1),
            subscription: Subscription(
                plan: "none", status: .active, anchorAt: Timestamp(milliseconds: 1),
                timeZone: "UTC", sinceAt: Timestamp(milliseconds: 1), pending: nil))
        let cases: [(ExportedRecord, Status, String)] = [
            (.user(lost), .notFound, "records[2]:"),
            (.organization(other), .alreadyExists, "records[2]:"),
            (.organization(subscribed), .invalidValue, "records[2].subscription:"),
            (
                .override(
                    LimitOverride(
                        organization: "new", user: nil, limit: "none", units: 1, expiresAt: nil)),
                .invalidValue, "records[2].limit:"
            ),
        ]
        for (bad, status, detail) in cases {
            let answer = try harness.call(
                .importDirectory,
                [
                    "records": .array([
                        record(.organization(organization)), record(.user(user)), record(bad),
                    ])
                ])
            #expect(answer.status == status && answer.detail.hasPrefix(detail), "\(answer.detail)")
            #expect(
                try harness.call(.showOrganization, ["organization": "new"]).status == .notFound)
        }
        let empty = try harness.call(
            .importDirectory, ["records": .array([.object(["type": "key"])])])
        #expect(empty.status == .invalidValue && empty.detail.hasPrefix("records[0]"))
    }

    @Test func anImportRefusesWhatContradictsItself() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let now = tg_walltime()
        try harness.call(.createKey, ["organization": "acme", "user": "ada"]).expectOK()
        try harness.call(.revokeUser, ["organization": "acme", "user": "ada"]).expectOK()
        let records = try export(harness).map { try ExportedRecord(json: $0) }
        func refusal(_ change: (inout ExportedRecord) -> Void) throws -> String {
            var changed = records
            for index in changed.indices { change(&changed[index]) }
            let answer = try harness.call(
                .importDirectory, ["records": .array(changed.map(\.json))])
            #expect(answer.status == .invalidValue, "\(answer.detail)")
            return answer.detail.split(separator: ":").first.map(String.init) ?? ""
        }
        func ofKey(_ change: (inout APIKeyInfo) -> Void) throws -> String {
            try refusal {
                guard case .key(var key) = $0 else { return }
                change(&key.key)
                $0 = .key(key)
            }
        }
        func ofRevocation(_ change: (inout Revocation) -> Void) throws -> String {
            try refusal {
                guard case .revocation(var revocation) = $0 else { return }
                change(&revocation)
                $0 = .revocation(revocation)
            }
        }
        let place = try #require(records.firstIndex { $0.kind == .key })
        for state in [APIKeyInfo.State.active, .rotating, .expired] {
            #expect(try ofKey { $0.state = state } == "records[\(place)].state")
        }
        let unrevoked = try ofKey { $0.revokedAt = nil }
        #expect(unrevoked == "records[\(place)].state")
        #expect(try ofKey { $0.prefix += "x" } == "records[\(place)].prefix")
        let last = try #require(records.firstIndex { $0.kind == .revocation })
        let day: Int64 = 86_400_000
        let ahead = try ofRevocation { $0.at = Timestamp(milliseconds: now + day) }
        #expect(ahead == "records[\(last)].at")
        let endless = try ofRevocation { $0.expiresAt = Timestamp(milliseconds: now + 999 * day) }
        #expect(endless == "records[\(last)].expires_at")
    }

    @Test func anExportLeavesOutWhatAChangeOfPlansLeftForThePeriod() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        try harness.call(
            .changePlan, ["organization": "acme", "plan": "free_tier", "mode": "prorate"]
        ).expectOK()
        let held = try harness.call(.listOverrides, ["organization": "acme"])
        #expect(held.items.count == 1)
        let records = try export(harness)
        #expect(records.count == 2)
        let again = try harness.call(.importDirectory, ["records": .array(records)])
        #expect(try ImportOutcome(json: again.json) == ImportOutcome(created: 0, unchanged: 2))
    }

    @Test func aBackupIsADirectoryThatCanBeUsed() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        let secret = try filled(harness)
        let folder = try ServerHarness.freshDirectory()
        let path = folder + "/directory.sqlite"
        // With changes around it, which it waits for, and which wait for it.
        harness.admin.send(
            DirectoryHarness.frame(.createUser, ["organization": "acme", "id": "u1"])
                + DirectoryHarness.frame(.createBackup, ["path": .string(path)])
                + DirectoryHarness.frame(.createUser, ["organization": "acme", "id": "u2"]))
        try DirectoryHarness.answer(harness.admin).expectOK()
        let made = try DirectoryHarness.answer(harness.admin)
        made.expectOK()
        try DirectoryHarness.answer(harness.admin).expectOK()
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(try DirectoryBackup(json: made.json).bytes == UInt64(status.st_size))
        let again = try harness.call(.createBackup, ["path": .string(path)])
        #expect(again.status == .alreadyExists)
        #expect(try harness.call(.createBackup, ["path": "here"]).status == .invalidValue)
        let nowhere = try harness.call(.createBackup, ["path": .string(folder + "/x/y")])
        #expect(nowhere.status == .storageFailed && nowhere.detail.contains(folder))
        // Signing keys' files are copied apart from it.
        let signing = harness.folder + "/signing"
        let restored = try DirectoryHarness(change: {
            $0.path = folder
            $0.signingKeysPath = signing
        })
        #expect(try restored.check(.apiKey, secret) == (.allow, .none))
        func isThere(_ user: String) throws -> Bool {
            let members: JSONObject = ["organization": "acme", "user": .string(user)]
            return try restored.call(.showUser, members).status == .ok
        }
        #expect(try isThere("u1") && !isThere("u2"))
        restored.stop()
        for name in DirectoryHarness.names(in: folder) { unlink(folder + "/" + name) }
        rmdir(folder)
    }

    @Test func theStatusCountsWhatIsThereAndWhichPeppersItNeeds() throws {
        let second = try DirectoryHarness.pepper(2)
        let harness = try DirectoryHarness(change: {
            $0.peppers.append(second)
        })
        defer { harness.stop() }
        _ = try filled(harness)
        try harness.call(.issueTokens, ["organization": "acme", "user": "ada"]).expectOK()
        let status = try DirectoryStatus(json: harness.call(.showStatus).json)
        #expect(status.organizations == 2 && status.users == 2 && status.keys == 2)
        #expect(status.sessions == 1 && status.revocations == 1)
        #expect(status.path == harness.folder + "/directory.sqlite")
        #expect(status.peppers.map(\.generation) == [1, 2])
        #expect(status.peppers.map(\.keys) == [0, 2])
        let statistics = harness.server.server.statistics()
        for (name, value) in [("organizations", 2), ("users", 2), ("keys", 2), ("revocations", 1)] {
            #expect(
                statistics.contains {
                    $0.name == "tollgate_directory_\(name)" && $0.value == UInt64(value)
                        && $0.isGauge
                })
        }
    }

    @Test func aNewPepperTakesAKeyOverWhenItIsUsedAndAnOldOneThatIsMissedIsToldOf() throws {
        let generations = try PepperChoice([1])
        let harness = try DirectoryHarness(change: { $0.peppers = generations.peppers })
        defer { harness.stop() }
        try harness.makeTenant()
        let used = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        let idle = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        generations.choose([1, 2])
        try harness.restart()
        #expect(try harness.check(.apiKey, used.text("secret")) == (.allow, .none))
        let named: JSONObject = ["organization": "acme", "key": used["key", "id"] ?? .null]
        while try harness.call(.showKey, named)["key", "pepper"] != .integer(2) {}
        generations.choose([2])
        try harness.restart()
        #expect(harness.logged.text.contains("1 keys were made under the pepper of generation 1"))
        #expect(try harness.check(.apiKey, used.text("secret")) == (.allow, .none))
        #expect(try harness.check(.apiKey, idle.text("secret")).0 == .deny)
    }

    @Test func theLogTellsWhoDidWhatNewestFirstAndNoSecret() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        let secret = try filled(harness)
        let all = try DirectoryPage<DirectoryLogEntry>(
            json: harness.call(.listLog, ["limit": 1_000]).json)
        #expect(all.items.map(\.number) == all.items.map(\.number).sorted(by: >))
        #expect(all.items.first?.action == "user.suspend" && all.items.first?.uid == geteuid())
        #expect(all.items.first?.pid == UInt32(getpid()))
        #expect(all.items.first?.before?["status"] == .string("active"))
        #expect(all.items.first?.after?["status"] == .string("suspended"))
        let bobs = try DirectoryPage<DirectoryLogEntry>(
            json: harness.call(.listLog, ["organization": "bob"]).json)
        #expect(!bobs.items.isEmpty && bobs.items.allSatisfy { $0.organization == "bob" })
        let text = all.json.text
        #expect(!text.contains(secret) && !text.contains(secret.suffix(38)))
    }

    @Test func whenAKeyWasUsedLastOutlivesTheDaemon() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let key = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        let named: JSONObject = ["organization": "acme", "key": key["key", "id"] ?? .null]
        #expect(try harness.call(.showKey, named)["key", "last_used_at"] == .null)
        #expect(try harness.check(.apiKey, key.text("secret")) == (.allow, .none))
        let used = try harness.call(.showKey, named)["key", "last_used_at"]
        #expect(used != .null)
        try harness.restart()
        #expect(try harness.call(.showKey, named)["key", "last_used_at"] == used)
    }

    @Test func theWordsOfTheProtocolAreThoseOfTheStore() {
        func same<A: CaseIterable & RawRepresentable, B: CaseIterable & RawRepresentable>(
            _: A.Type, _: B.Type
        ) -> Bool where A.RawValue == String, B.RawValue == String {
            Set(A.allCases.map(\.rawValue)) == Set(B.allCases.map(\.rawValue))
        }
        #expect(same(Organization.Status.self, Standing.self))
        #expect(same(User.Status.self, Standing.self))
        #expect(same(User.Role.self, MemberRole.self))
        #expect(same(Subscription.Status.self, SubscriptionStatus.self))
        #expect(same(Subscription.ChangeMode.self, PlanChangeMode.self))
        #expect(same(Session.EndReason.self, RevokeReason.self))
        #expect(same(SigningKey.State.self, SigningKeyState.self))
    }
}

/// Peppers that a test changes between starts.
private final class PepperChoice: Sendable {
    private let lock = Lock()
    private nonisolated(unsafe) var chosen: [APIKeyPepper]

    init(_ generations: [UInt32]) throws { chosen = try generations.map(DirectoryHarness.pepper) }

    func choose(_ generations: [UInt32]) {
        do {
            let peppers = try generations.map(DirectoryHarness.pepper)
            lock.lock()
            chosen = peppers
            lock.unlock()
        } catch { Issue.record(error) }
    }

    var peppers: [APIKeyPepper] {
        lock.lock()
        defer { lock.unlock() }
        return chosen
    }
}
