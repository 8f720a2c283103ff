import CChecksum
import Testing

@testable import TollgateCore

@Suite struct JournalReaderTests {
    /// A region of the smallest size with every kind of item and two marks.
    private static func sample() -> [UInt8] {
        let bench = JournalBench(nextSequence: 100)
        bench.supply()
        let name = Array("acme".utf8)
        _ = bench.write([.quota(1, 2, 3, 4), .quota(2, 2, 9, 4)])
        _ = bench.write([
            TestItem(kind: .row, bytes: (0..<60).map { UInt8($0) }),
            TestItem(kind: .counter, bytes: [1, 0] + Array("q daily calls 1".utf8)),
            .quota(1, 3, 1, 4),
        ])
        bench.journal.noteSynced(through: 105)
        _ = bench.write([TestItem(kind: .reservation, bytes: (0..<130).map { UInt8($0) })])
        _ = bench.write([TestItem(kind: .idempotency, bytes: name), .carried(1, 2, 3)])
        bench.journal.noteSynced(through: 112)
        _ = bench.write([TestItem(kind: .closed, bytes: name + name + name)])
        _ = bench.write([TestItem(kind: .forget, bytes: [1] + name)])
        _ = bench.write([TestItem(kind: .credit, bytes: [UInt8](repeating: 0, count: 20))])
        return Array(bench.regions[0].prefix(64 + 32 * 28))
    }

    /// What of the sample is written, without the zero slots.
    private static func written(_ text: RegionText) -> Int { text.stop?.wholeEnd ?? 0 }

    @Test func everyChangedBitEndsAtAWholeTransactionBeforeIt() throws {
        let sample = Self.sample()
        let whole = try RegionText(sample)
        let ends = Self.written(whole)
        #expect(whole.transactions.count == 9 && ends == 64 + 32 * 20)
        for bit in 0..<(ends * 8) {
            var bytes = sample
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            guard let text = try? RegionText(bytes) else {
                #expect(bit < 64 * 8, "only a damaged header hides all")
                continue
            }
            #expect(bit >= 64 * 8, "bit \(bit): a damaged header was read")
            let read = text.transactions
            #expect(read.count < whole.transactions.count, "bit \(bit)")
            #expect(read == Array(whole.transactions.prefix(read.count)), "bit \(bit)")
            let stop = try #require(text.stop)
            #expect(stop.offset == bit / 256 * 32, "bit \(bit): found at its slot")
            #expect(stop.why == .badChecksum && stop.wholeEnd <= stop.offset, "bit \(bit)")
        }
    }

    @Test func everyBlockOfZeroesIsFoundAndMarksBehindItTell() throws {
        let sample = Self.sample()
        let whole = try RegionText(sample)
        for slot in 0..<((Self.written(whole) - 64) / 32) {
            var bytes = sample
            for at in 0..<32 { bytes[64 + slot * 32 + at] = 0 }
            let text = try RegionText(bytes)
            let stop = try #require(text.stop)
            #expect(stop.why == .end && stop.offset == 64 + slot * 32)
            #expect(text.transactions == Array(whole.transactions.prefix(text.transactions.count)))
            let isLast = stop.offset + 32 == Self.written(whole)
            #expect(text.isZeroBehind == isLast)
        }
    }

    @Test func everyTruncationLeavesWholeTransactions() throws {
        let sample = Self.sample()
        let whole = try RegionText(sample)
        for count in 0..<Self.written(whole) {
            let cut = Array(sample.prefix(count))
            guard let text = try? RegionText(cut) else {
                #expect(count < 64)
                continue
            }
            #expect(count >= 64)
            #expect(text.transactions == Array(whole.transactions.prefix(text.transactions.count)))
            #expect(text.transactions.count < whole.transactions.count)
            #expect(text.stop?.why == .truncated)
            #expect(text.stop?.offset == count / 32 * 32)
        }
    }

    @Test func marksBehindADamagedSlotAreFound() throws {
        let sample = Self.sample()
        let whole = try RegionText(sample)
        let slots = (Self.written(whole) - 64) / 32
        let marks = whole.transactions.filter { $0.items[0].kind == .mark }.map {
            64 + Int($0.sequence - 100) * 32
        }
        #expect(marks.count == 2)
        for slot in 0..<slots {
            for byte in 0..<32 {
                var bytes = sample
                bytes[64 + slot * 32 + byte] ^= 0x55
                let expected: UInt64? =
                    64 + slot * 32 < marks[1] ? 112 : 64 + slot * 32 < marks[0] ? 105 : nil
                #expect(try RegionText(bytes).syncedBehind == expected, "slot \(slot) \(byte)")
            }
        }
        // The header gone: what it says of sequence numbers is not known either.
        var bytes = sample
        bytes[3] ^= 1
        bytes.withUnsafeBytes {
            #expect(
                JournalReader.syncedThrough(in: $0, from: 0, firstSequence: nil) == 112)
        }
    }

    @Test func headersThatAreNoneAreTold() {
        let good = Self.sample()
        func fault(_ change: (inout [UInt8]) -> Void, sealed: Bool = true) -> JournalHeaderFault? {
            var bytes = good
            change(&bytes)
            if sealed {
                let sum = tg_crc32c(0, bytes, 60)
                bytes.replaceSubrange(60..<64, with: TestItem.little(sum))
            }
            return bytes.withUnsafeBytes { raw in
                do throws(JournalHeaderFault) {
                    _ = try JournalRegionHeader(raw)
                    return nil
                } catch { return error }
            }
        }
        #expect(fault { _ in } == nil)
        #expect(fault({ $0 = [] }, sealed: false) == .tooShort)
        #expect(fault({ $0 = Array($0.prefix(63)) }, sealed: false) == .tooShort)
        #expect(fault({ $0 = [UInt8](repeating: 0, count: 64) }, sealed: false) == .unused)
        #expect(fault { $0[0] = 0x74 } == .noMagic)
        #expect(fault { $0[8] = 3 } == .unknownVersion(3))
        #expect(fault({ $0[60] ^= 1 }, sealed: false) == .badChecksum)
        for bytes: UInt32 in [0, 64, 96, 127, 129, 130, 1 << 30 + 32, .max] {
            #expect(fault { $0.replaceSubrange(12..<16, with: TestItem.little(bytes)) } == .badSize)
        }
    }

    /// Slots with right checksums that no version writes: kind, flags, sequence, length.
    @Test func wholeSlotsThatCannotBeAreRefused() throws {
        struct Slot {
            var kind: UInt8
            var flags: UInt8
            var length: UInt16 = 0
            var sequence: UInt32?
        }
        let table: [([Slot], JournalStop.Why)] = [
            ([Slot(kind: 0, flags: 1)], .malformed),
            ([Slot(kind: 14, flags: 1)], .malformed),
            ([Slot(kind: 255, flags: 1)], .malformed),
            ([Slot(kind: 1, flags: 3)], .malformed),
            ([Slot(kind: 1, flags: 5)], .malformed),
            ([Slot(kind: 1, flags: 0x81)], .malformed),
            ([Slot(kind: 1, flags: 1, sequence: 99)], .badSequence),
            ([Slot(kind: 1, flags: 1, sequence: 101)], .badSequence),
            // Ends its transaction before its item's end.
            ([Slot(kind: 2, flags: 1, length: 21)], .malformed),
            // Goes on with another kind, or with none.
            ([Slot(kind: 2, flags: 0, length: 21), Slot(kind: 3, flags: 3)], .malformed),
            ([Slot(kind: 2, flags: 0, length: 20), Slot(kind: 2, flags: 3)], .malformed),
            // Another item where the first wants to go on.
            ([Slot(kind: 2, flags: 0, length: 43), Slot(kind: 2, flags: 2),
                Slot(kind: 1, flags: 1)], .malformed),
            // Longer than the region.
            ([Slot(kind: 2, flags: 0, length: 65_535)], .end),
        ]
        for (index, (slots, why)) in table.enumerated() {
            var bytes = [UInt8](repeating: 0, count: 512)
            var chain = bytes.withUnsafeMutableBytes {
                JournalRegionHeader(
                    shard: 0, bytes: 512, firstSequence: 100, ledger: 1, life: 1, file: 1
                ).write(to: $0)
            }
            for (place, slot) in slots.enumerated() {
                var raw = [UInt8](repeating: 0, count: 4)
                raw += TestItem.little(slot.sequence ?? 100 + UInt32(place))
                raw += [slot.kind, slot.flags] + TestItem.little(slot.length)
                raw += [UInt8](repeating: 0, count: 20)
                chain = tg_crc32c(chain, Array(raw[4...]), 28)
                raw.replaceSubrange(0..<4, with: TestItem.little(chain))
                bytes.replaceSubrange(64 + place * 32..<96 + place * 32, with: raw)
            }
            let text = try RegionText(bytes)
            #expect(text.transactions.isEmpty, "row \(index)")
            #expect(text.stop?.why == why, "row \(index)")
            #expect(text.stop?.wholeEnd == 64, "row \(index)")
        }
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        var random = SeededRandom.printed("journal")
        for _ in 0..<60 * testScale {
            let first = UInt64.random(in: 1...UInt64.max / 2, using: &random)
            let bench = JournalBench(nextSequence: first)
            var expected: [TestTransaction] = []
            var sequence = first
            for _ in 0..<Int.random(in: 1...200, using: &random) {
                if bench.journal.wantsRegion { bench.supply() }
                let items = (0..<Int.random(in: 1...6, using: &random)).map { _ in
                    TestItem.random(&random)
                }
                try #require(bench.write(items))
                expected.append(TestTransaction(sequence: sequence, items: items))
                sequence += items.reduce(0) { $0 + UInt64($1.slots) }
            }
            var read: [TestTransaction] = []
            for region in bench.regions {
                guard (try? JournalRegionHeader(UnsafeRawBufferPointer(region))) != nil else {
                    continue
                }
                read += try RegionText(region).transactions
            }
            #expect(read == expected)
            #expect(bench.journal.nextSequence == sequence)
        }
    }

    @Test func anyBytesAreReadWithoutTrapping() throws {
        var random = SeededRandom.printed("journal bytes")
        let sample = Self.sample()
        for _ in 0..<3_000 * testScale {
            var bytes = sample
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let at = Int.random(in: 64..<bytes.count, using: &random)
                bytes[at] = UInt8.random(in: 0...255, using: &random)
            }
            // Half of them with checksums that are right again, so that what is behind is read.
            if Bool.random(using: &random) {
                for slot in 0..<(bytes.count - 64) / 32 {
                    let at = 64 + slot * 32
                    let seed = bytes.withUnsafeBytes {
                        $0.loadUnaligned(fromByteOffset: at - (slot == 0 ? 4 : 32), as: UInt32.self)
                    }
                    let sum = tg_crc32c(seed, Array(bytes[at + 4..<at + 32]), 28)
                    bytes.replaceSubrange(at..<at + 4, with: TestItem.little(sum))
                }
            }
            let text = try RegionText(bytes)
            let stop = try #require(text.stop)
            #expect(stop.wholeEnd <= stop.offset && stop.offset <= bytes.count)
        }
    }
}
