import TollgateWire

/// What makes a repeated request known as such, chosen by its client: 16 bytes that are not all 0.
/// Protocol.md, "Idempotency ids".
package struct IdempotencyID: BitwiseCopyable, Hashable, Sendable {
    package var low: UInt64
    package var high: UInt64

    /// The request carries none.
    package static let none = IdempotencyID(low: 0, high: 0)
    package var isNone: Bool { self == .none }

    package init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The 16 bytes at `offset`, which lie inside (trapped).
    init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        low = bytes.loadLittle(at: offset, as: UInt64.self)
        high = bytes.loadLittle(at: offset &+ 8, as: UInt64.self)
    }
}

/// What names a reset of an organization's quotas that is done once: 16 bytes that nobody guesses.
package struct ResetID: BitwiseCopyable, Hashable, Sendable {
    package var low: UInt64
    package var high: UInt64

    package init(low: UInt64, high: UInt64) {
        self.low = low.littleEndian
        self.high = high.littleEndian
    }

    /// `nil` when they are not 16 bytes.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        self = bytes.withUnsafeBytes { ResetID($0) }
    }

    package var bytes: [UInt8] { withUnsafeBytes(of: self) { Array($0) } }

    /// Of the 16 bytes of a row (trapped).
    init(_ bytes: UnsafeRawBufferPointer) {
        (low, high) = (
            bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self),
            bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        )
    }
}

/// What names a reservation, made by the daemon: 16 bytes.
package struct ReservationID: BitwiseCopyable, Hashable, Sendable {
    package var low: UInt64
    package var high: UInt64

    package init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The 16 bytes at `offset`, which lie inside (trapped).
    init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        low = bytes.loadLittle(at: offset, as: UInt64.self)
        high = bytes.loadLittle(at: offset &+ 8, as: UInt64.self)
    }

    /// Writes the 16 bytes at `offset`, where they fit (trapped).
    func write(to bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.storeLittle(low, at: offset)
        bytes.storeLittle(high, at: offset &+ 8)
    }
}
