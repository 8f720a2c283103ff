import Glibc
import Testing

@testable import TollgateServer

@Suite struct LogTests {
    /// A pipe whose end to be read is given to `body` after the log wrote to the other.
    private func lines(
        isJSON: Bool = false, hasPriorities: Bool = false, level: Log.Level = .debug,
        _ write: (Log) -> Void
    ) -> [String] {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        write(
            Log(level: level, isJSON: isJSON, hasPriorities: hasPriorities, descriptor: ends[1]))
        close(ends[1])
        defer { close(ends[0]) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        var filled = 0
        while true {
            let got = bytes.withUnsafeMutableBytes {
                read(ends[0], $0.baseAddress.map { $0 + filled }, $0.count - filled)
            }
            if got <= 0 { break }
            filled += got
        }
        return String(decoding: bytes[..<filled], as: UTF8.self).split(separator: "\n")
            .map(String.init)
    }

    @Test func aMessageIsOneLineWhateverItHolds() {
        let hostile = "a\nerror: forged\u{1b}[31m\"\\\u{0}é" + String(repeating: "x", count: 9_000)
        for isJSON in [false, true] {
            let written = lines(isJSON: isJSON) { $0.info(hostile) }
            #expect(written.count == 1)
            #expect(written[0].utf8.count <= Log.lineBytesMax)
            #expect(!written[0].utf8.contains { $0 < 0x20 })
            #expect(written[0].contains("é"))
        }
        let json = lines(isJSON: true) { $0.warning("a \"b\"") }[0]
        #expect(
            json.hasPrefix("{\"ts\":\"2") && json.hasSuffix(#""level":"warning","msg":"a \"b\""}"#))
        #expect(lines(hasPriorities: true) { $0.error("x") } == ["<3>error: x"])
    }

    @Test func linesBelowTheLevelAreNotWritten() {
        let written = lines(level: .warning) {
            $0.error("one")
            $0.warning("two")
            $0.info("three")
            $0.debug("four")
        }
        #expect(written.map { String($0.split(separator: " ").last ?? "") } == ["one", "two"])
    }

    @Test func aFloodIsCutAndCounted() {
        let written = lines { log in for _ in 0..<1_000 { log.info("flood") } }
        // A second may end while it is written; then there are two shares.
        #expect((1...(2 * Log.linesPerSecondMax)).contains(written.count))
    }

    @Test func aReaderThatStoppedIsNotWaitedForAndTheLossIsTold() {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        let log = Log(level: .debug, isJSON: false, hasPriorities: false, descriptor: ends[1])
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        let page = [UInt8](repeating: 10, count: 4_096)
        while write(ends[1], page, page.count) > 0 {}
        _ = fcntl(ends[1], F_SETFL, 0)
        for _ in 0..<3 { log.info("nobody reads") }
        var drained = [UInt8](repeating: 0, count: 1 << 20)
        _ = read(ends[0], &drained, drained.count)
        log.info("somebody reads")
        let got = read(ends[0], &drained, drained.count)
        #expect(
            String(decoding: drained[..<got], as: UTF8.self).contains("(3 lines left out before)"))
        for end in ends { close(end) }
    }
}
