import Synchronization

/// How long frames took, of one reactor: from the beginning of the turn that read them to when
/// their replies were handed on. Written by the reactor's thread alone, read by any.
///
/// Buckets double: the first holds what took a microsecond or less, the last but one a second and
/// a bit, the last all else. Names and meaning of what STATS tells of it are those of Prometheus'
/// histograms (prometheus.io, "Histograms and summaries").
final class LatencyBuckets: Sendable {
    /// Bounds: 1 µs · 2^0 to 1 µs · 2^20.
    static let boundCount = 21

    // Set once; the atomics behind it are made for sharing. Behind the buckets the sum.
    private nonisolated(unsafe) let counts: UnsafeMutablePointer<Atomic<UInt64>>
    private static let capacity = boundCount + 2

    init() {
        counts = .allocate(capacity: Self.capacity)
        for index in 0..<Self.capacity { (counts + index).initialize(to: Atomic<UInt64>(0)) }
    }

    deinit {
        counts.deinitialize(count: Self.capacity)
        counts.deallocate()
    }

    /// Microseconds that a bucket's frames took at most.
    static func bound(_ index: Int) -> UInt64 { 1 << UInt64(index) }

    static func bucket(nanoseconds: UInt64) -> Int {
        let microseconds = nanoseconds / 1_000 &+ (nanoseconds % 1_000 > 0 ? 1 : 0)
        guard microseconds > 1 else { return 0 }
        return min(boundCount, UInt64.bitWidth &- (microseconds &- 1).leadingZeroBitCount)
    }

    @inline(__always)
    func add(nanoseconds: UInt64, frames: UInt64) {
        let bucket = counts + Self.bucket(nanoseconds: nanoseconds)
        bucket.pointee.store(
            bucket.pointee.load(ordering: .relaxed) &+ frames, ordering: .relaxed)
        let sum = counts + (Self.boundCount &+ 1)
        sum.pointee.store(
            sum.pointee.load(ordering: .relaxed) &+ nanoseconds &* frames, ordering: .relaxed)
    }

    /// By bucket, not yet cumulated; behind them the sum of nanoseconds.
    var values: [UInt64] {
        (0..<Self.capacity).map { counts[$0].load(ordering: .relaxed) }
    }
}

extension Server {
    /// Of all reactors: how long frames took.
    func latencyStatistics() -> [Statistic] {
        let all = counters.map(\.latency.values)
        guard let first = all.first else { return [] }
        let sums = first.indices.map { index in all.reduce(0) { $0 &+ $1[index] } }
        let name = "tollgate_frame_duration"
        var entries: [Statistic] = []
        var below: UInt64 = 0
        for index in 0..<LatencyBuckets.boundCount {
            below &+= sums[index]
            entries.append(
                Statistic(
                    name: "\(name)_seconds_bucket{le=\"\(Self.seconds(of: index))\"}",
                    value: below, isGauge: false))
        }
        below &+= sums[LatencyBuckets.boundCount]
        for (label, value) in [("_seconds_bucket{le=\"+Inf\"}", below), ("_seconds_count", below)] {
            entries.append(Statistic(name: name + label, value: value, isGauge: false))
        }
        // Whole numbers: STATS has no others.
        entries.append(
            Statistic(
                name: "\(name)_nanoseconds_sum", value: sums[LatencyBuckets.boundCount + 1],
                isGauge: false))
        return entries
    }

    /// `0.000004`, without trailing zeros.
    private static func seconds(of index: Int) -> String {
        let microseconds = LatencyBuckets.bound(index)
        let digits = String(microseconds % 1_000_000)
        var fraction = String(repeating: "0", count: 6 - digits.count) + digits
        while fraction.hasSuffix("0") { fraction.removeLast() }
        let whole = "\(microseconds / 1_000_000)"
        return fraction.isEmpty ? whole : whole + "." + fraction
    }
}
