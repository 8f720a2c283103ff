import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

/// Who is counted, from when on and until when; by entries as the audit log's thread reads them.
@Suite struct OrganizationWatchTests {
    static let second: UInt64 = 1_000_000_000
    static let wall = WallTime(milliseconds: 1_700_000_000_000)

    static func makeWatch() -> OrganizationWatch {
        OrganizationWatch(Engine(EngineConfiguration(hashKey: (5, 6))))
    }

    static func observe(
        _ watch: OrganizationWatch, _ organization: String, kind: AuditKind = .check,
        reason: UInt16 = 0, flags: AuditFlags = []
    ) {
        var head = AuditHead()
        head.kind = kind.rawValue
        head.reason = reason
        head.flags = flags
        head.organizationBytes = UInt8(organization.utf8.count)
        head.bytes = UInt32((AuditHead.bytes + organization.utf8.count + 7) & ~7)
        var bytes = withUnsafeBytes(of: head) { Array($0) } + Array(organization.utf8)
        bytes += [UInt8](repeating: 0, count: Int(head.bytes) - bytes.count)
        bytes.withUnsafeBytes { raw in
            if let entry = AuditEntry(raw) { watch.observe(entry) }
        }
    }

    @Test func nothingIsCountedBeforeSomebodyAsks() throws {
        let watch = Self.makeWatch()
        Self.observe(watch, "acme")
        #expect(watch.ask(10, boot: 0, wall: Self.wall).heaviest.isEmpty)
        Self.observe(watch, "acme")
        Self.observe(watch, "acme", reason: Reason.rateLimited.rawValue)
        let count = watch.ask(10, boot: 1, wall: WallTime(milliseconds: 0))
        #expect(count.since == Self.wall && count.missedMax == 0)
        let acme = try #require(count.heaviest.first)
        #expect(count.heaviest.count == 1 && acme.organization == "acme" && !acme.isPersonal)
        #expect((acme.allowed, acme.denied, acme.weight, acme.error) == (1, 1, 2, 0))
    }

    @Test func decisionsAloneAreCountedAndNobodysAreNot() {
        let watch = Self.makeWatch()
        _ = watch.ask(1, boot: 0, wall: Self.wall)
        for kind in AuditKind.allCases { Self.observe(watch, "acme", kind: kind) }
        Self.observe(watch, "", reason: Reason.signatureInvalid.rawValue)
        Self.observe(watch, "acme", flags: .personal)
        let heaviest = watch.ask(10, boot: 0, wall: Self.wall).heaviest
        #expect(heaviest.map(\.allowed) == [3, 1])
        #expect(heaviest.map(\.isPersonal) == [false, true])
    }

    @Test func whatIsOlderWeighsLessAndWholeCountsStay() {
        let watch = Self.makeWatch()
        _ = watch.ask(1, boot: 0, wall: Self.wall)
        for _ in 0..<8 { Self.observe(watch, "acme") }
        watch.settle(boot: 29 * Self.second)
        #expect(watch.ask(1, boot: 0, wall: Self.wall).heaviest.map(\.weight) == [8])
        watch.settle(boot: 30 * Self.second)
        watch.settle(boot: 31 * Self.second)
        #expect(watch.ask(1, boot: 0, wall: Self.wall).heaviest.map(\.weight) == [4])
        // A thread that was held up makes up for it.
        watch.settle(boot: 90 * Self.second)
        #expect(watch.ask(1, boot: 0, wall: Self.wall).heaviest.map(\.weight) == [1])
        #expect(watch.ask(1, boot: 0, wall: Self.wall).heaviest.map(\.allowed) == [8])
    }

    @Test func countingEndsOnceNobodyAsksAndBeginsAnew() {
        let watch = Self.makeWatch()
        _ = watch.ask(1, boot: 0, wall: Self.wall)
        Self.observe(watch, "acme")
        _ = watch.ask(1, boot: 200 * Self.second, wall: Self.wall)
        watch.settle(boot: 499 * Self.second)
        #expect(watch.ask(1, boot: 0, wall: Self.wall).heaviest.map(\.allowed) == [1])
        watch.settle(boot: 501 * Self.second)
        Self.observe(watch, "acme")
        let later = WallTime(milliseconds: Self.wall.milliseconds + 9)
        let count = watch.ask(1, boot: 600 * Self.second, wall: later)
        #expect(count.since == later && count.heaviest.isEmpty)
    }

    @Test func aReplyThatWouldBeTooLongHasFewerOfBoth() {
        let name = String(repeating: "\"", count: 128)
        let busy = (0..<100).map { _ in
            BusyOrganization(
                organization: name, isPersonal: false, recent: 1, allowed: 1, denied: 0)
        }
        let near = (0..<100).map { _ in
            NearestQuota(
                organization: name, isPersonal: false, user: name, plan: name, quota: name,
                meter: name, period: .billingMonth, used: .max, held: .max, limit: .max,
                endsAt: Timestamp(milliseconds: .max))
        }
        let top = TopOrganizations(at: Timestamp(milliseconds: 0), since: nil)
        var whole = top
        whole.fill(Array(busy.prefix(9)), Array(near.prefix(3)), bytesMax: CallReply.listBytesMax)
        #expect((whole.busiest.count, whole.nearest.count) == (9, 3))
        var cut = top
        cut.fill(busy, near, bytesMax: CallReply.listBytesMax)
        #expect(cut.busiest.count > 20 && cut.busiest.count - cut.nearest.count <= 1)
        #expect(JSONValue.object(["top": cut.json]).bytes.count <= CallReply.bytesMax)
    }
}

@Suite struct OrganizationWatchRaceTests {
    @Test func askingBesideCountingLosesNothing() async {
        let watch = OrganizationWatchTests.makeWatch()
        let wall = OrganizationWatchTests.wall
        _ = watch.ask(1, boot: 0, wall: wall)
        let rounds = 4_000
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for round in 0..<rounds {
                    OrganizationWatchTests.observe(watch, "org\(round % 7)")
                    if round % 100 == 0 { watch.settle(boot: UInt64(round)) }
                }
            }
            for _ in 0..<2 {
                group.addTask {
                    var last: UInt64 = 0
                    for _ in 0..<500 {
                        let heaviest = watch.ask(100, boot: 0, wall: wall).heaviest
                        let all = heaviest.reduce(0) { $0 + $1.allowed }
                        #expect(all >= last)
                        last = all
                    }
                }
            }
        }
        let all = watch.ask(100, boot: 0, wall: wall).heaviest
        #expect(all.count == 7 && all.reduce(0) { $0 + $1.allowed } == UInt64(rounds))
    }
}
