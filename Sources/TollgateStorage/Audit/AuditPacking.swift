import TollgateCore
import TollgateWire

/// Compresses a sealed segment beside the thread that writes the log: into a file beside it, which
/// that thread then puts into its place.
struct AuditPacking {
    let directory: String
    let disk: any Disk

    static func partName(_ number: UInt64) -> String {
        AuditFiles.segment(number) + ".packed" + AuditFiles.partSuffix
    }

    /// How many bytes it has; `nil`: it is not sealed, compressed already, not as it was written,
    /// or no longer wanted, and then there is none.
    func pack(
        _ number: UInt64, while isWanted: () -> Bool
    ) throws(AuditFailure) -> Int? {
        let file = try AuditSegmentFile(disk, directory, number)
        guard !file.isPacked, try file.seal() != nil, let squeezer = AuditSqueezer() else {
            return nil
        }
        let (path, disk) = (directory + "/" + Self.partName(number), disk)
        let part = try onAuditDisk { () throws(DiskError) in try auditPart(path, bytes: 0, disk) }
        do throws(AuditFailure) {
            if let bytes = try write(file, to: part, squeezer, isWanted) { return bytes }
        } catch {
            remove(path)
            throw error
        }
        remove(path)
        return nil
    }

    /// What is left of it the next start removes.
    private func remove(_ path: String) {
        do throws(DiskError) { try disk.remove(path) } catch { return }
    }

    private func write(
        _ file: AuditSegmentFile, to part: any DiskFile, _ squeezer: AuditSqueezer,
        _ isWanted: () -> Bool
    ) throws(AuditFailure) -> Int? {
        var table: [UInt8] = []
        var offset = AuditPack.headBytes
        func put(_ bytes: UnsafeRawBufferPointer, of count: Int) throws(AuditFailure) {
            let at = offset
            try onAuditDisk { () throws(DiskError) in try part.write(bytes, at: at) }
            for value in [UInt32(count), UInt32(bytes.count), ledgerChecksum(0, bytes)] {
                AuditPieces.put(value, to: &table)
            }
            offset &+= bytes.count
        }
        let header = Block(AuditSegmentHeader.bytes)
        defer { header.keep() }
        guard try file.read(into: header.bytes, at: 0) == header.used else { return nil }
        try put(header.read, of: header.used)
        var walk = AuditWalk(file)
        steps: while true {
            switch try walk.next() {
            case .block(let block):
                guard isWanted() else { return nil }
                defer { block.keep() }
                let packed = block.head.kind == .records ? squeezer.pack(block.memory.read) : nil
                defer { packed?.keep() }
                try put(packed?.read ?? block.memory.read, of: block.memory.used)
            case .end: break steps
            case .broken: return nil
            }
        }
        try finish(part, table, at: offset, of: walk.end.offset)
        // It is to be the only one: what can be read of it is what was there.
        let made = try AuditSegmentFile(disk, part.path, of: file.number)
        var again = AuditWalk(made)
        while case .block = try again.next() { guard isWanted() else { return nil } }
        return again.end == walk.end && made.bytes == file.bytes ? made.storedBytes : nil
    }

    private func finish(
        _ part: any DiskFile, _ table: [UInt8], at offset: Int, of bytes: Int
    ) throws(AuditFailure) {
        let list = Block(table.count)
        defer { list.keep() }
        table.withUnsafeBytes { list.bytes.copy($0, to: 0) }
        let head = Block(AuditPack.headBytes)
        defer { head.keep() }
        head.bytes.storeLittle(AuditPack.magic, at: 0)
        head.bytes.storeLittle(AuditPack.version, at: 8)
        head.bytes.storeLittle(UInt32(table.count / AuditPack.entryBytes), at: 12)
        head.bytes.storeLittle(UInt64(bytes), at: 16)
        head.bytes.storeLittle(UInt64(offset), at: 24)
        head.bytes.storeLittle(ledgerChecksum(0, list.read), at: 32)
        head.bytes.storeLittle(ledgerChecksum(0, head.read.slice(at: 0, length: 60)), at: 60)
        try onAuditDisk { () throws(DiskError) in
            try part.write(list.read, at: offset)
            try part.write(head.read, at: 0)
            try part.sync()
        }
    }
}
