/// What a method and path are.
package enum RouteMatch: Equatable, Sendable {
    /// Index of the operation.
    case operation(Int)
    case none
    case notCanonical
}

/// Method and path to operation: a trie over path segments, compiled once per policy.
///
/// Where several templates match, the most specific one decides (a literal before `{name}` before
/// `{rest...}`, a named method before `*`); two of which neither is more specific are refused when
/// the policy is compiled, so the order in the file never matters. A look-up visits a node of the
/// trie at most once and does not allocate.
package struct RouteTable: Sendable {
    private struct Node {
        /// Literal children, sorted by length and bytes: a range of `edges`.
        var edgeStart = 0
        var edgeEnd = 0
        var any: Int32 = -1
        var rest: Int32 = -1
        /// Operations that end here: a range of `ends`.
        var endStart = 0
        var endEnd = 0
    }
    private struct Edge {
        var textStart: Int
        var textCount: Int
        var node: Int32
    }
    private struct End {
        /// Index of the method; -1 is any.
        var method: Int32
        var operation: Int32
    }

    private var nodes: [Node] = []
    private var edges: [Edge] = []
    private var ends: [End] = []
    private var text: [UInt8] = []
    private let methods: NameTable
    package var isEmpty: Bool { ends.isEmpty }

    package init(_ operations: [OperationDefinition]) throws(RouteConflict) {
        if let conflict = Self.conflicts(among: operations).first { throw conflict }
        let parsed = try ParsedRoute.all(of: operations)
        var names: [String] = []
        for route in parsed where route.method != "*" && !names.contains(route.method) {
            names.append(route.method)
        }
        guard let methods = NameTable(names) else { preconditionFailure("names made distinct") }
        self.methods = methods
        let root = TrieNode()
        for route in parsed {
            let method = names.firstIndex(of: route.method).map { Int32($0) } ?? -1
            root.add(
                route.template.segments[...], method: method, operation: Int32(route.operation))
        }
        _ = flatten(root)
    }

    /// Every route that is none, else every pair of which neither is the more specific one: at most
    /// `conflictsMax`.
    package static func conflicts(among operations: [OperationDefinition]) -> [RouteConflict] {
        do { return ParsedRoute.conflicts(try ParsedRoute.all(of: operations)) } catch {
            return [error]
        }
    }
    package static let conflictsMax = 20

    private mutating func flatten(_ node: TrieNode) -> Int32 {
        let index = nodes.count
        nodes.append(Node())
        var flat = Node()
        flat.endStart = ends.count
        // A named method before any.
        for end in node.ends.sorted(by: { $0.method > $1.method }) {
            ends.append(End(method: end.method, operation: end.operation))
        }
        flat.endEnd = ends.count
        let literals = node.literals.sorted {
            $0.text.count != $1.text.count
                ? $0.text.count < $1.text.count : $0.text.lexicographicallyPrecedes($1.text)
        }
        flat.edgeStart = edges.count
        flat.edgeEnd = edges.count + literals.count
        for literal in literals {
            edges.append(Edge(textStart: text.count, textCount: literal.text.count, node: -1))
            text += literal.text
        }
        for (offset, literal) in literals.enumerated() {
            edges[flat.edgeStart + offset].node = flatten(literal.node)
        }
        if let any = node.any { flat.any = flatten(any) }
        if let rest = node.rest { flat.rest = flatten(rest) }
        nodes[index] = flat
        return Int32(index)
    }

    /// The operation of a request. `target` may carry a query. Does not allocate.
    package func match(
        method: UnsafeRawBufferPointer, path target: UnsafeRawBufferPointer
    ) -> RouteMatch {
        guard let path = PathBytes.canonicalPath(target) else { return .notCanonical }
        let method = Int32(truncatingIfNeeded: methods.find(method) ?? -2)
        let found = walk(node: 0, path, at: path.count == 1 ? path.count &+ 1 : 1, method)
        return found >= 0 ? .operation(Int(found)) : .none
    }

    /// Recursion ends with the trie: at most `RouteTemplate.segmentsMax` deep.
    private func walk(
        node index: Int32, _ path: UnsafeRawBufferPointer, at start: Int, _ method: Int32
    ) -> Int32 {
        let node = nodes[Int(index)]
        if start > path.count { return end(of: node, method) }
        var stop = start
        while stop < path.count, path[stop] != UInt8(ascii: "/") { stop &+= 1 }
        let segment = path.slice(at: start, length: stop &- start)
        let child = literal(segment, of: node)
        if child >= 0 {
            let found = walk(node: child, path, at: stop &+ 1, method)
            if found >= 0 { return found }
        }
        if node.any >= 0 {
            let found = walk(node: node.any, path, at: stop &+ 1, method)
            if found >= 0 { return found }
        }
        return node.rest >= 0 ? end(of: nodes[Int(node.rest)], method) : -1
    }

    private func end(of node: Node, _ method: Int32) -> Int32 {
        var index = node.endStart
        while index < node.endEnd {
            let end = ends[index]
            if end.method == method || end.method == -1 { return end.operation }
            index &+= 1
        }
        return -1
    }

    private func literal(_ segment: UnsafeRawBufferPointer, of node: Node) -> Int32 {
        var low = node.edgeStart
        var high = node.edgeEnd
        while low < high {
            let middle = low &+ (high &- low) / 2
            let edge = edges[middle]
            let order =
                edge.textCount != segment.count
                ? edge.textCount &- segment.count
                : text.withUnsafeBytes {
                    compareBytes($0.slice(at: edge.textStart, length: edge.textCount), segment)
                }
            if order == 0 { return edge.node }
            if order < 0 { low = middle &+ 1 } else { high = middle }
        }
        return -1
    }
}

/// The trie while it is built.
private final class TrieNode {
    var literals: [(text: [UInt8], node: TrieNode)] = []
    var any: TrieNode?
    var rest: TrieNode?
    var ends: [(method: Int32, operation: Int32)] = []

    func add(_ segments: ArraySlice<TemplateSegment>, method: Int32, operation: Int32) {
        guard let first = segments.first else { return ends.append((method, operation)) }
        child(first).add(segments.dropFirst(), method: method, operation: operation)
    }

    private func child(_ segment: TemplateSegment) -> TrieNode {
        let new = TrieNode()
        switch segment {
        case .literal(let text):
            if let known = literals.first(where: { $0.text == text }) { return known.node }
            literals.append((text, new))
        case .any:
            if let any { return any }
            any = new
        case .rest:
            if let rest { return rest }
            rest = new
        }
        return new
    }
}

/// A route with its template taken apart, and where it came from.
private struct ParsedRoute {
    var method: String
    var path: String
    var template: RouteTemplate
    /// Of the operation.
    var name: String
    var operation: Int
    var route: Int

    static func all(of operations: [OperationDefinition]) throws(RouteConflict) -> [ParsedRoute] {
        var parsed: [ParsedRoute] = []
        for (operation, definition) in operations.enumerated() {
            for (index, route) in definition.routes.enumerated() {
                func fault(_ what: String) -> RouteConflict {
                    RouteConflict(
                        message: "route \"\(route.method) \(route.path)\": \(what)",
                        operation: operation, route: index)
                }
                guard (1...32).contains(route.method.utf8.count),
                    route.method == "*" || route.method.utf8.allSatisfy(PathBytes.isUnreserved)
                else { throw fault("the method is *, or letters") }
                do {
                    parsed.append(
                        ParsedRoute(
                            method: route.method, path: route.path,
                            template: try RouteTemplate(route.path), name: definition.name,
                            operation: operation, route: index))
                } catch { throw fault(error.message) }
            }
        }
        return parsed
    }

    static func conflicts(_ routes: [ParsedRoute]) -> [RouteConflict] {
        var found: [RouteConflict] = []
        for (index, a) in routes.enumerated() {
            for b in routes[..<index] where found.count < RouteTable.conflictsMax {
                let methods: Overlap =
                    a.method == b.method
                    ? .same
                    : a.method == "*" ? .lessSpecific : b.method == "*" ? .moreSpecific : .disjoint
                if methods == .disjoint { continue }
                let overlap = methods.and(a.template.compare(b.template))
                guard overlap == .same || overlap == .crossing else { continue }
                let other = "\"\(b.method) \(b.path)\" of operation \(b.name)"
                let what =
                    overlap == .same
                    ? "is the same as \(other)"
                    : "overlaps \(other), and neither is the more specific one"
                found.append(
                    RouteConflict(
                        message: "route \"\(a.method) \(a.path)\" \(what)",
                        operation: a.operation, route: a.route))
            }
        }
        return found
    }
}
