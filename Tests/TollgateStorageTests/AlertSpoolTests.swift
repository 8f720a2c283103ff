import Testing

@testable import TollgateStorage

@Suite struct AlertSpoolTests {
    private func spool(_ disk: MemoryDisk) throws -> AlertSpool {
        try disk.makeDirectory("/spool")
        return AlertSpool("/spool", disk)
    }

    @Test func whatIsPutWaitsInOrderUntilItHasArrivedEverywhere() throws {
        let disk = MemoryDisk()
        let spool = try spool(disk)
        #expect(try spool.entries().isEmpty)
        for id in [UInt64(10), 9, .max, 1] { try spool.put(id, Array("{\"id\":\(id)}".utf8)) }
        try spool.put(9, Array("again".utf8))
        #expect(try spool.entries().map(\.id) == [1, 9, 10, .max])
        #expect(try spool.read(9) == Array("again".utf8))
        #expect(try spool.read(2) == nil)
        try spool.mark(9, sink: "ops")
        try spool.mark(9, sink: "ops")
        try spool.mark(9, sink: "chat_2")
        #expect(try spool.entries()[1] == .init(id: 9, done: ["ops", "chat_2"]))
        try spool.remove(9, marks: ["ops", "chat_2", "never"])
        try spool.remove(9, marks: [])
        #expect(try spool.entries().map(\.id) == [1, 10, .max])
        #expect(try disk.list("/spool").count == 3)
    }

    @Test func whatIsNoAlertIsNotTakenForOne() throws {
        let disk = MemoryDisk()
        let spool = try spool(disk)
        for name in [
            "lock", "alert.1.json", "alert.00000000000000000001.json.part",
            "alert.99999999999999999999.json", "alert.0000000000000000000x.json",
            "alert.00000000000000000001.ops.done", "alert.00000000000000000001json",
        ] {
            _ = try disk.create("/spool/" + name, bytes: 0)
        }
        #expect(try spool.entries().isEmpty)
        #expect(try AlertSpool("/nowhere", disk).entries().isEmpty)
    }

    @Test func anAlertIsThereWholeOrNotWhereverTheDiskStops() throws {
        let document = Array("{\"id\":7}".utf8)
        var (without, with) = (0, 0)
        for call in 1...40 {
            let disk = MemoryDisk()
            let spool = try spool(disk)
            disk.fault = .from(call, 5)
            var hasFailed = false
            do throws(AuditFailure) { try spool.put(7, document) } catch { hasFailed = true }
            disk.fault = nil
            let entries = try spool.entries()
            if entries.isEmpty {
                without += 1
                #expect(hasFailed)
            } else {
                with += 1
                #expect(try spool.read(7) == document)
            }
            if !hasFailed { break }
            try spool.put(7, document)
            #expect(try spool.read(7) == document)
        }
        #expect(without > 0 && with > 0)
    }
}
