import TollgateWire

/// Addresses with a common beginning (CIDR, RFC 4632, RFC 4291 §2.3): `192.0.2.0/24`,
/// `2001:db8::/32`, or a lone address. One family holds both: IPv4 is `::ffff:0:0/96` of IPv6.
package struct AddressBlock: Sendable, Equatable, BitwiseCopyable, CustomStringConvertible {
    private var high: UInt64
    private var low: UInt64
    /// Of the 128 bits, 0 to 128; of IPv4 96 more than written.
    private var prefixBits: UInt8
    private var isIPv4: Bool

    /// `nil` unless it is one address, alone or with a length, and nothing but zeros behind that
    /// length: `192.0.2.1/24` is a mistake more often than a block.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ Self.address(Array($0.utf8)) }) else {
            return nil
        }
        isIPv4 = address.isIPv4
        var bits = 128
        if parts.count == 2 {
            let digits = parts[1]
            guard (1...3).contains(digits.utf8.count),
                digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                digits == "0" || !digits.hasPrefix("0"), let written = Int(digits),
                written <= (isIPv4 ? 32 : 128)
            else { return nil }
            bits = isIPv4 ? written + 96 : written
        }
        (high, low, prefixBits) = (address.high, address.low, UInt8(bits))
        let mask = Self.mask(bits)
        guard high & ~mask.high == 0, low & ~mask.low == 0 else { return nil }
        // IPv6 that carries IPv4 counts as IPv4 (`AddressKey`): such a block would match nothing.
        if !isIPv4, high == 0, low >> 32 == 0xffff { return nil }
    }

    private static func mask(_ bits: Int) -> (high: UInt64, low: UInt64) {
        func ones(_ count: Int) -> UInt64 {
            count <= 0 ? 0 : count >= 64 ? .max : ~(UInt64.max >> UInt64(count))
        }
        return (ones(bits), ones(bits - 64))
    }

    /// Whether an address as CHECK gives it (4 or 16 bytes in network order) is in the block.
    /// Does not allocate.
    package func contains(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var high: UInt64 = 0
        var low: UInt64 = 0
        switch bytes.count {
        case 4:
            guard isIPv4 else { return false }
            low = 0xffff << 32 | UInt64(Self.bigEndian32(bytes, 0))
        case 16:
            guard !isIPv4 else { return false }
            high = UInt64(Self.bigEndian32(bytes, 0)) << 32 | UInt64(Self.bigEndian32(bytes, 4))
            low = UInt64(Self.bigEndian32(bytes, 8)) << 32 | UInt64(Self.bigEndian32(bytes, 12))
        default: return false
        }
        let mask = Self.mask(Int(prefixBits))
        return high & mask.high == self.high && low & mask.low == self.low
    }

    private static func bigEndian32(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32 {
        UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }

    /// As `init` reads it.
    package var description: String {
        let bits = Int(prefixBits)
        if isIPv4 {
            let parts = (0..<4).map { String(low >> UInt64(24 - 8 * $0) & 0xff) }
            return parts.joined(separator: ".") + (bits == 128 ? "" : "/\(bits - 96)")
        }
        let groups = (0..<8).map { index -> UInt64 in
            let word = index < 4 ? high : low
            return word >> UInt64(48 - 16 * (index % 4)) & 0xffff
        }
        return Self.spelled(groups) + (bits == 128 ? "" : "/\(bits)")
    }

    /// RFC 5952: the longest run of two zero groups or more, the first of several, is `::`.
    static func spelled(_ groups: [UInt64]) -> String {
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(1, best.count) { best = start..<end }
            start = max(end, start + 1)
        }
        func hex(_ range: Range<Int>) -> String {
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        if best.isEmpty { return hex(0..<8) }
        return hex(0..<best.lowerBound) + "::" + hex(best.upperBound..<8)
    }
}

extension AddressBlock {
    typealias Address = (high: UInt64, low: UInt64, isIPv4: Bool)

    static func address(_ text: [UInt8]) -> Address? {
        if !text.contains(0x3a) {
            return octets(text[...]).map { (0, 0xffff << 32 | UInt64($0), true) }
        }
        // At most one "::", which stands for one group or more.
        let cut = zip(text, text.dropFirst()).enumerated().first { $1 == (0x3a, 0x3a) }?.offset
        var all: [UInt16]?
        if let cut {
            let tail = groups(text[(cut + 2)...], isEnd: true)
            guard let head = groups(text[..<cut], isEnd: false), let tail,
                head.count + tail.count < 8
            else { return nil }
            all = head + [UInt16](repeating: 0, count: 8 - head.count - tail.count) + tail
        } else {
            all = groups(text[...], isEnd: true)
        }
        guard let all, all.count == 8 else { return nil }
        let high = all[..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = all[4...].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return (high, low, false)
    }

    /// Groups with colons between; the last of an address may be written as IPv4.
    private static func groups(_ text: ArraySlice<UInt8>, isEnd: Bool) -> [UInt16]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: 0x3a, omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        var groups: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if isEnd, index == parts.count - 1, part.contains(0x2e) {
                guard let value = octets(part) else { return nil }
                groups += [UInt16(value >> 16), UInt16(truncatingIfNeeded: value)]
            } else {
                guard let group = group(part) else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    private static func group(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard (1...4).contains(digits.count) else { return nil }
        return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
    }

    /// Four decimal numbers without leading zeros.
    private static func octets(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: 0x2e, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count),
                part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != 0x30,
                let octet = UInt8(String(decoding: part, as: UTF8.self))
            else { return nil }
            value = value << 8 | UInt32(octet)
        }
        return value
    }
}
