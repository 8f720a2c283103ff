import CYAML

/// Builds a tree of `YAMLNode` from libyaml's events. Lives for one file. What is not YAML ends it
/// at once; what a policy does not use (anchors, aliases, tags, a key twice) is noted in `schema`,
/// and reading goes on.
struct YAMLReader {
    private let bytes: [UInt8]
    private let schema: SchemaReader
    private var parser = yaml_parser_t()
    private var nodes = 0

    private init(_ bytes: [UInt8], _ schema: SchemaReader) {
        self.bytes = bytes
        self.schema = schema
    }

    static func read(_ bytes: [UInt8], schema: SchemaReader) throws(PolicyErrors) -> YAMLNode {
        var reader = YAMLReader(bytes, schema)
        if [[0xef, 0xbb, 0xbf], [0xfe, 0xff], [0xff, 0xfe]].contains(where: bytes.starts) {
            throw reader.failure(
                1, 1, "begins with a byte order mark: save it as UTF-8 without one")
        }
        guard yaml_parser_initialize(&reader.parser) == 1 else {
            throw reader.failure(0, 0, "out of memory")
        }
        defer { yaml_parser_delete(&reader.parser) }
        yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING)
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

    /// Everything noted so far, and what ended it.
    private func failure(_ line: Int, _ column: Int, _ message: String) -> PolicyErrors {
        schema.fail(line, column, message)
        return PolicyErrors(errors: schema.errors)
    }

    private mutating func document() throws(PolicyErrors) -> YAMLNode {
        _ = try next()
        var event = try next()
        if event.kind == YAML_STREAM_END_EVENT { throw failure(1, 1, "the file is empty") }
        guard event.kind == YAML_DOCUMENT_START_EVENT, !event.isDecorated else {
            throw failure(event.line, event.column, "directives are not used in policies")
        }
        event = try next()
        let root = try node(event, depth: 0)
        _ = try next()
        let end = try next()
        guard end.kind == YAML_STREAM_END_EVENT else {
            throw failure(end.line, end.column, "a second document: a policy is one")
        }
        return root
    }

    /// One event, copied out of libyaml's memory.
    private struct Event {
        var kind: yaml_event_type_t
        var line: Int
        var column: Int
        var text = ""
        var isPlain = false
        /// With an anchor, a tag or a directive.
        var isDecorated = false
    }

    private mutating func next() throws(PolicyErrors) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(&parser, &event) == 1 else { throw parseFailure() }
        defer { yaml_event_delete(&event) }
        var copy = Event(
            kind: event.type, line: Int(event.start_mark.line) + 1,
            column: Int(event.start_mark.column) + 1)
        switch event.type {
        case YAML_DOCUMENT_START_EVENT:
            let start = event.data.document_start
            copy.isDecorated =
                start.version_directive != nil
                || start.tag_directives.start != start.tag_directives.end
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            if let value = scalar.value {
                let text = UnsafeBufferPointer(start: value, count: scalar.length)
                copy.text = String(decoding: text, as: UTF8.self)
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

    /// What libyaml says, at its place. Of bytes that are not text it knows the offset alone.
    private func parseFailure() -> PolicyErrors {
        let problem = parser.problem.map { String(cString: $0) } ?? "not YAML"
        if parser.error == YAML_READER_ERROR {
            let before = bytes.prefix(Int(clamping: parser.problem_offset))
            let line = before.reduce(1) { $0 + ($1 == 0x0a ? 1 : 0) }
            // In characters: bytes that go on with one are not counted.
            let column = before.reversed().prefix { $0 != 0x0a }.count { $0 & 0xc0 != 0x80 } + 1
            return failure(line, column, "not UTF-8 text: \(problem)")
        }
        let line = Int(parser.problem_mark.line)
        let lines = bytes.split(
            separator: 0x0a, maxSplits: line + 1, omittingEmptySubsequences: false)
        let isTabbed =
            lines.indices.contains(line)
            && lines[line].prefix { $0 == 0x20 || $0 == 0x09 }.contains(0x09)
        return failure(
            line + 1, Int(parser.problem_mark.column) + 1,
            isTabbed ? "\(problem): indent with spaces, not tabs" : problem)
    }

    private mutating func node(_ event: Event, depth: Int) throws(PolicyErrors) -> YAMLNode {
        nodes += 1
        guard depth <= YAMLNode.depthMax else {
            throw failure(event.line, event.column, "nested deeper than \(YAMLNode.depthMax)")
        }
        guard nodes <= YAMLNode.nodesMax else {
            throw failure(event.line, event.column, "more than \(YAMLNode.nodesMax) values")
        }
        if event.isDecorated {
            schema.fail(event.line, event.column, "anchors and tags are not used in policies")
        }
        var content: YAMLNode.Content
        switch event.kind {
        case YAML_SCALAR_EVENT: content = .scalar(event.text, isPlain: event.isPlain)
        case YAML_SEQUENCE_START_EVENT: content = .sequence(try sequence(depth))
        case YAML_MAPPING_START_EVENT: content = .mapping(try mapping(depth))
        default:
            schema.fail(event.line, event.column, "aliases are not used in policies")
            content = .scalar("", isPlain: true)
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
            let value = try node(try next(), depth: depth + 1)
            guard let name = key.text else {
                schema.fail(key, "a key is a word, not \(key.shown)")
                continue
            }
            guard seen.insert(name).inserted else {
                schema.fail(key, "\(key.shown) stands twice")
                continue
            }
            entries.append((key, value))
        }
    }
}
