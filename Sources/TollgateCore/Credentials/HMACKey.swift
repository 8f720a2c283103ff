import COpenSSL
import TollgateWire

/// A key with its inner and outer hash states computed once (RFC 2104 §4). Owned by an
/// `IssuerTable`; zeroed and freed with it.
final class HMACKey: Sendable {
    // Written once in init, read-only until deinit; `tg_hmac` copies the states: safe to share.
    nonisolated(unsafe) let handle: OpaquePointer

    /// `nil` when memory is short.
    init?(_ algorithm: TokenAlgorithm, _ secret: SecretBytes) {
        let made = secret.withBytes {
            tg_hmac_key_new(
                UInt32(algorithm.rawValue), $0.baseAddress?.assumingMemoryBound(to: UInt8.self),
                $0.count)
        }
        guard let made else { return nil }
        handle = made
    }

    deinit { tg_hmac_key_free(handle) }
}
