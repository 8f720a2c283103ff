/// Sorts numbers of which the upper half decides, where comparing them takes too long: a segment
/// ends while decisions wait for its end, and may have a million of them.
enum AuditSort {
    private static let digitBits: UInt64 = 11
    private static let digits = 1 << Int(digitBits)

    /// By their upper half; of one upper half, as they were: a pass for each eleven bits of what
    /// differs, the lowest first.
    static func byUpperHalf(_ numbers: [UInt64]) -> [UInt64] {
        var most: UInt64 = 0
        for number in numbers { most |= number }
        var (from, to) = (numbers, numbers)
        for shift in [UInt64(32), 32 + digitBits, 32 + 2 * digitBits] where most >> shift != 0 {
            pass(from, shift, into: &to)
            swap(&from, &to)
        }
        return from
    }

    private static func pass(_ from: [UInt64], _ shift: UInt64, into to: inout [UInt64]) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: digits) { starts in
            starts.initialize(repeating: 0)
            from.withUnsafeBufferPointer { from in
                to.withUnsafeMutableBufferPointer { to in
                    precondition(from.count == to.count && from.count <= Int(UInt32.max))
                    for number in from { starts[lowest(number, shift)] &+= 1 }
                    var next: UInt32 = 0
                    for digit in 0..<digits {
                        (starts[digit], next) = (next, next &+ starts[digit])
                    }
                    for number in from {
                        let digit = lowest(number, shift)
                        to[Int(starts[digit])] = number
                        starts[digit] &+= 1
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func lowest(_ number: UInt64, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: number &>> shift) & (digits &- 1)
    }
}
