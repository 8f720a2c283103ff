import TollgateWire

import COpenSSL

/// Bytes to work on that are zeroed when let go.
struct ScratchBytes: ~Copyable {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) {
        bytes = .allocate(byteCount: count, alignment: 16)
        bytes.zero()
    }

    deinit {
        if let base = bytes.baseAddress { tg_zero(base, bytes.count) }
        bytes.deallocate()
    }
}
