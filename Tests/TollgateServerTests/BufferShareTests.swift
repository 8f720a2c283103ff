import CLinux
import Glibc
import Testing
import TollgateWire

@testable import TollgateServer

/// Who holds much gives way to who holds less.
@Suite struct BufferShareTests {
    /// The start of a frame of 60,000 bytes, and all but the last of them.
    private static let most: [UInt8] =
        withUnsafeBytes(of: UInt32(60_000).littleEndian) { Array($0) }
        + [Opcode.ping.rawValue, 0, 0, 0] + [UInt8](repeating: 0, count: 59_000)

    private static func harness(bufferBytesMax: Int = 200_000) throws -> ServerHarness {
        try ServerHarness(change: {
            $0.threads = 1
            $0.bufferBytesMax = bufferBytesMax
            $0.frameDeadlineNanoseconds = 60_000_000_000
        })
    }

    private static func closes(_ harness: ServerHarness) -> UInt64 {
        harness.server.statistics().first { $0.name == "tollgate_buffer_closes_total" }?.value ?? 0
    }

    /// Pings until what was sent before on other connections has been read.
    private static func settle(_ peer: Peer) {
        for _ in 0..<3 {
            peer.send(ServerHarness.frame(.ping))
            #expect(peer.reply()?.status == 0)
        }
    }

    @Test func requestsInTwoPiecesAreAnsweredBesideThoseWhoHoldAllThereIs() throws {
        let harness = try Self.harness(bufferBytesMax: 3 * Self.most.count)
        defer { harness.stop() }
        let other = try harness.peer()
        let hoarders = try (0..<12).map { _ in try harness.peer() }
        for hoarder in hoarders {
            hoarder.send(Self.most)
            Self.settle(other)
        }
        #expect(Self.closes(harness) > 0)
        let ping = ServerHarness.frame(.ping, [1, 2, 3], id: 9)
        for _ in 0..<8 {
            let split = try harness.peer()
            split.send(Array(ping.prefix(17)))
            Self.settle(other)
            split.send(Array(ping.dropFirst(17)))
            #expect(split.reply()?.body == [1, 2, 3])
        }
        withExtendedLifetime(hoarders) {}
    }

    @Test func whoHoldsMostIsClosedForWhoHoldsLess() throws {
        let harness = try Self.harness()
        defer { harness.stop() }
        let other = try harness.peer()
        let hoarders = try (0..<3).map { _ in try harness.peer() }
        for hoarder in hoarders { hoarder.send(Self.most) }
        Self.settle(other)
        #expect(Self.closes(harness) == 0)
        // 20,000 bytes of a frame more are too much for all, and one of the three gives way.
        let modest = try harness.peer()
        let token = ServerHarness.token()
        let frames = (0..<100).flatMap { ServerHarness.check(token, id: $0) }
        var header = withUnsafeBytes(of: UInt32(30_000).littleEndian) { Array($0) }
        header += [0x7f, 0, 0, 0] + [UInt8](repeating: 0, count: 29_996 - 4)
        modest.send(header)
        Self.settle(other)
        #expect(Self.closes(harness) == 1)
        modest.send([0, 0, 0, 0])
        #expect(modest.reply()?.status == Status.unknownOpcode.rawValue)
        modest.send(frames)
        for _ in 0..<100 { #expect(modest.reply()?.status == 0) }
        withExtendedLifetime(hoarders) {}
    }
}
