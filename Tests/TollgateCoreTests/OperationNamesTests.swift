import Testing

@testable import TollgateCore

@Suite struct OperationNamesTests {
    private func slots(_ names: OperationNames, _ operations: [String]) throws -> [UInt8] {
        let table = try #require(NameTable(operations))
        let places = UnsafeMutablePointer<UInt8>.allocate(capacity: operations.count)
        defer { places.deallocate() }
        places.initialize(repeating: 255, count: operations.count)
        names.fill(places, capacity: operations.count, table)
        return (0..<operations.count).map { places[$0] }
    }

    @Test func aNameKeepsItsSlotWhateverPoliciesCome() throws {
        let names = OperationNames()
        #expect(try slots(names, ["chat", "models"]) == [1, 2])
        #expect(try slots(names, ["models", "batch", "chat"]) == [2, 3, 1])
        #expect(names.all == [OperationNames.others, "chat", "models", "batch"])
    }

    @Test func whatFindsNoSlotCountsWithTheOthers() throws {
        let names = OperationNames()
        let many = (0..<100).map { "operation\($0)" }
        let given = try slots(names, many)
        #expect(Array(given[..<63]) == (1...63).map { UInt8($0) })
        #expect(given[63...].allSatisfy { $0 == 0 })
        #expect(names.all.count == OperationNames.slotsMax)
        #expect(try slots(names, [many[99], many[0]]) == [0, 1])
    }

    @Test func aNameThatIsLongAsALabelCountsWithTheOthers() throws {
        let names = OperationNames()
        let longest = String(repeating: "x", count: OperationNames.labelBytesMax)
        let quotes = String(repeating: "\"", count: OperationNames.labelBytesMax / 2 + 1)
        #expect(try slots(names, [longest, longest + "x", quotes]) == [1, 0, 0])
    }

    @Test func labelsAreEscaped() {
        #expect(OperationNames.label("a\"b\\c\nd é".utf8) == #"a\"b\\c\nd é"#)
    }

    @Test func aDecisionCountsForItsReasonAndItsOperation() throws {
        let names = OperationNames()
        let counters = DecisionCounters()
        counters.bind(try #require(NameTable(["chat", "models"])), names)
        counters.add(.none, operation: 1)
        counters.add(.rateLimited, operation: 1)
        counters.add(.operationUnknown, operation: -1)
        counters.add(.none, operation: .max)
        #expect(counters.count(reason: .none) == 2 && counters.count(reason: .rateLimited) == 1)
        #expect(counters.count(slot: 2, isAllowed: true) == 1)
        #expect(counters.count(slot: 2, isAllowed: false) == 1)
        #expect(counters.count(slot: 0, isAllowed: true) == 0)
        // Another policy: the same names have other indices, and the same counts.
        counters.bind(try #require(NameTable(["models"])), names)
        counters.add(.none, operation: 0)
        #expect(counters.count(slot: 2, isAllowed: true) == 2)
    }
}
