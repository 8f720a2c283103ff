import Synchronization

/// What tollgate-http counts of itself; written by its event loop, read by any thread.
final class Tally: Sendable {
    /// Every code that is ever answered.
    static let codes = [200, 400, 404, 405, 413, 421, 503]

    let connections = Atomic<Int>(0)
    let displaced = Atomic<UInt64>(0)
    let refused = Atomic<UInt64>(0)
    let timeouts = Atomic<UInt64>(0)
    private let ok = Atomic<UInt64>(0)
    private let malformed = Atomic<UInt64>(0)
    private let notFound = Atomic<UInt64>(0)
    private let badMethod = Atomic<UInt64>(0)
    private let tooLarge = Atomic<UInt64>(0)
    private let misdirected = Atomic<UInt64>(0)
    private let unavailable = Atomic<UInt64>(0)

    func count(code: Int) { _ = add(code, 1) }

    func requests(code: Int) -> UInt64 { add(code, 0) }

    private func add(_ code: Int, _ count: UInt64) -> UInt64 {
        switch code {
        case 200: ok.wrappingAdd(count, ordering: .relaxed).newValue
        case 404: notFound.wrappingAdd(count, ordering: .relaxed).newValue
        case 405: badMethod.wrappingAdd(count, ordering: .relaxed).newValue
        case 413: tooLarge.wrappingAdd(count, ordering: .relaxed).newValue
        case 421: misdirected.wrappingAdd(count, ordering: .relaxed).newValue
        case 503: unavailable.wrappingAdd(count, ordering: .relaxed).newValue
        default: malformed.wrappingAdd(count, ordering: .relaxed).newValue
        }
    }

    var families: [MetricFamily] {
        [
            MetricFamily(
                name: "tollgate_http_requests", kind: .counter,
                samples: Self.codes.map { code in
                    MetricFamily.Sample(
                        suffix: "_total",
                        labels: [StatisticName.Label(name: "code", value: String(code))],
                        value: String(requests(code: code)))
                }),
            MetricFamily(
                "tollgate_http_connections", .gauge,
                UInt64(max(0, connections.load(ordering: .relaxed)))),
            MetricFamily(
                "tollgate_http_displaced_connections", .counter,
                displaced.load(ordering: .relaxed)),
            MetricFamily(
                "tollgate_http_refused_connections", .counter, refused.load(ordering: .relaxed)),
            MetricFamily(
                "tollgate_http_timeouts", .counter, timeouts.load(ordering: .relaxed)),
            MetricFamily(
                name: "tollgate_http_build", kind: .info,
                samples: [
                    MetricFamily.Sample(
                        suffix: "_info",
                        labels: [
                            StatisticName.Label(name: "version", value: HTTPVersionText.own)
                        ], value: "1")
                ]),
        ]
    }
}

enum HTTPVersionText { static let own = "0.1.0" }
