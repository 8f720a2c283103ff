import Testing
import TollgateWire

@Suite struct BytesTests {
    @Test func oneBitAnywhereIsNotZero() {
        for count in 0...70 {
            var bytes = [UInt8](repeating: 0, count: count)
            #expect(bytes.withUnsafeBytes { $0.isZero })
            for at in bytes.indices {
                for bit in 0..<8 {
                    bytes[at] = 1 << bit
                    #expect(bytes.withUnsafeBytes { !$0.isZero })
                }
                bytes[at] = 0
            }
        }
        #expect(UnsafeRawBufferPointer(start: nil, count: 0).isZero)
    }

    @Test func zeroWritesOverAllOfItAndNoMore() {
        for count in 0...70 {
            var bytes = [UInt8](repeating: 0xff, count: count + 2)
            bytes.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[1..<(count + 1)]).zero()
            }
            #expect(bytes.first == 0xff && bytes.last == 0xff)
            #expect(bytes.dropFirst().dropLast().allSatisfy { $0 == 0 })
        }
        UnsafeMutableRawBufferPointer(start: nil, count: 0).zero()
    }
}
