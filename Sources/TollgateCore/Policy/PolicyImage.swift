import TollgateWire

/// One limit that an operation touches under a plan, ready to be evaluated.
struct ChargeStep: BitwiseCopyable {
    /// Of a quota, `QuotaDefinition.unlimited`: it counts, and refuses nobody.
    var limit: UInt64
    /// What admits: the limit, or with overage more.
    var ceiling: UInt64
    /// 1 / limit, to compare what remains of different limits; 0 for a limit of 0.
    var inverseLimit: Double
    var isQuota: Bool
    var scope: LimitScope
    /// Which of the operation's charges counts here; 0 in programs that only look.
    var charge: UInt8
    var flags: StepFlags = []
    /// Index into the slots of the plan's layout for this scope.
    var slot: UInt16
    /// Index into `PolicyImage.limits`.
    var limitIndex: UInt16
    /// Index of the window's shape, or of the quota's calendar.
    var form: UInt16
}

/// What a quota has beside its limit; `PolicyImage.quotaTerms` has the numbers.
struct StepFlags: OptionSet, BitwiseCopyable {
    let rawValue: UInt8
    /// Unused units are carried over.
    static let rollover = StepFlags(rawValue: 1)
    /// Members' own use is counted.
    static let pool = StepFlags(rawValue: 2)
    /// Of a member's own use of such a quota.
    static let member = StepFlags(rawValue: 4)
    /// What is granted to the organization beyond it burns when it is used up.
    static let credits = StepFlags(rawValue: 8)
    /// It refuses nobody: what it would have refused is told, and counted apart.
    static let shadow = StepFlags(rawValue: 16)
}

/// The rarer numbers of a limit, by its index.
struct QuotaTerms: BitwiseCopyable {
    var rolloverMax: UInt64 = 0
    /// Of a pool, and of its members' step.
    var memberMin: UInt64 = 0
    /// Slots of a pool: the member's, in the user's row, its own and its `PoolCell`'s.
    var memberSlot: UInt16 = 0
    var sharedSlot: UInt16 = 0
    var poolSlot: UInt16 = 0
    /// Of a quota with credits: what its counter and its meter are called in a `CreditAccount`.
    var creditTag: UInt64 = 0
    var creditMeter: UInt32 = 0
}

extension PolicyCompiler {
    /// Of a limit that is in shadow itself, or with the whole policy.
    func shadow(_ isShadow: Bool) -> StepFlags {
        isShadow || definition.isShadow ? .shadow : []
    }
}

/// Steps of one program: indices into `PolicyImage.steps`.
struct StepRange: BitwiseCopyable {
    var start: Int32 = 0
    var end: Int32 = 0

    @inline(__always)
    var isEmpty: Bool { start == end }
}

/// What an operation charges one meter with.
struct CompiledCharge: BitwiseCopyable {
    var meter: Int16
    var weight: UInt64
    var defaultUnits: UInt64
    /// Default units times weight.
    var defaultWeighted: UInt64
}

struct CompiledOperation: BitwiseCopyable {
    /// Index of the permission it needs; -1 is none.
    var permission: Int16
    var chargeStart: Int32
    var chargeCount: Int32
    var addressSteps: StepRange
}

/// A set of permissions, by index.
struct PermissionSet: BitwiseCopyable, Equatable {
    static let permissionsMax = 256
    private var words = InlineArray<4, UInt64>(repeating: 0)

    @inline(__always)
    func contains(_ index: Int) -> Bool { words[index &>> 6 & 3] &>> UInt64(index & 63) & 1 == 1 }

    mutating func insert(_ index: Int) { words[index &>> 6 & 3] |= 1 &<< UInt64(index & 63) }

    mutating func formIntersection(_ other: PermissionSet) {
        for index in 0..<4 { words[index] &= other.words[index] }
    }

    mutating func formUnion(_ other: PermissionSet) {
        for index in 0..<4 { words[index] |= other.words[index] }
    }

    static func == (a: PermissionSet, b: PermissionSet) -> Bool {
        a.words[0] == b.words[0] && a.words[1] == b.words[1] && a.words[2] == b.words[2]
            && a.words[3] == b.words[3]
    }
}

struct CompiledPlan: BitwiseCopyable {
    var permissions: PermissionSet
    /// Indices into `PolicyImage.layouts`.
    var userLayout: Int32
    var organizationLayout: Int32
    /// Every rate limit and quota of the plan, for USAGE.
    var all: StepRange
    /// Its limits of open reservations; their slots are `ConcurrencyCell`s.
    var concurrency: StepRange
    /// Some of its quotas are shared among members.
    var hasPools: Bool
    /// Of some of its quotas, what is granted beyond them burns.
    var hasCredits: Bool
    /// Of some of its quotas the limit says what is counted, too: what burns of credits, or what is
    /// carried over.
    var countsByLimit: Bool
    var holds: HoldTerms
    /// Where its prices begin in `PolicyImage.prices`, one for each meter; -1: it has none.
    var priceStart: Int32
    /// Names the plan in rows, over policies: FNV-1a of the name.
    var tag: UInt32
}

/// What replies and explanations say about a limit.
struct LimitInfo {
    var name: [UInt8]
    var meter: [UInt8]
    /// Of a window; 0 for a quota, whose period's length depends on the date.
    var windowMilliseconds: UInt64
    /// The most that an override may set, where the policy says so.
    var overrideMax: UInt64?
}

/// A calendar that quotas share.
struct QuotaCalendar: Equatable {
    var period: PeriodKind
    /// `nil`: that of whom it counts for.
    var zone: ZoneRules?
}

/// A policy compiled for the check path: names are indices, routes a trie, and what every
/// operation charges under every plan is a flat list of steps, in the order user windows,
/// organization windows, user quotas, organization quotas.
///
/// Immutable once made, so every thread may read it. Lives as long as a request decided by it.
package final class PolicyImage: Sendable {
    /// 1 at start, one more at each reload.
    package let generation: UInt64
    let meters: NameTable
    let plans: NameTable
    let operations: NameTable
    let permissions: NameTable
    let routes: RouteTable
    let issuers: IssuerTable
    // The buffers are written once in init and read-only until deinit: safe to share.
    nonisolated(unsafe) let steps: UnsafeMutableBufferPointer<ChargeStep>
    nonisolated(unsafe) let charges: UnsafeMutableBufferPointer<CompiledCharge>
    nonisolated(unsafe) let compiledOperations: UnsafeMutableBufferPointer<CompiledOperation>
    nonisolated(unsafe) let compiledPlans: UnsafeMutableBufferPointer<CompiledPlan>
    /// By plan, then operation.
    nonisolated(unsafe) let programs: UnsafeMutableBufferPointer<StepRange>
    nonisolated(unsafe) let shapes: UnsafeMutableBufferPointer<WindowShape>
    /// By index into `limits`.
    nonisolated(unsafe) let quotaTerms: UnsafeMutableBufferPointer<QuotaTerms>
    /// Micro-units of money for one unit, of those plans that have prices, by meter.
    nonisolated(unsafe) let prices: UnsafeMutableBufferPointer<UInt64>
    /// By meter: what reservations name it by, whatever policy (`meterTag`).
    nonisolated(unsafe) let meterTags: UnsafeMutableBufferPointer<UInt64>
    /// Identities of the counters that carry units over.
    let rollovers: Set<String>
    let idempotency: IdempotencyTerms
    /// Where periods begin for whom no subscription says otherwise.
    package let timeZone: ZoneRules
    let limits: [LimitInfo]
    let calendars: [QuotaCalendar]
    let layouts: [RowLayout]
    /// Indices into `layouts` of every counter that any plan has in a scope: what a row gets when
    /// it is asked for another plan's.
    let userUnion: Int
    let organizationUnion: Int
    /// Of rows of addresses: the address limits, then the window of invalid credentials.
    let addressLayout: Int
    let invalidCredentialStep: ChargeStep?
    /// By issuer; -1 is none.
    let defaultPlans: [Int]
    /// By issuer.
    let planSources: [PlanSource]
    let unknownOrganizations: [UnknownOrganizations]
    let issuerNames: [String]
    /// Some issuer's tokens are good for organizations that the directory does not know.
    let servesUnknownOrganizations: Bool
    /// By issuer, milliseconds: how far ahead of our clock its `iat` may lie. 0 for tokens of our
    /// own, whose `iat` is by our clock.
    let clockSkews: [Int64]
    /// Index into `limits` of what stands for a key's own limit.
    let credentialLimit: Int
    /// Bytes of the longest name of a limit.
    let limitNameBytesMax: Int
    let revealsCredentialFailures: Bool
    let credentialBytesMax: Int
    /// No limit and no permission refuses.
    package let isShadow: Bool
    /// Some limit may be in shadow.
    let hasShadow: Bool
    /// Some quota is in shadow.
    let hasShadowQuotas: Bool
    /// Limits of plans and of addresses that are in shadow, by themselves or with the policy.
    package let limitsInShadow: Int

    /// Checks and compiles. Throws everything that is wrong, and then there is no image.
    package init(
        compiling definition: PolicyDefinition, generation: UInt64
    ) throws(PolicyCompileError) {
        var compiler = PolicyCompiler(definition)
        let parts = try compiler.compile()
        self.generation = generation
        meters = parts.meters
        plans = parts.plans
        operations = parts.operations
        permissions = parts.permissions
        routes = parts.routes
        issuers = parts.issuers
        steps = Self.copied(compiler.steps)
        charges = Self.copied(compiler.charges)
        compiledOperations = Self.copied(compiler.compiledOperations)
        compiledPlans = Self.copied(compiler.compiledPlans)
        programs = Self.copied(compiler.programs)
        shapes = Self.copied(compiler.shapes)
        quotaTerms = Self.copied(compiler.quotaTerms)
        prices = Self.copied(compiler.prices)
        let meters = parts.meters
        meterTags = Self.copied(
            (0..<meters.count).map { meters.withName($0) { meterTag($0) } })
        rollovers = Set(
            definition.plans.flatMap(\.quotas).filter { $0.rolloverMax != nil }.map {
                CounterSlot($0).identity
            })
        idempotency = definition.idempotency
        timeZone = definition.timeZone
        limits = compiler.limits
        calendars = compiler.calendars
        layouts = compiler.layouts
        userUnion = compiler.userUnion.index
        organizationUnion = compiler.organizationUnion.index
        addressLayout = compiler.addressLayout
        invalidCredentialStep = compiler.invalidCredentialStep
        defaultPlans = compiler.defaultPlans
        planSources = definition.issuers.map(\.planSource)
        issuerNames = definition.issuers.map(\.name)
        unknownOrganizations = definition.issuers.map(\.unknownOrganizations)
        servesUnknownOrganizations =
            definition.issuers.isEmpty
            || definition.issuers.contains { $0.unknownOrganizations == .claims }
        clockSkews = definition.issuers.map { issuer in
            let isOwn = definition.tokens != nil && issuer.name == TokenTerms.issuerName
            return isOwn ? 0 : issuer.leewaySeconds * 1_000
        }
        credentialLimit = compiler.credentialLimit
        limitNameBytesMax = limits.reduce(0) { max($0, $1.name.count) }
        revealsCredentialFailures = definition.revealsCredentialFailures
        credentialBytesMax = definition.credentialBytesMax
        isShadow = definition.isShadow
        let shadowed = compiler.steps.lazy.filter { $0.flags.contains(.shadow) }
        limitsInShadow = Set(shadowed.map(\.limitIndex)).count
        hasShadow = isShadow || limitsInShadow > 0
        hasShadowQuotas = shadowed.contains { $0.isQuota }
    }

    deinit {
        steps.deallocate()
        charges.deallocate()
        compiledOperations.deallocate()
        compiledPlans.deallocate()
        programs.deallocate()
        shapes.deallocate()
        quotaTerms.deallocate()
        prices.deallocate()
        meterTags.deallocate()
    }

    /// What the operation charges under the plan.
    @inline(__always)
    func program(plan: Int, operation: Int) -> StepRange {
        programs[plan &* compiledOperations.count &+ operation]
    }

    private static func copied<T: BitwiseCopyable>(_ array: [T]) -> UnsafeMutableBufferPointer<T> {
        let buffer = UnsafeMutableBufferPointer<T>.allocate(capacity: array.count)
        _ = buffer.initialize(from: array)
        return buffer
    }
}
