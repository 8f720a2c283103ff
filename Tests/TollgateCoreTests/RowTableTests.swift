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
}
