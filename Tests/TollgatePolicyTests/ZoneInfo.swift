import Foundation
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

/// How much larger than in `Deploy/test` the randomised tests are: TOLLGATE_TEST_SCALE, 1 unless
/// set.
let testScale = ProcessInfo.processInfo.environment["TOLLGATE_TEST_SCALE"].flatMap { Int($0) } ?? 1

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    /// A generator whose seed is printed; TOLLGATE_TEST_SEED repeats a run.
    static func printed(_ what: String) -> SeededRandom {
        let seed =
            ProcessInfo.processInfo.environment["TOLLGATE_TEST_SEED"].flatMap { UInt64($0) }
            ?? UInt64.random(in: 0...UInt64.max)
        print("\(what): seed \(seed)")
        return SeededRandom(state: seed)
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
