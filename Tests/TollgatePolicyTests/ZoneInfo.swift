import Foundation
import TestSupport
import Testing

/// Python's zoneinfo: an implementation of time zones that shares nothing with ours.
enum ZoneInfo {
    /// Runs a script of Python 3 and returns what it wrote, as numbers of 64 bits. Neither the
    /// script nor an argument holds a single quote. Not by Foundation's `Process`, which leaks
    /// under the leak sanitizer.
    static func run(_ script: String, _ arguments: [String]) throws -> [Int64] {
        let words = (["-c", script] + arguments).map { "'\($0)'" }
        let stream = try #require(popen("python3 " + words.joined(separator: " "), "r"))
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&chunk, 1, chunk.count, stream)
            if count == 0 { break }
            output += chunk[..<count]
        }
        try #require(pclose(stream) == 0 && output.count % 8 == 0)
        return output.withUnsafeBytes { bytes in
            (0..<(output.count / 8)).map {
                Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self))
            }
        }
    }

    /// The names of every zone of the machine.
    static func names() throws -> [String] {
        let bytes = try run(
            """
            import zoneinfo, sys, array
            text = "\\n".join(sorted(zoneinfo.available_timezones()))
            array.array("q", list(text.encode())).tofile(sys.stdout.buffer)
            """, [])
        return String(decoding: bytes.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
            .split(separator: "\n").map(String.init)
    }
}

typealias SeededRandom = TestSupport.SeededRandom
let testScale = TestSupport.testScale
