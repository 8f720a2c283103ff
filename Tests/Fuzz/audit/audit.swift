import TollgatePolicy
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

private let directory = "/audit"
private let secret = [UInt8](repeating: 7, count: AuditFiles.keyBytes)

/// F9: an audit log. Of byte 0: bit 0: what follows is what blocks say, which get heads, numbers,
/// hashes and a signature, so that what is inside is looked at; else it is the segment as it is.
/// Bit 1: the first 1,024 bytes are `audit.head`. Bit 2: a daemon takes the log up. Bit 3: it is
/// replayed. Bits 4 and 5: how it is shown, if at all. Bit 6: it is asked for its last record, else
/// for its first. Bit 7: blocks are of version 2, and get their checksums too, else of version 1.
/// All that reads a log reads it. Nothing traps, and what is verified as whole is read as a whole.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 1, let data else { return 0 }
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    var rest = UnsafeRawBufferPointer(rebasing: bytes[1...])
    let disk = MemoryDisk()
    disk.directories = [directory]
    put(secret, AuditFiles.key, disk)
    if bytes[0] & 2 != 0 {
        let head = rest.prefix(AuditHeadFile.bytes)
        put(Array(head), AuditFiles.head, disk)
        rest = UnsafeRawBufferPointer(rebasing: rest[head.endIndex...])
    }
    let isSealed = bytes[0] & 1 != 0
    let version: UInt16 = bytes[0] & 128 != 0 ? 2 : 1
    put(isSealed ? sealed(rest, version) : Array(rest), AuditFiles.segment(1), disk)
    let reader = AuditReader(directory, disk)
    let isWhole = read(reader, bytes[0])
    if bytes[0] & 8 != 0 { replay(reader) }
    if bytes[0] & 4 != 0 { takeUp(disk, isWhole) }
    return 0
}

private func put(_ bytes: [UInt8], _ name: String, _ disk: MemoryDisk) {
    let inode = MemoryDisk.Inode(bytes.count)
    bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
    disk.files[directory + "/" + name] = inode
}

// MARK: reading

/// Whether nothing is wrong with it.
private func read(_ reader: AuditReader, _ mode: UInt8) -> Bool {
    _ = try? reader.segments()
    let key = try? reader.key()
    let result = try? reader.verify(key: key)
    var all: [AuditRecord] = []
    let scan = try? reader.run(AuditQuery()) { record in
        all.append(record)
        return true
    }
    if let scan { precondition(scan.matched == all.count) }
    // Of no segment is what is wrong with the head, which no input is likely to sign.
    let isWhole = result?.faults.allSatisfy { $0.segment == 0 } == true
    if let result, isWhole, result.segments > 0 {
        precondition(UInt64(all.count) == result.records, "verified, and read as a whole")
    }
    let formats = AuditView.Format.allCases
    if case let place = Int(mode >> 4 & 3), place < formats.count { show(all, formats[place]) }
    if let one = mode & 64 != 0 ? all.last : all.first { ask(reader, one) }
    return isWhole
}

/// The newest of each of its names, as `query` and `tail` ask.
private func ask(_ reader: AuditReader, _ one: AuditRecord) {
    func run(_ change: (inout AuditQuery) -> Void) {
        var query = AuditQuery()
        query.isNewestFirst = true
        query.limit = 3
        change(&query)
        var found: [AuditRecord] = []
        let scan = try? reader.run(query) { record in
            found.append(record)
            return true
        }
        precondition(found.count <= 3)
        if let scan { precondition(scan.matched == found.count) }
    }
    run { _ in }
    run { $0.organization = one.organization }
    run { $0.user = one.user }
    run { ($0.organization, $0.user, $0.keyID) = (one.organization, one.user, one.keyID) }
    run { ($0.since, $0.until) = (one.wall, one.wall) }
    run { ($0.reasons, $0.operation, $0.hold) = ([one.reason], one.operation, one.hold) }
    _ = try? reader.decision(one.id)
}

private func show(_ records: [AuditRecord], _ format: AuditView.Format) {
    var view = AuditView(format)
    let lines = view.lines(records)
    guard format != .csv else {
        // The header's, and one each.
        let text = lines.joined()
        precondition(records.isEmpty || text.utf8.count { $0 == 10 } >= records.count)
        return
    }
    precondition(records.isEmpty || lines.count >= records.count)
    precondition(lines.allSatisfy { !$0.utf8.contains(0x1b) }, "an escape is shown")
}

// MARK: replay

private let policies: [PolicyDefinition] = ["600", "3"].map { limit in
    let text = """
        version: 1
        meters: [tokens, requests]
        operations:
          chat: {charges: {tokens: {units: 3, weight: 2}, requests: {units: 1}}}
          embed: {permission: x, charges: {tokens: {units: 1}}}
        plans:
          free: {}
          pro:
            permissions: [x]
            rate_limits: {per-minute: {scope: user, meter: requests, limit: \(limit), window: 1m}}
            quotas:
              monthly: {scope: organization, meter: tokens, limit: 900, period: month}
              daily: {scope: user, meter: tokens, limit: \(limit), period: day}
        """
    do throws(PolicyErrors) {
        return try PolicyLoader.load(bytes: Array(text.utf8), file: "p.yaml").definition
    } catch { preconditionFailure("\(error)") }
}

private func replay(_ reader: AuditReader) {
    guard var run = try? PolicyReplay(old: policies[0], new: policies[1]) else {
        preconditionFailure("the policies compile")
    }
    run.isListing = true
    _ = try? reader.run(AuditQuery()) { record in
        run.add(record)
        return true
    }
    run.finish()
    let report = run.report
    precondition(report.judged + report.asRecorded + report.unjudgedCount == report.decisions)
    let columns = ReplayReport.Changed.columns.count
    precondition(run.takeListed().allSatisfy { $0.cells.count == columns })
    _ = report.text(most: 3)
    _ = report.json(most: 3).text
}

// MARK: a daemon

/// A daemon goes on with the log, or says why not; what it makes of it can be read.
private func takeUp(_ disk: MemoryDisk, _ isWhole: Bool) {
    var settings = AuditSettings(directory: directory)
    settings.ringBytes = AuditRing.bytesLeast
    settings.segmentBytes = AuditSettings.segmentBytesMin
    let now = WallTime(milliseconds: 1_800_000_000_000)
    let random: RandomSource = { bytes in
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index) }
        return true
    }
    guard
        let log = try? AuditLog(
            settings, disk, rings: 1, boot: (1, 2), life: 7, now: now, { _ in }, random)
    else { return }
    log.drain(now: now)
    log.close(now: WallTime(milliseconds: now.milliseconds + 1_000))
    _ = try? AuditReader(directory, disk).verify(key: nil)
}

// MARK: a segment

/// Blocks of u8 kind, u8 records, u16 bytes, two u32 wall clocks and payload, chained, the last of
/// them the seal if it is one.
private func sealed(_ content: UnsafeRawBufferPointer, _ version: UInt16) -> [UInt8] {
    var log = 0 as UInt64
    if content.count >= 8 { log = content.loadLittle(at: 0, as: UInt64.self) & 1 }
    var first = AuditSegmentHeader(
        number: 1, log: log, firstBlock: 0, created: 1_800_000_000_000, life: 7, previousBytes: 0,
        previous: .zero)
    first.version = version
    let header = first.encoded
    guard let key = secret.withUnsafeBytes({ AuditKey($0) }) else { return [] }
    var bytes = Array(header.bytes.read)
    var (number, previous) = (0 as UInt64, header.hash)
    var reader = ByteReader(content)
    while let kind = reader.read(UInt8.self), let count = reader.read(UInt8.self),
        let length = reader.read(UInt16.self), let first = reader.read(UInt32.self),
        let last = reader.read(UInt32.self)
    {
        var block = AuditBlock(AuditBlockKind(rawValue: kind % 4 + 1) ?? .gap)
        block.payload = Array(reader.take(min(Int(length), reader.remaining)) ?? content)
        block.count = UInt32(count)
        block.first = 1_800_000_000_000 + Int64(first)
        block.last = 1_800_000_000_000 + Int64(last)
        if block.kind == .seal { seal(&block, previous, key, version) }
        let hasChecksums = version > 1 && (block.kind == .seal || block.kind == .records)
        if hasChecksums { block.payload = AuditPieces.payload(block.payload) }
        let written = block.encoded(number: number, previous: previous)
        bytes += Array(written.bytes.read)
        (number, previous) = (number + 1, written.hash)
    }
    return bytes
}

/// Its length and its signature.
private func seal(
    _ block: inout AuditBlock, _ previous: AuditHash, _ key: AuditKey, _ version: UInt16
) {
    let count = block.payload.count + AuditSeal.tailBytes
    let size = UInt32(version > 1 ? AuditPieces.payloadBytes(count) : count)
    withUnsafeBytes(of: size.littleEndian) { block.payload += $0 }
    let text = Block(8 + AuditHash.bytes + block.payload.count)
    text.bytes.storeLittle(1 as UInt64, at: 0)
    previous.store(to: text.bytes, at: 8)
    block.payload.withUnsafeBytes { text.bytes.copy($0, to: 8 + AuditHash.bytes) }
    let signature = key.sign(text.read)
    withUnsafeBytes(of: signature) { block.payload += $0 }
    text.keep()
}
