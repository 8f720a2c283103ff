/// Samples of one metric, which both exposition formats want together.
struct MetricFamily: Equatable {
    enum Kind: String {
        case counter, gauge, histogram, info
        /// It counts, and is not called `…_total`: what a later daemon might send.
        case unknown
    }

    struct Sample: Equatable {
        /// Behind the family's name: `_total`, `_bucket`, `_count`, `_sum`, `_info`, or nothing.
        var suffix = ""
        var labels: [StatisticName.Label] = []
        /// A number as it is written.
        var value: String
    }

    /// Without the suffixes.
    var name: String
    var kind: Kind
    var samples: [Sample] = []
}

extension MetricFamily {
    /// A family of one number without labels.
    init(_ name: String, _ kind: Kind, _ value: UInt64) {
        self.init(name, kind, text: String(value))
    }

    init(_ name: String, _ kind: Kind, text: String) {
        self.init(
            name: name, kind: kind,
            samples: [Sample(suffix: kind == .counter ? "_total" : "", value: text)])
    }
}

/// An integer of nanoseconds in seconds, without trailing zeros: 1500000 is 0.0015.
func seconds(ofNanoseconds count: UInt64) -> String {
    let digits = String(count % 1_000_000_000)
    var fraction = String(repeating: "0", count: 9 - digits.count) + digits
    while fraction.hasSuffix("0") { fraction.removeLast() }
    let whole = String(count / 1_000_000_000)
    return fraction.isEmpty ? whole : whole + "." + fraction
}
