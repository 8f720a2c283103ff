import Synchronization
import TollgateWire

/// How often something in shadow would have refused what was allowed, since start: by reason and
/// the limit's name, whatever plan or policy it stands in, so that a reload changes no count.
///
/// Places are given when a policy is bound, under the lock; counting takes none.
final class WouldDenyCounts: Sendable {
    /// Beyond so many names the others are counted together, without one.
    static let placesMax = 1_024

    struct Name: Hashable {
        var reason: Reason
        /// Empty: a permission.
        var limit: String
    }

    private let lock = Lock(.registry)
    // Guarded by the lock; place 0 is of all that found none.
    private nonisolated(unsafe) var names = [Name(reason: .none, limit: "")]
    private nonisolated(unsafe) var places: [Name: UInt16] = [:]
    // Set once; the atomics behind it are made for sharing.
    private nonisolated(unsafe) let counts: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        counts = .allocate(capacity: Self.placesMax)
        for index in 0..<Self.placesMax { (counts + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        counts.deinitialize(count: Self.placesMax)
        counts.deallocate()
    }

    /// Where a name is counted, given on first sight.
    func place(_ name: Name) -> UInt16 {
        lock.lock()
        defer { lock.unlock() }
        if let known = places[name] { return known }
        guard names.count < Self.placesMax else { return 0 }
        let next = UInt16(names.count)
        names.append(name)
        places[name] = next
        return next
    }

    @inline(__always)
    func add(_ place: UInt16) { counts[Int(place)].wrappingAdd(1, ordering: .relaxed) }

    var all: [(name: Name, count: UInt64)] {
        lock.lock()
        defer { lock.unlock() }
        return names.enumerated().compactMap { index, name in
            let count = counts[index].load(ordering: .relaxed)
            return index == 0 && count == 0 ? nil : (name, count)
        }
    }
}

extension Engine {
    /// By what was or is in shadow: what it would have refused of all that was allowed since start.
    /// The name is empty of permissions, and the reason `none` of what there were too many of.
    package var wouldDenials: [(reason: Reason, limit: String, count: UInt64)] {
        wouldDenyCounts.all.map { ($0.name.reason, $0.name.limit, $0.count) }
    }
}

/// Where what a policy has in shadow is counted. Immutable.
struct ShadowPlaces {
    /// By index into `PolicyImage.limits`; `nil`: nothing is in shadow.
    private let limits: UnsafeMutablePointer<UInt16>?
    let permission: UInt16

    init(_ policy: PolicyImage, _ counts: WouldDenyCounts) {
        guard policy.hasShadow else {
            (limits, permission) = (nil, 0)
            return
        }
        let limits = UnsafeMutablePointer<UInt16>.allocate(capacity: policy.limits.count)
        limits.initialize(repeating: 0, count: policy.limits.count)
        func give(_ index: Int, _ reason: Reason) {
            let name = String(decoding: policy.limits[index].name, as: UTF8.self)
            limits[index] = counts.place(.init(reason: reason, limit: name))
        }
        var open: Set<Int> = []
        for plan in policy.compiledPlans {
            open.formUnion(Int(plan.concurrency.start)..<Int(plan.concurrency.end))
        }
        for (index, step) in policy.steps.enumerated() where step.flags.contains(.shadow) {
            give(
                Int(step.limitIndex),
                open.contains(index)
                    ? .concurrencyExceeded : step.isQuota ? .quotaExhausted : .rateLimited)
        }
        if policy.isShadow { give(policy.credentialLimit, .rateLimited) }
        permission =
            policy.isShadow ? counts.place(.init(reason: .permissionDenied, limit: "")) : 0
        self.limits = limits
    }

    func deallocate() { limits?.deallocate() }

    /// Of a limit, or with -1 of a permission.
    @inline(__always)
    func place(ofLimit index: Int) -> UInt16 { index < 0 ? permission : limits?[index] ?? 0 }
}
