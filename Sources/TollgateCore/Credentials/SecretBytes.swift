import COpenSSL

/// Bytes that must not be seen: zeroed when the last holder lets go, and never printed.
package final class SecretBytes: Sendable, CustomStringConvertible, CustomReflectable {
    // Written once in init, read-only until deinit: safe to share.
    private nonisolated(unsafe) let storage: UnsafeMutableRawBufferPointer

    /// Copies `bytes`; the caller zeroes its own copy.
    package init(copying bytes: some Collection<UInt8>) {
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    deinit {
        if let base = storage.baseAddress { tg_zero(base, storage.count) }
        storage.deallocate()
    }

    package var count: Int { storage.count }

    /// Lends the bytes; they must not leave `body`.
    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        body(UnsafeRawBufferPointer(storage))
    }

    package var description: String { "(secret of \(count) bytes)" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
