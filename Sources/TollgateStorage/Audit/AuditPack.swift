import CZstd
import TollgateCore
import TollgateWire

/// A sealed segment whose blocks of records are compressed, one by one, so that an index still
/// finds them. Who reads it sees the segment as it was: offsets, hashes and the chain are of that.
/// Little-endian:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | "TGAUPACK" |
/// | 8 | 2 | version, 1 |
/// | 10 | 2 | spare, 0 |
/// | 12 | 4 | number of parts |
/// | 16 | 8 | bytes of the segment as it was |
/// | 24 | 8 | where the table begins |
/// | 32 | 4 | CRC-32C of the table |
/// | 36 | 24 | spare, 0 |
/// | 60 | 4 | CRC-32C of bytes 0 to 59 |
/// | 64 | | the parts, without gaps: the segment's header, then each of its blocks |
/// | | | the table, to the end of the file: of each part u32 bytes as it was, u32 bytes here, |
/// | | | u32 CRC-32C of them; fewer bytes than it was: it is a frame of Zstandard (RFC 8878) |
final class AuditPack {
    static let headBytes = 64
    static let entryBytes = 12
    static let version: UInt16 = 1
    static let magic: UInt64 = 0x4b43_4150_5541_4754
    /// Of a part that is compressed: what a block of records may have.
    static let partMax =
        AuditBlockHead.bytes + AuditBlockHead.payloadMax + AuditHash.bytes

    struct Part {
        /// In the segment as it was.
        var start: Int
        var bytes: Int
        /// In the file.
        var offset: Int
        var storedBytes: Int
        var checksum: UInt32

        var isPacked: Bool { storedBytes < bytes }
    }

    private let file: any DiskFile
    private let parts: [Part]
    private let unpacker: AuditUnpacker
    /// The compressed part that was read last.
    private var last: (part: Int, memory: Block)?
    /// Of the segment as it was.
    let bytes: Int

    static func isOne(_ first: UnsafeRawBufferPointer) -> Bool {
        first.count >= 8 && first.loadLittle(at: 0, as: UInt64.self) == magic
    }

    init(_ file: any DiskFile) throws(AuditFailure) {
        self.file = file
        guard let unpacker = AuditUnpacker() else {
            throw AuditFailure(.unfit, file.path, "no memory to decompress it")
        }
        self.unpacker = unpacker
        let head = Block(Self.headBytes)
        defer { head.keep() }
        let headCount = try onAuditDisk { () throws(DiskError) in
            try file.read(into: head.bytes, at: 0)
        }
        guard headCount == Self.headBytes,
            head.read.loadLittle(at: 60, as: UInt32.self)
                == ledgerChecksum(0, head.read.slice(at: 0, length: 60))
        else { throw Self.damaged(file, 0) }
        let version = head.read.loadLittle(at: 8, as: UInt16.self)
        guard version == Self.version else {
            throw AuditFailure(
                .version, file.path, offset: 8,
                "compressed, of version \(version), which this build does not know; use the one"
                    + " that wrote it")
        }
        let start = head.read.loadLittle(at: 24, as: UInt64.self)
        let count = Int(head.read.loadLittle(at: 12, as: UInt32.self))
        guard let at = Int(exactly: start), at >= Self.headBytes, at <= file.bytes,
            file.bytes &- at == count &* Self.entryBytes
        else { throw Self.damaged(file, 12) }
        let table = Block(unfilled: file.bytes &- at)
        defer { table.keep() }
        let tableCount = try onAuditDisk { () throws(DiskError) in
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: table.bytes[..<table.used]), at: at)
        }
        guard tableCount == table.used,
            head.read.loadLittle(at: 32, as: UInt32.self) == ledgerChecksum(0, table.read),
            let parts = Self.parts(table.read, upTo: at)
        else { throw Self.damaged(file, at) }
        self.parts = parts
        bytes = parts.last.map { $0.start &+ $0.bytes } ?? 0
        guard UInt64(bytes) == head.read.loadLittle(at: 16, as: UInt64.self) else {
            throw Self.damaged(file, 16)
        }
    }

    private static func damaged(_ file: any DiskFile, _ offset: Int) -> AuditFailure {
        AuditFailure(
            .damaged, file.path, offset: offset,
            "it is not how a segment was compressed; run: tollgate audit verify")
    }

    private static func parts(_ table: UnsafeRawBufferPointer, upTo end: Int) -> [Part]? {
        var parts: [Part] = []
        parts.reserveCapacity(table.count / entryBytes)
        var (start, offset) = (0, headBytes)
        var reader = ByteReader(table)
        while let bytes = reader.read(UInt32.self), let stored = reader.read(UInt32.self),
            let checksum = reader.read(UInt32.self)
        {
            let part = Part(
                start: start, bytes: Int(bytes), offset: offset, storedBytes: Int(stored),
                checksum: checksum)
            guard part.bytes > 0, part.storedBytes > 0, part.storedBytes <= part.bytes,
                !part.isPacked || part.bytes <= partMax
            else { return nil }
            parts.append(part)
            start &+= part.bytes
            offset &+= part.storedBytes
        }
        return offset == end ? parts : nil
    }

    /// Bytes of the segment as it was; fewer at its end, and before a part that is damaged.
    func read(
        into bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(AuditFailure) -> Int {
        var (done, place) = (0, part(at: offset))
        while done < bytes.count, place < parts.count {
            let part = parts[place]
            let within = offset &+ done &- part.start
            let count = min(bytes.count &- done, part.bytes &- within)
            guard within >= 0, count > 0 else { break }
            let into = UnsafeMutableRawBufferPointer(rebasing: bytes[done..<(done &+ count)])
            if part.isPacked {
                guard let memory = try unpacked(place) else { break }
                into.copy(memory.read.slice(at: within, length: count), to: 0)
                memory.keep()
            } else {
                let file = file
                let got = try onAuditDisk { () throws(DiskError) in
                    try file.read(into: into, at: part.offset &+ within)
                }
                guard got == count else { return done &+ got }
            }
            done &+= count
            place &+= 1
        }
        return done
    }

    /// The part that has the byte at an offset, or none.
    private func part(at offset: Int) -> Int {
        guard offset >= 0, offset < bytes else { return parts.count }
        var (low, high) = (0, parts.count)
        while high &- low > 1 {
            let middle = (low &+ high) / 2
            if parts[middle].start <= offset { low = middle } else { high = middle }
        }
        return low
    }

    /// `nil`: it is damaged.
    private func unpacked(_ place: Int) throws(AuditFailure) -> Block? {
        if let last, last.part == place { return last.memory }
        let (part, file) = (parts[place], file)
        let stored = Block(unfilled: part.storedBytes)
        defer { stored.keep() }
        let got = try onAuditDisk { () throws(DiskError) in
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<stored.used]),
                at: part.offset)
        }
        let memory = Block(unfilled: part.bytes)
        guard got == part.storedBytes, ledgerChecksum(0, stored.read) == part.checksum,
            unpacker.unpack(stored.read, into: memory.bytes, count: part.bytes)
        else { return nil }
        last = (place, memory)
        return memory
    }
}

/// Decompresses. Of one thread.
final class AuditUnpacker {
    private let context: OpaquePointer

    init?() {
        guard let context = ZSTD_createDCtx() else { return nil }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Whether it is one frame of exactly so many bytes, and was put there.
    func unpack(
        _ bytes: UnsafeRawBufferPointer, into memory: UnsafeMutableRawBufferPointer, count: Int
    ) -> Bool {
        ZSTD_decompressDCtx(context, memory.baseAddress, count, bytes.baseAddress, bytes.count)
            == count
    }
}

/// Compresses. Of one thread.
final class AuditSqueezer {
    /// What takes least time; blocks are too small for more to save much.
    private static let level: CInt = 1
    private let context: OpaquePointer

    init?() {
        guard let context = ZSTD_createCCtx() else { return nil }
        self.context = context
    }

    deinit { ZSTD_freeCCtx(context) }

    /// `nil` where it saves nothing.
    func pack(_ bytes: UnsafeRawBufferPointer) -> Block? {
        let memory = Block(unfilled: bytes.count)
        // Room for less than it is: more is an error.
        let count = ZSTD_compressCCtx(
            context, memory.bytes.baseAddress, max(0, bytes.count &- 1), bytes.baseAddress,
            bytes.count, Self.level)
        guard ZSTD_isError(count) == 0, count > 0 else { return nil }
        memory.used = count
        return memory
    }
}
