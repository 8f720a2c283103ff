import Foundation
import Testing

@testable import TollgateStorage

/// The group log's format: Tests/Vectors/group-v1*.hex.
extension GroupLogTests {
    private static let vectors = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Vectors")

    /// Heads and batches of version 1 with bytes of a journal of version 2: a line for each 32
    /// bytes that are not all zero, after its offset. TOLLGATE_WRITE_VECTORS=1 writes it.
    @Test func theLogIsWrittenByteForByte() throws {
        let file = Self.vectors.appending(path: "group-v1-journal-v2.hex")
        let (_, after, _) = try Self.worked()
        let inode = try #require(after.files[Self.path])
        let text = stride(from: 0, to: inode.size, by: 32).compactMap { at -> String? in
            let bytes = inode.memory[at..<(at + 32)]
            guard bytes.contains(where: { $0 != 0 }) else { return nil }
            let digits = bytes.map { String(format: "%02x", $0) }.joined()
            return String(format: "%06x ", at) + digits + "\n"
        }.joined()
        if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == text)
    }

    /// Also group-v1.hex, with a journal of version 1.
    @Test(arguments: ["group-v1.hex", "group-v1-journal-v2.hex"])
    func theLogIsReadAsItWasWritten(name: String) throws {
        let golden = try String(contentsOf: Self.vectors.appending(path: name), encoding: .utf8)
        let (_, after, _) = try Self.worked()
        let inode = try #require(after.files[Self.path])
        let disk = after.copy()
        let made = MemoryDisk.Inode(inode.size)
        for line in golden.split(separator: "\n") {
            let words = line.split(separator: " ")
            let at = try #require(Int(words[0], radix: 16))
            for index in 0..<32 {
                let digits = words[1].dropFirst(2 * index).prefix(2)
                made.memory[at + index] = try #require(UInt8(digits, radix: 16))
            }
        }
        disk.files[Self.path] = made
        let (found, whole) = (try Self.reading(disk), try Self.reading(after))
        #expect(found.batches == whole.batches && found.header == whole.header)
    }
}
