/// The name of one number of STATS, taken apart: `metric{label="value",…}`. Labels stand as they
/// came, escapes included: both exposition formats have the same.
///
/// What a scraper would refuse, or what could grow without bound, is no name: `init` gives `nil`.
struct StatisticName: Equatable {
    struct Label: Equatable {
        var name: String
        /// Between the quotes, escaped.
        var value: String
    }

    /// The labels that are passed on. Each has few values: those of the protocol, or at most as
    /// many as the daemon counts operations by. None is about who calls.
    static let labelsKnown: Set<String> = [
        "le", "limit", "operation", "overload", "path", "reason", "result", "state", "status",
        "verdict", "version",
    ]

    var metric: String
    var labels: [Label]

    init?(_ text: String) {
        let bytes = Array(text.utf8)
        let opening = bytes.firstIndex(of: UInt8(ascii: "{")) ?? bytes.count
        guard Self.isIdentifier(bytes[..<opening]) else { return nil }
        metric = String(decoding: bytes[..<opening], as: UTF8.self)
        labels = []
        guard opening < bytes.count else { return }
        guard bytes.last == UInt8(ascii: "}") else { return nil }
        var rest = bytes[(opening + 1)..<(bytes.count - 1)]
        while !rest.isEmpty {
            guard let label = Self.takeLabel(&rest), Self.labelsKnown.contains(label.name),
                !labels.contains(where: { $0.name == label.name })
            else { return nil }
            labels.append(label)
        }
    }

    /// One label and the comma behind it.
    private static func takeLabel(_ rest: inout ArraySlice<UInt8>) -> Label? {
        guard let equals = rest.firstIndex(of: UInt8(ascii: "=")),
            isIdentifier(rest[rest.startIndex..<equals]),
            rest[(equals + 1)...].first == UInt8(ascii: "\"")
        else { return nil }
        let name = String(decoding: rest[rest.startIndex..<equals], as: UTF8.self)
        let start = equals + 2
        var at = start
        while at < rest.endIndex, rest[at] != UInt8(ascii: "\"") {
            if rest[at] == UInt8(ascii: "\\") {
                at += 1
                guard at < rest.endIndex, #"\"n"#.utf8.contains(rest[at]) else { return nil }
            }
            guard rest[at] >= 0x20 else { return nil }
            at += 1
        }
        guard at < rest.endIndex else { return nil }
        let value = String(decoding: rest[start..<at], as: UTF8.self)
        rest = rest[(at + 1)...]
        if rest.first == UInt8(ascii: ",") {
            rest = rest.dropFirst()
            guard !rest.isEmpty else { return nil }
        } else if !rest.isEmpty {
            return nil
        }
        return Label(name: name, value: value)
    }

    /// Letters, digits and underscores, and no digit first.
    private static func isIdentifier(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        else { return false }
        return bytes.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }
}
