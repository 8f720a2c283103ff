import Testing
import TollgateWire

@testable import TollgateCore

/// What every kind of request leaves in the ring.
@Suite struct EngineAuditTests {
    private let memory = MemoryRing(capacity: 1 << 20, number: 1, nextID: 1 << 56 | 1)
    private let harness: EngineHarness

    init() throws {
        harness = try EngineHarness(.holding())
        harness.worker.openAudit(memory.ring, isBlocking: true)
    }

    private func entries() -> [MemoryRing.Entry] {
        harness.worker.publishAudit(now: BootTime(nanoseconds: harness.boot + 1_500))
        return memory.take()
    }

    private func id(of bytes: [UInt8]) -> UInt64? {
        bytes.withUnsafeBytes { all -> UInt64? in
            var at = BodyBytes.decisionReply
            for index in 56...61 { at += Int(all[index]) }
            while at < all.count {
                if all[at] == ExtensionTag.decisionID {
                    return all.loadLittle(at: at + 4, as: UInt64.self)
                }
                at += 4 + Int(all.loadLittle(at: at + 2, as: UInt16.self))
            }
            return nil
        }
    }

    @Test func anAllowedCheckSaysWhoWhatAndWhereTheLimitsStand() throws {
        #expect(harness.check(meters: [("tokens", 40)]).isAllowed)
        let reply = Array(UnsafeRawBufferPointer(harness.reply).prefix(512))
        let entry = try #require(entries().first)
        let names = harness.policy.auditNames
        #expect(entry.kind == .check && entry.head.reason == 0 && entry.head.flags.isEmpty)
        #expect(entry.organization == "acme" && entry.user == "ada")
        #expect(names.plans[Int(entry.head.plan)] == "pro_tier")
        #expect(names.operations[Int(entry.head.operation)] == "chat")
        #expect(names.issuers[Int(entry.head.issuer)] == "main")
        #expect(
            entry.charges == [
                AuditCharge(meter: 0, units: 1, weighted: 1),
                AuditCharge(meter: 1, units: 40, weighted: 40),
            ])
        #expect(names.limits[Int(entry.head.rate)].name == "tokens_per_minute")
        #expect(entry.head.rateLimit == 600 && entry.head.rateUsed == 40)
        #expect(names.limits[Int(entry.head.quota)].name == "monthly_tokens")
        #expect(entry.head.quotaLimit == 1_000 && entry.head.quotaUsed == 40)
        #expect(entry.head.wallMilliseconds == harness.wall)
        #expect(entry.head.bootNanoseconds == harness.boot)
        #expect(entry.head.latencyNanoseconds == 1_500)
        #expect(entry.head.addressFamily == 4)
        #expect(entry.head.addressHigh.littleEndian == 0x0100_000a)
        #expect(entry.standings.isEmpty)
        #expect(entry.head.id == 1 << 56 | 1)
        #expect(try #require(id(of: reply)) == entry.head.id)
        let program = names.programs[
            Int(entry.head.plan) * names.operations.count + Int(entry.head.operation)]
        #expect(
            program.map { names.limits[Int($0)].name } == [
                "tokens_per_minute", "daily_calls", "monthly_tokens",
            ])
    }

    @Test func aDenialSaysHowEveryLimitStood() throws {
        #expect(harness.check(meters: [("tokens", 600)]).isAllowed)
        #expect(harness.check(meters: [("tokens", 5)]).reason == .rateLimited)
        let entry = try #require(entries().last)
        #expect(entry.head.reason == Reason.rateLimited.rawValue)
        let names = harness.policy.auditNames
        #expect(
            entry.standings.map { names.limits[Int($0.limit)].name } == [
                "tokens_per_minute", "daily_calls", "monthly_tokens",
            ])
        #expect(entry.standings.map(\.used) == [600, 1, 600])
        #expect(entry.standings.map(\.most) == [600, 100, 1_000])
        #expect(entry.standings.map(\.flags) == [AuditStanding.refuses, 0, 0])
        #expect(entry.head.retryMilliseconds > 0)
    }

    @Test func aBadCredentialLeavesItsTrueReasonAndNobodysName() throws {
        #expect(harness.check("nonsense").reason == .credentialInvalid)
        #expect(harness.check("").reason == .credentialMissing)
        let all = entries()
        #expect(
            all.map(\.head.reason) == [
                Reason.credentialMalformed.rawValue, Reason.credentialMissing.rawValue,
            ])
        #expect(all.allSatisfy { $0.user.isEmpty && $0.organization.isEmpty && $0.key == nil })
        #expect(all.map(\.head.credentialKind) == [1, 0])
        #expect(all.allSatisfy { $0.head.operation == 0 && $0.head.plan == AuditHead.none })
        #expect(all.allSatisfy { $0.head.order == 0 })
    }

    @Test func whatIsNoDecisionLeavesNothing() {
        #expect(harness.check(meters: [("nonsense", 1)]).status == .unknownMeter)
        #expect(harness.settle(ReservationID(low: 1, high: 2)).status == .notFound)
        #expect(entries().isEmpty)
    }

    @Test func theLifeOfAHoldIsToldByItsID() throws {
        let hold = harness.reserve(tokens: 100)
        let id = try #require(hold.id)
        let bytes = withUnsafeBytes(of: id) { Array($0) }
        #expect(harness.extend(id, hold: 150, used: 90).isAllowed)
        #expect(harness.settle(id, tokens: 120).isAllowed)
        #expect(harness.settle(id, tokens: 120).isAllowed)
        let all = entries()
        #expect(all.map(\.kind) == [.reserve, .extend, .settle, .settle])
        #expect(all.map(\.hold) == [bytes, bytes, bytes, bytes])
        #expect(all.map(\.user) == ["ada", "ada", "ada", "ada"])
        #expect(all.map { $0.charges.last?.weighted } == [100, 50, 120, nil])
        #expect(all.map { $0.head.flags.contains(.repeated) } == [false, false, false, true])
        #expect(all[0].head.quotaUsed == 100)
        #expect(all[2].head.quotaUsed == 120)
        #expect(try #require(self.id(of: hold.bytes)) == all[0].head.id)
        #expect(all.map(\.head.order) == [1, 2, 3, 4])
    }

    @Test func aHoldThatNobodyEndedIsToldBeforeWhatMetItsEnd() throws {
        let id = try #require(harness.reserve(tokens: 100, timeToLive: 1_000).id)
        #expect(harness.extend(id, hold: 100, used: 70, timeToLive: 1_000).isAllowed)
        harness.advance(milliseconds: 2_000)
        #expect(harness.check(meters: [("tokens", 1)]).isAllowed)
        let all = entries()
        #expect(all.map(\.kind) == [.reserve, .extend, .cut, .check])
        #expect(all[2].charges.last == AuditCharge(meter: 1, units: 70, weighted: 70))
        #expect(all[2].hold == all[0].hold && all[3].hold == nil)
        #expect(all[2].user == "ada" && all[2].head.reason == 0)
        #expect(all.map(\.head.order) == [1, 2, 3, 4])
        #expect(Set(all.map(\.head.id)).count == 4)
        let second = try #require(harness.reserve(tokens: 10, connection: 5).id)
        #expect(harness.cancel(second).isAllowed)
        _ = harness.reserve(tokens: 10, connection: 5)
        harness.worker.release(connection: 5)
        let rest = entries()
        #expect(rest.map(\.kind) == [.reserve, .cancel, .reserve, .cut])
        #expect(rest[1].charges.last?.weighted == 0)
    }

    @Test func aRepeatedRequestIsMarkedAndChargesNothing() throws {
        let body =
            EngineHarness.body(token: EngineHarness.token(), meters: [("tokens", 5)])
            + DecisionWorker.extensionField(9)
        var replies: [[UInt8]] = []
        for _ in 0..<3 {
            let outcome = body.withUnsafeBytes {
                harness.worker.check($0, into: harness.reply)
            }
            replies.append(
                Array(UnsafeRawBufferPointer(harness.reply).prefix(outcome.bytes)))
        }
        #expect(Set(replies).count == 1)
        let all = entries()
        #expect(all.map { $0.head.flags.contains(.repeated) } == [false, true, true])
        #expect(all.map(\.charges.count) == [2, 0, 0])
        #expect(Set(all.map(\.idempotency)).count == 1 && all[0].idempotency != nil)
        #expect(try #require(id(of: replies[2])) == all[0].head.id)
    }

    @Test func withoutRoomNothingIsDecidedWhereNothingMayBeLeftOut() throws {
        let memory = MemoryRing()
        let harness = try EngineHarness(
            .holding(tokens: 1 << 40, calls: 1 << 40, perMinute: 1 << 40))
        harness.worker.openAudit(memory.ring, isBlocking: true)
        var (allowed, refused) = (0, 0)
        for _ in 0..<1_000 {
            let answer = harness.check(meters: [("tokens", 1)])
            if answer.isAllowed { allowed += 1 } else { refused += 1 }
            #expect(answer.isAllowed || answer.reason == .auditUnavailable)
        }
        #expect(allowed > 50 && refused > 0)
        #expect(memory.ring.dropped == UInt64(refused))
        #expect(memory.ring.refused == UInt64(refused))
        harness.worker.publishAudit(now: BootTime(nanoseconds: 0))
        #expect(memory.take().count == allowed)
        #expect(harness.check(meters: [("tokens", 1)]).isAllowed)
        #expect(harness.standing()["monthly_tokens"] == [UInt64(allowed) + 1, 0])
        harness.worker.setAudit(isBlocking: false, sampleOneIn: 1)
        for _ in 0..<1_000 { #expect(harness.check(meters: [("tokens", 1)]).isAllowed) }
        #expect(memory.ring.dropped > 100)
        #expect(memory.ring.refused == UInt64(refused))
    }

    @Test func aSampleLeavesOutOnlyWhatWasAllowed() throws {
        harness.worker.setAudit(isBlocking: true, sampleOneIn: 10)
        for _ in 0..<90 { #expect(harness.check(meters: [("tokens", 1)]).isAllowed) }
        for _ in 0..<20 { #expect(!harness.check(meters: [("tokens", 2_000)]).isAllowed) }
        let hold = try #require(harness.reserve(tokens: 1).id)
        #expect(harness.settle(hold, tokens: 1).isAllowed)
        let all = entries()
        #expect(all.count { $0.head.reason == 0 && $0.kind == .check } == 9)
        #expect(all.count { $0.head.reason != 0 } == 20)
        #expect(all.count { $0.kind == .settle || $0.kind == .reserve } == 2)
    }

    /// Random requests of several workers: each decision once, and the charges' sum what is used.
    @Test func sumsOfEntriesAreTheCounters() throws {
        let harness = try EngineHarness(.holding(tokens: 5_000, calls: 300, perMinute: 4_000))
        let memories = (1...3).map { MemoryRing(capacity: 1 << 22, number: UInt32($0)) }
        let workers = memories.map { memory in
            let worker = harness.engine.makeWorker()
            worker.openAudit(memory.ring, isBlocking: true)
            worker.beginTurn(harness.moment, policy: harness.policy)
            return worker
        }
        var random = SeededRandom(seed: 5)
        var open: [ReservationID] = []
        for _ in 0..<2_000 {
            let worker = workers[Int.random(in: 0..<3, using: &random)]
            let tokens = UInt64.random(in: 0...60, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                if let id = harness.reserve(
                    tokens: tokens, flags: RequestFlags.detached, worker: worker
                ).id { open.append(id) }
            case 1:
                guard let id = open.popLast() else { continue }
                _ = harness.settle(id, tokens: tokens, worker: worker)
            default:
                let body = EngineHarness.body(
                    token: EngineHarness.token(), meters: [("tokens", tokens)])
                _ = body.withUnsafeBytes { worker.check($0, into: harness.reply) }
            }
        }
        for id in open { _ = harness.settle(id, tokens: 0, worker: workers[0]) }
        var tokens: UInt64 = 0
        for (worker, memory) in zip(workers, memories) {
            worker.publishAudit(now: BootTime(nanoseconds: harness.boot))
            for entry in memory.take() where entry.head.reason == 0 {
                if entry.kind == .check || entry.kind == .settle {
                    tokens += entry.charges.last?.weighted ?? 0
                }
            }
        }
        #expect(harness.standing()["monthly_tokens"] == [tokens, 0])
        #expect(tokens > 1_000)
    }
}
