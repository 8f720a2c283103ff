import COpenSSL
import TollgateWire

/// What is kept of an API key's secret: HMAC-SHA-256 under the pepper. `==` takes the same time
/// wherever the two differ.
package struct APIKeyDigest: Sendable, Equatable, BitwiseCopyable {
    package static let bytes = 32

    var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    fileprivate init() {}

    /// Of no secret.
    static var none: APIKeyDigest { APIKeyDigest() }

    /// `nil` unless there are 32 bytes.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.bytes else { return nil }
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
    }

    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: words, body)
    }

    package static func == (a: Self, b: Self) -> Bool {
        a.withBytes { x in
            b.withBytes { y in
                guard let x = x.baseAddress, let y = y.baseAddress else { return false }
                return tg_constant_time_equal(
                    x.assumingMemoryBound(to: UInt8.self), y.assumingMemoryBound(to: UInt8.self),
                    Self.bytes) == 1
            }
        }
    }
}

/// The key under which API keys are hashed: 32 bytes or more that do not stand in the directory, so
/// that who steals that cannot even tell a guess right from wrong. A generation's digests can be
/// made by that generation's pepper alone.
package final class APIKeyPepper: Sendable {
    package static let bytesMin = 32

    package let generation: UInt32
    private let key: HMACKey

    package init(_ secret: SecretBytes, generation: UInt32) throws(APIKeyError) {
        guard secret.count >= Self.bytesMin else { throw .pepperTooShort(bytes: secret.count) }
        guard let key = HMACKey(.hs256, secret) else { throw .memory }
        self.key = key
        self.generation = generation
    }

    /// Does not allocate. Any thread.
    package func digest(of key: APIKey) -> APIKeyDigest { digest(key.hashed) }

    /// Of other secrets that are kept under the pepper; `bytes` begin with what sets them apart.
    package func digest(_ bytes: UnsafeRawBufferPointer) -> APIKeyDigest {
        var digest = APIKeyDigest()
        // `tg_hmac` asks for room for 64.
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 16) { mac in
            guard let base = mac.baseAddress else { return }
            _ = tg_hmac(
                key.handle, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count,
                base.assumingMemoryBound(to: UInt8.self))
            withUnsafeMutableBytes(of: &digest.words) { words in
                words.copyMemory(from: UnsafeRawBufferPointer(mac).slice(at: 0, length: 32))
            }
            tg_zero(base, 64)
        }
        return digest
    }
}
