import Testing

@testable import TollgateCore

@Suite struct AddressBlockTests {
    private func bytes(_ text: String) -> [UInt8] {
        // A lone address as a block holds exactly itself, so the blocks' own reader serves here.
        if text.contains(".") { return text.split(separator: ".").map { UInt8($0) ?? 0 } }
        var groups = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if let gap = groups.firstIndex(of: ""), groups.count < 8 {
            let missing = 8 - groups.count
            groups.replaceSubrange(gap...gap, with: Array(repeating: "0", count: missing + 1))
        }
        return groups.flatMap { group -> [UInt8] in
            let value = UInt16(group, radix: 16) ?? 0
            return [UInt8(value >> 8), UInt8(value & 0xff)]
        }
    }

    private func holds(_ block: String, _ address: String) -> Bool? {
        AddressBlock(block).map { block in bytes(address).withUnsafeBytes { block.contains($0) } }
    }

    @Test(arguments: [
        ("192.0.2.0/24", "192.0.2.0", true), ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false), ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false), ("0.0.0.0/0", "255.255.255.255", true),
        ("128.0.0.0/1", "127.255.255.255", false), ("10.1.2.4/30", "10.1.2.7", true),
        ("2001:db8::/32", "2001:db8:ffff:1:2:3:4:5", true),
        ("2001:db8::/32", "2001:db9:0:0:0:0:0:0", false),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", true),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:7", false),
        ("2001:db8:0:1:8000::/65", "2001:db8:0:1:8000:0:0:1", true),
        ("2001:db8:0:1:8000::/65", "2001:db8:0:1:7fff:0:0:1", false),
        ("::/0", "2001:db8:0:0:0:0:0:1", true), ("::/0", "192.0.2.1", false),
        ("0.0.0.0/0", "2001:db8:0:0:0:0:0:1", false), ("::1", "0:0:0:0:0:0:0:1", true),
        ("64:ff9b::192.0.2.33", "64:ff9b:0:0:0:0:c000:221", true),
    ])
    func aBlockHoldsWhatBeginsAsItDoes(block: String, address: String, expected: Bool) {
        #expect(holds(block, address) == expected)
    }

    @Test(arguments: [
        "", "/", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4/33", "1.2.3.4/",
        "1.2.3.4/08",
        "1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/8", "192.0.2.1/24", "1.2.3.4/32/1", " 1.2.3.4",
        "1.2.3.4 ",
        "::1/64", "1::2::3", ":1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8",
        "12345::", "g::", "::ffff:192.0.2.1", "::ffff:0:0/96", ":::", ":", "1:", "2001:db8::/129",
        "1.2.3.4::", "fe80::1%eth0", "[::1]", "localhost", "1.2.3.4/8.0", "٣.2.3.4",
    ])
    func whatIsNoBlockIsRefused(text: String) { #expect(AddressBlock(text) == nil) }

    @Test(arguments: [
        ("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.7/32", "192.0.2.7"),
        ("2001:DB8:0:0:1:0:0:0/80", "2001:db8:0:0:1::/80"), ("0:0:0:0:0:0:0:0/0", "::/0"),
        ("0:0:0:0:0:0:0:1", "::1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
    ])
    func aBlockIsSpelledInOneWay(text: String, spelled: String) {
        #expect(AddressBlock(text)?.description == spelled)
        #expect(AddressBlock(spelled) == AddressBlock(text))
    }
}
