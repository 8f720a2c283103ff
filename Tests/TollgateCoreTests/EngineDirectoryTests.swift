import Testing
import TollgateWire

@testable import TollgateCore

/// Plans from claims or directory, suspensions, revocations, overrides: what the directory says
/// holds from the very next request.
@Suite struct EngineDirectoryTests {
    /// An organization in the directory, or none.
    private enum State: CaseIterable { case unknown, bare, served, unserved, suspended }

    @Test func thePlanComesFromWhereTheIssuersRuleSays() throws {
        // What a token of `free_tier` comes to while the subscription is `pro_tier`: its plan, or
        // nothing where it is refused.
        let table: [PlanSource: [State: String?]] = [
            .claims: [
                .bare: "free_tier", .served: "free_tier", .unserved: nil, .suspended: nil,
            ],
            .directory: [.bare: nil, .served: "pro_tier", .unserved: nil, .suspended: nil],
            .directoryFirst: [
                .bare: "free_tier", .served: "pro_tier", .unserved: nil, .suspended: nil,
            ],
        ]
        for (source, expected) in table {
            for unknown in [UnknownOrganizations.claims, .refuse] {
                for state in State.allCases {
                    let harness = try DirectoryHarness(.withDirectory(source, unknown: unknown))
                    switch state {
                    case .unknown: break
                    case .bare: harness.put("other", plan: nil)
                    case .served: harness.put("other")
                    case .unserved: harness.put("other", isServed: false)
                    case .suspended: harness.put("other", isActive: false)
                    }
                    let served = unknown == .claims ? "free_tier" : nil
                    let plan = state == .unknown ? served : expected[state] ?? nil
                    let token = DirectoryHarness.token(user: "eve", organization: "other")
                    for _ in 1...2 {
                        let answer = harness.check(token, "models")
                        #expect(
                            answer.reason == (plan == nil ? .subscriptionInactive : .none),
                            "\(source) \(unknown) \(state)")
                        if let plan { #expect(answer.texts[2] == plan) }
                    }
                }
            }
        }
    }

    @Test func anEmptyDirectoryServesNobodyWhereUnknownOnesAreRefused() throws {
        let refused = try EngineHarness(.withDirectory(.claims, unknown: .refuse))
        #expect(refused.check().reason == .subscriptionInactive)
        let served = try EngineHarness(.withDirectory(.directoryFirst, unknown: .claims))
        #expect(served.check().isAllowed)
    }

    @Test func everyChangeHoldsFromTheNextRequestAndSoDoesItsUndoing() throws {
        let harness = try DirectoryHarness()
        let image = harness.image
        let key = try harness.add()
        let token = DirectoryHarness.token()
        let changes: [(name: String, make: () -> Void, undo: () -> Void, Reason)] = [
            ("suspend organization", { harness.put("acme", isActive: false) },
                { harness.put("acme") }, .subscriptionInactive),
            ("cancel", { harness.put("acme", isServed: false) }, { harness.put("acme") },
                .subscriptionInactive),
            ("downgrade", { harness.put("acme", plan: "free_tier") }, { harness.put("acme") },
                .permissionDenied),
            ("suspend user",
                { image.put(UserEntry(organization: "acme", id: "ada", isActive: false)) },
                { image.put(UserEntry(organization: "acme", id: "ada")) }, .credentialRevoked),
            ("override",
                { harness.put("acme", overrides: [OverrideEntry(limit: "daily_calls", units: 0)]) },
                { harness.put("acme") }, .quotaExhausted),
        ]
        for round in 1...3 {
            for change in changes {
                for credential in [key.text, token] {
                    #expect(harness.check(credential).isAllowed, "before \(change.name)")
                    change.make()
                    let answer = harness.check(credential)
                    #expect(answer.reason == change.3, "\(change.name), \(round): \(answer)")
                    #expect(harness.check(credential).reason == change.3)
                    change.undo()
                    #expect(harness.check(credential).isAllowed, "after \(change.name)")
                }
            }
        }
        var revoked = key.entry
        revoked.isRevoked = true
        image.put(revoked)
        #expect(harness.check(key.text).reason == .credentialRevoked)
        image.removeKey(key.entry.id)
        #expect(harness.check(key.text).reason == .keyUnknown)
        #expect(harness.check(token).isAllowed)
    }

    @Test func aRevocationRefusesWhatItNamesAndNothingElse() throws {
        let at = WallTime.start(500)
        let cases: [(RevokedKind, String)] = [
            (.token, "t1"), (.session, "s1"), (.user, "ada"), (.organization, "acme"),
        ]
        for (kind, subject) in cases {
            let harness = try DirectoryHarness(.withDirectory(.claims, unknown: .claims))
            harness.engine.advance(milliseconds: 3_000)
            let seconds = EngineHarness.startSeconds
            func token(
                _ user: String = "ada", _ organization: String? = "acme", _ id: String? = "t1",
                _ session: String? = "s1", _ issued: String? = nil
            ) -> String {
                DirectoryHarness.token(
                    user: user, organization: organization, plan: "pro_tier", tokenID: id,
                    session: session, issued: issued)
            }
            let hit = token()
            let all: [(String, String, [RevokedKind])] = [
                ("the token", hit, [.token, .session, .user, .organization]),
                ("another of the session", token("ada", "acme", "t2"),
                    [.session, .user, .organization]),
                ("another session", token("ada", "acme", "t2", "s2"), [.user, .organization]),
                ("one without ids", token("ada", "acme", nil, nil), [.user, .organization]),
                ("another user", token("eve", "acme", "t2", "s2"), [.organization]),
                ("another user's alike", token("eve"), [.token, .session, .organization]),
                ("another tenant's alike", token("ada", "other"), []),
                ("a lone user's alike", token("acme", nil), []),
                ("one issued before, by a millisecond",
                    token("ada", "acme", "t2", "s2", "\(seconds).499"), [.user, .organization]),
                ("one issued just then", token("ada", "acme", "t2", "s2", "\(seconds).5"),
                    [.user, .organization]),
                ("one issued after, by a millisecond",
                    token("ada", "acme", "t2", "s2", "\(seconds).501"), []),
            ]
            for (name, text, _) in all { #expect(harness.check(text).isAllowed, "\(name)") }
            harness.image.put(
                RevocationEntry(
                    kind: kind, organization: "acme", subject: subject, at: at,
                    expires: .start(100_000)))
            for (name, text, kinds) in all {
                let expected: Reason = kinds.contains(kind) ? .credentialRevoked : .none
                for _ in 1...2 {
                    #expect(harness.check(text).reason == expected, "\(kind): \(name)")
                }
            }
            #expect(harness.image.forgetRevocations(expiredAt: .start(99_999)) == 0)
            #expect(harness.check(hit).reason == .credentialRevoked)
            #expect(harness.image.forgetRevocations(expiredAt: .start(100_000)) == 1)
            #expect(harness.image.counts.revocations == 0)
        }
    }

    @Test func aPlanThatIsPendingHoldsFromItsInstantOn() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add()
        harness.image.put(
            OrganizationEntry(
                id: "acme",
                subscription: SubscriptionEntry(
                    plan: "pro_tier", isServed: true, pendingPlan: "free_tier",
                    pendingAt: .start(10_000))))
        for credential in [key.text, DirectoryHarness.token()] {
            #expect(harness.check(credential).texts[2] == "pro_tier")
        }
        harness.engine.advance(milliseconds: 9_999)
        #expect(harness.check(key.text).isAllowed)
        harness.engine.advance(milliseconds: 1)
        for credential in [key.text, DirectoryHarness.token()] {
            #expect(harness.check(credential).reason == .permissionDenied)
            #expect(harness.check(credential, "models").texts[2] == "free_tier")
        }
    }

    @Test func anOverrideHoldsForWhomItNamesUntilItEnds() throws {
        let harness = try DirectoryHarness()
        harness.image.put(UserEntry(organization: "acme", id: "eve"))
        let (ada, eve) = (try harness.add(), try harness.add("acme", "eve"))
        #expect(harness.check(ada.text).isAllowed)
        harness.put(
            "acme",
            overrides: [
                OverrideEntry(limit: "per_minute", units: 700, expires: .start(5_000)),
                OverrideEntry(limit: "monthly_tokens", units: 77),
                OverrideEntry(limit: "no_such_limit", units: 1),
            ])
        harness.image.put(
            UserEntry(
                organization: "acme", id: "eve",
                overrides: [
                    OverrideEntry(limit: "per_minute", units: 3),
                    // Not a limit that counts by user: it is not theirs to have another of.
                    OverrideEntry(limit: "monthly_tokens", units: 5),
                ]))
        func limits(_ credential: String) -> [String: UInt64] {
            let answer = harness.engine.limits(credential)
            let shown = ["per_minute", "monthly_tokens", "daily_calls"]
            return answer.filter { shown.contains($0.key) }
        }
        #expect(
            limits(ada.text) == ["per_minute": 700, "monthly_tokens": 77, "daily_calls": 100])
        #expect(limits(eve.text) == ["per_minute": 3, "monthly_tokens": 77, "daily_calls": 100])
        for _ in 1...3 { #expect(harness.check(eve.text).isAllowed) }
        let refused = harness.check(eve.text)
        #expect(refused.reason == .rateLimited && refused.rateName == "per_minute")
        #expect(refused.rate.limit == 3)
        harness.engine.advance(milliseconds: 4_999)
        #expect(limits(ada.text)["per_minute"] == 700)
        harness.engine.advance(milliseconds: 1)
        #expect(limits(ada.text)["per_minute"] == 1_000)
    }

    @Test func anOverrideGrantsNoMoreThanItsCellsHold() throws {
        let cases: [(UInt64?, UInt64)] = [(nil, 32_767), (100_000, 100_000), (600, 600)]
        for (most, expected) in cases {
            var policy = PolicyDefinition.withDirectory()
            policy.plans[1].rateLimits[1].overrideMax = most
            let harness = try DirectoryHarness(policy)
            let key = try harness.add()
            harness.put("acme", overrides: [OverrideEntry(limit: "per_minute", units: 100_000)])
            #expect(harness.engine.limits(key.text)["per_minute"] == expected)
            let facts = try #require(
                harness.engine.policy.limitFacts(of: "pro_tier", at: .start()))
            let fact = try #require(facts.first { $0.name == "per_minute" })
            #expect(fact.unitsMax == expected)
        }
    }

    @Test func usageAndConsumptionGoByTheOverridesAndTheSubscription() throws {
        let harness = try DirectoryHarness()
        harness.put("acme", overrides: [OverrideEntry(limit: "daily_calls", units: 2)])
        let engine = harness.engine
        for round in 1...3 as ClosedRange<UInt64> {
            let answer = engine.consume(
                organization: "acme", user: "ada", plan: "pro_tier", operation: "models",
                meters: [("calls", 1)])
            #expect((answer.flags & DecisionFlags.overage != 0) == (round > 2))
            #expect(answer.quota.limit == 2)
        }
        // Nobody of it was decided on with this plan: the subscription says which.
        harness.put("new", plan: "free_tier")
        #expect(engine.usage(organization: "new", user: "x") == ["per_second": 0, "daily_calls": 0])
    }

    @Test func aRemovedOrganizationsKeysStayDeadWhenItsIdIsGivenAgain() throws {
        let harness = try DirectoryHarness()
        harness.put("other")
        harness.image.put(UserEntry(organization: "other", id: "ada"))
        let (key, others) = (try harness.add(), try harness.add("other"))
        #expect(harness.check(key.text).isAllowed)
        harness.image.removeOrganization("acme", isPersonal: false)
        #expect(harness.check(key.text).reason == .keyUnknown)
        #expect(harness.image.counts == (1, 1, 1, 0))
        harness.put("acme")
        harness.image.put(UserEntry(organization: "acme", id: "ada"))
        #expect(harness.check(key.text).reason == .keyUnknown)
        #expect(harness.check(others.text).isAllowed)
        harness.image.removeUser("ada", organization: "other", isPersonal: false)
        #expect(harness.check(others.text).reason == .keyUnknown)
        #expect(harness.image.counts == (2, 1, 0, 0))
    }

    @Test func aTokenOfAClockAheadIsRevokedWithTheOthers() throws {
        var policy = PolicyDefinition.withDirectory(.claims, unknown: .claims)
        policy.issuers[0].leewaySeconds = 60
        for kind in [RevokedKind.user, .organization] {
            let harness = try DirectoryHarness(policy)
            // Issued before the revocation, by a clock that is ahead as far as is allowed.
            let ahead = DirectoryHarness.token(
                plan: "pro_tier", issued: "\(EngineHarness.startSeconds + 60)")
            #expect(harness.check(ahead).isAllowed)
            harness.image.put(
                RevocationEntry(
                    kind: kind, organization: "acme",
                    subject: kind == .user ? "ada" : "acme", at: .start(),
                    expires: .start(100_000)))
            #expect(harness.check(ahead).reason == .credentialRevoked)
            let later = DirectoryHarness.token(
                plan: "pro_tier", issued: "\(EngineHarness.startSeconds + 61)")
            harness.engine.advance(milliseconds: 1_000)
            #expect(harness.check(later).isAllowed)
        }
    }

    @Test func aForgottenOrganizationsCountersBeginAnew() throws {
        let harness = try DirectoryHarness()
        harness.put("other")
        harness.image.put(UserEntry(organization: "other", id: "ada"))
        let key = try harness.add { $0.limit = KeyLimit(units: 9, seconds: 60) }
        let others = try harness.add("other")
        for text in [key.text, others.text] { #expect(harness.check(text).isAllowed) }
        let engine = harness.engine.engine
        let isForgotten = engine.forget(
            organization: "acme", isPersonal: false, at: harness.engine.moment)
        #expect(isForgotten)
        #expect(engine.gauges.users == 1 && engine.gauges.organizations == 1)
        #expect(engine.credentials.load(ordering: .relaxed) == 0)
        #expect(harness.engine.usage(organization: "acme", user: "ada")["daily_calls"] == 0)
        #expect(harness.engine.usage(organization: "other", user: "ada")["daily_calls"] == 1)
        // Where the rows stood is remembered, and not believed.
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.engine.usage(organization: "acme", user: "ada")["daily_calls"] == 1)
    }

    @Test func revokingAllKeysOfAUserLeavesOthersAlone() throws {
        let harness = try DirectoryHarness()
        harness.image.put(UserEntry(organization: "acme", id: "eve"))
        let keys = [try harness.add(), try harness.add(), try harness.add("acme", "eve")]
        func reasons() -> [Reason] { keys.map { harness.check($0.text).reason } }
        #expect(reasons() == [.none, .none, .none])
        harness.image.revokeKeys(organization: "acme", isPersonal: true, user: nil)
        #expect(reasons() == [.none, .none, .none])
        harness.image.revokeKeys(organization: "acme", isPersonal: false, user: "ada")
        #expect(reasons() == [.credentialRevoked, .credentialRevoked, .none])
        harness.image.revokeKeys(organization: "acme", isPersonal: false, user: nil)
        #expect(reasons() == [.credentialRevoked, .credentialRevoked, .credentialRevoked])
    }

    @Test func aResetBeginsTheQuotasOfOneOrganizationAnew() throws {
        let harness = try DirectoryHarness()
        harness.put("other")
        harness.image.put(UserEntry(organization: "other", id: "ada"))
        for organization in ["acme", "other"] {
            _ = harness.engine.consume(
                organization: organization, user: "ada", plan: "pro_tier", operation: "chat",
                meters: [("calls", 3), ("tokens", 5)])
        }
        let engine = harness.engine
        let used = engine.engine.used(
            by: "acme", isPersonal: false, plan: "pro_tier", engine.policy, at: engine.moment)
        let found = used.map { "\($0.user ?? "-") \($0.fact.name) \($0.used)" }.sorted()
        #expect(
            found == [
                "- monthly_tokens 50", "- org_per_second 3", "ada daily_calls 3",
                "ada per_minute 3", "ada per_second 3",
            ])
        let isReset = engine.engine.resetQuotas(
            of: "acme", isPersonal: false, at: engine.moment)
        #expect(isReset)
        let after = engine.usage(organization: "acme", user: "ada")
        #expect(after["daily_calls"] == 0 && after["monthly_tokens"] == 0)
        #expect(after["per_minute"] == 3)
        #expect(engine.usage(organization: "other", user: "ada")["daily_calls"] == 3)
    }
}

extension EngineHarness {
    /// The limits that an explained dry run looks at, by name.
    func limits(_ credential: String) -> [String: UInt64] {
        let body = Self.body(
            token: credential, flags: RequestFlags.dryRun | RequestFlags.explain)
        let outcome = body.withUnsafeBytes { worker.check($0, into: reply) }
        let bytes = UnsafeRawBufferPointer(reply)
        var offset = 64 + (56...61).reduce(0) { $0 + Int(bytes[$1]) } + 6
        var found: [String: UInt64] = [:]
        while offset < outcome.bytes {
            let name = bytes.slice(at: offset + 56, length: Int(bytes[offset + 3]))
            found[String(decoding: name, as: UTF8.self)] = bytes.loadLittle(
                at: offset + 24, as: UInt64.self)
            offset += 56 + Int(bytes[offset + 3]) + Int(bytes[offset + 4])
        }
        return found
    }

    @Test(arguments: [UnknownOrganizations.refuse, .claims])
    func whatNobodyServesIsNotRecorded(unknown: UnknownOrganizations) throws {
        let harness = try DirectoryHarness(.withDirectory(.directoryFirst, unknown: unknown))
        func consume(_ organization: String) -> Answer {
            harness.engine.consume(
                organization: organization, user: "eve", plan: "pro_tier", operation: "chat",
                meters: [("tokens", 1)])
        }
        let rows = harness.engine.engine.gauges
        let made = consume("made up")
        if unknown == .refuse {
            #expect(made.reason == .subscriptionInactive && !made.isAllowed)
            #expect(harness.engine.engine.gauges.organizations == rows.organizations)
            #expect(harness.engine.engine.gauges.users == rows.users)
        } else {
            #expect(made.isAllowed)
        }
        #expect(consume("acme").isAllowed)
    }
}
