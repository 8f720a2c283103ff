import CLinux
import Glibc
import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

@Suite(.serialized) struct ServerTests {
    @Test func pingsComeBackHoweverTheirBytesArrive() throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let peer = try harness.peer()
        let frame = ServerHarness.frame(.ping, [1, 2, 3], id: 77)
        for split in 1..<frame.count {
            peer.send(Array(frame[..<split]))
            peer.send(Array(frame[split...]))
            #expect(peer.reply() == Peer.Reply(opcode: 0x82, status: 0, id: 77, body: [1, 2, 3]))
        }
        peer.send((0..<1_000).flatMap { ServerHarness.frame(.ping, [9], id: $0) })
        var ids: Set<UInt64> = []
        for _ in 0..<1_000 { if let reply = peer.reply() { ids.insert(reply.id) } }
        #expect(ids.count == 1_000)
    }

    @Test func aHelloAgreesOnTheVersion() throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let peer = try harness.peer()
        peer.send(ServerHarness.frame(.hello, [1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        let reply = try #require(peer.reply())
        #expect(reply.status == 0 && reply.body[0] == 1 && reply.body.count == 32 + 4)
        peer.send(ServerHarness.frame(.hello, [2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        #expect(peer.reply()?.status == Status.unsupportedVersion.rawValue)
    }

    @Test(arguments: [0, 1, 11, 65_537, 1 << 31, UInt32.max])
    func aLengthOutOfRangeEndsThatConnectionOnly(length: UInt32) throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let other = try harness.peer()
        for whole in [false, true] {
            let peer = try harness.peer()
            var bytes = withUnsafeBytes(of: length.littleEndian) { Array($0) }
            if whole { bytes += [UInt8](repeating: 0, count: 12) }
            peer.send(bytes)
            let status: Status = length < 12 ? .malformedFrame : .frameTooLarge
            #expect(peer.reply()?.status == status.rawValue)
            #expect(peer.reply() == nil)
        }
        other.send(ServerHarness.frame(.ping))
        #expect(other.reply()?.status == 0)
    }

    @Test func framesOfUnknownOrForbiddenKindAreAnsweredAndTheConnectionStays() throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let peer = try harness.peer()
        var unknown = ServerHarness.frame(.ping, id: 5)
        unknown[4] = 0x7f
        peer.send(unknown)
        #expect(peer.reply()?.status == Status.unknownOpcode.rawValue)
        for opcode in [Opcode.stats, .reload, .shutdown] {
            peer.send(ServerHarness.frame(opcode, [0, 0, 0, 0]))
            #expect(peer.reply()?.status == Status.forbidden.rawValue)
        }
        peer.send(ServerHarness.frame(.ping, [UInt8](repeating: 0, count: 65)))
        #expect(peer.reply()?.status == Status.malformedBody.rawValue)
        var reserved = ServerHarness.frame(.ping, id: 6)
        reserved[5] = 1
        peer.send(reserved)
        #expect(peer.reply()?.status == Status.malformedFrame.rawValue)
        #expect(peer.reply() == nil)
    }

    @Test func checksAreDecidedAndCounted() throws {
        let harness = try ServerHarness()
        defer { harness.stop() }
        let peer = try harness.peer()
        let token = ServerHarness.token()
        for id in 0..<3 as Range<UInt64> {
            peer.send(ServerHarness.check(token, id: id))
            let reply = try #require(peer.reply())
            #expect(reply.status == 0 && reply.id == id && reply.body[0] == 1)
        }
        peer.send(ServerHarness.check("x" + token, id: 9))
        #expect(peer.reply()?.body[2] == UInt8(Reason.credentialInvalid.rawValue))
        let admin = try harness.peer(admin: true)
        admin.send(ServerHarness.frame(.stats))
        let stats = try #require(admin.reply())
        #expect(stats.status == 0 && stats.body.count > 1_000)
        let allowed = harness.server.statistics().first {
            $0.name == #"tollgate_decisions_total{verdict="allow",reason="none"}"#
        }
        #expect(allowed?.value == 3)
    }

    @Test func clientsRacingForAQuotaOfNGetExactlyN() async throws {
        let harness = try ServerHarness(definition: ServerHarness.policy(daily: 700))
        let admitted = await withTaskGroup(of: Int.self) { group in
            for client in 0..<8 {
                group.addTask { Self.race(harness, user: "u\(client)", requests: 200) }
            }
            return await group.reduce(0, +)
        }
        harness.stop()
        #expect(admitted == 700)
    }

    private static func race(_ harness: ServerHarness, user: String, requests: Int) -> Int {
        guard let peer = try? harness.peer() else { return 0 }
        let token = ServerHarness.token(user: user)
        for batch in 0..<(requests / 50) {
            peer.send((0..<50).flatMap { ServerHarness.check(token, id: UInt64(batch * 50 + $0)) })
        }
        var admitted = 0
        for _ in 0..<requests where peer.reply()?.body.first == 1 { admitted += 1 }
        return admitted
    }

    @Test func halfFramesAreClosedAtTheirDeadlineAndOthersAreServed() throws {
        let harness = try ServerHarness(change: {
            $0.headerDeadlineNanoseconds = 150_000_000
            $0.frameDeadlineNanoseconds = 300_000_000
        })
        defer { harness.stop() }
        let idle = try harness.peer()
        let header = try harness.peer()
        header.send([20, 0])
        let body = try harness.peer()
        body.send(Array(ServerHarness.frame(.ping, [1, 2, 3]).dropLast()))
        #expect(header.reply() == nil)
        #expect(body.reply() == nil)
        idle.send(ServerHarness.frame(.ping))
        #expect(idle.reply()?.status == 0)
    }

    @Test func aPeerThatNeverReadsIsClosedAndCostsBoundedMemory() throws {
        let harness = try ServerHarness(change: { $0.writeDeadlineNanoseconds = 200_000_000 })
        defer { harness.stop() }
        let silent = try harness.peer()
        let pings = (0..<200).flatMap {
            ServerHarness.frame(.ping, [UInt8](repeating: 7, count: 64), id: UInt64($0))
        }
        _ = fcntl(silent.descriptor, F_SETFL, O_NONBLOCK)
        func closes() -> UInt64 {
            harness.server.statistics().first { $0.name == "tollgate_deadline_closes_total" }?.value
                ?? 0
        }
        // Whole frames as fast as they are taken, nothing read, until the daemon has enough.
        var taken = 0
        var at = 0
        let deadline = tg_boottime() + 8_000_000_000
        while closes() == 0, tg_boottime() < deadline {
            pings.withUnsafeBytes { view in
                guard let base = view.baseAddress else { return }
                let count = tg_send(silent.descriptor, base + at, view.count - at)
                guard count > 0 else { return }
                taken += count
                at = (at + count) % view.count
            }
        }
        #expect(taken < 4_000_000, "the daemon went on reading from a peer that does not read")
        let other = try harness.peer()
        other.send(ServerHarness.frame(.ping))
        #expect(other.reply()?.status == 0)
        #expect(closes() == 1)
    }

    /// What it sends on would wake the reactor for as long as its replies wait.
    @Test func aPeerThatNeverReadsLetsTheReactorSleep() throws {
        let harness = try ServerHarness(change: { $0.writeDeadlineNanoseconds = 60_000_000_000 })
        defer { harness.stop() }
        let silent = try harness.peer()
        let pings = (0..<200).flatMap {
            ServerHarness.frame(.ping, [UInt8](repeating: 7, count: 64), id: UInt64($0))
        }
        _ = fcntl(silent.descriptor, F_SETFL, O_NONBLOCK)
        // Until nothing more is taken for a while.
        var at = 0
        var lastTaken = tg_boottime()
        while tg_boottime() &- lastTaken < 100_000_000 {
            pings.withUnsafeBytes { view in
                guard let base = view.baseAddress else { return }
                let count = tg_send(silent.descriptor, base + at, view.count - at)
                guard count > 0 else { return }
                at = (at + count) % view.count
                lastTaken = tg_boottime()
            }
        }
        let before = harness.server.turns.reduce(0, +)
        usleep(200_000)
        let turns = harness.server.turns.reduce(0, +) - before
        #expect(turns < 200, "\(turns) turns for nothing")
    }

    @Test func connectionsBeyondTheCeilingAreToldSo() throws {
        let harness = try ServerHarness(change: { $0.connectionsMax = 3 })
        defer { harness.stop() }
        let peers = try (0..<3).map { _ in try harness.peer() }
        for peer in peers {
            peer.send(ServerHarness.frame(.ping))
            #expect(peer.reply()?.status == 0)
        }
        let refused = try harness.peer()
        #expect(refused.reply()?.status == Status.tooManyConnections.rawValue)
        #expect(refused.reply() == nil)
        withExtendedLifetime(peers) {}
    }

    @Test func aDrainAnswersWhatHasArrivedAndThenEnds() throws {
        let harness = try ServerHarness()
        let peer = try harness.peer()
        peer.send(ServerHarness.frame(.ping))
        #expect(peer.reply()?.status == 0)
        let token = ServerHarness.token()
        peer.send((0..<500).flatMap { ServerHarness.check(token, id: $0) })
        harness.stop()
        var answered = 0
        while peer.reply() != nil { answered += 1 }
        #expect(answered == 500)
        #expect(throws: StartError.self) { _ = try harness.peer() }
    }

    @Test func aReloadChangesThePolicyAtomicallyAndABadOneChangesNothing() throws {
        let box = ReloadBox()
        let harness = try ServerHarness(loader: { box.load() })
        defer { harness.stop() }
        let admin = try harness.peer(admin: true)
        admin.send(ServerHarness.frame(.reload))
        #expect(admin.reply()?.body.first == 2)
        box.breakIt()
        admin.send(ServerHarness.frame(.reload))
        let refused = try #require(admin.reply())
        #expect(refused.status == Status.policyInvalid.rawValue)
        #expect(String(decoding: refused.body, as: UTF8.self).contains("no meter"))
        #expect(harness.server.shared.policy.generation == 2)
        let peer = try harness.peer()
        peer.send(ServerHarness.check(ServerHarness.token(), id: 1))
        #expect(peer.reply()?.body.first == 1)
    }

    @Test func reloadsUnderLoadLoseNoRequest() async throws {
        let harness = try ServerHarness()
        let stop = StopFlag()
        async let answered = Self.pour(harness, until: stop)
        for _ in 0..<30 {
            guard case .success = harness.server.reload() else {
                Issue.record("reload failed")
                break
            }
        }
        stop.set()
        let counts = await answered
        harness.stop()
        #expect(counts.sent == counts.allowed && counts.sent > 0)
    }

    private static func pour(
        _ harness: ServerHarness, until stop: StopFlag
    ) async -> (sent: Int, allowed: Int) {
        guard let peer = try? harness.peer() else { return (0, 1) }
        let token = ServerHarness.token()
        var counts = (sent: 0, allowed: 0)
        repeat {
            peer.send((0..<64).flatMap { ServerHarness.check(token, id: $0) })
            for _ in 0..<64 {
                counts.sent += 1
                if peer.reply()?.body.first == 1 { counts.allowed += 1 }
            }
        } while !stop.isSet
        return counts
    }
}

final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}

/// Loads the harness' policy, until it is broken.
final class ReloadBox: Sendable {
    private let broken = StopFlag()
    func breakIt() { broken.set() }
    func load() -> Result<ReloadedPolicy, PolicyCompileError> {
        var policy = ServerHarness.policy()
        if broken.isSet { policy.plans[0].quotas[0].meter = "nothing" }
        return .success(ReloadedPolicy(policy))
    }
}
