import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// The sketch of who has the most decisions, against exact counts.
@Suite struct BusiestOrganizationsTests {
    private static let hash = KeyedHash((5, 6))

    private static func add(
        _ sketch: inout BusiestOrganizations, _ name: String, isPersonal: Bool = false,
        isAllowed: Bool = true
    ) {
        DirectoryImage.withBytes(name) {
            sketch.add($0, isPersonal: isPersonal, isAllowed: isAllowed)
        }
    }

    /// Exact, with the same halvings.
    private struct Model {
        var weights: [String: Double] = [:]
        var counts: [String: (allowed: UInt64, denied: UInt64)] = [:]
        var weight = 0.0

        mutating func add(_ name: String, isAllowed: Bool) {
            weights[name, default: 0] += 1
            weight += 1
            if isAllowed {
                counts[name, default: (0, 0)].allowed += 1
            } else {
                counts[name, default: (0, 0)].denied += 1
            }
        }

        mutating func halve() {
            weight /= 2
            for name in weights.keys { weights[name, default: 0] /= 2 }
        }
    }

    /// Many small ones and few large ones, whose turn changes as it goes on.
    private static func name(_ step: Int, _ random: inout SeededRandom) -> String {
        if Int.random(in: 0..<3, using: &random) > 0 {
            return "big\(Int.random(in: 0..<6, using: &random) + step / 4_000)"
        }
        return "small\(Int.random(in: 0..<3_000, using: &random))"
    }

    @Test(arguments: [1, 7, 64, 512])
    func itsErrorsStayWithinTheirBounds(capacity: Int) throws {
        var random = SeededRandom.printed("busiest \(capacity)")
        var sketch = BusiestOrganizations(Self.hash, capacity: capacity)
        var model = Model()
        let slack = 1e-6
        for step in 0..<(20_000 * testScale) {
            let (name, isAllowed) = (Self.name(step, &random), Bool.random(using: &random))
            Self.add(&sketch, name, isAllowed: isAllowed)
            model.add(name, isAllowed: isAllowed)
            if Int.random(in: 0..<1_500, using: &random) == 0 {
                sketch.halve()
                model.halve()
            }
            guard step % 2_000 == 1_999 else { continue }
            sketch.checkInvariants()
            let standing = sketch.heaviest(capacity)
            #expect(abs(sketch.weight - model.weight) < slack)
            #expect(sketch.missedMax <= model.weight / Double(capacity) + slack)
            for entry in standing {
                let exact = try #require(model.weights[entry.organization])
                let counts = try #require(model.counts[entry.organization])
                #expect(exact <= entry.weight + slack)
                #expect(entry.weight <= exact + entry.error + slack)
                #expect(entry.error <= sketch.missedMax + slack)
                #expect(entry.allowed <= counts.allowed && entry.denied <= counts.denied)
            }
            let names = Set(standing.map(\.organization))
            for (name, exact) in model.weights where exact > sketch.missedMax + slack {
                #expect(names.contains(name))
            }
        }
    }

    @Test func whereAllFitItIsExact() {
        var sketch = BusiestOrganizations(Self.hash, capacity: 8)
        for (index, name) in ["c", "a", "b", "a", "c", "a"].enumerated() {
            Self.add(&sketch, name, isAllowed: index % 2 == 0)
        }
        #expect(sketch.heaviest(2).map(\.organization) == ["a", "c"])
        #expect(sketch.heaviest(9).map(\.weight) == [3, 2, 1])
        #expect(sketch.heaviest(9).map(\.allowed) == [0, 2, 1])
        #expect(sketch.heaviest(9).map(\.denied) == [3, 0, 0])
        #expect(sketch.missedMax == 0 && sketch.weight == 6)
    }

    @Test func theNewlyBusyTakeThePlaceOfThoseOfLongAgo() {
        var sketch = BusiestOrganizations(Self.hash, capacity: 4)
        for name in ["old1", "old2", "old3", "old4"] {
            for _ in 0..<1_000 { Self.add(&sketch, name) }
        }
        for _ in 0..<12 { sketch.halve() }
        for _ in 0..<5 { Self.add(&sketch, "new") }
        #expect(sketch.heaviest(1).map(\.organization) == ["new"])
        #expect(sketch.heaviest(1).map(\.allowed) == [5])
        // Counts since it stands are whole, and stay so.
        sketch.halve()
        #expect(sketch.heaviest(1).map(\.allowed) == [5])
    }

    @Test func aPersonalOrganizationIsAnotherOfTheSameName() {
        var sketch = BusiestOrganizations(Self.hash, capacity: 4)
        Self.add(&sketch, "ada")
        Self.add(&sketch, "ada", isPersonal: true)
        Self.add(&sketch, "ada", isPersonal: true)
        #expect(sketch.heaviest(4).map(\.isPersonal) == [true, false])
        #expect(sketch.heaviest(4).map(\.weight) == [2, 1])
    }
}
