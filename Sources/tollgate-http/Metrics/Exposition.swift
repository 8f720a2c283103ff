/// The two text formats that scrapers read.
enum Exposition {
    /// Prometheus' text format 0.0.4.
    case text
    /// OpenMetrics 1.0.0.
    case openMetrics

    /// Prometheus 3 refuses an answer that does not say what it is.
    var contentType: String {
        switch self {
        case .text: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    /// What an Accept header asks for (RFC 9110, section 12.5.1): OpenMetrics where it is named
    /// and not wanted less than plain text, else plain text, which every scraper reads.
    init(accept: String) {
        var wanted = 0
        var text = 0
        for item in accept.split(separator: ",").prefix(16) {
            let parts = item.split(separator: ";").map(Self.trimmed)
            let parameters = parts.dropFirst()
            let quality = parameters.first { $0.hasPrefix("q=") }.map { Self.quality($0) } ?? 1_000
            switch parts.first?.lowercased() {
            case "application/openmetrics-text":
                let version = parameters.first { $0.hasPrefix("version=") }
                if version == nil || version == "version=1.0.0" { wanted = max(wanted, quality) }
            case "text/plain": text = max(text, quality)
            default: break
            }
        }
        self = wanted > 0 && wanted >= text ? .openMetrics : .text
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return text
    }

    /// In thousandths: `q=0.75` is 750. What is no number is 0.
    private static func quality(_ parameter: Substring) -> Int {
        let number = parameter.dropFirst(2)
        guard let value = Double(number), value.isFinite else { return 0 }
        return Int((min(max(value, 0), 1) * 1_000).rounded())
    }

    /// The families, each with its help and type.
    func write(_ families: [MetricFamily]) -> [UInt8] {
        var text = ""
        for family in families where !family.samples.isEmpty { append(family, to: &text) }
        if self == .openMetrics { text += "# EOF\n" }
        return Array(text.utf8)
    }

    private func append(_ family: MetricFamily, to text: inout String) {
        // In plain text counters and infos are named as their samples are.
        var named = family.name
        if self == .text {
            switch family.kind {
            case .counter: named += "_total"
            case .info: named += "_info"
            case .gauge, .histogram, .unknown: break
            }
        }
        text += "# HELP \(named) \(MetricHelp.text(of: family.name))\n"
        text += "# TYPE \(named) \(typeName(of: family.kind))\n"
        if self == .openMetrics, family.kind != .info,
            let unit = ["seconds", "bytes"].first(where: { family.name.hasSuffix("_" + $0) })
        {
            text += "# UNIT \(named) \(unit)\n"
        }
        for sample in family.samples {
            text += family.name + sample.suffix
            if !sample.labels.isEmpty {
                let labels = sample.labels.map { "\($0.name)=\"\($0.value)\"" }
                text += "{" + labels.joined(separator: ",") + "}"
            }
            text += " \(sample.value)\n"
        }
    }

    private func typeName(of kind: MetricFamily.Kind) -> String {
        switch (self, kind) {
        case (.text, .info): "gauge"
        case (.text, .unknown): "untyped"
        default: kind.rawValue
        }
    }
}
