import COpenSSL
import TollgateWire

/// What is kept of a refresh token: SHA-256 of its text. Of 256 random bits no pepper is needed.
package struct RefreshTokenHash: Sendable, Hashable, BitwiseCopyable {
    package static let bytes = 32

    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    /// `nil` unless there are 32 bytes.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.bytes else { return nil }
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
    }

    fileprivate init(of text: UnsafeRawBufferPointer) {
        withUnsafeMutableBytes(of: &words) { words in
            guard let from = text.baseAddress, let to = words.baseAddress else { return }
            tg_sha256(
                from.assumingMemoryBound(to: UInt8.self), text.count,
                to.assumingMemoryBound(to: UInt8.self))
        }
    }

    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: words, body)
    }

    package static func == (a: Self, b: Self) -> Bool { a.words == b.words }

    package func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: $0) } }
}

/// Refresh tokens: opaque to their holder.
///
/// | bytes | |
/// |---|---|
/// | 4 | `tgr_` |
/// | 43 | base62, random: 256 bits |
/// | 6 | check: CRC-32 (IEEE 802.3) of all that stands before, as base62 digits, highest first |
///
/// Found in texts by `\btgr_[0-9A-Za-z]{49}\b`.
package enum RefreshToken {
    package static let start = Array("tgr_".utf8)
    package static let pattern = "\\btgr_[0-9A-Za-z]{49}\\b"
    package static let randomCharacters = 43
    package static let bytes = start.count + randomCharacters + Base62.checkDigits
    /// What a successor is derived with beside the pepper and its parent.
    package static let saltBytes = 32

    /// The hash to look the token up by; `nil` for what is not the one spelling of a token. Does
    /// not allocate.
    package static func hash(_ text: UnsafeRawBufferPointer) -> RefreshTokenHash? {
        let checked = bytes &- Base62.checkDigits
        guard text.count == bytes, text[0] == 0x74, text[1] == 0x67, text[2] == 0x72,
            text[3] == 0x5f,
            let sum = Base62.check(text.slice(at: checked, length: Base62.checkDigits)),
            sum == CRC32.checksum(text.slice(at: 0, length: checked)),
            Base62.isDigits(text.slice(at: 4, length: randomCharacters))
        else { return nil }
        return RefreshTokenHash(of: text)
    }

    /// The first token of a family.
    package static func make(
        random source: RandomSource
    ) throws(APIKeyError) -> (text: SecretBytes, hash: RefreshTokenHash) {
        // 43 digits out of 96 bytes: see APIKey.make.
        let drawn = ScratchBytes(count: 96)
        guard source(drawn.bytes) else { throw .randomness }
        return try spelled(UnsafeRawBufferPointer(drawn.bytes))
    }

    /// The token that takes the place of `parent`: the same as often as it is asked for, so that a
    /// reply that was lost can be given again though only hashes are kept. Who has the directory
    /// with its salts and an old token still needs the pepper.
    package static func successor(
        of parent: UnsafeRawBufferPointer, salt: [UInt8], pepper: APIKeyPepper
    ) throws(APIKeyError) -> (text: SecretBytes, hash: RefreshTokenHash) {
        precondition(parent.count == bytes && salt.count == saltBytes)
        let label = Array("tollgate refresh successor 0".utf8)
        let input = ScratchBytes(count: label.count + saltBytes + parent.count)
        input.bytes.copyBytes(from: label)
        salt.withUnsafeBytes { input.bytes.copy($0, to: label.count) }
        input.bytes.copy(parent, to: label.count + saltBytes)
        let drawn = ScratchBytes(count: 96)
        for block in 0..<3 {
            input.bytes[label.count - 1] = UInt8(ascii: "0") + UInt8(block)
            pepper.digest(UnsafeRawBufferPointer(input.bytes)).withBytes {
                drawn.bytes.copy($0, to: 32 * block)
            }
        }
        return try spelled(UnsafeRawBufferPointer(drawn.bytes))
    }

    private static func spelled(
        _ drawn: UnsafeRawBufferPointer
    ) throws(APIKeyError) -> (text: SecretBytes, hash: RefreshTokenHash) {
        let text = ScratchBytes(count: bytes)
        text.bytes.copyBytes(from: start)
        let digits = UnsafeMutableRawBufferPointer(
            rebasing: text.bytes[start.count..<(bytes - Base62.checkDigits)])
        guard Base62.fill(digits, from: drawn) else { throw .randomness }
        let checked = bytes - Base62.checkDigits
        let sum = CRC32.checksum(UnsafeRawBufferPointer(text.bytes).slice(at: 0, length: checked))
        Base62.digits(of: sum).withUnsafeBytes { text.bytes.copy($0, to: checked) }
        let view = UnsafeRawBufferPointer(text.bytes)
        return (SecretBytes(copying: view), RefreshTokenHash(of: view))
    }
}
