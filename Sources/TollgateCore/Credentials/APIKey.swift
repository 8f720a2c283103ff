import TollgateWire

/// The public half of an API key: 16 base62 digits, which look it up, label its counters and may be
/// shown to anybody.
package struct APIKeyID: Sendable, Hashable, BitwiseCopyable, CustomStringConvertible {
    package static let bytes = 16

    // The characters, as they stand in memory.
    private let first: UInt64
    private let last: UInt64

    /// `nil` unless it is 16 base62 digits. Does not allocate.
    package init?(_ text: UnsafeRawBufferPointer) {
        guard text.count == Self.bytes, Base62.isDigits(text) else { return nil }
        first = text.loadLittle(at: 0, as: UInt64.self)
        last = text.loadLittle(at: 8, as: UInt64.self)
    }

    package init?(_ text: String) {
        var text = text
        guard let id = text.withUTF8({ Self(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = id
    }

    /// Of no key.
    static var none: APIKeyID { APIKeyID() }

    private init() { (first, last) = (0, 0) }

    package var characters: [UInt8] {
        [first, last].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }
    }

    package var description: String { String(decoding: characters, as: UTF8.self) }
}

/// An API key that was read in place: what it says was checked, not yet that it is known.
///
/// | bytes | | example |
/// |---|---|---|
/// | 3 | `tg_` | `tg_` |
/// | 1 to 6 | environment: a small letter, then small letters and digits | `live` |
/// | 1 | `_` | `_` |
/// | 16 | id, base62, random; public | `4fZq0Rk2vYb7NcX1` |
/// | 32 | secret, base62, random: 190 bits | |
/// | 6 | check: CRC-32 (IEEE 802.3) of all that stands before, as base62 digits, highest first | |
///
/// A key is found in texts by `\btg_[a-z][a-z0-9]{0,5}_[0-9A-Za-z]{54}\b`, and told from what only
/// looks like one by its check digits; so a typing error or junk costs no look-up and no hash. The
/// environment has 6 bytes at most so that what is hashed (environment, `_`, id, secret) and
/// SHA-256's padding fill one block.
///
/// Holds pointers into the bytes that it was read from, which outlive it.
package struct APIKey {
    package static let start = Array("tg_".utf8)
    package static let environmentBytesMax = 6
    package static let secretCharacters = 32
    /// What stands behind the second `_`.
    package static let tailBytes = APIKeyID.bytes + secretCharacters + Base62.checkDigits
    package static let bytesMax = start.count + environmentBytesMax + 1 + tailBytes
    package static let pattern = "\\btg_[a-z][a-z0-9]{0,5}_[0-9A-Za-z]{54}\\b"

    package let id: APIKeyID
    /// `live`, `test`.
    package let environment: UnsafeRawBufferPointer
    package let secret: UnsafeRawBufferPointer
    /// From the environment to the end of the secret.
    let hashed: UnsafeRawBufferPointer

    /// Whether a credential means to be an API key: no JWT begins so. Does not allocate.
    package static func isMeant(by credential: UnsafeRawBufferPointer) -> Bool {
        credential.count >= 3 && credential[0] == 0x74 && credential[1] == 0x67
            && credential[2] == 0x5f
    }

    /// `nil` for whatever is not the one spelling of a key. Does not allocate.
    package init?(_ text: UnsafeRawBufferPointer) {
        let environmentBytes = text.count &- (3 &+ 1 &+ Self.tailBytes)
        guard (1...Self.environmentBytesMax).contains(environmentBytes), Self.isMeant(by: text)
        else { return nil }
        let checked = text.count &- Base62.checkDigits
        environment = text.slice(at: 3, length: environmentBytes)
        let tail = 3 &+ environmentBytes &+ 1
        guard Self.isEnvironment(environment), text[tail &- 1] == 0x5f,
            let sum = Base62.check(text.slice(at: checked, length: Base62.checkDigits)),
            sum == CRC32.checksum(text.slice(at: 0, length: checked)),
            let id = APIKeyID(text.slice(at: tail, length: APIKeyID.bytes))
        else { return nil }
        secret = text.slice(at: tail &+ APIKeyID.bytes, length: Self.secretCharacters)
        guard Base62.isDigits(secret) else { return nil }
        self.id = id
        hashed = text.slice(at: 3, length: checked &- 3)
    }

    /// A small letter, then small letters and digits; 1 to 6 in all.
    package static func isEnvironment(_ text: UnsafeRawBufferPointer) -> Bool {
        guard (1...environmentBytesMax).contains(text.count) else { return false }
        for place in 0..<text.count {
            let byte = text[place]
            let letter = byte >= 0x61 && byte <= 0x7a
            let digit = byte >= 0x30 && byte <= 0x39
            guard letter || (digit && place > 0) else { return false }
        }
        return true
    }
}

/// Why a key could not be made.
package enum APIKeyError: Error, Sendable, Equatable {
    /// Not 1 to 6 small letters and digits.
    case environment
    /// The source of random bytes failed, or gave no random bytes.
    case randomness
    /// A pepper has 32 bytes at least.
    case pepperTooShort(bytes: Int)
    case memory
}

/// Fills with random bytes; whether it could.
package typealias RandomSource = (UnsafeMutableRawBufferPointer) -> Bool

extension APIKey {
    /// A new key's text; with `id`, a new secret of a key that there is. Random bytes come from the
    /// caller. Allocates; the only copy is in the result.
    package static func make(
        environment: String, id: APIKeyID? = nil, random source: RandomSource
    ) throws(APIKeyError) -> (id: APIKeyID, text: SecretBytes) {
        var environment = environment
        guard environment.withUTF8({ isEnvironment(UnsafeRawBufferPointer($0)) }) else {
            throw .environment
        }
        // 48 digits out of 96 bytes: that more than half are passed over (1 in 32 is) does not
        // happen by chance.
        let drawn = ScratchBytes(count: 2 * (APIKeyID.bytes + secretCharacters))
        let digits = ScratchBytes(count: APIKeyID.bytes + secretCharacters)
        guard source(drawn.bytes),
            Base62.fill(digits.bytes, from: UnsafeRawBufferPointer(drawn.bytes))
        else { throw .randomness }
        if let id { digits.bytes.copyBytes(from: id.characters) }
        let head = start + Array(environment.utf8) + [0x5f]
        let text = ScratchBytes(count: head.count + tailBytes)
        text.bytes.copyBytes(from: head)
        text.bytes.copy(UnsafeRawBufferPointer(digits.bytes), to: head.count)
        let checked = head.count + digits.bytes.count
        let sum = CRC32.checksum(UnsafeRawBufferPointer(text.bytes).slice(at: 0, length: checked))
        Base62.digits(of: sum).withUnsafeBytes { text.bytes.copy($0, to: checked) }
        guard let key = APIKey(UnsafeRawBufferPointer(text.bytes)) else { throw .randomness }
        return (key.id, SecretBytes(copying: text.bytes))
    }

    /// What lists show of it: environment and id.
    package static func shownPrefix(environment: String, id: APIKeyID) -> String {
        "tg_\(environment)_\(id)"
    }
}
