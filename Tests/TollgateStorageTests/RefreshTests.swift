import Testing
import TollgateCore

@testable import TollgateStorage

/// RELIABILITY S21 to S24, R1 to R4: refresh tokens.
@Suite struct RefreshTests {
    /// A session in a store, driven step by step; holds every text that was given out.
    final class Bench {
        let folder = TestFolder()
        let store: DirectoryStore
        let tenant: TenantDirectory
        let session: SessionID
        let user: UserID
        let pepper: APIKeyPepper
        var random: SeededRandom
        /// From the first on; each is the successor of the one before.
        var texts: [[UInt8]]
        static let grace: Int64 = 10_000
        static let idle: Int64 = 1_000_000
        static let absolute: Int64 = 10_000_000

        init(seed: UInt64) throws {
            random = SeededRandom(seed: seed)
            store = try folder.store()
            // The tests are many and the sync is not what they look at.
            try store.database.execute("PRAGMA synchronous=OFF")
            tenant = store.acting(for: try Sample.organization())
            user = try UserID("ada")
            pepper = try Sample.pepper()
            _ = try store.createOrganization(
                tenant.organization, name: "Acme", by: Sample.change())
            _ = try tenant.createUser(user, name: "Ada", role: .owner, by: Sample.change())
            session = try Sample.session(&random)
            texts = []
            texts = [try logIn(session)]
        }

        func logIn(_ session: SessionID, at: Int64 = 0) throws -> [UInt8] {
            let made = try RefreshToken.make(random: random.source())
            _ = try tenant.logIn(
                user, session: session, token: made.hash,
                expires: Sample.time(at + Self.absolute), idleMilliseconds: Self.idle,
                by: Sample.change(at))
            return made.text.withBytes(Array.init)
        }

        func refresh(
            _ text: [UInt8], at: Int64, pepper: APIKeyPepper? = nil
        ) throws -> RefreshOutcome {
            try text.withUnsafeBytes {
                try tenant.refresh(
                    $0, salt: random.bytes(32), pepper: pepper ?? self.pepper,
                    terms: RefreshTerms(
                        graceMilliseconds: Self.grace,
                        accessTokensExpire: Sample.time(at + 600_000)),
                    by: Sample.change(at))
            }
        }

        func renewed(_ text: [UInt8], at: Int64) throws -> (text: [UInt8], isRetry: Bool)? {
            guard case .renewed(_, let token, let isRetry) = try refresh(text, at: at) else {
                return nil
            }
            return (token.withBytes(Array.init), isRetry)
        }

        func rotate(at: Int64) throws {
            let last = try #require(texts.last)
            texts.append(try #require(try renewed(last, at: at)).text)
        }
    }

    static func name(_ outcome: RefreshOutcome) -> String {
        switch outcome {
        case .renewed(_, _, let isRetry): isRetry ? "again" : "rotated"
        case .reused: "reused"
        case .refused(let why): "\(why)"
        }
    }

    /// The rule, as a table over (spent how long ago, successor used, family, holder).
    @Test func theDecisionIsTheWrittenRule() {
        let now = Sample.time(0)
        for spent in [nil, -10_000, -9_999, -1, 0, 1, 9_999, 10_000] as [Int64?] {
            for idle in [-1, 0, 1] as [Int64] {
                for end in [-1, 0, 1] as [Int64] {
                    for bits in 0..<8 {
                        let token = PresentedToken(
                            spent: spent.map { Sample.time(-$0) },
                            successorIsSpent: bits & 1 != 0, idleExpires: Sample.time(idle),
                            familyExpires: Sample.time(end), familyIsRevoked: bits & 2 != 0,
                            holderIsActive: bits & 4 != 0)
                        let found = RefreshRotation.decide(
                            token, now: now, graceMilliseconds: 10_000)
                        let inGrace = spent.map { -10_000 < $0 && $0 < 10_000 } ?? false
                        let active: RefreshRotation? = bits & 4 != 0 ? nil : .refuse(.inactive)
                        let expected: RefreshRotation =
                            if bits & 2 != 0 {
                                .refuse(.revoked)
                            } else if end <= 0 {
                                .refuse(.expired)
                            } else if spent == nil {
                                idle <= 0 ? .refuse(.expired) : active ?? .rotate
                            } else if inGrace && bits & 1 == 0 {
                                active ?? .giveAgain
                            } else {
                                .endFamily
                            }
                        #expect(found == expected, "\(token)")
                    }
                }
            }
        }
    }

    @Test func theGraceIsBoundedAndNeverNegative() {
        func decide(_ ago: Int64, _ grace: Int64) -> RefreshRotation {
            RefreshRotation.decide(
                PresentedToken(
                    spent: WallTime(milliseconds: -ago), successorIsSpent: false,
                    idleExpires: Sample.time(0), familyExpires: Sample.time(0),
                    familyIsRevoked: false, holderIsActive: true),
                now: WallTime(milliseconds: 0), graceMilliseconds: grace)
        }
        #expect(decide(59_999, .max) == .giveAgain)
        #expect(decide(60_000, .max) == .endFamily)
        #expect(decide(0, 0) == .endFamily)
        #expect(decide(0, .min) == .endFamily)
        #expect(decide(.max, 10_000) == .endFamily)
        #expect(decide(.min + 1, 10_000) == .endFamily)
    }

    enum Step: Int, CaseIterable {
        case use, retry, reuseParent, grandparent, twoTabs, revoke
    }

    /// What the rule knows of a family: its tokens, which of them are spent, and whether it lives.
    struct Rule {
        var texts: [[UInt8]]
        var spentAt: [Int64] = []
        var isRevoked = false
        var now: Int64 = 1
        var steps: [Step] = []

        /// For the token `back` places before the newest.
        func expected(_ back: Int, at: Int64) -> String {
            if isRevoked { return "revoked" }
            if back == 0 { return "rotated" }
            let place = texts.count - 1 - back
            return back == 1 && at - spentAt[place] < Bench.grace ? "again" : "reused"
        }
    }

    /// Every sequence of up to six steps against the rule, which is written here once more in its
    /// own words.
    @Test func everySequenceOfSixStepsKeepsTheRule() throws {
        let bench = try Bench(seed: 1)
        var sequences = 0
        var reached: [String: Int] = [:]
        func walk(_ rule: Rule) throws {
            guard rule.steps.count < 6 else { return }
            for step in Step.allCases {
                var next = rule
                next.steps.append(step)
                try bench.store.database.execute("SAVEPOINT sequence")
                for name in try Self.take(step, bench, &next) { reached[name, default: 0] += 1 }
                sequences += 1
                try walk(next)
                try bench.store.database.execute("ROLLBACK TO sequence; RELEASE sequence")
            }
        }
        try walk(Rule(texts: bench.texts))
        #expect(sequences == 6 + 36 + 216 + 1_296 + 7_776 + 46_656)
        for name in ["rotated", "again", "reused", "revoked"] {
            #expect((reached[name] ?? 0) > 1_000, "\(name)")
        }
    }

    /// Takes one step and checks each answer; the answers' names.
    private static func take(_ step: Step, _ bench: Bench, _ rule: inout Rule) throws -> [String] {
        rule.now += 1_000
        switch step {
        case .use: return try [present(0, at: rule.now, bench, &rule)].compactMap(\.self)
        case .retry:
            let at = (rule.spentAt.last ?? 0) + Bench.grace - 1
            return try [present(1, at: at, bench, &rule)].compactMap(\.self)
        case .reuseParent:
            rule.now += Bench.grace
            return try [present(1, at: rule.now, bench, &rule)].compactMap(\.self)
        case .grandparent: return try [present(2, at: rule.now, bench, &rule)].compactMap(\.self)
        case .twoTabs:
            let place = rule.texts.count - 1
            let first = try present(0, at: rule.now, bench, &rule)
            let second = try present(rule.texts.count - 1 - place, at: rule.now, bench, &rule)
            return [first, second].compactMap(\.self)
        case .revoke:
            _ = try bench.tenant.revokeSession(
                bench.session, tokensExpire: Sample.time(rule.now), by: Sample.change(rule.now))
            rule.isRevoked = true
            return []
        }
    }

    private static func present(
        _ back: Int, at: Int64, _ bench: Bench, _ rule: inout Rule
    ) throws -> String? {
        let place = rule.texts.count - 1 - back
        guard place >= 0 else { return nil }
        let outcome = try bench.refresh(rule.texts[place], at: at)
        if name(outcome) != rule.expected(back, at: at) {
            Issue.record("\(rule.steps): \(name(outcome)), not \(rule.expected(back, at: at))")
        }
        switch outcome {
        case .renewed(_, let token, let isRetry):
            let text = token.withBytes(Array.init)
            if !isRetry {
                rule.texts.append(text)
                rule.spentAt.append(at)
            } else if text != rule.texts[place + 1] {
                Issue.record("\(rule.steps): another successor")
            }
        case .reused(let session, let revocation):
            rule.isRevoked = true
            #expect(session.reason == .reuse && session.revoked == Sample.time(at))
            #expect(revocation.kind == .session && revocation.subject == bench.session.text)
        case .refused: break
        }
        return name(outcome)
    }

    @Test func idleAndAbsoluteLifetimesEndExactlyThen() throws {
        for (at, expected) in [
            (Bench.idle - 1, "rotated"), (Bench.idle, "expired"),
        ] {
            let bench = try Bench(seed: 2)
            #expect(Self.name(try bench.refresh(bench.texts[0], at: at)) == expected)
        }
        let bench = try Bench(seed: 3)
        var at: Int64 = 0
        while at + Bench.idle - 1 < Bench.absolute {
            at += Bench.idle - 1
            try bench.rotate(at: at)
        }
        let last = try #require(bench.texts.last)
        #expect(Self.name(try bench.refresh(last, at: Bench.absolute)) == "expired")
        #expect(Self.name(try bench.refresh(last, at: Bench.absolute - 1)) == "rotated")
    }

    @Test func aSuspendedHolderIsRefusedAndSpendsNothing() throws {
        let bench = try Bench(seed: 4)
        _ = try bench.tenant.setUserStatus(bench.user, .suspended, by: Sample.change(1))
        #expect(Self.name(try bench.refresh(bench.texts[0], at: 2)) == "inactive")
        _ = try bench.tenant.setUserStatus(bench.user, .active, by: Sample.change(3))
        _ = try bench.tenant.setStatus(.suspended, by: Sample.change(3))
        #expect(Self.name(try bench.refresh(bench.texts[0], at: 4)) == "inactive")
        _ = try bench.tenant.setStatus(.active, by: Sample.change(5))
        #expect(Self.name(try bench.refresh(bench.texts[0], at: 6)) == "rotated")
    }

    @Test func aReplyLostAcrossAPepperChangeIsNoReuse() throws {
        let bench = try Bench(seed: 5)
        try bench.rotate(at: 1)
        let other = try APIKeyPepper(
            SecretBytes(copying: [UInt8](repeating: 9, count: 32)), generation: 4)
        #expect(
            Self.name(try bench.refresh(bench.texts[0], at: 2, pepper: other)) == "pepperChanged")
        #expect(Self.name(try bench.refresh(bench.texts[1], at: 3, pepper: other)) == "rotated")
    }

    /// With a salt, the pepper and an old token its successor could be made: one has a salt, the
    /// parent of the token that can be used.
    @Test func whatASuccessorWasMadeWithIsForgottenWhenThatIsUsed() throws {
        let bench = try Bench(seed: 9)
        for at in 1...5 {
            try bench.rotate(at: Int64(at))
            let salted = try bench.store.database.text(
                """
                SELECT group_concat(s.spent IS NULL) FROM refresh_tokens t
                JOIN refresh_tokens s ON s.hash = t.successor WHERE t.salt IS NOT NULL
                """)
            #expect(salted == "1")
        }
    }

    @Test func junkAndOthersTokensAreUnknown() throws {
        let bench = try Bench(seed: 6)
        for text in [[], Array("tgr_".utf8), bench.texts[0].dropLast(), bench.texts[0] + [0x30]] {
            #expect(Self.name(try bench.refresh(Array(text), at: 1)) == "unknown")
        }
        let never = try RefreshToken.make(random: bench.random.source())
        #expect(Self.name(try bench.refresh(never.text.withBytes(Array.init), at: 1)) == "unknown")
        #expect(try bench.store.acting(presenting: never.hash) == nil)
        let hash = try #require(bench.texts[0].withUnsafeBytes { RefreshToken.hash($0) })
        #expect(
            try bench.store.acting(presenting: hash)?.organization == bench.tenant.organization)
        // Another tenant, to whom it does not belong.
        let other = try OrganizationID("other")
        _ = try bench.store.createOrganization(other, name: "o", by: Sample.change())
        let outcome = try bench.texts[0].withUnsafeBytes {
            try bench.store.acting(for: other).refresh(
                $0, salt: bench.random.bytes(32), pepper: bench.pepper,
                terms: RefreshTerms(graceMilliseconds: 1, accessTokensExpire: Sample.time(9)),
                by: Sample.change(1))
        }
        #expect(Self.name(outcome) == "unknown")
        #expect(Self.name(try bench.refresh(bench.texts[0], at: 2)) == "rotated")
    }

    @Test func revokingAUserOrAnOrganizationEndsItsSessions() throws {
        for everybody in [false, true] {
            let bench = try Bench(seed: 7)
            let record =
                everybody
                ? try bench.tenant.revokeAll(tokensExpire: Sample.time(99), by: Sample.change(1))
                : try bench.tenant.revokeUser(
                    bench.user, tokensExpire: Sample.time(99), by: Sample.change(1))
            #expect(record.isKnown && record.record.kind == (everybody ? .organization : .user))
            #expect(Self.name(try bench.refresh(bench.texts[0], at: 2)) == "revoked")
            let again = try bench.logIn(Sample.session(&bench.random), at: 3)
            #expect(Self.name(try bench.refresh(again, at: 4)) == "rotated")
        }
    }

    @Test func whatIsOverIsForgotten() throws {
        let bench = try Bench(seed: 8)
        _ = try bench.tenant.revokeToken(
            jti: "j", expires: Sample.time(50), by: Sample.change(1))
        #expect(try bench.store.forgetExpired(at: Sample.time(49)) == 0)
        #expect(try bench.store.forgetExpired(at: Sample.time(50)) == 1)
        #expect(try bench.tenant.revocations(kind: .jti).items.isEmpty)
        #expect(try bench.store.forgetExpired(at: Sample.time(Bench.absolute - 1)) == 0)
        #expect(try bench.store.forgetExpired(at: Sample.time(Bench.absolute)) == 1)
        #expect(Self.name(try bench.refresh(bench.texts[0], at: 1)) == "unknown")
    }
}
