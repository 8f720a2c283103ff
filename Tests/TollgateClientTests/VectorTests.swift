import CLinux
import Glibc
import Testing
import TollgateWire

@testable import TollgateClient

/// The vectors that every client runs: what it sends, and what it makes of what it gets.
@Suite struct VectorTests {
    /// What the client has no words for: extension fields, dry runs of CONSUME, other versions and
    /// names in HELLO, other payloads of PING. CALL has tests of its own.
    private static let beyond: Set<String> = [
        "hello-named", "hello-versions", "hello-name-longest", "hello-extension", "ping-empty",
        "ping", "ping-longest", "check-extension", "check-extensions",
        "consume-dry-run", "consume-explain", "consume-extension", "usage-extension",
        "reserve-extension", "extend-extension", "settle-extension", "cancel-extension",
        "check-idempotent-extension",
    ]

    private static func address(_ text: String?) throws -> ClientAddress {
        guard let text else { return .none }
        let isV6 = text.contains(":")
        var bytes = [UInt8](repeating: 0, count: isV6 ? 16 : 4)
        try #require(inet_pton(isV6 ? AF_INET6 : AF_INET, text, &bytes) == 1)
        return isV6 ? .v6(bytes) : .v4(bytes)
    }

    private static func meters(_ fields: VectorFile.Fields) -> [MeterUnits] {
        (fields.meters ?? []).map { meter in
            switch meter { case .named(let name, let units, _): MeterUnits(name, units) }
        }
    }

    private static func idempotencyID(_ fields: VectorFile.Fields) throws -> IdempotencyID? {
        guard let text = fields.idempotencyId else { return nil }
        let bytes = try VectorFile.bytes(text)
        let id: IdempotencyID = try #require(IdempotencyID(bytes))
        return id
    }

    private static func question(_ fields: VectorFile.Fields) throws -> CheckQuestion {
        let operation: OperationSelector
        if let name = fields.operation {
            operation = .name(name)
        } else {
            operation = .route(
                method: try #require(fields.method), path: try #require(fields.path))
        }
        let text = try #require(fields.credential)
        return CheckQuestion(
            credential: fields.credentialKind == 2 ? .apiKey(text) : .accessToken(text),
            operation: operation,
            address: try address(fields.address), meters: meters(fields),
            isDryRun: fields.dryRun == true, explains: fields.explain == true,
            idempotencyID: try idempotencyID(fields))
    }

    private static func reservationBody(
        _ opcode: String, _ fields: VectorFile.Fields
    ) throws -> [UInt8] {
        if opcode == "RESERVE" {
            return try Calls.reserve(
                ReservationRequest(
                    question(fields), timeToLiveMilliseconds: #require(fields.ttlMs),
                    isDetached: fields.detached == true)
            ).body
        }
        let held = try #require(fields.reservation)
        let id = try #require(ReservationID(hexadecimal: held.id))
        let explains = fields.explain == true
        switch opcode {
        case "EXTEND":
            let meters = try #require(fields.meters).map { meter throws in
                switch meter {
                case .named(let name, let units, let used):
                    HeldUnits(name, units, used: try #require(used))
                }
            }
            return try Calls.extend(
                id, meters, timeToLiveMilliseconds: #require(fields.ttlMs), explains: explains
            ).body
        case "SETTLE": return try Calls.settle(id, meters(fields), explains: explains).body
        default: return Calls.cancel(id, explains: explains).body
        }
    }

    private static func body(_ opcode: String, _ fields: VectorFile.Fields) throws -> [UInt8] {
        switch opcode {
        case "HELLO": return Calls.hello().body
        case "CHECK": return try Calls.check(question(fields)).body
        case "CONSUME":
            return try Calls.consume(
                Consumption(
                    organization: #require(fields.organization), user: #require(fields.user),
                    plan: #require(fields.plan), operation: #require(fields.operation),
                    meters: meters(fields), isPersonal: fields.personal == true,
                    idempotencyID: idempotencyID(fields))
            ).body
        case "USAGE":
            return try Calls.usage(
                organization: #require(fields.organization), user: #require(fields.user),
                plan: #require(fields.plan), isPersonal: fields.personal == true
            ).body
        case "STATS": return Calls.statistics().body
        case "RELOAD": return Calls.reload().body
        case "RESERVE", "EXTEND", "SETTLE", "CANCEL": return try reservationBody(opcode, fields)
        default:
            return Calls.shutdown(graceMilliseconds: try #require(fields.graceMs)).body
        }
    }

    @Test func requestsAreSentAsTheVectorsHaveThem() throws {
        var seen = 0
        // 16: in order, and of a reservation that the daemon does not know.
        for vector in try VectorFile.read().requests where [0, 16].contains(vector.status) {
            guard let fields = vector.fields, !Self.beyond.contains(vector.name) else { continue }
            let name = try #require(vector.opcode)
            // CallVectorTests has those.
            guard name != "CALL" else { continue }
            let opcode = try #require(Opcode.allCases.first { "\($0)" == name.lowercased() })
            var frame: [UInt8] = []
            appendFrame(opcode, try #require(vector.id), try Self.body(name, fields), to: &frame)
            #expect(try frame == VectorFile.bytes(vector.hex), "\(vector.name)")
            seen += 1
        }
        #expect(seen >= 90)
    }

    /// What a client gives back, in the vector's own words.
    private enum Answer {
        case decision(CheckDecision)
        case usage(UsageReport)
        case numbers([StatisticEntry])
        case generation(UInt64, version: String?)
        case nothing
    }

    /// The frame as it comes out of a socket, read as the answer to a request of that opcode.
    private static func read(
        _ frame: [UInt8], _ name: String
    ) throws(ClientError) -> Answer {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
            throw .disconnected
        }
        defer { for end in ends { close(end) } }
        guard write(ends[0], frame, frame.count) == frame.count else { throw .disconnected }
        var buffer = FrameBuffer()
        guard buffer.read(from: ends[1]) == frame.count, let reply = try buffer.next() else {
            throw .disconnected
        }
        guard let opcode = Opcode.allCases.first(where: { "\($0)" == name.lowercased() }) else {
            throw .disconnected
        }
        let body = try reply.outcome(for: opcode).get()
        switch opcode {
        case .reserve:
            let credential = CheckQuestion(token: "t", operation: .name("chat"))
            return .decision(try Calls.reserve(ReservationRequest(credential)).answer(body))
        case .check, .consume, .extend, .settle, .cancel:
            return .decision(try CheckDecision(body))
        case .usage: return .usage(try UsageReport(body))
        case .stats: return .numbers(try StatisticEntry.list(body))
        case .hello:
            let hello = try Calls.hello().answer(body)
            return .generation(hello.policyGeneration, version: hello.version)
        case .reload: return .generation(try Calls.reload().answer(body), version: nil)
        case .ping: try Calls.ping().answer(body)
        case .shutdown: try Calls.shutdown(graceMilliseconds: 0).answer(body)
        case .call: _ = try DirectoryCall.directoryStatus().answer(body)
        }
        return .nothing
    }

    @Test func repliesAreReadAsTheVectorsSay() throws {
        for vector in try VectorFile.read().replies
        where !vector.malformed && (vector.opcode != "CALL" || vector.status != 0) {
            let frame = try VectorFile.bytes(vector.hex)
            let fields = try #require(vector.fields)
            do throws(ClientError) {
                let answer = try Self.read(frame, vector.opcode)
                #expect(vector.status == 0, "\(vector.name)")
                try Self.expect(answer, fields, vector.name)
            } catch {
                try Self.expect(error, vector, fields)
            }
        }
    }

    private static func expect(
        _ error: ClientError, _ vector: VectorFile.Reply, _ fields: VectorFile.Fields
    ) throws {
        switch error {
        case .refused(let status, let detail):
            #expect(status.rawValue == vector.status && detail == fields.detail, "\(vector.name)")
            #expect("\(status)" == fields.status, "\(vector.name)")
        case .malformedReply:
            // A status of a later version, or a PING that this client did not send.
            let isLater = vector.status > 23 && fields.status == nil
            #expect(isLater || vector.opcode == "PING", "\(vector.name): \(error)")
        default: Issue.record("\(vector.name): \(error)")
        }
    }

    private static func expect(
        _ answer: Answer, _ fields: VectorFile.Fields, _ name: String
    ) throws(ClientError) {
        switch answer {
        case .decision(let decision): expect(decision, fields, name)
        case .usage(let report):
            #expect(report.plan == fields.plan, "\(name)")
            #expect(report.limits.map(inWords) == fields.limits, "\(name)")
        case .numbers(let numbers):
            let words = numbers.map {
                VectorFile.Number(
                    kind: $0.isGauge ? "gauge" : "counter", name: $0.name, value: $0.value)
            }
            #expect(words == fields.entries, "\(name)")
        case .generation(let generation, let version):
            #expect(generation == fields.policyGeneration, "\(name)")
            #expect(version == fields.daemonVersion, "\(name)")
        case .nothing: break
        }
    }

    private static func expect(
        _ decision: CheckDecision, _ fields: VectorFile.Fields, _ name: String
    ) {
        #expect(decision.isAllowed == fields.allowed, "\(name)")
        #expect(decision.reasonCode == fields.reasonCode, "\(name)")
        #expect(decision.reason.map { "\($0)" } == fields.reason, "\(name)")
        #expect(decision.isDryRun == fields.dryRun, "\(name)")
        #expect(decision.isPersonal == fields.personal, "\(name)")
        #expect(decision.isOverage == fields.overage, "\(name)")
        #expect(decision.retryAfterMilliseconds == fields.retryAfterMs, "\(name)")
        #expect(decision.rateLimit.map(inWords) == fields.rateLimit, "\(name)")
        #expect(decision.quota.map(inWords) == fields.quota, "\(name)")
        #expect(decision.user == fields.user, "\(name)")
        #expect(decision.organization == fields.organization, "\(name)")
        #expect(decision.plan == fields.plan, "\(name)")
        #expect(decision.operation == fields.operation, "\(name)")
        #expect(decision.explanation.map(inWords) == fields.explanation ?? [], "\(name)")
        #expect(decision.costMicroUnits == fields.costMicros, "\(name)")
        let id = fields.decisionId.flatMap { UInt64($0, radix: 16) }
        #expect(decision.decisionID == id, "\(name)")
        let held = decision.reservation.map {
            VectorFile.Held(id: "\($0.id)", ttlMs: $0.timeToLiveMilliseconds)
        }
        #expect(held == fields.reservation, "\(name)")
        let would = decision.wouldDeny.map {
            VectorFile.Would(
                reason: $0.reason.map { "\($0)" } ?? "reason \($0.reasonCode)",
                reasonCode: $0.reasonCode, limit: $0.limit)
        }
        #expect(would == fields.wouldDeny, "\(name)")
    }

    private static func inWords(_ limit: LimitSummary) -> VectorFile.Limit {
        VectorFile.Limit(
            name: limit.name, limit: limit.limit, remaining: limit.remaining,
            resetMs: limit.resetMilliseconds)
    }

    private static func inWords(_ entry: LimitEntry) -> VectorFile.Entry {
        VectorFile.Entry(
            kind: "\(entry.kind)", scope: "\(entry.scope)", name: entry.name, meter: entry.meter,
            refuses: entry.refuses, used: entry.used, held: entry.held, limit: entry.limit,
            remaining: entry.remaining, resetMs: entry.resetMilliseconds,
            lengthMs: entry.lengthMilliseconds, shadow: entry.isShadow)
    }

    @Test func malformedRepliesAreRefusedAsSuch() throws {
        let malformed = try VectorFile.read().replies.filter { $0.malformed && $0.opcode != "CALL" }
        #expect(malformed.count >= 40)
        for vector in malformed {
            let frame = try VectorFile.bytes(vector.hex)
            let error = failure { () throws(ClientError) in try Self.read(frame, vector.opcode) }
            guard case .malformedReply = error else {
                Issue.record("\(vector.name): \(String(describing: error))")
                continue
            }
        }
    }

    /// Whatever comes, reading ends with an answer or with `malformedReply`, never with a trap.
    @Test func noPrefixAndNoFlippedBitOfAReplyTraps() throws {
        var refused = 0
        for vector in try VectorFile.read().replies
        where vector.status == 0 && vector.opcode != "CALL" {
            let body = Array(try VectorFile.bytes(vector.hex).dropFirst(WireLimits.headerBytes))
            for length in 0..<body.count { refused += Self.isRefused(Array(body[..<length])) }
            for index in body.indices {
                for bit in 0..<8 {
                    var changed = body
                    changed[index] ^= 1 << UInt8(bit)
                    refused += Self.isRefused(changed)
                }
            }
        }
        #expect(refused > 10_000)
    }

    /// 1 when no reply at all can be made of `body`, counted over the kinds of replies.
    private static func isRefused(_ body: [UInt8]) -> Int {
        let errors = [
            failure { () throws(ClientError) in _ = try CheckDecision(body) },
            failure { () throws(ClientError) in _ = try UsageReport(body) },
            failure { () throws(ClientError) in _ = try StatisticEntry.list(body) },
            failure { () throws(ClientError) in _ = try Calls.hello().answer(body) },
        ]
        return errors.allSatisfy { $0 != nil } ? 1 : 0
    }
}
