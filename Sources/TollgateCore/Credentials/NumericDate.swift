/// A time in a token (RFC 7519 §2), in seconds since 1970-01-01T00:00:00Z: 0 to 2^53, whole or with
/// a decimal fraction. Signs, exponents and anything that is not a number are refused. A fraction
/// is judged against the token: `exp` is rounded down, `nbf` up, `iat` up to a millisecond.
struct NumericDate: BitwiseCopyable {
    static let secondsMax: Int64 = 1 << 53

    var roundedDown: Int64
    var roundedUp: Int64
    /// To the millisecond, rounded down and up.
    var milliseconds: Int64
    var millisecondsUp: Int64

    static var zero: NumericDate { NumericDate() }

    private init() {
        (roundedDown, roundedUp, milliseconds, millisecondsUp) = (0, 0, 0, 0)
    }

    /// `text` is a number by RFC 8259's grammar; `nil` when it is not one by the rules above.
    init?(_ text: UnsafeRawBufferPointer) {
        var seconds: Int64 = 0
        var index = 0
        while index < text.count, text[index] &- 0x30 < 10 {
            // 17 digits hold 2^53 and stay far from 2^63.
            guard index < 17 else { return nil }
            seconds = seconds &* 10 &+ Int64(text[index] &- 0x30)
            index &+= 1
        }
        guard index > 0, seconds <= Self.secondsMax else { return nil }
        var fraction = false
        // Of a second, in thousandths, and whether there is more.
        var (thousandths, weight, isMore): (Int64, Int64, Bool) = (0, 100, false)
        if index < text.count {
            guard text[index] == UInt8(ascii: ".") else { return nil }
            index &+= 1
            while index < text.count {
                guard text[index] &- 0x30 < 10 else { return nil }
                fraction = fraction || text[index] != 0x30
                isMore = isMore || (weight == 0 && text[index] != 0x30)
                thousandths = thousandths &+ weight &* Int64(text[index] &- 0x30)
                weight /= 10
                index &+= 1
            }
        }
        guard !fraction || seconds < Self.secondsMax else { return nil }
        roundedDown = seconds
        roundedUp = fraction ? seconds &+ 1 : seconds
        // 2^53 thousand is below 2^63.
        milliseconds = seconds &* 1_000 &+ thousandths
        millisecondsUp = milliseconds &+ (isMore ? 1 : 0)
    }
}
