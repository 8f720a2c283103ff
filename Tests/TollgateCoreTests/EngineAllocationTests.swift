import CAllocationCount
import Testing
import TollgateWire

@testable import TollgateCore

#if !DEBUG
/// The budget of a request in steady state is 0 allocations, whatever is decided. Unoptimised code
/// boxes what optimised code does not: Deploy/test runs these optimised. Bodies that are refused
/// with a status are not among them: they throw, and Swift Testing allocates for every error that
/// is thrown (its hook `_swift_willThrowTypedImpl`).
@Suite struct EngineAllocationTests {
    private enum Kind { case check, consume, usage }

    private struct Request {
        var name: String
        var kind = Kind.check
        var body: [UInt8]
        var reason = Reason.none
    }

    private static let rounds = 100

    /// A plan for each kind of limit, of which one request is left.
    private static func policy() -> PolicyDefinition {
        var policy = PolicyDefinition.small(userPerSecond: 1 << 30, daily: 1 << 40)
        policy.plans[1].quotas[1].limit = 1 << 40
        for index in 1...2 { policy.plans[1].rateLimits[index].limit = 1 << 30 }
        let hour: UInt64 = 3_600_000_000_000
        for scope in [LimitScope.user, .organization] {
            for mode in [WindowMode.strict, .smooth] {
                policy.plans.append(
                    PlanDefinition(
                        name: "\(scope)_\(mode)",
                        rateLimits: [
                            RateLimitDefinition(
                                name: "w_\(mode)", scope: scope, limit: 1,
                                windowNanoseconds: hour,
                                mode: mode)
                        ]))
            }
            policy.plans.append(
                PlanDefinition(
                    name: "\(scope)_quota",
                    quotas: [QuotaDefinition(name: "q", scope: scope, limit: 1, period: .month)]))
        }
        policy.addressLimits[0].limit = 1 << 40
        policy.addressLimits.append(
            RateLimitDefinition(
                name: "batches", scope: .address, limit: 1, windowNanoseconds: hour,
                classes: ["slow"]))
        policy.operations[2].rateLimitClass = "slow"
        policy.operations[2].permission = nil
        policy.operations.append(OperationDefinition(name: "secret", permission: "none_has_it"))
        policy.invalidCredentialLimit?.limit = 20_000
        return policy
    }

    private static func requests() -> [Request] {
        let token = EngineHarness.token()
        let explain = RequestFlags.explain
        func check(
            _ name: String, _ token: String = token, operation: String = "chat",
            meters: [(String, UInt64)] = [], address: [UInt8] = [10, 0, 0, 1], flags: UInt16 = 0,
            route: (String, String)? = nil, _ reason: Reason = .none
        ) -> Request {
            let body = EngineHarness.body(
                token: token, operation: operation, meters: meters, address: address, flags: flags,
                route: route)
            return Request(name: name, body: body, reason: reason)
        }
        var all = [
            check("by name", meters: [("tokens", 7)]),
            check("by route", route: ("POST", "/v1/chat?x=1")),
            check("from IPv6", address: [0x20, 1] + [UInt8](repeating: 3, count: 14)),
            check("without address", address: []),
            check("explained", flags: explain),
            check("dry run", flags: RequestFlags.dryRun),
            check("dry run of a stranger", EngineHarness.token(user: "eve", organization: "eves"),
                flags: RequestFlags.dryRun),
            check("unlimited", EngineHarness.token(plan: "open_tier"), operation: "models"),
            check("no credential", "", .credentialMissing),
            check("malformed", "x.y.z", .credentialInvalid),
            check("forged", String(token.dropLast(4)) + "AAAA", .credentialInvalid),
            check("expired", EngineHarness.token(expires: EngineHarness.startSeconds - 5),
                .credentialInvalid),
            check("no such plan", EngineHarness.token(plan: "gold"), .planUnknown),
            check("no such operation", operation: "nothing", .operationUnknown),
            check("not canonical", route: ("GET", "//"), .pathNotCanonical),
            check("no permission", operation: "secret", .permissionDenied),
            check("address limit", operation: "batch", address: [10, 0, 0, 9], flags: explain,
                .rateLimited),
        ]
        for scope in ["user", "organization"] {
            for (form, reason) in [
                ("strict", Reason.rateLimited), ("smooth", .rateLimited),
                ("quota", .quotaExhausted),
            ] {
                let token = EngineHarness.token(
                    user: scope + form, organization: scope + form, plan: "\(scope)_\(form)")
                all.append(
                    check("\(scope) \(form)", token, operation: "models", flags: explain, reason))
            }
        }
        return all + others()
    }

    private static func others() -> [Request] {
        let usage: (String) -> [UInt8] = { plan in
            [4, 3, UInt8(plan.utf8.count), 0, 0, 0, 0, 0] + Array(("acmeada" + plan).utf8)
        }
        return [
            Request(
                name: "consume", kind: .consume,
                body: EngineHarness.consumeBody(
                    organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                    meters: [("tokens", 3)], flags: RequestFlags.explain)),
            Request(name: "usage", kind: .usage, body: usage("")),
            Request(name: "usage by plan", kind: .usage, body: usage("pro_tier")),
        ]
    }

    private static func send(_ request: Request, _ harness: EngineHarness) -> Outcome {
        request.body.withUnsafeBytes { body in
            switch request.kind {
            case .check: harness.worker.check(body, into: harness.reply)
            case .consume: harness.worker.consume(body, into: harness.reply)
            case .usage: harness.worker.usage(body, into: harness.reply)
            }
        }
    }

    @Test func noRequestAllocatesWhateverItIsAnswered() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try EngineHarness(Self.policy())
        for request in Self.requests() {
            // The first makes rows; where a limit is to refuse, it takes what there is.
            for _ in 0..<3 { _ = Self.send(request, harness) }
            // A sweep learns each layout of rows once.
            for _ in 0..<(2 * Engine.shardCount) { harness.worker.sweep() }
            let outcome = Self.send(request, harness)
            #expect(outcome.status == .ok, "\(request.name)")
            if request.kind == .check {
                let answer = Answer(outcome, UnsafeRawBufferPointer(harness.reply))
                #expect(answer.reason == request.reason, "\(request.name)")
            }
            let before = tg_allocations()
            for _ in 0..<Self.rounds {
                harness.boot += 1_000_000
                harness.beginTurn()
                _ = Self.send(request, harness)
                harness.worker.sweep()
            }
            #expect(tg_allocations() == before, "\(request.name)")
        }
    }

    @Test func aGuesserWhoIsStoppedCostsNoAllocation() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try EngineHarness()
        let body = EngineHarness.body(token: "x.y.z")
        func guess(_ times: Int) {
            for _ in 0..<times {
                body.withUnsafeBytes { _ = harness.worker.check($0, into: harness.reply) }
            }
        }
        guess(6)
        let before = tg_allocations()
        guess(Self.rounds)
        #expect(tg_allocations() == before)
        #expect(harness.worker.counters.count(reason: .invalidCredentialLimited) > 100)
    }

    @Test func aTokenNotSeenBeforeCostsNoAllocation() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try EngineHarness(Self.policy())
        let bodies = (0..<400).map {
            EngineHarness.body(
                token: EngineHarness.token(issued: EngineHarness.startSeconds - 400 + Int64($0)))
        }
        for body in bodies[..<50] {
            body.withUnsafeBytes { _ = harness.worker.check($0, into: harness.reply) }
        }
        let before = tg_allocations()
        for body in bodies[50...] {
            body.withUnsafeBytes { _ = harness.worker.check($0, into: harness.reply) }
        }
        #expect(tg_allocations() == before)
        #expect(harness.worker.counters.count(reason: .none) == 400)
    }
}
#endif
