import Testing
import TollgateWire

@testable import TollgateCore

/// A ring in memory of its own.
final class MemoryRing {
    let memory: UnsafeMutableRawPointer
    let bytes: Int
    let ring: AuditRing

    init(capacity: Int = AuditRing.bytesLeast, number: UInt32 = 1, nextID: UInt64 = 1) {
        bytes = AuditRing.headerBytes + capacity
        memory = .allocate(byteCount: bytes, alignment: 4_096)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        ring = AuditRing(
            making: memory, capacity: capacity, number: number, boot: (7, 8), life: 3,
            nextID: nextID)
    }

    deinit { memory.deallocate() }

    /// Everything that waits, taken out.
    func take() -> [Entry] {
        var entries: [Entry] = []
        var position = ring.start
        #expect(ring.read(&position) { entries.append(Entry($0)); return true })
        ring.release(through: position)
        return entries
    }

    /// A copy that outlives the ring's memory.
    struct Entry {
        var head: AuditHead
        var kind: AuditKind
        var organization: String
        var user: String
        var charges: [AuditCharge]
        var standings: [AuditStanding]
        var shadowQuotas: [AuditStanding]
        var hold: [UInt8]?
        var idempotency: [UInt8]?
        var key: String?

        init(_ entry: AuditEntry) {
            head = entry.head
            kind = entry.kind
            organization = String(decoding: entry.organization, as: UTF8.self)
            user = String(decoding: entry.user, as: UTF8.self)
            charges = (0..<entry.chargeCount).map { entry.charge($0) }
            standings = (0..<entry.standingCount).map { entry.standing($0) }
            shadowQuotas = (0..<entry.shadowQuotaCount).map { entry.shadowQuota($0) }
            hold = entry.holdID.map { Array($0) }
            idempotency = entry.idempotencyID.map { Array($0) }
            key = entry.keyID.map { String(decoding: $0, as: UTF8.self) }
        }
    }
}

@Suite struct AuditRingTests {
    private func entry(_ pen: inout AuditPen, id: UInt64, name: String) -> Bool {
        var head = AuditHead()
        head.kind = AuditKind.check.rawValue
        head.id = id
        head.organizationBytes = UInt8(name.utf8.count)
        let bytes = (AuditEntry.unpaddedBytes(head) + 7) & ~7
        head.bytes = UInt32(bytes)
        guard let place = pen.place(bytes) else { return false }
        place.storeBytes(of: head, as: AuditHead.self)
        var name = name
        name.withUTF8 { text in
            guard let from = text.baseAddress else { return }
            (place + AuditHead.bytes).copyMemory(from: from, byteCount: text.count)
        }
        return true
    }

    @Test func whatIsWrittenIsReadInItsOrderAroundTheEnd() {
        let memory = MemoryRing()
        var pen = AuditPen(memory.ring)
        var random = SeededRandom(seed: 3)
        var (written, read): (UInt64, UInt64) = (0, 0)
        for _ in 0..<2_000 {
            for _ in 0..<Int.random(in: 0...40, using: &random) {
                let name = String(repeating: "o", count: Int.random(in: 1...128, using: &random))
                guard entry(&pen, id: written + 1, name: name) else { break }
                written += 1
            }
            // Nothing is to be seen before it is published.
            let before = memory.take()
            for entry in before {
                read += 1
                #expect(entry.head.id == read)
            }
            pen.publish(now: BootTime(nanoseconds: 5))
            guard Bool.random(using: &random) else { continue }
            for entry in memory.take() {
                read += 1
                #expect(entry.head.id == read)
                #expect(entry.organization.allSatisfy { $0 == "o" })
            }
        }
        for entry in memory.take() {
            read += 1
            #expect(entry.head.id == read)
        }
        #expect(read == written)
        #expect(written > 10_000)
    }

    @Test func withoutRoomAnEntryIsLeftOutAndCounted() {
        let memory = MemoryRing()
        var pen = AuditPen(memory.ring)
        var written = 0
        while entry(&pen, id: UInt64(written + 1), name: "acme") { written += 1 }
        #expect(written == AuditRing.bytesLeast / 136)
        #expect(memory.ring.dropped == 1)
        #expect(!entry(&pen, id: 0, name: "acme"))
        #expect(memory.ring.dropped == 2)
        pen.publish(now: BootTime(nanoseconds: 0))
        #expect(memory.take().count == written)
        let hasRoom = pen.hasRoom()
        #expect(hasRoom)
        #expect(entry(&pen, id: 9, name: "acme"))
    }

    @Test func aRingIsTakenUpWhereItsProcessEnded() throws {
        let memory = MemoryRing(nextID: 41)
        var pen = AuditPen(memory.ring)
        #expect(pen.takeID() == 41)
        #expect(entry(&pen, id: 41, name: "kept"))
        pen.publish(now: BootTime(nanoseconds: 0))
        _ = pen.takeID()
        #expect(entry(&pen, id: 42, name: "lost: no reply has left"))
        let again = try #require(AuditRing(memory.memory, bytes: memory.bytes))
        #expect(again.nextID == 42)
        #expect(again.number == 1)
        #expect(again.life == 3)
        #expect(again.boot == (7, 8))
        #expect(memory.take().map(\.organization) == ["kept"])
    }

    @Test func damagedBytesAreNoRingAndNoEntry() {
        let memory = MemoryRing()
        var pen = AuditPen(memory.ring)
        for id in 1...20 { #expect(entry(&pen, id: UInt64(id), name: "acme")) }
        pen.publish(now: BootTime(nanoseconds: 0))
        var random = SeededRandom(seed: 3)
        let all = UnsafeMutableRawBufferPointer(start: memory.memory, count: memory.bytes)
        for _ in 0..<20_000 {
            let place = Bool.random(using: &random)
                ? Int.random(in: 0..<136, using: &random)
                : AuditRing.headerBytes + Int.random(in: 0..<(20 * 136), using: &random)
            let before = all[place]
            all[place] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &random)
            // Whatever it says, it does not trap, and reads nothing beyond the ring.
            if let ring = AuditRing(memory.memory, bytes: memory.bytes) {
                var (position, count) = (ring.start, 0)
                _ = ring.read(&position) {
                    count += Int($0.head.id & 1) + $0.organization.count + $0.user.count
                    for index in 0..<$0.standingCount { count += Int($0.standing(index).limit) }
                    for index in 0..<$0.chargeCount { count += Int($0.charge(index).meter) }
                    return true
                }
            }
            all[place] = before
        }
        #expect(memory.take().count == 20)
    }

    @Test func policyNamesReadAsTheyWereWritten() throws {
        let names = AuditNames(
            generation: 7, plans: ["free_tier", "pro_tier"], operations: ["chat"],
            meters: ["calls", "tokens"], issuers: ["main"],
            limits: [AuditNames.Limit(name: "daily", meter: "calls", kind: 2, scope: 1)],
            programs: [[0], [0, 0]], permissions: ["chat.use"])
        let bytes = names.encoded
        let again = bytes.withUnsafeBytes { AuditNames(decoding: $0) }
        #expect(again == names)
        for count in 0..<bytes.count {
            let cut = bytes.withUnsafeBytes {
                AuditNames(decoding: UnsafeRawBufferPointer(rebasing: $0[..<count]))
            }
            #expect(cut == nil)
        }
    }

    @Test func policyNamesOfBeforePermissionsAreRead() {
        var names = AuditNames(
            generation: 7, plans: ["free_tier"], operations: ["chat"], programs: [[]])
        var bytes = names.encoded
        bytes.replaceSubrange(0..<8, with: Array("TGNAMES1".utf8))
        bytes.removeLast(2)
        #expect(bytes.withUnsafeBytes { AuditNames(decoding: $0) } == names)
        bytes += [0, 0]
        #expect(bytes.withUnsafeBytes { AuditNames(decoding: $0) } == nil)
        names.permissions = ["chat.use"]
        #expect(names.encoded.withUnsafeBytes { AuditNames(decoding: $0) } == names)
    }
}
