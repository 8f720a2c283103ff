import Testing
import TollgateCore

@testable import TollgatePolicy

@Suite struct PolicyAuditTests {
    private func loaded(_ audit: String) throws -> LoadedPolicy {
        let directory = try PolicyDirectory()
        return try directory.load(Array(smallPolicy(audit, plan: "{}").utf8))
    }

    @Test func everySettingOfTheAuditLogIsRead() throws {
        let read = try loaded(
            """
            audit: {path: /a, overload: drop, sample_allowed: 10, ring_bytes: 1048576, \
            segment_bytes: 2097152, segment_age: 1h, keep: 7d, bytes_max: 4194304, \
            compress: true}
            """
        ).audit
        var wanted = AuditLogSettings(path: "/a")
        (wanted.overload, wanted.sampleAllowed, wanted.ringBytes) = (.drop, 10, 1 << 20)
        (wanted.segmentBytes, wanted.segmentAgeMilliseconds) = (2 << 20, 3_600_000)
        (wanted.keepMilliseconds, wanted.bytesMax) = (7 * 86_400_000, 4 << 20)
        wanted.compress = true
        #expect(read == wanted)
        #expect(try loaded("credential_bytes_max: 8192").audit == nil)
    }

    @Test(arguments: [
        ("audit: {}", #"7:8: "path" is missing"#),
        (
            "audit: {path: /a, overload: wait}",
            #"7:29: overload "wait" is unknown; known: block, drop"#
        ),
        ("audit: {path: /a, ring_bytes: 1000000}", "7:31: ring_bytes is a power of two"),
        (
            "audit: {path: /a, bytes_max: 4194304}",
            "7:30: bytes_max is at least twice segment_bytes, 67108864"
        ),
        (
            "audit: {path: /a, segment_bytes: 1073741825}",
            "7:34: segment_bytes is between 1048576 and 1073741824"
        ),
        ("audit: {path: /a, compress: 3}", "7:29: compress is true or false, not \"3\""),
        ("audit: {path: /a, keep: 1m}", "7:25: keep is 1h to 3650d"),
        (
            "audit: {path: /a/}\nledger: {path: /a}",
            "7:15: audit and ledger each have a directory of their own: choose another path, such"
                + " as /a//audit"
        ),
    ])
    func aFaultOfTheAuditLogIsExplained(text: String, fault: String) throws {
        let directory = try PolicyDirectory()
        #expect(directory.faults(smallPolicy(text, plan: "{}")) == ["p.yaml:" + fault])
    }
}
