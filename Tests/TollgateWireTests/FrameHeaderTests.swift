import Testing
import TollgateWire

@Suite struct FrameHeaderTests {
    @Test func aHeaderReadsBackAsItWasWritten() {
        let header = FrameHeader(
            opcode: Opcode.check.rawValue | Opcode.replyBit, status: .unavailable,
            requestID: 0x0102_0304_0506_0708, bodyBytes: 64)
        var bytes = [UInt8](repeating: 0xEE, count: 20)
        bytes.withUnsafeMutableBytes { header.write(to: $0, at: 2) }
        #expect(
            bytes[2..<18] == [76, 0, 0, 0, 0x90, 0, 13, 0, 8, 7, 6, 5, 4, 3, 2, 1])
        #expect(bytes.withUnsafeBytes { FrameHeader(reading: $0, at: 2) } == header)
        #expect(header.bodyBytes == 64)
    }

    @Test func aReaderGivesNilPastTheEndAndStaysWhereItWas() {
        let bytes: [UInt8] = [1, 0, 2, 3, 4]
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(reader.read(UInt16.self) == 1)
            #expect(reader.read(UInt32.self) == nil)
            #expect(reader.take(4) == nil)
            #expect(reader.take(-1) == nil)
            #expect(reader.remaining == 3)
            #expect(reader.take(3).map(Array.init) == [2, 3, 4])
            #expect(reader.read(UInt8.self) == nil)
        }
    }
}
