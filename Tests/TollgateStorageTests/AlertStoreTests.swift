import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AlertStoreTests {
    /// A state in which so many alerts fired.
    private func state(_ count: Int) throws -> AlertState {
        var engine = AlertEngine(AlertRules())
        for number in 0..<count {
            engine.observe(
                .refreshReuse(organization: "o\(number)", isPersonal: false, user: "ada"),
                now: 1_800_000_000_000)
        }
        #expect(engine.state.recent.count == count)
        return engine.snapshot
    }

    @Test func whatWasWrittenIsReadAndTheDirectoryIsTheWritersAlone() throws {
        let disk = MemoryDisk()
        let store = try AlertStore("/alerts", disk)
        #expect(try store.read() == nil)
        for count in [0, 1, 30, 2] {
            let kept = try state(count)
            try store.write(kept)
            let read = try #require(try store.read())
            #expect(read == kept)
        }
        let left = try disk.list("/alerts")
        #expect(left.filter { $0.hasSuffix(".part") }.isEmpty)
    }

    @Test func theFileIsTheOldOrTheNewOneWhereverTheDiskStops() throws {
        let (old, new) = (try state(1), try state(2))
        var seen: [Int] = []
        for call in 1...40 {
            let disk = MemoryDisk()
            let store = try AlertStore("/alerts", disk)
            try store.write(old)
            disk.fault = .from(call, 5)
            var hasFailed = false
            do throws(AuditFailure) { try store.write(new) } catch { hasFailed = true }
            disk.fault = nil
            let read = try #require(try store.read())
            #expect(read == old || read == new)
            if !hasFailed { #expect(read == new) }
            seen.append(read.recent.count)
            if !hasFailed { break }
            try store.write(new)
            #expect(try store.read() == new)
        }
        #expect(Set(seen) == [1, 2])
    }

    @Test func everyPrefixAndEveryFlippedByteIsFound() throws {
        let disk = MemoryDisk()
        let store = try AlertStore("/alerts", disk)
        try store.write(try state(3))
        let block = try disk.read("/alerts/alerts.state", bytesMax: 1 << 20)
        defer { block.keep() }
        let bytes = Array(block.read)
        func isRefused(_ bytes: [UInt8]) throws -> Bool {
            try disk.remove("/alerts/alerts.state")
            let file = try disk.create("/alerts/alerts.state", bytes: 0)
            let copy = Block(bytes.count)
            defer { copy.keep() }
            bytes.withUnsafeBytes { copy.bytes.copy($0, to: 0) }
            if !bytes.isEmpty { try file.write(copy.read, at: 0) }
            do throws(AuditFailure) { _ = try store.read() } catch {
                return error.kind == .damaged || error.kind == .version
            }
            return false
        }
        for count in bytes.indices { #expect(try isRefused(Array(bytes[..<count]))) }
        for index in bytes.indices {
            var broken = bytes
            broken[index] ^= 1 << UInt8(index % 8)
            #expect(try isRefused(broken))
        }
        #expect(try !isRefused(bytes))
    }
}
