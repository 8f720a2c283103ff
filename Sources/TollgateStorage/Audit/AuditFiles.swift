import COpenSSL
import TollgateCore
import TollgateWire

/// Names of an audit log's files.
///
/// | file | |
/// |---|---|
/// | `audit.%020d.log` | segments (`AuditSegmentHeader`) |
/// | `audit.key` | 32 random bytes, by which seals are signed; mode 0600 |
/// | `audit.head` | how far the log is durable (`AuditHeadFile`) |
/// | `ring.N` | ring of reactor N (`AuditRing`) |
/// | `names.LIFE.GENERATION` | what its indices mean (`AuditNames`), of a life that may be killed |
/// | `lock` | locked while the log is written |
/// | `*.part` | a file that is being written; removed at the next start |
/// | `quarantine/` | tails that were cut off, kept for whoever wants to look |
enum AuditFiles {
    static let lock = "lock"
    static let key = "audit.key"
    static let head = "audit.head"
    static let quarantine = "quarantine"
    static let partSuffix = ".part"
    static let keyBytes = 32
    private static let digits = 20

    static func segment(_ number: UInt64) -> String {
        let text = String(number)
        return "audit." + String(repeating: "0", count: max(0, digits &- text.utf8.count)) + text
            + ".log"
    }

    /// The number in a segment's name; `nil` when it is none.
    static func segmentNumber(_ name: String) -> UInt64? {
        guard name.hasPrefix("audit."), name.hasSuffix(".log") else { return nil }
        let middle = name.dropFirst(6).dropLast(4)
        guard middle.utf8.count == digits, middle.utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        return UInt64(middle)
    }

    static func ring(_ number: UInt32) -> String { "ring.\(number)" }

    static func ringNumber(_ name: String) -> UInt32? {
        guard name.hasPrefix("ring.") else { return nil }
        return UInt32(name.dropFirst(5)).flatMap { ring($0) == name ? $0 : nil }
    }

    static func names(life: UInt64, generation: UInt32) -> String { "names.\(life).\(generation)" }

    static func namesLife(_ name: String) -> UInt64? {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts.first == "names", let last = parts.last,
            UInt32(last) != nil
        else { return nil }
        return UInt64(parts.dropFirst().first ?? "")
    }
}

/// SHA-256, or HMAC with it: 32 bytes.
package struct AuditHash: BitwiseCopyable, Sendable, Equatable, CustomStringConvertible {
    package static let bytes = 32
    static let zero = AuditHash()

    // As the bytes stand in memory.
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    private init() {}

    init(of bytes: UnsafeRawBufferPointer) {
        let from = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        withUnsafeMutableBytes(of: &words) { words in
            guard let into = words.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
            guard let from else { return }
            tg_sha256(from, bytes.count, into)
        }
    }

    /// The 32 bytes at `offset`, which lie inside (trapped).
    init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        words.0 = bytes.loadLittle(at: offset, as: UInt64.self)
        words.1 = bytes.loadLittle(at: offset &+ 8, as: UInt64.self)
        words.2 = bytes.loadLittle(at: offset &+ 16, as: UInt64.self)
        words.3 = bytes.loadLittle(at: offset &+ 24, as: UInt64.self)
    }

    /// Traps when they do not fit there.
    func store(to bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.storeLittle(words.0, at: offset)
        bytes.storeLittle(words.1, at: offset &+ 8)
        bytes.storeLittle(words.2, at: offset &+ 16)
        bytes.storeLittle(words.3, at: offset &+ 24)
    }

    package static func == (a: AuditHash, b: AuditHash) -> Bool { a.words == b.words }

    package var description: String {
        withUnsafeBytes(of: words) { bytes in
            bytes.map { byte in
                let text = String(byte, radix: 16)
                return byte < 16 ? "0" + text : text
            }.joined()
        }
    }
}

/// The key of a log's seals. Whoever has it can tell a log that was cut and counted anew from the
/// one that was written.
package final class AuditKey: Sendable {
    // Written once in init, read-only until deinit; `tg_hmac` copies the states: safe to share.
    private nonisolated(unsafe) let handle: OpaquePointer

    /// `nil` when memory is short.
    package init?(_ secret: UnsafeRawBufferPointer) {
        guard
            let made = tg_hmac_key_new(
                0, secret.baseAddress?.assumingMemoryBound(to: UInt8.self), secret.count)
        else { return nil }
        handle = made
    }

    deinit { tg_hmac_key_free(handle) }

    func sign(_ bytes: UnsafeRawBufferPointer) -> AuditHash {
        let mac = Block(64)
        defer { mac.keep() }
        if let from = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
            let into = mac.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        {
            _ = tg_hmac(handle, from, bytes.count, into)
        }
        return AuditHash(mac.read, at: 0)
    }
}

/// Numbers in as few bytes as they need, seven bits in each, the lowest first (LEB128).
enum AuditBytes {
    @inline(__always)
    static func put(_ value: UInt64, to bytes: inout [UInt8]) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    /// Differences, small in either direction: 0, -1, 1, -2 become 0, 1, 2, 3.
    static func zigzag(_ difference: UInt64) -> UInt64 {
        (difference &<< 1) ^ UInt64(bitPattern: Int64(bitPattern: difference) &>> 63)
    }

    static func difference(_ zigzag: UInt64) -> UInt64 { (zigzag &>> 1) ^ (0 &- (zigzag & 1)) }
}

extension ByteReader {
    /// The next number that `AuditBytes.put` wrote; `nil` at the end, or when it is too large.
    @inline(__always)
    mutating func varint() -> UInt64? {
        // Most are of one byte.
        guard let first = read(UInt8.self) else { return nil }
        return first < 0x80 ? UInt64(first) : longer(first)
    }

    private mutating func longer(_ first: UInt8) -> UInt64? {
        var value = UInt64(first & 0x7f)
        var shift: UInt64 = 7
        while shift < 64 {
            guard let byte = read(UInt8.self) else { return nil }
            let bits = UInt64(byte & 0x7f)
            if shift == 63, bits > 1 { return nil }
            value |= bits &<< shift
            if byte & 0x80 == 0 { return value }
            shift &+= 7
        }
        return nil
    }

    /// The same as a number of bytes or things, at most `most`.
    mutating func count(most: Int) -> Int? {
        guard let value = varint(), value <= UInt64(truncatingIfNeeded: max(0, most)) else {
            return nil
        }
        return Int(truncatingIfNeeded: value)
    }
}
