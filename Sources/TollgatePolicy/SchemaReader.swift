/// Reads values of expected types out of a tree, and collects what is wrong with it. Lives for one
/// file. A value at fault reads as `nil` or its default, so that one run finds many faults.
///
/// Nothing is guessed: a text is what is written, never a number or a truth value by its looks, and
/// a word that other readers take for a truth value has to be quoted where a text is meant.
final class SchemaReader {
    let file: String
    private var found: [PolicyError] = []

    init(file: String) { self.file = file }

    /// In the order of the file.
    var errors: [PolicyError] {
        found.sorted { ($0.line, $0.column) < ($1.line, $1.column) }
    }

    func fail(_ node: YAMLNode, _ message: String) { fail(node.line, node.column, message) }

    /// The first fault at a place is kept: what follows from it is no news.
    func fail(_ line: Int, _ column: Int, _ message: String) {
        guard found.count < PolicyErrors.errorsMax,
            !found.contains(where: { $0.line == line && $0.column == column })
        else { return }
        let plain = onOneLine(message, charactersMax: PolicyErrors.messageCharactersMax)
        found.append(PolicyError(file: file, line: line, column: column, message: plain))
    }

    /// The entries of a mapping, whose keys are all in `known`.
    func mapping(_ node: YAMLNode, _ what: String, known: [String]) -> [String: YAMLNode] {
        var values: [String: YAMLNode] = [:]
        for (key, value) in entries(node, what) {
            guard let name = key.text else { continue }
            if known.contains(name) {
                values[name] = value
            } else {
                fail(key, "unknown key \(key.shown) in \(what)" + meant(name, known))
            }
        }
        return values
    }

    func meant(_ word: String, _ known: [String]) -> String {
        if let likely = likelyMeant(word, known) { return " (did you mean \"\(likely)\"?)" }
        let list = known.prefix(12).joined(separator: ", ")
        return known.isEmpty ? "" : "; known: " + list + (known.count > 12 ? ", …" : "")
    }

    /// The entries of a mapping with names of the operator's choice.
    func entries(_ node: YAMLNode, _ what: String) -> [(key: YAMLNode, value: YAMLNode)] {
        if case .mapping(let entries) = node.content { return entries }
        if node.isNothing { return [] }
        fail(node, "\(what) is a mapping (name: value), not \(node.shown)")
        return []
    }

    func list(_ node: YAMLNode?, _ what: String) -> [YAMLNode] {
        guard let node else { return [] }
        if case .sequence(let elements) = node.content { return elements }
        fail(node, "\(what) is a list, not \(node.shown)")
        return []
    }

    /// A list that is left out or has at least one element: an empty one would mean something else
    /// than it looks like.
    func filledList(_ node: YAMLNode?, _ what: String, _ remedy: String) -> [YAMLNode] {
        let elements = list(node, what)
        if let node, elements.isEmpty, case .sequence = node.content {
            fail(node, "\(what) is an empty list: \(remedy)")
        }
        return elements
    }

    func texts(_ nodes: [YAMLNode], _ what: String) -> [String] {
        nodes.compactMap { text($0, "an element of \(what)") }
    }

    func text(_ node: YAMLNode?, _ what: String) -> String? {
        guard let node else { return nil }
        guard let text = node.text, !node.isNothing, !text.isEmpty else {
            fail(node, "\(what) is a text, not \(node.shown)")
            return nil
        }
        return isSaid(node, what) ? text : nil
    }

    /// Whether a text is not one of the words that YAML readers disagree about.
    func isSaid(_ node: YAMLNode, _ what: String) -> Bool {
        guard case .scalar(let text, isPlain: true) = node.content,
            ["true", "false", "yes", "no", "on", "off"].contains(text.lowercased())
        else { return true }
        fail(node, "\(what) is a text: write \"\(text)\" in quotes if it is meant")
        return false
    }

    func integer(_ node: YAMLNode?, _ what: String, _ range: ClosedRange<UInt64>) -> UInt64? {
        guard let node else { return nil }
        guard case .scalar(let text, let isPlain) = node.content, isPlain, !text.isEmpty,
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) })
        else {
            fail(
                node, "\(what) is a whole number written in digits, not \(node.shown)" + hint(node))
            return nil
        }
        if text.utf8.count > 1, text.hasPrefix("0") {
            fail(node, "\(what) is a whole number without leading zeros, not \(node.shown)")
            return nil
        }
        guard let value = UInt64(text), range.contains(value) else {
            fail(node, "\(what) is between \(range.lowerBound) and \(range.upperBound)")
            return nil
        }
        return value
    }

    /// The number that was probably meant, where only marks stand in its way.
    private func hint(_ node: YAMLNode) -> String {
        guard let text = node.text else { return "" }
        let digits = text.filter { !"_,' \"".contains($0) }
        guard !digits.isEmpty, UInt64(digits) != nil, digits.utf8.first != UInt8(ascii: "+") else {
            return ""
        }
        return " (did you mean \(digits)?)"
    }

    func boolean(_ node: YAMLNode?, _ what: String) -> Bool? {
        guard let node else { return nil }
        if case .scalar(let text, isPlain: true) = node.content {
            if text == "true" { return true }
            if text == "false" { return false }
        }
        fail(node, "\(what) is true or false, not \(node.shown)")
        return nil
    }

    /// One of a few words.
    func choice<T>(_ node: YAMLNode?, _ what: String, _ choices: [(String, T)]) -> T? {
        guard let node else { return nil }
        guard let word = node.text, !node.isNothing else {
            fail(node, "\(what) is a text, not \(node.shown)")
            return nil
        }
        if let known = choices.first(where: { $0.0 == word }) { return known.1 }
        fail(node, "\(what) \(node.shown) is unknown" + meant(word, choices.map(\.0)))
        return nil
    }

    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ]

    /// A length of time such as `500ms`, `1s`, `5m`, `24h`, `7d`, in nanoseconds.
    func duration(_ node: YAMLNode?, _ what: String) -> UInt64? {
        guard let node else { return nil }
        let text = node.text ?? ""
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = text.dropFirst(digits.count)
        guard !digits.isEmpty, let known = Self.units.first(where: { $0.name == unit }) else {
            let lower = unit.lowercased()
            let likely =
                unit.isEmpty ? "s" : Self.units.first { $0.name == lower }?.name
            let guess = digits.isEmpty ? nil : likely.map { " (did you mean \(digits)\($0)?)" }
            fail(
                node,
                "\(what) is a number and a unit (500ms, 30s, 5m, 24h, 7d), not \(node.shown)"
                    + (guess ?? ""))
            return nil
        }
        let product = UInt64(digits)?.multipliedReportingOverflow(by: known.nanoseconds)
        guard let product, !product.overflow else {
            fail(node, "\(what) is out of range")
            return nil
        }
        guard product.partialValue > 0 else {
            fail(node, "\(what) is at least 1ms")
            return nil
        }
        return product.partialValue
    }

    /// A duration in a range, in milliseconds; `words` names the range.
    func milliseconds(
        _ node: YAMLNode?, _ what: String, _ range: ClosedRange<UInt64>, _ words: String
    ) -> UInt64? {
        guard let node, let nanoseconds = duration(node, what) else { return nil }
        let milliseconds = nanoseconds / 1_000_000
        guard range.contains(milliseconds) else {
            fail(node, "\(what) is \(words)")
            return nil
        }
        return milliseconds
    }

    /// Permissions of a file, as octal digits in quotes: "0660".
    func mode(_ node: YAMLNode?, _ what: String) -> UInt32? {
        guard let node else { return nil }
        if let text = node.text, text.utf8.count == 4, text.hasPrefix("0"),
            let mode = UInt32(text, radix: 8), mode & 0o111 == 0
        {
            return mode
        }
        fail(
            node,
            "\(what) is four octal digits without execute bits, such as \"0660\", not \(node.shown)"
        )
        return nil
    }

    /// A mandatory value's node; its absence is a fault of `parent`.
    func required(_ values: [String: YAMLNode], _ key: String, _ parent: YAMLNode) -> YAMLNode? {
        if let node = values[key] { return node }
        fail(parent, "\"\(key)\" is missing")
        return nil
    }
}
