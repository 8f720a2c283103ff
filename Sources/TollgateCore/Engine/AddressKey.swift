import TollgateWire

/// Whom an address' limits count for: an IPv4 address, or an IPv6 /64.
struct AddressKey: BitwiseCopyable {
    var key: RowKey

    /// `nil` when the request carries no address. An IPv6 address that carries an IPv4 address is
    /// that: ::ffff:0:0/96 (RFC 4291 §2.5.5.2), 64:ff9b::/96 (RFC 6052 §2.1) and 2002::/16
    /// (RFC 3056 §2), of which one IPv4 host has 65,536 networks.
    @inline(__always)
    init?(_ request: CheckRequest, _ hash: KeyedHash) {
        self.init(family: request.addressFamily, request.address, hash)
    }

    /// 0, 4 or 6, and 16 bytes in network order.
    @inline(__always)
    init?(family: UInt8, _ address: UnsafeRawBufferPointer, _ hash: KeyedHash) {
        guard family != 0 else { return nil }
        let offset = family == 4 ? 0 : Self.offsetOfIPv4(in: address)
        let kind: RowKind = offset >= 0 ? .address4 : .address6
        let id = address.slice(at: max(0, offset), length: offset >= 0 ? 4 : 8)
        key = RowKey(
            kind: kind, owner: 0, id: id, hash: hash.hash(id, tweak: UInt64(kind.rawValue)))
    }

    var isIPv4: Bool { key.kind == .address4 }

    /// Where an IPv6 address carries an IPv4 address; -1 when it does not.
    private static func offsetOfIPv4(in address: UnsafeRawBufferPointer) -> Int {
        // Little-endian words of bytes in network order.
        let high = address.loadLittle(at: 0, as: UInt64.self)
        let low = address.loadLittle(at: 8, as: UInt32.self)
        if high == 0, low == 0xffff_0000 { return 12 }
        if high == 0x0000_0000_9bff_6400, low == 0 { return 12 }
        return high & 0xffff == 0x0220 ? 2 : -1
    }

    /// The row that the addresses of a shard share that found no room.
    var overflow: RowKey {
        RowKey(
            kind: .overflow, owner: 0, id: UnsafeRawBufferPointer(start: nil, count: 0),
            hash: key.hash & 0xfc00_0000_0000_0000)
    }
}
