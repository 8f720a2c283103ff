import Glibc
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateServer

/// What finds no room in STATS' reply is counted there.
@Suite struct StatsReplyTests {
    private struct Entry: Equatable {
        var name: String
        var value: UInt64
        var isGauge: Bool
    }

    private func written(_ entries: [Statistic], bytesMax: Int) -> [Entry] {
        let reply = UnsafeMutableRawBufferPointer.allocate(byteCount: bytesMax, alignment: 8)
        defer { reply.deallocate() }
        let outcome = StatsReply.write(entries, to: reply, bytesMax: bytesMax)
        #expect(outcome.status == .ok && outcome.bytes <= bytesMax)
        var (found, at) = ([] as [Entry], 4)
        for _ in 0..<UnsafeRawBufferPointer(reply).loadLittle(at: 0, as: UInt32.self) {
            let bytes = UnsafeRawBufferPointer(reply)
            let name = bytes.slice(at: at + BodyBytes.statsEntry, length: Int(bytes[at + 1]))
            found.append(
                Entry(
                    name: String(decoding: name, as: UTF8.self),
                    value: bytes.loadLittle(at: at + 2, as: UInt64.self), isGauge: bytes[at] == 2))
            at += BodyBytes.statsEntry + name.count
        }
        #expect(at == outcome.bytes)
        return found
    }

    @Test func howManyFoundNoRoomIsTheFirstNumber() {
        let entries = (0..<40).map {
            Statistic(name: "tollgate_number_\($0)", value: UInt64($0), isGauge: $0 % 2 == 0)
        }
        var most = 0
        for bytesMax in 37...1_400 {
            let found = written(entries, bytesMax: bytesMax)
            let kept = found.count - 1
            #expect(kept >= most)
            most = kept
            #expect(
                found.first
                    == Entry(
                        name: "tollgate_stats_left_out", value: UInt64(40 - kept), isGauge: true))
            #expect(
                found.dropFirst()
                    == entries.prefix(kept).map {
                        Entry(name: $0.name, value: $0.value, isGauge: $0.isGauge)
                    }[...])
        }
        #expect(most == 40)
    }

    /// Half a name would be another's.
    @Test func aNameThatIsTooLongIsLeftOutAndCounted() {
        let names = [255, 256, 300, 10].map { String(repeating: "n", count: $0) }
        let found = written(
            names.map { Statistic(name: $0, value: 7, isGauge: false) }, bytesMax: 1_000)
        #expect(found.map(\.name) == ["tollgate_stats_left_out", names[0], names[3]])
        #expect(found.first?.value == 2)
    }

    /// Of a policy of many operations with long names.
    @Test func aPeerIsToldHowManyAreMissing() throws {
        var policy = ServerHarness.policy()
        policy.operations += (0..<60).map {
            let name = "operation_\($0)_" + String(repeating: "x", count: 80)
            return OperationDefinition(name: name, charges: [])
        }
        let harness = try ServerHarness(definition: policy)
        defer { harness.stop() }
        let peer = try harness.peer(admin: true)
        peer.send(ServerHarness.frame(.stats))
        let body = try #require(peer.reply()).body
        let leftOut = body.withUnsafeBytes { $0.loadLittle(at: 6, as: UInt64.self) }
        let count = body.withUnsafeBytes { $0.loadLittle(at: 0, as: UInt32.self) }
        let name = body.dropFirst(4 + BodyBytes.statsEntry).prefix(23)
        #expect(String(decoding: name, as: UTF8.self) == "tollgate_stats_left_out")
        #expect(body.count > 16_384 && body.count <= 32_768)
        #expect(Int(leftOut) + Int(count) - 1 == harness.server.statistics().count)
    }
}
