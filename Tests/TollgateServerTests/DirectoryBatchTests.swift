import CSQLite
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Many calls at once, and disks that do not take them.
@Suite struct DirectoryBatchTests {
    @Test func manyCallsAtOnceAreAnsweredEachForItselfAndInOrder() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        // Every third is refused: taken, or of an organization that is not there.
        var frames: [UInt8] = []
        for number in 0..<300 {
            let id = JSONValue.string("user\(number % 3 == 2 ? 0 : number)")
            let members: JSONObject = [
                "organization": number % 3 == 1 ? "none" : "acme", "id": id,
            ]
            frames += DirectoryHarness.frame(.createUser, members, id: UInt64(number))
        }
        harness.admin.send(frames)
        for number in 0..<300 {
            let answer = try DirectoryHarness.answer(harness.admin)
            #expect(answer.id == UInt64(number))
            let expected: [Status] = [.ok, .notFound, .alreadyExists]
            #expect(answer.status == expected[number % 3])
        }
        let page = try harness.call(.listUsers, ["organization": "acme", "limit": 1_000])
        #expect(page.items.count == 101)
        let statistics = harness.server.server.statistics()
        let commits = try #require(
            statistics.first { $0.name == "tollgate_directory_commits_total" })
        #expect(commits.value < 303)
        #expect(
            statistics.contains {
                $0.name == "tollgate_calls_total{status=\"alreadyExists\"}" && $0.value == 100
            })
    }

    @Test func aCallIsWhollyThereOrWhollyAbsent() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        // The organization is made first, and then its plan is refused.
        let refused = try harness.call(.createOrganization, ["id": "acme", "plan": "none"])
        #expect(refused.status == .invalidValue)
        let absent = try harness.call(.showOrganization, ["organization": "acme"])
        #expect(absent.status == .notFound)
        #expect(try harness.call(.listLog).items.allSatisfy { !$0.text.contains("acme") })
    }

    @Test func moreCallsThanMayWaitAreToldToAskAgain() throws {
        let gate = StepGate("began")
        let harness = try DirectoryHarness(change: { $0.onStep = { gate.reach($0) } })
        gate.close()
        defer { harness.stop() }
        let peer = try harness.server.peer(admin: true)
        peer.send(DirectoryHarness.frame(.createOrganization, ["id": "acme"], id: 7))
        gate.waitUntilHeld()
        // The thread is held: these wait, and then there is no more room.
        let others = try (0..<5).map { _ in try harness.server.peer(admin: true) }
        for other in others {
            other.send(
                (0..<250).flatMap { DirectoryHarness.frame(.showStatus, [:], id: UInt64($0)) })
        }
        let refused = try #require(others[4].reply())
        #expect(refused.status == Status.busy.rawValue)
        gate.open()
        #expect(try DirectoryHarness.answer(peer).status == .ok)
        var statuses: [UInt16: Int] = [refused.status: 1]
        for (index, other) in others.enumerated() {
            for _ in 0..<(index == 4 ? 249 : 250) {
                statuses[try #require(other.reply()).status, default: 0] += 1
            }
        }
        #expect(statuses[Status.ok.rawValue] == CallQueue.waitingMax)
        #expect(statuses[Status.busy.rawValue] == 1_250 - CallQueue.waitingMax)
    }

    @Test func aDrainWaitsForCallsThatAreNotAnswered() throws {
        let gate = StepGate("began")
        let harness = try DirectoryHarness(change: { $0.onStep = { gate.reach($0) } })
        gate.close()
        harness.admin.send(DirectoryHarness.frame(.createOrganization, ["id": "acme"]))
        gate.waitUntilHeld()
        harness.server.server.drain()
        #expect(!harness.server.server.hasEnded)
        gate.open()
        #expect(try DirectoryHarness.answer(harness.admin).status == .ok)
        #expect(harness.admin.reply() == nil)
        harness.stop()
    }

    @Test func aDiskThatTakesNoChangeRefusesItAndNothingElse() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let key = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        let before = try harness.call(.exportDirectory).json
        // As good as a full disk: nothing can be written while another holds the file.
        var other: OpaquePointer?
        #expect(sqlite3_open(harness.folder + "/directory.sqlite", &other) == SQLITE_OK)
        #expect(sqlite3_exec(other, "BEGIN IMMEDIATE", nil, nil, nil) == SQLITE_OK)
        let refused = try harness.call(.suspendOrganization, ["organization": "acme"])
        #expect(refused.status == .storageFailed)
        #expect(refused.detail.contains("directory.sqlite: database is locked"))
        let issued = try DirectoryHarness.call(
            .issueTokens, ["organization": "acme", "user": "ada"], try harness.server.peer())
        #expect(issued.status == .storageFailed)
        #expect(!issued.detail.contains(harness.folder))
        #expect(try harness.check(.apiKey, key.text("secret")) == (.allow, .none))
        // What only reads is answered, alone and in the midst of changes.
        harness.admin.send(
            DirectoryHarness.frame(.renameOrganization, ["organization": "acme", "name": "x"])
                + DirectoryHarness.frame(.showUser, ["organization": "acme", "user": "ada"])
                + DirectoryHarness.frame(.deleteOrganization, ["organization": "acme"]))
        let statuses = try (0..<3).map { _ in try DirectoryHarness.answer(harness.admin).status }
        #expect(statuses == [.storageFailed, .ok, .storageFailed])
        #expect(harness.logged.text.contains("database is locked"))
        #expect(harness.storageFailures.value == 0)
        #expect(sqlite3_exec(other, "ROLLBACK", nil, nil, nil) == SQLITE_OK)
        #expect(sqlite3_close(other) == SQLITE_OK)
        #expect(try harness.call(.exportDirectory).json == before)
        try harness.call(.suspendOrganization, ["organization": "acme"]).expectOK()
        #expect(
            try harness.check(.apiKey, key.text("secret")) == (.deny, .subscriptionInactive))
    }

    @Test func aDamagedRecordRefusesTheCallsThatNeedItAndNoOther() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        try harness.makeTenant()
        let made = try harness.call(.createKey, ["organization": "acme", "user": "ada"])
        var other: OpaquePointer?
        #expect(sqlite3_open(harness.folder + "/directory.sqlite", &other) == SQLITE_OK)
        let spoiled = sqlite3_exec(other, "UPDATE api_keys SET pepper = -1", nil, nil, nil)
        #expect(spoiled == SQLITE_OK)
        #expect(sqlite3_close(other) == SQLITE_OK)
        let key: JSONObject = ["organization": "acme", "key": made["key", "id"] ?? .null]
        // As one batch, or in several: the answers are the same.
        harness.admin.send(
            DirectoryHarness.frame(.renameOrganization, ["organization": "acme", "name": "x"])
                + DirectoryHarness.frame(.showKey, key)
                + DirectoryHarness.frame(.revokeKey, key)
                + DirectoryHarness.frame(.createUser, ["organization": "acme", "id": "eve"]))
        let statuses = try (0..<4).map { _ in try DirectoryHarness.answer(harness.admin).status }
        #expect(statuses == [.ok, .storageFailed, .storageFailed, .ok])
        #expect(harness.logged.text.contains("directory.sqlite: a key's digest"))
        #expect(harness.storageFailures.value == 0)
    }

    @Test func aSecondDaemonIsToldThatTheDirectoryIsTaken() throws {
        let harness = try DirectoryHarness()
        defer { harness.stop() }
        let plan = DirectoryPlan(
            path: harness.folder, signingKeysPath: harness.folder + "/signing",
            peppers: [try DirectoryHarness.pepper(1)], zone: { _ in nil })
        let refused = #expect(throws: StartError.self) {
            try ServerHarness(definition: DirectoryHarness.policy(), plan: plan).stop()
        }
        #expect(refused?.exitCode == 75)
    }

    @Test func aFaultPointIsAStepAndANumber() {
        #expect(FaultPoint("committed:3")?.times == 3)
        for text in ["committed", "committed:0", "committed:x", "nowhere:1", "committed:1:1", ""] {
            #expect(FaultPoint(text) == nil, "\(text)")
        }
        #expect(Set(FaultPoint.steps).count == FaultPoint.steps.count)
    }
}
