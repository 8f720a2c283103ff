import TestSupport
import Testing

@testable import TollgateCore

/// Tables of numbers that the hot paths keep, each against a dictionary.
@Suite struct SmallTableTests {
    @Test(arguments: 1...6) func rowsByNumberAreWhatADictionaryHolds(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = NumberTable()
        var model: [UInt32: UInt32] = [:]
        for step in 0..<20_000 {
            // Few, so that they meet again; some of the largest.
            let number = UInt32.random(in: 0..<2_000, using: &random) &- 500
            switch UInt32.random(in: 0..<4, using: &random) {
            case 0:
                table.remove(number)
                model[number] = nil
            case 1: #expect(table.find(number).raw == model[number] ?? 0, "seed \(seed)")
            default:
                table.set(number, RowHandle(raw: UInt32(step + 1)))
                model[number] = UInt32(step + 1)
            }
            if step == 10_000 {
                table.keep { number, _ in number % 3 == 0 }
                model = model.filter { $0.key % 3 == 0 }
            }
        }
        #expect(table.count == model.count && model.count > 500, "seed \(seed)")
        for (number, raw) in model { #expect(table.find(number).raw == raw, "seed \(seed)") }
        table.clear()
        #expect(table.count == 0 && table.find(0) == .none)
    }

    @Test(arguments: 1...6) func notesOfConnectionsAreWhatADictionaryHolds(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var notes = HeldNotes()
        var model: [UInt64: [(place: UInt32, id: ReservationID)]] = [:]
        for step in 0..<20_000 {
            let connection = UInt64.random(in: 1...300, using: &random) << 32 | 7
            if UInt32.random(in: 0..<5, using: &random) < 3 {
                let id = ReservationID(low: UInt64(step), high: connection)
                model[connection, default: []].append(
                    (notes.add(id, connection: connection), id))
            } else if let held = model[connection], !held.isEmpty {
                let gone = Int.random(in: 0..<held.count, using: &random)
                // Of another reservation it is nobody's.
                notes.remove(held[gone].place, of: ReservationID(low: .max, high: 0))
                notes.remove(held[gone].place, of: held[gone].id)
                model[connection]?.remove(at: gone)
            }
            let newest = model[connection]?.last
            #expect(notes.first(of: connection) == newest?.place ?? 0, "seed \(seed)")
            if let newest { #expect(notes.id(newest.place) == newest.id, "seed \(seed)") }
        }
        #expect(notes.count == model.values.reduce(0) { $0 + $1.count }, "seed \(seed)")
    }

    @Test(arguments: 1...6) func aListKnowsWhenItsFirstRowMayBeForgotten(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = RowTable()
        var list = KeptList()
        var expected: [KeptRow] = []
        #expect(list.firstForgetAt == .max)
        for step in 0..<3_000 as Range<UInt64> {
            if UInt32.random(in: 0..<2, using: &random) == 0 {
                let handle = withUnsafeBytes(of: (step, step)) {
                    table.insert(
                        RowKey(kind: .idempotency, owner: 0, id: $0, hash: random.next()),
                        layout: 0, layoutBytes: KeptHead.bytes)
                }
                let row = KeptRow(table.row(handle))
                row.reset(handle)
                row.head.pointee.forgetAt = Int64.random(in: 1...1_000, using: &random)
                list.append(row, in: table)
                expected.append(row)
            } else if !expected.isEmpty {
                let gone = expected.remove(at: Int.random(in: expected.indices, using: &random))
                list.remove(gone, in: table)
                table.remove(gone.head.pointee.handle)
            }
            #expect(list.first == expected.first?.head.pointee.handle ?? .none, "seed \(seed)")
            let due = expected.first?.head.pointee.forgetAt ?? .max
            #expect(list.firstForgetAt == due, "seed \(seed)")
            #expect(list.count == expected.count, "seed \(seed)")
        }
    }

    @Test(arguments: 1...6) func theFirstHoldToEndIsTheOneOfAll(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = RowTable()
        var queue = HoldQueue()
        defer { queue.free() }
        var ends: [UInt64: (end: UInt64, row: KeptRow)] = [:]
        for step in 0..<5_000 as Range<UInt64> {
            // More go than come for a while, so that what they leave is dropped.
            let most: UInt32 = 2_000..<3_000 ~= step ? 0 : 2
            switch UInt32.random(in: 0..<5, using: &random) {
            case 0...most:
                let handle = withUnsafeBytes(of: (step, step)) {
                    table.insert(
                        RowKey(kind: .reservation, owner: 0, id: $0, hash: random.next()),
                        layout: 0, layoutBytes: KeptHead.bytes)
                }
                let row = KeptRow(table.row(handle))
                row.reset(handle)
                let end = UInt64.random(in: 1...1_000, using: &random)
                queue.insert(row, end: end)
                ends[step] = (end, row)
            case 1...3:
                guard let some = ends.keys.sorted().randomElement(using: &random),
                    let gone = ends.removeValue(forKey: some)
                else { continue }
                #expect(queue.end(of: gone.row) == gone.end, "seed \(seed)")
                queue.remove(gone.row)
                table.remove(gone.row.head.pointee.handle)
            default:
                guard let some = ends.keys.sorted().randomElement(using: &random) else { continue }
                let end = UInt64.random(in: 0...1_000, using: &random)
                ends[some]?.end = end
                if let row = ends[some]?.row { queue.move(row, end: end) }
            }
            let first = ends.values.map(\.end).min() ?? .max
            #expect(queue.firstEnd <= first, "seed \(seed)")
            guard step % 50 == 0 else { continue }
            queue.checkInvariants(table)
            guard step % 100 == 0 else { continue }
            let found = queue.findFirst()
            #expect(queue.firstEnd == first, "seed \(seed)")
            #expect(ends.values.contains { $0.end == first && $0.row.head.pointee.handle == found })
        }
        queue.checkInvariants(table)
        #expect(queue.count == ends.count && ends.count > 100, "seed \(seed)")
    }
}
