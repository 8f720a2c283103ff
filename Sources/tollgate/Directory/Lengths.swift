import ArgumentParser

/// Lengths of time as they stand on the command line: `90d`, `12h`, `30m`, `10s`, `1h30m`.
enum Lengths {
    private static let units: [(name: Character, seconds: Int64)] = [
        ("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1),
    ]
    /// Some hundred years: more than any setting takes, and far from where sums overflow.
    static let secondsMax: Int64 = 10_000_000_000

    /// Seconds; each unit at most once, the greater one first.
    static func seconds(_ text: String) throws(ValidationError) -> Int64 {
        guard let seconds = parsed(text) else {
            throw ValidationError(
                "a length of time is numbers with w, d, h, m or s (90d, 12h, 1h30m, 10s), not"
                    + " \"\(text)\"")
        }
        return seconds
    }

    static func parsed(_ text: String) -> Int64? {
        var rest = text[...]
        var left = units[...]
        var sum: Int64 = 0
        while !rest.isEmpty {
            let digits = rest.prefix { ("0"..."9").contains($0) }
            guard let count = Int64(digits), count <= secondsMax,
                let name = rest.dropFirst(digits.count).first,
                let place = left.firstIndex(where: { $0.name == name })
            else { return nil }
            let product = count.multipliedReportingOverflow(by: left[place].seconds)
            guard !product.overflow, product.partialValue <= secondsMax - sum else { return nil }
            sum += product.partialValue
            left = left[(place + 1)...]
            rest = rest.dropFirst(digits.count + 1)
        }
        return text.isEmpty ? nil : sum
    }

    /// `1 d`, `90 min`: as `span` says it.
    static func shown(_ seconds: Int64) -> String { span(UInt64(max(0, seconds)) * 1_000) }
}
