import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

/// Runs the decisions of an audit log through two policies, each with counters of its own that
/// begin empty, and finds where they part. The log is the judge of the old one: what that does not
/// reproduce is not judged.
struct PolicyReplay {
    /// Why a decision cannot be judged.
    enum Unjudged: String, CaseIterable {
        /// Windows, holds and members' pools that began before the log.
        case before
        /// A limit had another number than the old policy's: an override, credits, carried units.
        case numbers
        /// Of an API key's own limit, which is not in the log.
        case keyLimit
        /// A plan or an operation that the old policy has not.
        case otherPolicy
        /// The record says otherwise, and nothing in the log tells why.
        case unexplained
    }

    var report = ReplayReport()
    private let old: ReplaySide
    private let new: ReplaySide
    private var order = ReplayOrder()
    /// Subjects of quotas, by a hash: two that share one cost a note in the report.
    private var seen: Set<Int> = []
    private var otherNumbers: Set<String> = []
    private var clock = ReplayClock()
    private let longestWindow: UInt64
    /// Decisions that come out otherwise are kept until they are taken.
    var isListing = false
    private var listed: [ReplayReport.Changed] = []

    init(old: PolicyDefinition, new: PolicyDefinition) throws(PolicyCompileError) {
        self.old = try ReplaySide(old)
        self.new = try ReplaySide(new)
        let windows = old.plans.flatMap(\.rateLimits) + old.addressLimits
        longestWindow = windows.map(\.windowNanoseconds).max() ?? 0
    }

    mutating func add(_ record: AuditRecord) {
        for one in order.add(record) { decide(one.record) }
    }

    mutating func finish() {
        for one in order.finish() { decide(one.record) }
    }

    private mutating func decide(_ record: AuditRecord) {
        report.decisions += 1
        let moment = clock.moment(of: record)
        old.begin(moment)
        new.begin(moment)
        report.note(record.wall)
        guard !record.flags.contains(.repeated) else { return report.asRecorded += 1 }
        switch record.kind {
        case .check, .consume, .reserve: judge(record)
        case .extend: judgeExtend(record)
        case .settle, .cancel, .cut: end(record)
        }
    }

    private mutating func end(_ record: AuditRecord) {
        report.asRecorded += 1
        guard record.isAllowed else { return }
        for side in [old, new] {
            switch record.kind {
            case .cancel: side.cancel(record)
            case .cut: side.cut(record)
            default: side.settle(record)
            }
        }
    }

    /// Refusals before any limit is looked at, and those of a daemon in trouble.
    private static func isTaken(_ reason: UInt16) -> Bool {
        switch Reason(rawValue: reason) {
        case .none?, .permissionDenied, .rateLimited, .concurrencyExceeded, .quotaExhausted: false
        default: true
        }
    }

    private mutating func judge(_ record: AuditRecord) {
        guard !Self.isTaken(record.reason), let plan = record.plan,
            let operation = record.operation
        else { return report.asRecorded += 1 }
        guard let terms = old.plan(plan),
            let asked = old.definition.operations.first(where: { $0.name == operation })
        else { return report.leave(record, .otherPolicy) }
        var call = ReplayCall(record, plan, asked)
        let wasPermitted = !record.isWithoutPermission
        if wasPermitted != old.grants(plan, operation), record.kind != .consume {
            // The credential narrowed or widened what its plan has.
            call.isPermitted = wasPermitted
        }
        var cause = look(at: record, call, terms)
        let before = old.decide(call, record)
        let after = new.decide(call, record)
        forget(record, before, after)
        if cause == nil, Self.hasOtherPool(record, terms, before) { cause = .before }
        guard before.reason.rawValue == record.reason, before.refusing == record.refusing,
            before.isInShadow == record.flags.contains(.shadow)
        else { return report.leave(record, why(record, cause)) }
        if let cause { return report.leave(record, cause) }
        judge(record, before, after)
    }

    /// A pool counts otherwise than the log says: what it counted before is not taken from there.
    private static func hasOtherPool(
        _ record: AuditRecord, _ plan: PlanDefinition, _ before: ReplayAnswer
    ) -> Bool {
        guard let shown = record.quota, plan.quotas.contains(where: \.isPool) else { return false }
        return before.quota != shown.name || before.quotaUsed != shown.used
    }

    private mutating func judge(
        _ record: AuditRecord, _ before: ReplayAnswer, _ after: ReplayAnswer
    ) {
        if let changed = report.judge(record, before, after), isListing { listed.append(changed) }
    }

    /// Those since the last call, in their order.
    mutating func takeListed() -> [ReplayReport.Changed] {
        defer { listed.removeAll() }
        return listed
    }

    /// A hold that only one policy makes, and nobody will end, is charged with its estimate.
    private func forget(_ record: AuditRecord, _ before: ReplayAnswer, _ after: ReplayAnswer) {
        guard record.kind == .reserve, !record.isAllowed || record.hold == nil else { return }
        for (side, answer) in [(old, before), (new, after)] {
            guard let id = answer.hold else { continue }
            _ = side.worker.replaySettle(id, record.named)
        }
    }

    private mutating func judgeExtend(_ record: AuditRecord) {
        guard let before = old.extend(record) else {
            return report.leave(record, .before)
        }
        let after = new.extend(record)
        guard before.reason.rawValue == record.reason else {
            return report.leave(record, why(record, nil))
        }
        // A hold that was never made is not extended either: told of with its RESERVE.
        judge(record, before, after ?? before)
    }

    private func why(_ record: AuditRecord, _ cause: Unjudged?) -> Unjudged {
        if let cause { return cause }
        let isOfTime = record.reason != Reason.quotaExhausted.rawValue
        return isOfTime && clock.age / 2 <= longestWindow ? .before : .unexplained
    }

    // MARK: what the log knows of the counters

    /// Makes quotas count what the record says they did. Says why the decision cannot be judged,
    /// as far as that is known.
    private mutating func look(
        at record: AuditRecord, _ call: ReplayCall, _ plan: PlanDefinition
    ) -> Unjudged? {
        var cause: Unjudged?
        for shown in [record.rate, record.quota].compactMap({ $0 }) {
            if shown.name == PolicyReplay.keyLimit {
                if record.refusing == shown.name { cause = .keyLimit }
                continue
            }
            let limit =
                plan.quotas.first { $0.name == shown.name && !$0.isPool }?.limit
                ?? plan.rateLimits.first { $0.name == shown.name }?.limit
            if let limit, limit != shown.limit { otherNumbers.insert(record.organization) }
        }
        if record.wouldDeny.contains(PolicyReplay.keyLimit) { cause = .keyLimit }
        if otherNumbers.contains(record.organization) { cause = .numbers }
        for quota in plan.quotas where !quota.isPool {
            guard let before = Self.before(record, quota) else { continue }
            sync(quota, call, before, record)
        }
        return cause
    }

    static let keyLimit = "credential_rate"

    /// What a quota counted before the decision, as far as the record tells.
    private static func before(_ record: AuditRecord, _ quota: QuotaDefinition) -> UInt64? {
        if let shown = record.quota, shown.name == quota.name {
            guard record.isAllowed, !record.flags.contains(.dryRun) else { return shown.used }
            let charged =
                quota.meter == PlanDefinition.costMeter
                ? record.cost : record.charges.first { $0.meter == quota.meter }?.weighted ?? 0
            return shown.used >= charged ? shown.used - charged : nil
        }
        guard !record.isAllowed || record.flags.contains(.shadow),
            let standing = record.standings.first(where: {
                $0.limit == quota.name && $0.scope == quota.scope.rawValue
            })
        else { return nil }
        let (sum, overflow) = standing.used.addingReportingOverflow(standing.held)
        return overflow ? nil : sum
    }

    private mutating func sync(
        _ quota: QuotaDefinition, _ call: ReplayCall, _ before: UInt64, _ record: AuditRecord
    ) {
        let subject = quota.scope == .user ? record.user : ""
        var hasher = Hasher()
        for name in [record.organization, subject, quota.name] { hasher.combine(name) }
        let isNew = seen.insert(hasher.finalize()).inserted
        guard let known = old.used(quota.name, of: call), known != before else { return }
        if isNew { report.begunBefore += 1 } else { report.changedBetween += 1 }
        _ = old.set(quota.name, of: call, to: before)
        guard let other = new.used(quota.name, of: call) else { return }
        let sum = Int64(clamping: other) &+ Int64(clamping: before) &- Int64(clamping: known)
        _ = new.set(quota.name, of: call, to: UInt64(max(0, sum)))
    }
}

extension AuditRecord {
    /// What was charged or asked for of each meter, before it is weighted.
    var named: [(name: [UInt8], units: UInt64)] {
        charges.map { (name: Array($0.meter.utf8), units: $0.units) }
    }

    /// The limit that refused, of a rate limit or a quota.
    var refusing: String? {
        switch Reason(rawValue: reason) {
        case .rateLimited: rate?.name
        case .quotaExhausted: quota?.name
        default: nil
        }
    }
}

extension ReplayCall {
    init(_ record: AuditRecord, _ plan: String, _ operation: OperationDefinition) {
        self.init(
            organization: Array(record.organization.utf8), user: Array(record.user.utf8),
            plan: Array(plan.utf8), operation: Array(operation.name.utf8))
        kind = record.kind
        isPersonal = record.flags.contains(.personal)
        isDryRun = record.flags.contains(.dryRun)
        // Units that are the operation's own were named by nobody: another policy has others.
        let own = Dictionary(
            operation.charges.map { ($0.meter, $0.defaultUnits) }, uniquingKeysWith: { $1 })
        let asked = record.charges.filter {
            record.kind == .consume || $0.units != own[$0.meter]
        }
        meters = asked.map { (name: Array($0.meter.utf8), units: $0.units) }
        family = record.addressFamily
        address = withUnsafeBytes(of: (record.addressHigh, record.addressLow)) { Array($0) }
    }
}
