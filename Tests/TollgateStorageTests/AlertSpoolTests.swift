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

    @Test func marksWhoseAlertIsGoneAreFoundAndRemoved() throws {
        let disk = MemoryDisk()
        let spool = try spool(disk)
        try spool.put(3, [])
        try spool.mark(3, sink: "ops")
        try spool.mark(5, sink: "ops")
        let contents = try spool.contents()
        #expect(contents.entries == [.init(id: 3, done: ["ops"])])
        #expect(contents.strays == ["alert.00000000000000000005.ops.done"])
        #expect(contents.idMax == 5)
        try spool.remove(strays: contents.strays)
        try spool.remove(strays: contents.strays)
        #expect(try spool.contents().strays.isEmpty)
        #expect(try disk.list("/spool").count == 2)
        #expect(try AlertSpool("/nowhere", disk).contents() == .init())
    }

    @Test func whatIsSetAsideTakesNoRoomAndKeepsItsIdFromOthers() throws {
        let disk = MemoryDisk()
        let spool = try spool(disk)
        let large = [UInt8](repeating: 0x20, count: AlertSpool.alertBytesMax + 1)
        for round in 1...2 {
            try spool.put(3, large)
            try #require(spool.has(3))
            do throws(AuditFailure) {
                _ = try spool.read(3)
                Issue.record("larger than any alert, round \(round)")
            } catch { #expect(error.kind == .damaged) }
            let path = try spool.setAside(3)
            #expect(path == "/spool/alert.00000000000000000003.json.damaged")
            #expect(!spool.has(3))
        }
        #expect(try spool.contents() == .init(idMax: 3))
        #expect(try disk.list("/spool").count == 1)
    }
}
