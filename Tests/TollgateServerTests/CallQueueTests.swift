import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Who waits behind whom for the directory's thread.
@Suite struct CallQueueTests {
    private func request(
        _ id: UInt64, uid: UInt32 = 1, connection: UInt64 = 1, admin: Bool = false, bytes: Int = 1
    ) -> CallRequest {
        CallRequest(
            peer: CallPeer(
                uid: uid, pid: 1, roles: admin ? [.issue, .admin] : .issue, isAdminSocket: admin),
            body: [UInt8](repeating: 0, count: bytes), registration: connection, requestID: id,
            reactor: 0)
    }

    @Test func aCallOfTheAdminSocketIsTakenBeforeAllOfTheDataSocket() throws {
        let queue = try CallQueue()
        for id in 0..<40 { #expect(queue.put(request(UInt64(id)))) }
        #expect(queue.take().map(\.requestID) == Array(0..<16))
        #expect(queue.put(request(100, admin: true)))
        #expect(queue.put(request(101, admin: true)))
        #expect(queue.take().map(\.requestID) == [100, 101])
        #expect(queue.take().map(\.requestID) == Array(16..<32))
        #expect(queue.take().map(\.requestID) == Array(32..<40))
        #expect(queue.take().isEmpty)
    }

    @Test func oneConnectionAndOneUserOfTheDataSocketHoldAShareOnly() throws {
        let queue = try CallQueue()
        for connection in 1...2 as ClosedRange<UInt64> {
            for id in 0..<128 {
                #expect(queue.put(request(UInt64(id), connection: connection)))
            }
            #expect(!queue.put(request(128, connection: connection)))
        }
        #expect(!queue.put(request(0, connection: 5)))
        #expect(queue.put(request(0, uid: 2, connection: 6)))
        // What was taken is no longer held.
        #expect(queue.take().count == 16)
        #expect(queue.put(request(64)))
    }

    @Test func theBytesOfOneUserLeaveRoomForOthersAndThoseOfAllForAdmins() throws {
        let queue = try CallQueue()
        let large = CallQueue.userBytesMax / 32
        for uid in 1...4 {
            for id in 0..<32 {
                #expect(
                    queue.put(
                        request(
                            UInt64(id), uid: UInt32(uid), connection: UInt64(uid), bytes: large)))
            }
            #expect(!queue.put(request(32, uid: UInt32(uid), connection: UInt64(uid))))
        }
        #expect(!queue.put(request(0, uid: 5, connection: 5)))
        #expect(queue.put(request(0, admin: true, bytes: large)))
        while !queue.take().isEmpty {}
        for id in 0..<32 {
            #expect(queue.put(request(UInt64(id), bytes: large)))
        }
    }

    @Test func aQueueThatEndsTakesNoMoreAndGivesOutWhatWaits() throws {
        let queue = try CallQueue()
        #expect(queue.put(request(1)))
        #expect(queue.put(request(2, admin: true)))
        queue.end()
        #expect(!queue.put(request(3)) && !queue.put(request(4, admin: true)))
        #expect(!queue.hasEnded)
        #expect(queue.take().map(\.requestID) == [2])
        #expect(!queue.hasEnded)
        #expect(queue.take().map(\.requestID) == [1])
        #expect(queue.hasEnded)
    }

    @Test func aFloodOnTheDataSocketRefusesNoRevocation() throws {
        let gate = StepGate("began")
        let harness = try DirectoryHarness(change: { $0.onStep = { gate.reach($0) } })
        defer { harness.stop() }
        try harness.makeTenant()
        gate.close()
        let ada: JSONObject = ["organization": "acme", "user": "ada"]
        let holding = try harness.server.peer(admin: true)
        holding.send(
            DirectoryHarness.frame(.renameOrganization, ["organization": "acme", "name": "x"]))
        gate.waitUntilHeld()
        let flood = try (0..<5).map { _ in try harness.server.peer() }
        for peer in flood {
            peer.send(
                (0..<250).flatMap { DirectoryHarness.frame(.issueTokens, ada, id: UInt64($0)) })
        }
        // There is no more room for any of them.
        // Nothing throws while the thread is held: the server could not be ended.
        let refused = flood.map { $0.reply()?.status }
        #expect(refused == [UInt16?](repeating: Status.busy.rawValue, count: 5))
        harness.admin.send(DirectoryHarness.frame(.revokeUser, ada))
        gate.open()
        #expect(try DirectoryHarness.answer(harness.admin).status == .ok)
        #expect(try DirectoryHarness.answer(holding).status == .ok)
    }
}
