import TollgateClient

/// The numbers of a STATS reply as families, in the order of their first numbers.
///
/// STATS has whole numbers alone, so what is shorter than a second comes in nanoseconds; a scraper
/// gets seconds, the base unit: `x_nanoseconds_total` becomes `x_seconds_total`.
struct MetricFamilies {
    private(set) var families: [MetricFamily] = []
    /// Numbers that are not passed on: no proper name, a label that is not known, said twice.
    private(set) var skipped: UInt64 = 0
    private var places: [String: Int] = [:]
    private var seen: Set<String> = []

    init(_ entries: [StatisticEntry]) {
        var named: [(name: StatisticName, entry: StatisticEntry)] = []
        for entry in entries {
            if let name = StatisticName(entry.name) {
                named.append((name, entry))
            } else {
                skipped += 1
            }
        }
        let histograms = Set(
            named.compactMap { (name, _) in
                name.metric.hasSuffix("_bucket") && name.labels.contains { $0.name == "le" }
                    ? String(name.metric.dropLast("_bucket".count)) : nil
            })
        for (name, entry) in named { add(name, entry, histograms) }
        dropBrokenHistograms()
    }

    private mutating func add(
        _ given: StatisticName, _ entry: StatisticEntry, _ histograms: Set<String>
    ) {
        var name = given
        var value = String(entry.value)
        if let unit = name.metric.range(ofText: "_nanoseconds") {
            name.metric.replaceSubrange(unit, with: "_seconds")
            value = seconds(ofNanoseconds: entry.value)
        }
        let (base, suffix, kind) = Self.shape(name, entry.isGauge, histograms)
        let labels = name.labels.map { "\($0.name)=\"\($0.value)\"" }.sorted()
        guard seen.insert(name.metric + "{" + labels.joined(separator: ",")).inserted else {
            skipped += 1
            return
        }
        let place: Int
        if let known = places[base] {
            place = known
        } else {
            place = families.count
            families.append(MetricFamily(name: base, kind: kind))
            places[base] = place
        }
        guard families[place].kind == kind else {
            skipped += 1
            return
        }
        families[place].samples.append(
            MetricFamily.Sample(suffix: suffix, labels: name.labels, value: value))
    }

    /// What a name says of itself.
    private static func shape(
        _ name: StatisticName, _ isGauge: Bool, _ histograms: Set<String>
    ) -> (base: String, suffix: String, kind: MetricFamily.Kind) {
        let metric = name.metric
        for suffix in ["_bucket", "_count", "_sum"] where metric.hasSuffix(suffix) {
            let base = String(metric.dropLast(suffix.count))
            if histograms.contains(base) { return (base, suffix, .histogram) }
        }
        if isGauge {
            guard metric.hasSuffix("_info") else { return (metric, "", .gauge) }
            return (String(metric.dropLast("_info".count)), "_info", .info)
        }
        guard metric.hasSuffix("_total") else { return (metric, "", .unknown) }
        return (String(metric.dropLast("_total".count)), "_total", .counter)
    }

    /// One that was cut off says nothing that is true.
    private mutating func dropBrokenHistograms() {
        families.removeAll { family in
            guard family.kind == .histogram else { return false }
            let suffixes = family.samples.map(\.suffix)
            let last = family.samples.last { $0.suffix == "_bucket" }
            let isWhole =
                suffixes.contains("_sum") && suffixes.contains("_count")
                && last?.labels.contains { $0.name == "le" && $0.value == "+Inf" } == true
            if !isWhole { skipped += UInt64(family.samples.count) }
            return !isWhole
        }
    }
}

extension String {
    /// Where a text first stands in this one.
    fileprivate func range(ofText text: String) -> Range<String.Index>? {
        var at = startIndex
        while at < endIndex {
            if self[at...].hasPrefix(text) { return at..<index(at, offsetBy: text.count) }
            at = index(after: at)
        }
        return nil
    }
}
