import Testing

@testable import TollgateCore

@Suite struct RowTableTests {
    private static let hash = KeyedHash((1, 2))

    private func withKey<R>(_ id: UInt64, _ body: (RowKey) -> R) -> R {
        withUnsafeBytes(of: id) { bytes in
            body(RowKey(
                kind: .user, owner: 0, id: bytes, hash: Self.hash.hash(bytes, tweak: 1)))
        }
    }

    @Test(arguments: 1...8) func aTableHoldsWhatAModelHolds(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = RowTable()
        var model: Set<UInt64> = []
        for _ in 0..<3_000 {
            let id = UInt64.random(in: 0..<400, using: &random)
            let handle = withKey(id) { table.find($0) }
            #expect((handle != .none) == model.contains(id), "seed \(seed)")
            if handle == .none {
                let made = withKey(id) { table.insert($0, layout: 0, layoutBytes: 64) }
                #expect(made != .none && table.row(made).counters.load(as: UInt64.self) == 0)
                table.row(made).counters.storeBytes(of: id, as: UInt64.self)
                model.insert(id)
            } else if Bool.random(using: &random) {
                #expect(table.row(handle).counters.load(as: UInt64.self) == id, "seed \(seed)")
                table.remove(handle)
                model.remove(id)
            }
        }
        table.checkInvariants()
        #expect(table.count == model.count)
    }

    /// Two rows of one number would be one in the journal. Rows that it names otherwise have none,
    /// so that calls do not use numbers up.
    @Test func noNumberIsGivenTwiceAndContentTakesNone() {
        func insert(_ kind: RowKind, _ id: UInt64, _ table: inout RowTable) -> RowHandle {
            withUnsafeBytes(of: id) { bytes in
                let hash = Self.hash.hash(bytes, tweak: 1)
                return table.insert(
                    RowKey(kind: kind, owner: 0, id: bytes, hash: hash), layout: 0, layoutBytes: 64)
            }
        }
        var table = RowTable()
        table.nextNumber = .max
        let reserved = insert(.reservation, 1, &table)
        #expect(table.row(reserved).number == 0 && table.nextNumber == .max)
        let last = insert(.user, 2, &table)
        #expect(table.row(last).number == .max && table.nextNumber == 0)
        for (id, kind) in [RowKind.user, .organization, .credits, .reset].enumerated() {
            #expect(insert(kind, 10 + UInt64(id), &table) == .none)
        }
        #expect(insert(.idempotency, 3, &table) != .none)
        #expect(insert(.address4, 4, &table) != .none)
        #expect(table.count == 4)
        table.checkInvariants()
    }

    @Test func aHintFindsItsRowAndNobodyOnceTheRowIsGone() {
        var table = RowTable()
        let first = withKey(1) { table.insert($0, layout: 0, layoutBytes: 64) }
        let hint = RowHint(table.row(first))
        withKey(1) { #expect(hint.row($0) != nil) }
        withKey(2) { #expect(hint.row($0) == nil) }
        #expect(withKey(1) { RowHint.none.row($0) } == nil)
        table.remove(first)
        withKey(1) { #expect(hint.row($0) == nil) }
        // The place is taken again, by somebody else.
        let second = withKey(2) { table.insert($0, layout: 0, layoutBytes: 64) }
        #expect(second == first)
        withKey(1) { #expect(hint.row($0) == nil) }
        withKey(2) { #expect(hint.row($0) != nil) }
    }

    /// A row that moves while its table is walked over goes behind the walk, and after that again
    /// where others have stood.
    @Test func aRowMovesToWhereAWalkStillComes() {
        var table = RowTable()
        func handle(_ id: UInt64) -> RowHandle { withKey(id) { table.find($0) } }
        let first = withKey(1) { table.insert($0, layout: 0, layoutBytes: 128) }
        for id in 2..<6 { _ = withKey(UInt64(id)) { table.insert($0, layout: 0, layoutBytes: 64) } }
        table.remove(first)
        // The first and the second.
        let units = 11 + 7
        table.beginWalk()
        table.beginWalk()
        table.noteWalked(chunk: 0, offset: units * RowArena.unitBytes)
        let second = table.replaceLayout(handle(2), layout: 0, layoutBytes: 128) { _, _ in }
        #expect(Int(second.raw) > units)
        // One that is made stands in the journal.
        let made = withKey(6) { table.insert($0, layout: 0, layoutBytes: 64) }
        #expect(Int(made.raw) <= units)
        table.endWalk()
        #expect((table.isWalkedOver) == true)
        let third = table.replaceLayout(handle(3), layout: 0, layoutBytes: 128) { _, _ in }
        #expect(Int(third.raw) > units)
        table.endWalk()
        #expect(table.replaceLayout(handle(4), layout: 0, layoutBytes: 128) { _, _ in } == first)
        table.checkInvariants()
    }

    /// How many slots a look-up passes on average, of so many ids with these hashes.
    private func passed(_ ids: [UInt64], _ hash: (UnsafeRawBufferPointer) -> UInt64) -> Double {
        var table = RowTable()
        for id in ids {
            withUnsafeBytes(of: id) { bytes in
                let key = RowKey(kind: .user, owner: 0, id: bytes, hash: hash(bytes))
                #expect(table.insert(key, layout: 0, layoutBytes: 8) != .none)
            }
        }
        return Double(table.checkInvariants()) / Double(ids.count)
    }

    /// M2: ids that all fall into one slot under a hash that anybody can compute. In probes, not
    /// in time.
    @Test func idsThatCollideWithoutTheKeyAreFoundAsSoonAsRandomOnes() {
        var random = SeededRandom.printed("colliding ids")
        let count = 50_000 * testScale
        let colliding = Array(1...UInt64(count))
        let keyed: (UnsafeRawBufferPointer) -> UInt64 = { Self.hash.hash($0, tweak: 1) }
        let ordinary = passed((0..<count).map { _ in random.next() }, keyed)
        #expect(passed(colliding, keyed) <= 3 * ordinary)
        // What the key is for: their own bits 32 to 57, all 0, put them in one slot.
        let few = Array(colliding.prefix(500))
        #expect(passed(few) { $0.load(as: UInt64.self) } > 100 * passed(few, keyed))
    }

    /// Beyond the chunks that come one by one, so that another chunk stands behind each. Rows of
    /// 688 bytes leave 16 of a chunk, which is less than a row's header.
    @Test(arguments: [648, 1_000]) func rowsOfALargeTableAreZeroedAndTheirOwn(bytes: Int) {
        var table = RowTable()
        let count = 9_000 as UInt64
        var handles: [RowHandle] = []
        var (isZeroed, isOwn) = (true, true)
        for id in 0..<count {
            let handle = withKey(id) { table.insert($0, layout: 0, layoutBytes: bytes) }
            let counters = table.row(handle).counters
            for offset in stride(from: 0, to: bytes, by: 8) {
                isZeroed = isZeroed && counters.load(fromByteOffset: offset, as: UInt64.self) == 0
                counters.storeBytes(of: ~id, toByteOffset: offset, as: UInt64.self)
            }
            handles.append(handle)
        }
        #expect(table.bytesTaken > 5 << 20)
        for (id, handle) in handles.enumerated() {
            let counters = table.row(handle).counters
            for offset in stride(from: 0, to: bytes, by: 8) {
                let found = counters.load(fromByteOffset: offset, as: UInt64.self)
                isOwn = isOwn && found == ~UInt64(id)
            }
        }
        var seen = 0
        var index = 0
        while let chunk = table.chunk(index) {
            var at = 0
            while at < chunk.bytes {
                guard let (row, rowBytes) = table.row(in: chunk, at: at) else { break }
                let id = row.id.loadUnaligned(as: UInt64.self)
                isOwn = isOwn && row.kind == RowKind.user.rawValue && id == UInt64(seen)
                at += rowBytes
                seen += 1
            }
            index += 1
        }
        #expect(isZeroed && isOwn && seen == Int(count))
    }

    @Test func memoryOfRowsThatWentIsUsedAgain() {
        var table = RowTable()
        var taken: [Int] = []
        for round in 0..<6 as Range<UInt64> {
            var handles: [RowHandle] = []
            for id in 0..<3_000 as Range<UInt64> {
                withKey(round << 32 | id) { key in
                    handles.append(table.insert(key, layout: 0, layoutBytes: 200))
                }
            }
            for handle in handles { table.remove(handle) }
            taken.append(table.bytesTaken)
        }
        #expect(table.count == 0 && Set(taken).count == 1 && (taken.first ?? 0) > 600_000)
    }
}
