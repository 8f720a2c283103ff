import TollgateCore

/// A YAML document as a tree that remembers where everything stood. Only what a policy needs:
/// one document of mappings with text keys, sequences and plain text; no anchors, aliases, tags.
struct YAMLNode {
    enum Content {
        /// `isPlain`: written without quotes, so that it may be read as a number or a truth value.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        case mapping([(key: YAMLNode, value: YAMLNode)])
    }

    var content: Content
    var line: Int
    var column: Int

    static let depthMax = 32
    static let nodesMax = 100_000
    private static let shownMax = 60

    var text: String? {
        if case .scalar(let text, _) = content { return text }
        return nil
    }

    /// Left empty, or null.
    var isNothing: Bool {
        if case .scalar(let text, isPlain: true) = content {
            return ["", "~", "null", "Null", "NULL"].contains(text)
        }
        return false
    }

    /// What it is, for messages: no longer than a line, and on one.
    var shown: String {
        switch content {
        case .sequence: return "a list"
        case .mapping: return "a mapping"
        case .scalar(let text, _):
            if isNothing { return "nothing" }
            return "\"" + onOneLine(text, charactersMax: Self.shownMax) + "\""
        }
    }

    /// Where the value at the end of a path begins: of a mapping or a list, the key in front of
    /// it. Steps that lead nowhere end at the last one that does.
    func place(of path: [PolicyFault.Step]) -> (line: Int, column: Int) {
        var node = self
        var place = (line: line, column: column)
        for step in path {
            switch (step, node.content) {
            case (.key(let name), .mapping(let entries)):
                guard let entry = entries.first(where: { $0.key.text == name }) else {
                    return place
                }
                node = entry.value
                let at = node.text == nil || node.isNothing ? entry.key : node
                place = (at.line, at.column)
            case (.position(let index), .sequence(let elements)):
                guard elements.indices.contains(index) else { return place }
                node = elements[index]
                place = (node.line, node.column)
            default: return place
            }
        }
        return place
    }
}
