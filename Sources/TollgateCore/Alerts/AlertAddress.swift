/// Whose requests alerts count together: an IPv4 address, or the /64 of an IPv6 address.
package enum AlertAddress {
    /// Of a decision: the family, and the first 64 bits of the address. IPv6 that carries IPv4 is
    /// IPv4, as it is to limits (`AddressKey`).
    static func source(_ head: AuditHead) -> (family: UInt8, high: UInt64) {
        let low = UInt64(bigEndian: head.addressLow)
        guard head.addressFamily == 6, head.addressHigh == 0, low >> 32 == 0xffff else {
            return (head.addressFamily, head.addressHigh)
        }
        return (4, (low << 32).bigEndian)
    }

    /// The first 64 bits of an address, in network order, as they stand in memory; as a block
    /// of addresses is written (RFC 5952).
    static func text(family: UInt8, high: UInt64) -> String {
        let first = UInt64(bigEndian: high)
        guard family != 4 else { return dotted(first >> 32) }
        let groups = (0..<4).map { first >> UInt64(48 - 16 * $0) & 0xffff }
        return AddressBlock.spelled(groups + [0, 0, 0, 0]) + "/64"
    }

    /// As alerts spell the one that a text means: an address, or the /64 or /32 itself. `nil` when
    /// it means none, or a network of another size.
    package static func spelled(_ text: String) -> String? {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ AddressBlock.address(Array($0.utf8)) }) else {
            return nil
        }
        let isMapped = address.high == 0 && address.low >> 32 == 0xffff
        if parts.count == 2 {
            let bits = address.isIPv4 ? "32" : isMapped ? "128" : "64"
            guard parts[1] == bits else { return nil }
        }
        guard isMapped else { return Self.text(family: 6, high: address.high.bigEndian) }
        return dotted(address.low)
    }

    private static func dotted(_ address: UInt64) -> String {
        (0..<4).map { String(address >> UInt64(24 - 8 * $0) & 0xff) }.joined(separator: ".")
    }

    /// The network that a caller is taken to be in: /24 of IPv4, /48 of IPv6.
    static func network(family: UInt8, high: UInt64) -> UInt64 {
        let bytes = high.littleEndian
        return family == 4 ? bytes & 0xff_ffff | 1 << 63 : bytes & 0xffff_ffff_ffff
    }
}
