/// Reads values of expected types out of a tree, and collects what is wrong with it. Lives for one
/// file. A value at fault reads as `nil` or its default, so that one run finds many faults.
final class SchemaReader {
    let file: String
    private(set) var errors: [PolicyError] = []

    init(file: String) { self.file = file }

    func fail(_ node: YAMLNode, _ message: String) {
        guard errors.count < PolicyErrors.errorsMax else { return }
        errors.append(
            PolicyError(file: file, line: node.line, column: node.column, message: message))
    }

    /// The entries of a mapping, whose keys are all in `known`.
    func mapping(_ node: YAMLNode, _ what: String, known: [String]) -> [String: YAMLNode] {
        var values: [String: YAMLNode] = [:]
        for (key, value) in entries(node, what) {
            guard let name = key.text else { continue }
            if known.contains(name) {
                values[name] = value
            } else {
                fail(key, "unknown key \"\(name)\" in \(what)" + meant(name, known))
            }
        }
        return values
    }

    func meant(_ word: String, _ known: [String]) -> String {
        if let likely = likelyMeant(word, known) { return " (did you mean \"\(likely)\"?)" }
        return known.isEmpty ? "" : "; known: " + known.joined(separator: ", ")
    }

    /// The entries of a mapping with names of the operator's choice.
    func entries(_ node: YAMLNode, _ what: String) -> [(key: YAMLNode, value: YAMLNode)] {
        if case .mapping(let entries) = node.content { return entries }
        if node.kind == "nothing" { return [] }
        fail(node, "\(what) is a mapping (name: value), not \(node.kind)")
        return []
    }

    func list(_ node: YAMLNode?, _ what: String) -> [YAMLNode] {
        guard let node else { return [] }
        if case .sequence(let elements) = node.content { return elements }
        fail(node, "\(what) is a list, not \(node.kind)")
        return []
    }

    func texts(_ node: YAMLNode?, _ what: String) -> [String] {
        list(node, what).compactMap { text($0, "an element of \(what)") }
    }

    func text(_ node: YAMLNode?, _ what: String) -> String? {
        guard let node else { return nil }
        if let text = node.text, node.kind != "nothing", !text.isEmpty { return text }
        fail(node, "\(what) is a text, not \(node.kind)")
        return nil
    }

    func integer(_ node: YAMLNode?, _ what: String, _ range: ClosedRange<UInt64>) -> UInt64? {
        guard let node else { return nil }
        guard case .scalar(let text, isPlain: true) = node.content,
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = UInt64(text)
        else {
            fail(node, "\(what) is a whole number written in digits, not \(node.kind)")
            return nil
        }
        guard range.contains(value), text == String(value) else {
            fail(node, "\(what) is between \(range.lowerBound) and \(range.upperBound)")
            return nil
        }
        return value
    }

    func boolean(_ node: YAMLNode?, _ what: String) -> Bool? {
        guard let node else { return nil }
        if case .scalar(let text, isPlain: true) = node.content {
            if text == "true" { return true }
            if text == "false" { return false }
        }
        fail(node, "\(what) is true or false, not \(node.kind)")
        return nil
    }

    /// One of a few words.
    func choice<T>(_ node: YAMLNode?, _ what: String, _ choices: [(String, T)]) -> T? {
        guard let node, let word = text(node, what) else { return nil }
        if let found = choices.first(where: { $0.0 == word }) { return found.1 }
        fail(node, "\(what) \"\(word)\" is unknown" + meant(word, choices.map(\.0)))
        return nil
    }

    /// A length of time such as `500ms`, `1s`, `5m`, `24h`, `7d`, in nanoseconds.
    func duration(_ node: YAMLNode?, _ what: String) -> UInt64? {
        guard let node, let text = text(node, what) else { return nil }
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let units: [String: UInt64] = [
            "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
            "d": 86_400_000_000_000,
        ]
        guard let count = UInt64(digits), let unit = units[String(text.dropFirst(digits.count))]
        else {
            fail(node, "\(what) is a number and a unit (500ms, 30s, 5m, 24h, 7d), not \(node.kind)")
            return nil
        }
        let (nanoseconds, overflow) = count.multipliedReportingOverflow(by: unit)
        guard !overflow, nanoseconds > 0 else {
            fail(node, "\(what) is out of range")
            return nil
        }
        return nanoseconds
    }

    /// Permissions of a file, as octal digits in quotes: "0660".
    func mode(_ node: YAMLNode?, _ what: String) -> UInt32? {
        guard let node else { return nil }
        if let text = node.text, text.utf8.count == 4, text.hasPrefix("0"),
            let mode = UInt32(text, radix: 8), mode & 0o111 == 0
        {
            return mode
        }
        fail(node, "\(what) is four octal digits without execute bits, such as \"0660\"")
        return nil
    }

    /// A mandatory value's node; its absence is a fault of `parent`.
    func required(_ values: [String: YAMLNode], _ key: String, _ parent: YAMLNode) -> YAMLNode? {
        if let node = values[key] { return node }
        fail(parent, "\"\(key)\" is missing")
        return nil
    }
}
