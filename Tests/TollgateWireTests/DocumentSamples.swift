import TollgateWire

/// One of every document, each member with a value of its own.
enum DocumentSamples {
    static func instant(_ milliseconds: Int64) -> Timestamp {
        Timestamp(milliseconds: milliseconds)
    }

    static let subscription = Subscription(
        plan: "pro_tier", status: .pastDue, anchorAt: instant(1), timeZone: "Europe/Berlin",
        sinceAt: instant(2), pending: .init(plan: "free_tier", mode: .prorate, at: instant(3)))
    static let organization = Organization(
        id: "acme", name: "Åcme 漢字 \"quoted\"\n", isPersonal: false, status: .active,
        createdAt: instant(4), subscription: subscription)
    static let user = User(
        organization: "acme", id: "ada", name: "Ada", role: .owner, status: .suspended,
        createdAt: instant(5))
    static let key = APIKeyInfo(
        organization: "acme", id: "0000000000000042", prefix: "tg_live_0000000000000042",
        user: "ada", name: "ci", environment: "live", creator: "uid 0", createdAt: instant(6),
        lastUsedAt: instant(7), expiresAt: instant(8), revokedAt: instant(9), state: .rotating,
        rotatingUntilAt: instant(10), permissions: ["can_use_gpt4o"], addresses: ["192.0.2.0/24"],
        rate: .init(limit: 5, windowSeconds: 60), pepper: 3)
    static let issuedKey = IssuedKey(key: key, secret: SecretText("tg_live_hidden"))
    static let session = Session(
        organization: "acme", id: "session-1", user: "ada", createdAt: instant(11),
        expiresAt: instant(12), idleSeconds: 13, revokedAt: instant(14), reason: .reuse)
    static let tokens = IssuedTokens(
        accessToken: SecretText("hidden.access.token"), expiresInSeconds: 600,
        expiresAt: instant(15), refreshToken: SecretText("hidden-refresh"), session: session,
        isRetried: true)
    static let override = LimitOverride(
        organization: "acme", user: "ada", limit: "per_minute", units: 1 << 53,
        expiresAt: instant(16))
    static let grant = CreditGrant(
        organization: "acme", id: "invoice-17", quota: "monthly", meter: "tokens", units: 40,
        burnt: 31, remaining: 9, priority: 7, state: .pending, effectiveAt: instant(32),
        expiresAt: instant(33), note: "a top-up", createdAt: instant(34), voidedAt: instant(35))
    static let revocation = Revocation(
        organization: "acme", isPersonal: true, kind: .session, subject: "session-1",
        at: instant(17), expiresAt: instant(18))
    static let outcome = RevocationOutcome(revocation: revocation, isKnown: true)
    static let ended = SessionRevocation(session: session, revocation: revocation)
    static let signingKey = SigningKey(
        id: "2026-01", algorithm: "HS256", state: .retiring, addedAt: instant(19),
        promotedAt: instant(20), demotedAt: instant(21), retiredAt: instant(22),
        retirableAt: instant(23))
    static let plan = PlanInfo(
        name: "pro_tier", permissions: ["can_use_gpt4o"],
        limits: [
            .init(
                name: "per_minute", kind: .rateLimit, scope: .user, meter: "calls", limit: 600,
                windowMilliseconds: 60_000, period: nil),
            .init(
                name: "monthly", kind: .quota, scope: .organization, meter: "tokens", limit: 1,
                windowMilliseconds: nil, period: .month),
        ])
    static let preview = PlanChangePreview(
        from: "pro_tier", to: "free_tier", mode: .reset, effectiveAt: instant(24),
        permissionsLost: ["a"], permissionsGained: ["b"],
        limits: [
            .init(
                name: "monthly", kind: .quota, scope: .organization, meter: "tokens", before: 2,
                after: 1)
        ],
        over: [
            .init(
                user: "ada", limit: "monthly", meter: "tokens", used: 3, limitAfter: 1,
                untilAt: instant(25))
        ], overCount: 1)
    static let change = PlanChange(
        organization: organization, effectiveAt: instant(26), preview: preview)
    static let logEntry = DirectoryLogEntry(
        number: 1, at: instant(27), uid: 4_294_967_295, pid: 4_194_304, organization: "acme",
        action: "org.rename", subject: "acme", before: ["name": .string("a")],
        after: ["name": .string("b")])
    static let status = DirectoryStatus(
        path: "/var/lib/tollgate", organizations: 1, users: 2, keys: 3, sessions: 4,
        revocations: 5, peppers: [.init(generation: 1, keys: 3, isConfigured: true)])
    static let snapshot = SnapshotInfo(generation: 3, at: instant(28), bytes: 4_096)
    static let ledger: LedgerHealth = {
        var ledger = LedgerHealth(state: .refusing)
        ledger.durability = .always
        ledger.path = "/var/lib/tollgate/ledger"
        ledger.trouble = "no room"
        ledger.troubleAt = instant(29)
        ledger.advice = "make room"
        ledger.appended = 2
        ledger.synced = 1
        ledger.lagMilliseconds = 3
        ledger.snapshot = snapshot
        ledger.isClockHeld = true
        return ledger
    }()
    static let usage = PeriodUsage(
        organization: "acme", isPersonal: false, user: "ada", limit: "daily", meter: "calls",
        period: .billingMonth, beginsOn: "2026-10-15", endsAt: instant(30), used: 4, isOpen: true,
        isShare: true, credits: 3)
    static let subject: AlertSubjectInfo = {
        var subject = AlertSubjectInfo()
        subject.organization = "acme"
        subject.isPersonal = true
        subject.user = "ada"
        subject.key = "0000000000000042"
        subject.address = "192.0.2.7"
        subject.quota = "monthly"
        subject.operation = "chat"
        subject.trouble = "ledger"
        return subject
    }()
    static let alert: AlertInfo = {
        var alert = AlertInfo(
            id: 36, rule: "early", kind: .quotaExhaustedEarly, severity: .critical,
            at: instant(37), text: "gone", subject: subject)
        (alert.threshold, alert.value, alert.limit) = (38, 39, 40)
        alert.periodEndsAt = instant(41)
        alert.exhaustedAt = instant(42)
        alert.isShadow = true
        alert.isSilenced = true
        alert.acknowledgedAt = instant(43)
        alert.acknowledgedBy = 44
        alert.note = "seen"
        return alert
    }()
    static let silence = AlertSilenceInfo(
        id: 45, rule: "early", subject: subject, at: instant(46), untilAt: instant(47), uid: 48,
        note: "why")
    static let busy = BusyOrganization(
        organization: "acme", isPersonal: true, recent: 49, recentError: 50, allowed: 51,
        denied: 52)
    static let near = NearestQuota(
        organization: "acme", isPersonal: true, user: "ada", plan: "pro", quota: "monthly",
        meter: "tokens", period: .week, used: 53, held: 54, limit: 55, endsAt: instant(56),
        isShare: true, isShadow: true)
    static let top = TopOrganizations(
        at: instant(57), since: instant(58), sampleOneIn: 59, missedMax: 60, busiest: [busy],
        nearest: [near])
    static let exportedKey = ExportedKey(
        key: key, digest: SecretText("aa"), previousDigest: SecretText("bb"), previousPepper: 2)
    static let records: [ExportedRecord] = [
        .organization(organization), .user(user), .override(override), .grant(grant),
        .key(exportedKey), .revocation(revocation),
    ]

    static let all: [any DirectoryDocument] =
        [
            subscription, organization, user, key, issuedKey, session, tokens, override, grant,
            revocation, outcome, ended, signingKey, plan, preview, change, logEntry, status,
            exportedKey,
            DirectoryBackup(path: "/backup/a", bytes: 27), ImportOutcome(created: 1, unchanged: 2),
            DirectoryPage(items: [user], next: "cursor"), snapshot, ledger, usage,
            PruneOutcome(pruned: 9), alert, silence, busy, near, top,
        ] + records
}
