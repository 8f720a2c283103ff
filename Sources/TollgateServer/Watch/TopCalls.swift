import CLinux
import Glibc
import TollgateCore
import TollgateStorage
import TollgateWire

/// Answers `top.show`: Protocol.md, "Calls". Of the desk's thread, whose own it is.
final class TopCalls {
    /// An answer is made of one look at all rows while it is younger than this, and than nine
    /// times what the look took: of the time no more than a tenth goes into looking.
    private static let restNanoseconds: UInt64 = 500_000_000
    private static let restFactor: UInt64 = 9
    /// Between the steps of a look, so that whoever decides finds a core.
    private static let stepsBetweenRests = 8
    private static let restMicroseconds: UInt32 = 200

    private let engine: Engine
    private let policy: @Sendable () -> PolicyImage
    /// `nil` where there is no audit log.
    private let watch: OrganizationWatch?
    private let sampleOneIn: UInt64
    private var nearest = NearestLimits(most: 0)
    private var generation: UInt64?
    private var lookedAt = WallTime(milliseconds: 0)
    private var freshUntil: UInt64 = 0

    init(
        _ engine: Engine, policy: @escaping @Sendable () -> PolicyImage,
        watch: OrganizationWatch?, sampleOneIn: UInt64
    ) {
        self.engine = engine
        self.policy = policy
        self.watch = watch
        self.sampleOneIn = sampleOneIn
    }

    func reply(to request: DirectoryRequest) -> CallReply {
        let most = Int(clamping: request.integer("limit") ?? 10)
        let now = Moment(
            boot: BootTime(nanoseconds: tg_boottime()),
            wall: WallTime(milliseconds: tg_walltime()))
        let count = watch?.ask(most, boot: now.boot.nanoseconds, wall: now.wall)
        look(now)
        var top = TopOrganizations(
            at: Timestamp(milliseconds: lookedAt.milliseconds),
            since: count.map { Timestamp(milliseconds: $0.since.milliseconds) },
            sampleOneIn: sampleOneIn, missedMax: Self.whole(count?.missedMax ?? 0))
        let busiest = (count?.heaviest ?? []).map { BusyOrganization($0) }
        let shown = nearest.limits.prefix(most).compactMap { NearestQuota($0) }
        top.fill(busiest, shown, bytesMax: CallReply.listBytesMax)
        return CallReply(status: .ok, body: JSONValue.object(["top": top.json]).bytes)
    }

    /// Never less than it is.
    fileprivate static func whole(_ weight: Double) -> UInt64 {
        UInt64(exactly: weight.rounded(.up)) ?? .max
    }

    private func look(_ now: Moment) {
        let policy = policy()
        guard now.boot.nanoseconds >= freshUntil || policy.generation != generation else { return }
        var steps = 0
        nearest = engine.nearestLimits(policy, most: TopOrganizations.listMax, at: now) {
            steps &+= 1
            if steps % Self.stepsBetweenRests == 0, steps > Engine.shardCount {
                usleep(Self.restMicroseconds)
            }
        }
        let end = tg_boottime()
        let took = end &- min(end, now.boot.nanoseconds)
        freshUntil = end &+ max(Self.restNanoseconds, took &* Self.restFactor)
        lookedAt = now.wall
        generation = policy.generation
    }
}

extension TopOrganizations {
    /// Takes from both lists in turn as many as fit so many bytes.
    mutating func fill(
        _ busy: [BusyOrganization], _ near: [NearestQuota], bytesMax: Int
    ) {
        var left = bytesMax - json.bytes.count
        for index in 0..<max(busy.count, near.count) {
            if index < busy.count {
                left -= busy[index].json.bytes.count + 1
                guard left >= 0 else { return }
                busiest.append(busy[index])
            }
            if index < near.count {
                left -= near[index].json.bytes.count + 1
                guard left >= 0 else { return }
                nearest.append(near[index])
            }
        }
    }
}

extension BusyOrganization {
    init(_ entry: BusiestOrganizations.Entry) {
        self.init(
            organization: entry.organization, isPersonal: entry.isPersonal,
            recent: TopCalls.whole(entry.weight), recentError: TopCalls.whole(entry.error),
            allowed: entry.allowed, denied: entry.denied)
    }
}

extension NearestQuota {
    init?(_ limit: NearLimit) {
        guard let period = PlanInfo.Period(rawValue: limit.period.word) else { return nil }
        self.init(
            organization: limit.organization, isPersonal: limit.isPersonal, user: limit.user,
            plan: limit.plan, quota: limit.quota, meter: limit.meter, period: period,
            used: limit.used, held: limit.held, limit: limit.limit,
            endsAt: limit.endsAt.map { Timestamp(milliseconds: $0.milliseconds) },
            isShare: limit.isShare, isShadow: limit.isShadow)
    }
}

extension CallHandlers {
    /// It is answered by the desk, and never comes here.
    static func ofTop(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        throw context.refuse(.internalError, "a call that is not the directory's")
    }
}
