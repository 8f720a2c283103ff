import CLinux
import Glibc
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

@Suite(.serialized) struct DrainTests {
    /// A peer that has sent whole frames until no more are taken, and reads nothing.
    private func silentPeer(_ harness: ServerHarness) throws -> Peer {
        let peer = try harness.peer()
        let pings = (0..<200).flatMap {
            ServerHarness.frame(.ping, [UInt8](repeating: 7, count: 64), id: UInt64($0))
        }
        _ = fcntl(peer.descriptor, F_SETFL, O_NONBLOCK)
        var at = 0
        var refusals = 0
        while refusals < 50 {
            let count = pings.withUnsafeBytes { view in
                view.baseAddress.map { tg_send(peer.descriptor, $0 + at, view.count - at) } ?? 0
            }
            if count > 0 {
                at = (at + count) % pings.count
            } else if count == -Int(EAGAIN) {
                refusals += 1
                usleep(2_000)
            } else {
                break
            }
        }
        return peer
    }

    private func value(_ name: String, _ harness: ServerHarness) -> UInt64 {
        harness.server.statistics().first { $0.name == name }?.value ?? 0
    }

    @Test func aDrainWaitsForPeersThatDoNotReadAsLongAsItIsToldAndNoLonger() throws {
        let harness = try ServerHarness(change: {
            $0.drainNanoseconds = 3_600_000_000_000
            $0.writeDeadlineNanoseconds = 3_600_000_000_000
        })
        let silent = try silentPeer(harness)
        harness.server.drain()
        usleep(300_000)
        #expect(!harness.server.hasEnded)
        // Asked again with less time, as a second TERM does.
        harness.server.drain(graceMilliseconds: 0)
        harness.stop()
        #expect(harness.server.hasEnded)
        withExtendedLifetime(silent) {}
    }

    @Test func whatPeersHoldEndsWithAnOrderlyEnd() throws {
        let harness = try ServerHarness()
        let peer = try harness.peer()
        for id in 1...3 as ClosedRange<UInt64> {
            var frame = ServerHarness.check(ServerHarness.token(), id: id)
            frame[4] = Opcode.reserve.rawValue
            peer.send(frame)
            #expect(try #require(peer.reply()).status == 0)
        }
        let engine = harness.server.shared.engine
        #expect(engine.gauges.openReservations == 3)
        harness.stop()
        // Ended, and remembered as such, before what is kept is written for the last time.
        #expect(engine.gauges.openReservations == 0 && engine.gauges.reservations == 3)
        withExtendedLifetime(peer) {}
    }

    @Test func aLongerGraceDoesNotUndoAShorterOne() throws {
        let harness = try ServerHarness(change: {
            $0.drainNanoseconds = 3_600_000_000_000
            $0.writeDeadlineNanoseconds = 3_600_000_000_000
        })
        let silent = try silentPeer(harness)
        harness.server.drain(graceMilliseconds: 200)
        harness.server.drain(graceMilliseconds: .max)
        let deadline = tg_boottime() + 10_000_000_000
        while !harness.server.hasEnded, tg_boottime() < deadline { usleep(10_000) }
        #expect(harness.server.hasEnded)
        harness.server.drain(graceMilliseconds: 0)
        harness.stop()
        withExtendedLifetime(silent) {}
    }

    @Test func aDrainAnswersAllThatArrivedHoweverMuchItIs() throws {
        // SHUTDOWN holds the only reactor until all has arrived: more than it reads at once.
        let gate = Lock()
        gate.lock()
        let harness = try ServerHarness(
            onShutdown: { _ in
                gate.lock()
                gate.unlock()
            }, change: { $0.threads = 1 })
        let peer = try harness.peer()
        peer.send(ServerHarness.frame(.ping))
        #expect(peer.reply()?.status == 0)
        let admin = try harness.peer(admin: true)
        admin.send(ServerHarness.frame(.shutdown, [0, 0, 0, 0]))
        var size: Int32 = 8 << 20
        setsockopt(
            peer.descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        let largest = [UInt8](repeating: 9, count: 4_000)
        let count = Reactor.readBytesMax / largest.count * 2
        // Each is refused with a few words, so that the answers fit where nobody reads yet.
        peer.send((0..<count).flatMap { ServerHarness.frame(.ping, largest, id: UInt64($0)) })
        harness.server.drain()
        gate.unlock()
        var answered = 0
        while peer.reply() != nil { answered += 1 }
        harness.stop()
        #expect(answered == count)
    }

    @Test func whatWaitsForPeersThatDoNotReadIsBoundedForAllOfThem() throws {
        let harness = try ServerHarness(change: {
            $0.threads = 1
            $0.bufferBytesMax = 600_000
            $0.writeDeadlineNanoseconds = 3_600_000_000_000
        })
        defer { harness.stop() }
        var peers: [Peer] = []
        while value("tollgate_buffer_closes_total", harness) == 0, peers.count < 100 {
            peers.append(try silentPeer(harness))
        }
        #expect(peers.count > 1 && peers.count < 100)
        // Who reads is served, and what the others hold comes back with them.
        let other = try harness.peer()
        other.send(ServerHarness.frame(.ping))
        #expect(other.reply()?.status == 0)
        let closes = value("tollgate_buffer_closes_total", harness)
        peers = []
        while value("tollgate_connections", harness) > 1 { usleep(1_000) }
        let late = try silentPeer(harness)
        #expect(value("tollgate_buffer_closes_total", harness) == closes)
        withExtendedLifetime(late) {}
    }

    @Test func operatorsAreLetInWhenTheDataSocketIsFullButNotWithoutEnd() throws {
        let harness = try ServerHarness(change: { $0.connectionsMax = 2 })
        defer { harness.stop() }
        let peers = try (0..<2).map { _ in try harness.peer() }
        for peer in peers {
            peer.send(ServerHarness.frame(.ping))
            #expect(peer.reply()?.status == 0)
        }
        #expect(try harness.peer().reply()?.status == Status.tooManyConnections.rawValue)
        let operators = try (0..<SharedState.adminConnectionsMax).map { _ in
            try harness.peer(admin: true)
        }
        for peer in operators {
            peer.send(ServerHarness.frame(.stats))
            #expect(peer.reply()?.status == 0)
        }
        let late = try harness.peer(admin: true).reply()
        #expect(late?.status == Status.tooManyConnections.rawValue)
        withExtendedLifetime((peers, operators)) {}
    }
}
