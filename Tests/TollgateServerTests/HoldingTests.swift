import CLinux
import Glibc
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// `durability: always`: no reply of a charge before a sync that began after it. The test is the
/// flusher.
@Suite struct HoldingTests {
    private struct World {
        let harness: ServerHarness
        let rounds: SyncRounds
        let other: Peer

        init(change: (inout ServerSettings) -> Void = { _ in }) throws {
            rounds = try SyncRounds(reactors: 1)
            harness = try ServerHarness(rounds: rounds, change: {
                $0.threads = 1
                change(&$0)
            })
            other = try harness.peer()
        }

        /// What was sent before on other connections has been decided.
        func settle() {
            for id in 0..<3 {
                other.send(ServerHarness.frame(.ping, id: UInt64(id)))
                #expect(other.reply()?.id == UInt64(id))
            }
        }

        /// A sync that covers all that was decided so far.
        func sync() {
            #expect(rounds.bell.wait(milliseconds: 10_000))
            finish(rounds.begin())
        }

        func finish(_ round: UInt64) {
            rounds.finish(round) { harness.server.wake(reactor: $0) }
        }
    }

    private static let token = ServerHarness.token()

    private static func hasReply(_ peer: Peer) -> Bool {
        var polled = pollfd(fd: peer.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&polled, 1, 0) > 0
    }

    @Test func aChargeIsAnsweredWhenASyncThatBeganAfterItHasFinished() throws {
        let world = try World()
        defer { world.harness.stop() }
        let peer = try world.harness.peer()
        let early = world.rounds.begin()
        peer.send(ServerHarness.check(Self.token, id: 1))
        world.settle()
        world.finish(early)
        world.settle()
        #expect(!Self.hasReply(peer))
        world.sync()
        #expect(peer.reply()?.id == 1)
    }

    @Test func laterRepliesOfTheConnectionWaitInTurnAndOthersDoNot() throws {
        let world = try World()
        defer { world.harness.stop() }
        let peer = try world.harness.peer()
        peer.send(ServerHarness.check(Self.token, id: 1))
        world.settle()
        peer.send(ServerHarness.frame(.ping, id: 2))
        peer.send(ServerHarness.check(Self.token, id: 3))
        world.settle()
        #expect(!Self.hasReply(peer))
        world.sync()
        #expect((1...3).map { _ in peer.reply()?.id } == [1, 2, 3])
        // At rest again, what charges nothing is answered at once.
        peer.send(ServerHarness.frame(.ping, id: 4))
        #expect(peer.reply()?.id == 4)
    }

    @Test func oneSyncServesAllThatGatheredMeanwhile() throws {
        let world = try World()
        defer { world.harness.stop() }
        let peers = try (0..<20).map { _ in try world.harness.peer() }
        for (index, peer) in peers.enumerated() {
            for turn in 0..<5 {
                peer.send(ServerHarness.check(Self.token, id: UInt64(index * 10 + turn)))
            }
        }
        world.settle()
        world.sync()
        for (index, peer) in peers.enumerated() {
            let asked = (0..<5).map { UInt64(index * 10 + $0) }
            #expect(asked.map { _ in peer.reply()?.id } == asked)
        }
    }

    @Test func repliesOfAConnectionThatWasClosedAreDropped() throws {
        let world = try World()
        defer { world.harness.stop() }
        var gone: Peer? = try world.harness.peer()
        let stays = try world.harness.peer()
        gone?.send(ServerHarness.check(Self.token, id: 1))
        stays.send(ServerHarness.check(Self.token, id: 2))
        world.settle()
        gone = nil
        let deadline = tg_boottime() + 10_000_000_000
        while world.harness.value("tollgate_connections") > 2, tg_boottime() < deadline {
            world.settle()
        }
        #expect(world.harness.value("tollgate_connections") == 2)
        // The slot is another's now, who is told nothing that was not for them.
        let next = try world.harness.peer()
        next.send(ServerHarness.frame(.ping, id: 9))
        #expect(next.reply()?.id == 9)
        world.sync()
        #expect(stays.reply()?.id == 2)
        world.settle()
        #expect(!Self.hasReply(next))
    }

    @Test func aPeerThatSendsNoMoreIsStillAnswered() throws {
        let world = try World()
        defer { world.harness.stop() }
        let peer = try world.harness.peer()
        peer.send(ServerHarness.check(Self.token, id: 1))
        shutdown(peer.descriptor, Int32(SHUT_WR))
        world.settle()
        #expect(!Self.hasReply(peer))
        world.sync()
        #expect(peer.reply()?.id == 1)
        #expect(peer.reply() == nil)
    }

    @Test func aConnectionIsNotReadBeyondWhatMayWaitAndGoesOnAfterTheSync() throws {
        let world = try World()
        defer { world.harness.stop() }
        let peer = try world.harness.peer()
        _ = fcntl(peer.descriptor, F_SETFL, O_NONBLOCK)
        let frame = ServerHarness.check(Self.token, id: 5)
        // Until neither the socket nor the daemon takes more.
        var sent = 0
        var refusals = 0
        while refusals < 20 {
            let rest = Array(frame[(sent % frame.count)...])
            let count = rest.withUnsafeBytes { bytes in
                bytes.baseAddress.map { tg_send(peer.descriptor, $0, bytes.count) } ?? 0
            }
            if count > 0 {
                sent += count
                refusals = 0
            } else {
                #expect(count == -Int(EAGAIN))
                refusals += 1
                world.settle()
            }
        }
        #expect(sent > Reactor.outSoftMax)
        let whole = sent / frame.count
        _ = fcntl(peer.descriptor, F_SETFL, 0)
        var answered = 0
        while answered < whole {
            if !Self.hasReply(peer), world.rounds.bell.wait(milliseconds: 10) {
                world.finish(world.rounds.begin())
            }
            guard Self.hasReply(peer) else { continue }
            guard peer.reply()?.id == 5 else { break }
            answered += 1
            while answered < whole, peer.hasWholeReply {
                #expect(peer.reply()?.id == 5)
                answered += 1
            }
        }
        #expect(answered == whole)
    }

    @Test func aDrainWaitsForTheSync() throws {
        let world = try World(change: { $0.drainNanoseconds = 60_000_000_000 })
        let peer = try world.harness.peer()
        peer.send(ServerHarness.check(Self.token, id: 1))
        world.settle()
        world.harness.server.drain()
        let deadline = tg_boottime() + 10_000_000_000
        while world.harness.value("tollgate_connections") > 1, tg_boottime() < deadline {
            usleep(1_000)
        }
        #expect(!world.harness.server.hasEnded && !Self.hasReply(peer))
        world.sync()
        #expect(peer.reply()?.id == 1)
        #expect(peer.reply() == nil)
        world.harness.stop()
        #expect(world.harness.server.hasEnded)
    }
}
