import Foundation
import Testing
import TollgateWire

@testable import TollgateCore

/// What a life leaves of reservations and of answers to idempotency ids, byte for byte, as it must
/// be read for as long as version 2 is: Tests/Vectors/kept-journal.hex, a region, and
/// kept-rows.hex, u16 bytes of the table of layouts, the table, and the rows of a snapshot, of
/// which what stands in memory alone is 0. TOLLGATE_WRITE_VECTORS=1 writes them.
@Suite struct KeptVectorTests {
    /// By number, as the rows have them.
    private static let names = [
        "k 1", "k 60", "k 3600", "k 86400", "w invalid_credentials calls",
        "w tokens_per_minute tokens", "q daily_calls calls 1",
        "c open_calls", "q monthly_tokens tokens 2",
    ]

    private static func file(_ name: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Vectors/kept-\(name).hex")
    }

    /// What a life ends with.
    private struct Life {
        let harness: EngineHarness
        let ledger = MemoryLedger()
        let answered: [UInt8]
        let settled: ReservationID
        let settlement: HoldAnswer
        let canceled: ReservationID
        let cancellation: HoldAnswer
        let cut: ReservationID
        let open: HoldAnswer

        init() throws {
            harness = try EngineHarness(.holding(open: 9))
            ledger.begin(harness.engine)
            answered = KeptVectorTests.ask(harness)
            let detached = RequestFlags.detached
            settled = try #require(harness.reserve(tokens: 50, flags: detached).id)
            #expect(harness.extend(settled, hold: 60, used: 20).isAllowed)
            settlement = harness.settle(settled, tokens: 40)
            canceled = try #require(harness.reserve(tokens: 300, user: "bob").id)
            cancellation = harness.cancel(canceled)
            cut = try #require(harness.reserve(tokens: 70, timeToLive: 1_000).id)
            harness.advance(milliseconds: 1_000)
            harness.worker.tendHolds()
            open = harness.reserve(tokens: 30, timeToLive: 900_000, flags: detached, id: 9)
        }

        var shard: Int {
            DirectoryImage.withBytes("acme") {
                Int(TenantHash($0, isPersonal: false, harness.engine.hash).hash >> 58)
            }
        }

        /// The shard's region, and of a snapshot what a file has of it.
        func left() throws -> (region: [UInt8], rows: [UInt8]) {
            let region = try #require(
                ledger.regions.first {
                    guard let header = try? JournalRegionHeader(UnsafeRawBufferPointer($0)) else {
                        return false
                    }
                    return Int(header.shard) == shard
                })
            let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
            #expect(snapshot.names == KeptVectorTests.names)
            let table = snapshot.layouts
            let rows = KeptVectorTests.withoutMemory(snapshot.images[shard])
            let used = (region.lastIndex { $0 != 0 } ?? 0) / JournalFormat.slotBytes + 1
            return (
                Array(region.prefix(used * JournalFormat.slotBytes)),
                TestItem.little(UInt16(table.count)) + table + rows
            )
        }
    }

    /// A CHECK with an idempotency id; its reply.
    private static func ask(_ harness: EngineHarness) -> [UInt8] {
        let body =
            EngineHarness.body(token: EngineHarness.token(), meters: [("tokens", 7)])
            + DecisionWorker.extensionField(7)
        return HoldAnswer(
            body.withUnsafeBytes { harness.worker.check($0, into: harness.reply) }, harness.reply
        ).bytes
    }

    /// Rows, of which what means nothing in a file is 0.
    private static func withoutMemory(_ images: [UInt8]) -> [UInt8] {
        var images = images
        images.withUnsafeMutableBytes { all in
            var at = 0
            while at + Row.headerBytes <= all.count {
                let units = UnsafeRawBufferPointer(all).loadLittle(at: at + 22, as: UInt16.self)
                let kind = RowKind(rawValue: all[at + 21])
                let content = at + Row.headerBytes + (Int(all[at + 20]) + 7) / 8 * 8
                var memory: [Range<Int>] = []
                if kind == .reservation || kind == .idempotency { memory.append(8..<24) }
                if kind == .reservation { memory += [56..<64, 76..<78] }
                for byte in memory.joined() { all[content + byte] = 0 }
                at += Int(units) * RowArena.unitBytes
            }
        }
        return images
    }

    private static func text(_ bytes: [UInt8]) -> String {
        stride(from: 0, to: bytes.count, by: 32).map { start in
            bytes[start..<min(start + 32, bytes.count)].map { String(format: "%02x", $0) }.joined()
                + "\n"
        }.joined()
    }

    private static func bytes(_ name: String) throws -> [UInt8] {
        let digits = Array(
            try String(contentsOf: file(name), encoding: .utf8).filter { !$0.isWhitespace })
        let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap { at in
            UInt8(String(digits[at..<at + 2]), radix: 16)
        }
        try #require(bytes.count * 2 == digits.count)
        return bytes
    }

    @Test func theyAreWrittenByteForByte() throws {
        let left = try Life().left()
        for (name, bytes) in [("journal", left.region), ("rows", left.rows)] {
            let text = Self.text(bytes)
            if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
                try text.write(to: Self.file(name), atomically: true, encoding: .utf8)
            }
            #expect(try String(contentsOf: Self.file(name), encoding: .utf8) == text, "\(name)")
        }
    }

    /// Another life, put together from a file.
    private static func restored(_ name: String, like life: Life) throws -> EngineHarness {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        let now = life.harness.moment
        let ledger = MemoryLedger(regionBytes: 16_384)
        var snapshot = MemoryLedger.Snapshot()
        snapshot.clocks = SavedClocks(boot: now.boot, wall: now.wall, isSameBoot: true)
        if name == "rows" {
            let bytes = try bytes("rows")
            let table = Int(bytes[0]) | Int(bytes[1]) << 8
            snapshot.names = names
            snapshot.layouts = Array(bytes[2..<(2 + table)])
            snapshot.images[life.shard] = Array(bytes[(2 + table)...])
        } else {
            ledger.read(
                name == "journal" ? try bytes(name) : try regionOfVersion1(like: life))
        }
        try ledger.restore(snapshot, into: engine, at: now)
        engine.setLedgerState(.unjournaled)
        return try EngineHarness(engine: engine, policy: life.harness.policy, like: life.harness)
    }

    /// What version 1 wrote of the same: each reservation as its row stands.
    private static func regionOfVersion1(like life: Life) throws -> [UInt8] {
        let bench = JournalBench(shard: life.shard, life: 1)
        bench.supply()
        let region = try life.left().region
        region.withUnsafeBytes {
            guard var reader = try? JournalReader($0) else { return }
            while let item = reader.next() {
                guard ![.hold, .settled, .mark].contains(item.kind) else { continue }
                #expect(bench.write([TestItem(kind: item.kind, bytes: Array(item.payload))]))
            }
        }
        life.harness.engine.shard(life.shard).table.pointee.forEach { row in
            guard row.kind == RowKind.reservation.rawValue else { return }
            let (first, second) = ContentItem.head(of: row)
            let item = TestItem(
                kind: .reservation,
                bytes: TestItem.little(first) + TestItem.little(second) + Array(row.id)
                    + Array(row.content.prefix(Reservation(row).contentBytes)))
            #expect(bench.write([item]))
        }
        return JournalBench.sealed(Array(bench.regions[0]), version: 1)
    }

    @Test(arguments: ["journal", "rows", "version 1"])
    func theyAreReadAsTheyWereMeant(_ name: String) throws {
        let life = try Life()
        let again = try Self.restored(name, like: life)
        // But for windows, which a journal has not.
        for user in ["ada", "bob"] {
            let numbers = again.numbers(user: user).prefix(4)
            #expect(numbers == life.harness.numbers(user: user).prefix(4))
        }
        #expect(again.settle(life.settled, tokens: 40).bytes == life.settlement.bytes)
        #expect(again.cancel(life.canceled).bytes == life.cancellation.bytes)
        #expect(Self.ask(again) == life.answered)
        let open = again.reserve(
            tokens: 30, timeToLive: 900_000, flags: RequestFlags.detached, id: 9)
        #expect(open == life.open)
        let id = try #require(open.id)
        #expect(again.numbers().prefix(4) == [47, 30, 2, 1])
        #expect(again.settle(life.cut, tokens: 11).isAllowed)
        #expect(again.settle(id, tokens: 12).isAllowed)
        #expect(again.numbers().prefix(4) == [70, 0, 4, 0])
    }

    /// As the tables say that stand at each.
    @Test func theFieldsOfWhatIsWrittenAsItStandsAreWhereTheirTablesSay() {
        typealias Kept = MemoryLayout<KeptHead>
        #expect(
            [
                Kept.offset(of: \.forgetAt), Kept.offset(of: \.handle), Kept.offset(of: \.next),
                Kept.offset(of: \.previous), Kept.offset(of: \.ticket), Kept.size,
            ] == [0, 8, 12, 16, 20, 24])
        typealias Head = MemoryLayout<ReservationHead>
        #expect(
            [
                Head.offset(of: \.kept), Head.offset(of: \.endsAt),
                Head.offset(of: \.organizationHash), Head.offset(of: \.userHash),
                Head.offset(of: \.fingerprint), Head.offset(of: \.timeToLiveMilliseconds),
                Head.offset(of: \.worker), Head.offset(of: \.note),
            ] == [0, 24, 32, 40, 48, 52, 56, 60])
        #expect(
            [
                Head.offset(of: \.state), Head.offset(of: \.flags), Head.offset(of: \.cut),
                Head.offset(of: \.meterCount), Head.offset(of: \.lineCount),
                Head.offset(of: \.organizationBytes), Head.offset(of: \.userBytes),
                Head.offset(of: \.planBytes), Head.offset(of: \.operationBytes),
                Head.offset(of: \.answerBytes), Head.offset(of: \.calendar), Head.size,
            ] == [64, 65, 66, 67, 68, 69, 70, 71, 72, 74, 76, 80])
        typealias Meter = MemoryLayout<ReservationMeter>
        #expect(
            [
                Meter.offset(of: \.tag), Meter.offset(of: \.weight), Meter.offset(of: \.price),
                Meter.offset(of: \.plain), Meter.offset(of: \.held), Meter.offset(of: \.used),
                Meter.size,
            ] == [0, 8, 16, 24, 32, 40, 48])
        typealias Line = MemoryLayout<ReservationLine>
        #expect(
            [
                Line.offset(of: \.counter), Line.offset(of: \.scopeAndKind),
                Line.offset(of: \.meter), Line.offset(of: \.small), Line.offset(of: \.units),
                Line.offset(of: \.at), Line.size,
            ] == [0, 2, 3, 4, 8, 16, 24])
        typealias Quota = MemoryLayout<QuotaCell>
        #expect(
            [
                Quota.offset(of: \.used), Quota.offset(of: \.held), Quota.offset(of: \.endSeconds),
                Quota.offset(of: \.carried), Quota.offset(of: \.startDay),
                Quota.offset(of: \.spare), Quota.size,
            ] == [0, 8, 16, 24, 32, 36, 40])
        typealias Window = MemoryLayout<WindowHead>
        #expect(
            [
                Window.offset(of: \.sum), Window.offset(of: \.newest), Window.size,
            ] == [0, 8, 16])
        typealias Concurrency = MemoryLayout<ConcurrencyCell>
        #expect([Concurrency.offset(of: \.open), Concurrency.size] == [0, 8])
    }
}
