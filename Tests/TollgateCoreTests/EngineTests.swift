import Testing
import TollgateWire

@testable import TollgateCore

@Suite struct EngineTests {
    @Test func anAllowedCheckNamesItsCallerAndTheTightestLimits() throws {
        let harness = try EngineHarness()
        let answer = harness.check(meters: [("tokens", 7)], route: ("POST", "/v1/chat?x=1"))
        #expect(answer.isAllowed)
        #expect(answer.texts == ["ada", "acme", "pro_tier", "per_second", "daily_calls", "chat"])
        #expect(answer.rate.limit == 5 && answer.rate.remaining == 4)
        #expect(answer.quota.limit == 100 && answer.quota.remaining == 99)
        let used = harness.usage(organization: "acme", user: "ada")
        #expect(
            used == [
                "per_second": 1, "per_minute": 1, "org_per_second": 1, "daily_calls": 1,
                "monthly_tokens": 70,
            ])
    }

    @Test func reasonsComeInTheirOrder() throws {
        let harness = try EngineHarness()
        let token = EngineHarness.token()
        func reason(_ answer: Answer) -> Reason { answer.reason }
        #expect(reason(harness.check("", route: ("GET", "//"))) == .pathNotCanonical)
        #expect(reason(harness.check("")) == .credentialMissing)
        #expect(reason(harness.check("x.y.z", operation: "nothing")) == .credentialInvalid)
        #expect(reason(harness.check(EngineHarness.token(plan: "gold"))) == .planUnknown)
        #expect(reason(harness.check(EngineHarness.token(plan: nil))) == .planUnknown)
        #expect(reason(harness.check(token, operation: "nothing")) == .operationUnknown)
        #expect(reason(harness.check(token, route: ("GET", "/v1/chat"))) == .operationUnknown)
        #expect(reason(harness.check(token, operation: "batch")) == .permissionDenied)
        #expect(
            reason(harness.check(EngineHarness.token(permissions: ["other"]))) == .permissionDenied)
        #expect(harness.worker.counters.count(reason: .credentialMalformed) == 1)
        #expect(
            harness.usage(organization: "acme", user: "ada", plan: "pro_tier")["per_second"] == 0)
    }

    @Test func aRateLimitedCallerPassesAtItsTimeAndNotBefore() throws {
        let harness = try EngineHarness()
        for _ in 0..<5 { #expect(harness.check().isAllowed) }
        let refused = harness.check()
        #expect(refused.reason == .rateLimited && refused.rateName == "per_second")
        #expect(refused.rate.remaining == 0 && refused.retry > 0)
        harness.advance(milliseconds: UInt64(refused.retry) - 1)
        #expect(harness.check().reason == .rateLimited)
        harness.advance(milliseconds: 1)
        #expect(harness.check().isAllowed)
        #expect(harness.usage(organization: "acme", user: "ada")["daily_calls"] == 6)
    }

    @Test func aQuotaAdmitsExactlyItsLimitAndOpensAgainWithThePeriod() throws {
        let harness = try EngineHarness(.small(userPerSecond: 1_000_000, daily: 10))
        for _ in 0..<10 { #expect(harness.check(operation: "models").isAllowed) }
        let refused = harness.check(operation: "models")
        #expect(refused.reason == .quotaExhausted && refused.quotaName == "daily_calls")
        // 2023-11-14T22:13:20Z: the day ends in 6,400 s.
        #expect(refused.retry == 6_400_000 && refused.quota.reset == 6_400_000)
        harness.advance(milliseconds: 6_399_999)
        #expect(harness.check(operation: "models").reason == .quotaExhausted)
        harness.advance(milliseconds: 1)
        #expect(harness.check(operation: "models").isAllowed)
    }

    @Test func aRequestLargerThanItsQuotaIsNeverToldToRetry() throws {
        let harness = try EngineHarness()
        let refused = harness.check(meters: [("tokens", 1_001)])
        #expect(refused.reason == .quotaExhausted && refused.retry == WireLimits.retryNever)
        #expect(harness.check(meters: [("tokens", 1_000)]).isAllowed)
    }

    @Test func organizationsAndPersonalOrganizationsShareNothing() throws {
        let harness = try EngineHarness(.small(daily: 1))
        #expect(harness.check(EngineHarness.token(organization: "acme")).isAllowed)
        #expect(harness.check(EngineHarness.token(organization: "other")).isAllowed)
        let personal = harness.check(EngineHarness.token(user: "acme", organization: nil))
        #expect(personal.isAllowed && personal.flags & DecisionFlags.personalOrganization != 0)
        #expect(harness.check(EngineHarness.token(organization: "acme")).reason == .quotaExhausted)
        #expect(harness.check(EngineHarness.token(user: "bob", organization: "acme")).isAllowed)
    }

    @Test func aDryRunChargesNothingAndMakesNoRow() throws {
        let harness = try EngineHarness()
        for _ in 0..<20 {
            let answer = harness.check(flags: RequestFlags.dryRun)
            #expect(answer.isAllowed && answer.flags & DecisionFlags.dryRun != 0)
        }
        #expect(harness.engine.gauges.users == 0 && harness.engine.gauges.addresses == 0)
    }

    /// The address has a row, whose window a dry run looks at and leaves as it is.
    @Test func aDryRunTakesNothingOfWhatTheAddressHasLeft() throws {
        var policy = PolicyDefinition.small(userPerSecond: 10_000)
        policy.addressLimits[0].limit = 3
        let harness = try EngineHarness(policy)
        let address: [UInt8] = [10, 0, 0, 1]
        #expect(harness.check(address: address).isAllowed)
        for _ in 0..<20 {
            #expect(harness.check(address: address, flags: RequestFlags.dryRun).isAllowed)
        }
        for isAllowed in [true, true, false] {
            #expect(harness.check(address: address).isAllowed == isAllowed)
        }
    }

    @Test func addressesAreLimitedBeforeTenantsAndMappedOnesAreIPv4() throws {
        var policy = PolicyDefinition.small(userPerSecond: 10_000)
        policy.addressLimits[0].limit = 3
        let harness = try EngineHarness(policy)
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]
        for address in [[10, 0, 0, 1], mapped, [10, 0, 0, 1]] as [[UInt8]] {
            #expect(harness.check(address: address).isAllowed)
        }
        let refused = harness.check(address: mapped)
        #expect(refused.reason == .rateLimited && refused.rateName == "per_address")
        #expect(harness.check(address: [10, 0, 0, 2]).isAllowed)
        let first: [UInt8] = [0x20, 1, 13, 184] + [UInt8](repeating: 0, count: 11) + [1]
        var second = first
        second[15] = 9
        var elsewhere = first
        elsewhere[7] = 1
        for _ in 0..<3 { #expect(harness.check(address: first).isAllowed) }
        #expect(harness.check(address: second).reason == .rateLimited)
        #expect(harness.check(address: elsewhere).isAllowed)
        #expect(harness.check(address: []).isAllowed)
    }

    @Test func guessersAreStoppedByAddressAndOwnersAreNot() throws {
        let harness = try EngineHarness()
        let good = EngineHarness.token()
        let forged = String(good.dropLast(4)) + "AAAA"
        for _ in 0..<4 { #expect(harness.check(forged).reason == .credentialInvalid) }
        let stopped = harness.check(forged)
        #expect(stopped.reason == .invalidCredentialLimited && stopped.retry > 0)
        #expect(harness.check(good).reason == .invalidCredentialLimited)
        #expect(harness.check(good, address: [10, 9, 9, 9]).isAllowed)
        harness.advance(milliseconds: UInt64(stopped.retry))
        #expect(harness.check(good).isAllowed)
    }

    @Test func goingBackAndForthBetweenPlansForgetsNothing() throws {
        let harness = try EngineHarness(.small(userPerSecond: 100, daily: 100, monthlyTokens: 20))
        let pro = EngineHarness.token(plan: "pro_tier")
        let free = EngineHarness.token(plan: "free_tier")
        #expect(harness.check(pro, meters: [("tokens", 1)]).isAllowed)
        #expect(harness.check(free, operation: "models").isAllowed)
        // Both plans have a limit of that name: what counted under one counts under the other.
        #expect(harness.check(free, operation: "models").reason == .rateLimited)
        #expect(harness.check(pro, meters: [("tokens", 1)]).isAllowed)
        #expect(harness.check(pro, meters: [("tokens", 1)]).reason == .quotaExhausted)
        harness.advance(milliseconds: 3_000)
        #expect(harness.check(free, operation: "models").reason == .quotaExhausted)
        let used = harness.usage(organization: "acme", user: "ada", plan: "pro_tier")
        #expect(used["monthly_tokens"] == 20 && used["daily_calls"] == 3)
    }

    @Test func countersSurviveAReloadThatKeepsTheirNames() throws {
        let harness = try EngineHarness()
        for _ in 0..<4 { #expect(harness.check(meters: [("tokens", 1)]).isAllowed) }
        var changed = PolicyDefinition.small(userPerSecond: 6)
        for plan in 0...1 { changed.plans[plan].rateLimits[0].windowNanoseconds = 2_000_000_000 }
        changed.plans[1].quotas.insert(
            QuotaDefinition(name: "extra", scope: .user, limit: 9, period: .day), at: 0)
        try harness.reload(changed)
        #expect(harness.check().isAllowed)
        let used = harness.usage(organization: "acme", user: "ada")
        #expect(used["per_second"] == 5 && used["daily_calls"] == 5 && used["extra"] == 1)
        #expect(used["monthly_tokens"] == 40)
    }

    @Test func consumeRecordsPastTheLimitAndSaysSo() throws {
        let harness = try EngineHarness()
        func consume(_ units: UInt64) -> Answer {
            harness.consume(
                organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                meters: [("tokens", units)])
        }
        #expect(consume(900).flags & DecisionFlags.overage == 0)
        let over = consume(200)
        #expect(over.isAllowed && over.flags & DecisionFlags.overage != 0)
        #expect(over.quota.remaining == 0 && over.quotaName == "monthly_tokens")
        #expect(harness.usage(organization: "acme", user: "ada")["monthly_tokens"] == 11_000)
        for _ in 0..<3 { #expect(consume(1 << 40).isAllowed) }
        #expect(harness.check(meters: [("tokens", 1)]).reason == .quotaExhausted)
    }

    @Test func malformedBodiesAreRefusedWithTheirStatus() throws {
        let harness = try EngineHarness()
        #expect(harness.check(meters: [("nothing", 1)]).status == .unknownMeter)
        #expect(harness.check(operation: "models", meters: [("tokens", 1)]).status == .unknownMeter)
        #expect(harness.check(meters: [("tokens", 1 << 40 + 1)]).status == .unitsOutOfRange)
        #expect(harness.check(meters: [("calls", 1), ("calls", 1)]).status == .malformedBody)
        #expect(harness.check(flags: 0x80).status == .unsupportedField)
        let good = EngineHarness.body(token: EngineHarness.token(), meters: [("tokens", 3)])
        for extra in [[7, 0, 1], [7, 0, 1, 0], [1]] as [[UInt8]] {
            let status = (good + extra).withUnsafeBytes {
                harness.worker.check($0, into: harness.reply).status
            }
            #expect(status == .malformedBody)
        }
        for flags in [1, 2, 0x80] as [UInt8] {
            let unknown = (good + [7, flags, 0, 0]).withUnsafeBytes {
                harness.worker.check($0, into: harness.reply).status
            }
            #expect(unknown == .unsupportedField)
        }
        let skipped = (good + [7, 0, 1, 0, 9]).withUnsafeBytes {
            harness.worker.check($0, into: harness.reply).status
        }
        #expect(skipped == .ok)
    }

    @Test(arguments: 1...3) func mutatedBodiesNeverTrap(seed: UInt64) throws {
        let harness = try EngineHarness()
        var random = SeededRandom(seed: seed)
        let good = EngineHarness.body(
            token: EngineHarness.token(), meters: [("tokens", 3)], flags: RequestFlags.explain)
        for length in 0..<good.count {
            good[..<length].withUnsafeBytes { _ = harness.worker.check($0, into: harness.reply) }
        }
        for _ in 0..<20_000 {
            var body = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                body[Int.random(in: 0..<body.count, using: &random)] = .random(
                    in: 0...255, using: &random)
            }
            body.withUnsafeBytes {
                _ = harness.worker.check($0, into: harness.reply)
                _ = harness.worker.consume($0, into: harness.reply)
                _ = harness.worker.usage($0, into: harness.reply)
            }
        }
    }

    @Test func tablesAtTheirCeilingLetNobodyNewInAndNobodyThrough() throws {
        let harness = try EngineHarness {
            $0.usersMax = 10
            $0.addressesMax = 5
        }
        var allowed = 0
        for user in 0..<20 {
            let answer = harness.check(
                EngineHarness.token(user: "u\(user)"), operation: "models",
                address: [10, 1, 0, UInt8(user)])
            if answer.isAllowed {
                allowed += 1
            } else {
                #expect(answer.reason == .capacityExhausted)
            }
        }
        #expect(allowed == 10)
        let gauges = harness.engine.gauges
        #expect(
            gauges.users == 10 && gauges.capacityRefusals == 10 && gauges.addressOverflows == 15)
    }

    @Test func idleRowsAreForgottenAndQuotasInUseAreNot() throws {
        let harness = try EngineHarness()
        #expect(harness.check(operation: "models").isAllowed)
        for _ in 0..<400 { harness.worker.sweep() }
        #expect(harness.engine.gauges.users == 1 && harness.engine.gauges.addresses == 1)
        harness.advance(milliseconds: 100_000)
        for _ in 0..<400 { harness.worker.sweep() }
        #expect(harness.engine.gauges.users == 1 && harness.engine.gauges.addresses == 0)
        harness.advance(milliseconds: 40 * 86_400_000)
        harness.engine.confirmClock()
        harness.beginTurn()
        for _ in 0..<400 { harness.worker.sweep() }
        #expect(harness.engine.gauges.users == 0 && harness.engine.gauges.organizations == 0)
    }

    @Test func aCachedTokenExpiresOnTimeAndDoesNotOutliveItsKey() throws {
        let harness = try EngineHarness()
        let token = EngineHarness.token(expires: EngineHarness.startSeconds + 100)
        for _ in 0..<3 { #expect(harness.check(token, operation: "models").isAllowed) }
        harness.advance(milliseconds: 99_999)
        #expect(harness.check(token, operation: "models").isAllowed)
        harness.advance(milliseconds: 1)
        #expect(harness.check(token, operation: "models").reason == .credentialInvalid)
        let other = EngineHarness.token()
        #expect(harness.check(other, operation: "models").isAllowed)
        var changed = PolicyDefinition.small()
        changed.issuers[0].keys[0] = SigningKeyDefinition(
            keyID: "k1", algorithm: .hs256,
            secret: SecretBytes(copying: [UInt8](repeating: 9, count: 32)))
        try harness.reload(changed)
        #expect(harness.check(other, operation: "models").reason == .credentialInvalid)
    }

    @Test func everyByteOfACachedTokenCounts() throws {
        let harness = try EngineHarness(.small(userPerSecond: 1_000_000, daily: 1_000_000))
        let token = Array(EngineHarness.token().utf8)
        #expect(harness.check(String(decoding: token, as: UTF8.self), address: []).isAllowed)
        for index in token.indices {
            var changed = token
            changed[index] = changed[index] == 0x41 ? 0x42 : 0x41
            let answer = harness.check(String(decoding: changed, as: UTF8.self), address: [])
            #expect(answer.reason == .credentialInvalid, "byte \(index)")
        }
    }
}
