import Testing
import TollgateWire

@testable import TollgateCore

/// Addresses as alerts show them and silences take them.
@Suite struct AlertAddressTests {
    @Test(arguments: [
        ("192.0.2.7", "192.0.2.7"), ("192.0.2.7/32", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:c000:207/128", "192.0.2.7"),
        ("2001:db9::/64", "2001:db9::/64"), ("2001:DB9:0:0::/64", "2001:db9::/64"),
        ("2001:db9::1", "2001:db9::/64"), ("2001:db9:0:0:1:2:3:4/64", "2001:db9::/64"),
        ("2001:db9:0:1::", "2001:db9:0:1::/64"), ("::1", "::/64"),
        ("1:0:0:1::", "1:0:0:1::/64"), ("0:0:1::", "0:0:1::/64"),
    ])
    func eachSpellingIsTheOne(text: String, expected: String) {
        #expect(AlertAddress.spelled(text) == expected)
        #expect(AlertAddress.spelled(expected) == expected)
    }

    @Test(arguments: [
        "", "garbage", "203.0.113.0/24", "192.0.2.7/", "192.0.2.7/33", "192.0.2", "2001:db9::/48",
        "2001:db9::/065", "2001:db9::1::/64", "192.0.2.07", "2001:db9::%eth0", "fe80::/10", "/64",
        "192.0.2.7/64", "::ffff:192.0.2.7/64",
    ])
    func whatMeansNoneIsNone(text: String) {
        #expect(AlertAddress.spelled(text) == nil)
    }

    /// What a flood's alert is about, of an address in network order.
    private func subject(_ address: [UInt8]) throws -> String {
        var rule = AlertRule("flood", .invalidCredentials)
        (rule.scope, rule.count) = (.source, 2)
        var engine = AlertEngine(AlertRules([rule]))
        for _ in 0..<3 {
            var head = AuditHead()
            (head.kind, head.reason) = (AuditKind.check.rawValue, Reason.keyUnknown.rawValue)
            head.wallMilliseconds = AlertWorld.newYear
            head.addressFamily = address.count == 4 ? 4 : 6
            (address + [UInt8](repeating: 0, count: 16 - address.count)).withUnsafeBytes {
                head.addressHigh = $0.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
                head.addressLow = $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            }
            head.bytes = UInt32(AuditHead.bytes)
            withUnsafeBytes(of: head) { raw in
                if let entry = AuditEntry(raw) { engine.observe(entry, AlertWorld.names) }
            }
        }
        let alerts = engine.takePending()
        #expect(alerts.count == 1)
        return try #require(alerts.first).subject.address
    }

    @Test func alertsSpellAddressesAsSilencesDo() throws {
        let v6: [UInt8] = [0x20, 0x01, 0x0d, 0xb9, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]
        #expect(try subject(v6) == "2001:db9::/64")
        #expect(try subject([192, 0, 2, 7]) == "192.0.2.7")
        // As limits have it: not all IPv4 callers together.
        #expect(try subject(mapped) == "192.0.2.7")
    }

    @Test func whatWasKeptInTheOldSpellingStillMatches() throws {
        var engine = AlertEngine(AlertRules([]))
        var silence = AlertSilence(until: AlertWorld.newYear + 1_000)
        silence.subject.address = "2001:db9:0:0::/64"
        _ = engine.silence(silence, now: AlertWorld.newYear)
        silence.subject.address = "garbage"
        _ = engine.silence(silence, now: AlertWorld.newYear)
        let bytes = engine.snapshot.encoded
        let kept = try #require(bytes.withUnsafeBytes { AlertState(decoding: $0) })
        #expect(kept.silences.map(\.subject.address) == ["2001:db9::/64", "garbage"])
    }
}
