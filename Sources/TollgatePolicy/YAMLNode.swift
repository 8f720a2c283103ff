import CYAML

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

    var text: String? {
        if case .scalar(let text, _) = content { return text }
        return nil
    }

    /// What it is, for messages.
    var kind: String {
        switch content {
        case .scalar(let text, let isPlain):
            isPlain && (text.isEmpty || text == "~" || text == "null")
                ? "nothing" : "\"\(text)\""
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}

/// Builds the tree from libyaml's events. Lives for one file.
struct YAMLReader {
    private let file: String
    private var parser = yaml_parser_t()
    private var nodes = 0

    private init(file: String) { self.file = file }

    static func read(_ bytes: [UInt8], file: String) throws(PolicyErrors) -> YAMLNode {
        var reader = YAMLReader(file: file)
        guard yaml_parser_initialize(&reader.parser) == 1 else {
            throw reader.failure(0, 0, "out of memory")
        }
        defer { yaml_parser_delete(&reader.parser) }
        // libyaml reads from the buffer until the parser is deleted, so it is lent for all of that.
        let result = bytes.withUnsafeBufferPointer {
            buffer -> Result<YAMLNode, PolicyErrors> in
            yaml_parser_set_input_string(&reader.parser, buffer.baseAddress, buffer.count)
            do throws(PolicyErrors) { return .success(try reader.document()) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func failure(_ line: Int, _ column: Int, _ message: String) -> PolicyErrors {
        PolicyErrors(errors: [PolicyError(file: file, line: line, column: column, message: message)]
        )
    }

    private mutating func document() throws(PolicyErrors) -> YAMLNode {
        try skip(YAML_STREAM_START_EVENT)
        var event = try next()
        if event.kind == YAML_STREAM_END_EVENT { throw failure(1, 1, "the file is empty") }
        event = try next()
        let root = try node(event, depth: 0)
        try skip(YAML_DOCUMENT_END_EVENT)
        let end = try next()
        guard end.kind == YAML_STREAM_END_EVENT else {
            throw failure(end.line, end.column, "a second document: a policy is one")
        }
        return root
    }

    private mutating func skip(_ kind: yaml_event_type_t) throws(PolicyErrors) {
        let event = try next()
        guard event.kind == kind else {
            throw failure(event.line, event.column, "not a YAML document")
        }
    }

    /// One event, copied out of libyaml's memory.
    private struct Event {
        var kind: yaml_event_type_t
        var line: Int
        var column: Int
        var text = ""
        var isPlain = false
        var isDecorated = false
    }

    private mutating func next() throws(PolicyErrors) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(&parser, &event) == 1 else {
            let what = parser.problem.map { String(cString: $0) } ?? "not YAML"
            throw failure(
                Int(parser.problem_mark.line) + 1, Int(parser.problem_mark.column) + 1, what)
        }
        defer { yaml_event_delete(&event) }
        var copy = Event(
            kind: event.type, line: Int(event.start_mark.line) + 1,
            column: Int(event.start_mark.column) + 1)
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            if let value = scalar.value {
                let bytes = UnsafeBufferPointer(start: value, count: scalar.length)
                copy.text = String(decoding: bytes, as: UTF8.self)
            }
            copy.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            copy.isDecorated = scalar.anchor != nil || scalar.tag != nil
        case YAML_SEQUENCE_START_EVENT:
            let start = event.data.sequence_start
            copy.isDecorated = start.anchor != nil || start.tag != nil
        case YAML_MAPPING_START_EVENT:
            let start = event.data.mapping_start
            copy.isDecorated = start.anchor != nil || start.tag != nil
        default: break
        }
        return copy
    }

    private mutating func node(_ event: Event, depth: Int) throws(PolicyErrors) -> YAMLNode {
        nodes += 1
        guard depth <= YAMLNode.depthMax, nodes <= YAMLNode.nodesMax else {
            throw failure(event.line, event.column, "nested too deep, or too large")
        }
        guard !event.isDecorated else {
            throw failure(event.line, event.column, "anchors and tags are not used in policies")
        }
        var content: YAMLNode.Content
        switch event.kind {
        case YAML_SCALAR_EVENT: content = .scalar(event.text, isPlain: event.isPlain)
        case YAML_SEQUENCE_START_EVENT: content = .sequence(try sequence(depth))
        case YAML_MAPPING_START_EVENT: content = .mapping(try mapping(depth))
        default: throw failure(event.line, event.column, "aliases are not used in policies")
        }
        return YAMLNode(content: content, line: event.line, column: event.column)
    }

    private mutating func sequence(_ depth: Int) throws(PolicyErrors) -> [YAMLNode] {
        var elements: [YAMLNode] = []
        while true {
            let event = try next()
            if event.kind == YAML_SEQUENCE_END_EVENT { return elements }
            elements.append(try node(event, depth: depth + 1))
        }
    }

    private mutating func mapping(
        _ depth: Int
    ) throws(PolicyErrors) -> [(key: YAMLNode, value: YAMLNode)] {
        var entries: [(key: YAMLNode, value: YAMLNode)] = []
        var seen: Set<String> = []
        while true {
            let event = try next()
            if event.kind == YAML_MAPPING_END_EVENT { return entries }
            let key = try node(event, depth: depth + 1)
            guard let name = key.text else {
                throw failure(key.line, key.column, "a key is a word, not \(key.kind)")
            }
            guard seen.insert(name).inserted else {
                throw failure(key.line, key.column, "\"\(name)\" stands twice")
            }
            entries.append((key, try node(try next(), depth: depth + 1)))
        }
    }
}
