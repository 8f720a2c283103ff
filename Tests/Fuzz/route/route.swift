@testable import TollgateCore

/// F1 for routes: lines of "METHOD /template" up to a zero, then a path. A path is refused or the
/// operation found is the one that trying every template finds: one that fits and lies within all
/// others that fit.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return 0 }
    let routes = routes(String(decoding: parts[0], as: UTF8.self))
    let operations = routes.enumerated().map {
        OperationDefinition(name: "o\($0.offset)", routes: [$0.element])
    }
    guard let table = try? RouteTable(operations) else {
        precondition(!RouteTable.conflicts(among: operations).isEmpty)
        return 0
    }
    let target = [UInt8](parts[1])
    for method in ["GET", "POST", "*"] { check(table, routes, method, target) }
    return 0
}

private func routes(_ text: String) -> [RouteDefinition] {
    text.split(separator: "\n").prefix(64).map { line in
        let words = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        return RouteDefinition(
            method: String(words[0]), path: words.count == 2 ? String(words[1]) : "")
    }
}

private func check(
    _ table: RouteTable, _ routes: [RouteDefinition], _ method: String, _ target: [UInt8]
) {
    let found = Array(method.utf8).withUnsafeBytes { method in
        target.withUnsafeBytes { table.match(method: method, path: $0) }
    }
    let path = target.withUnsafeBytes { PathBytes.canonicalPath($0).map { [UInt8]($0) } }
    guard let path else { return precondition(found == .notCanonical) }
    // What was accepted has nothing that another server would read in another way.
    precondition(path.first == 0x2f && !path.contains { [0x5c, 0x3b, 0x00, 0x20].contains($0) })
    let segments = path.count == 1 ? [] : path[1...].split(
        separator: 0x2f, omittingEmptySubsequences: false).map { [UInt8]($0) }
    precondition(segments.allSatisfy { !$0.isEmpty && $0 != [0x2e] && $0 != [0x2e, 0x2e] })
    let fitting = routes.indices.filter { index in
        guard [method, "*"].contains(routes[index].method),
            let template = try? RouteTemplate(routes[index].path)
        else { return false }
        return fits(template.segments, segments)
    }
    guard case .operation(let index) = found else {
        return precondition(found == .none && fitting.isEmpty, "one fits and was not found")
    }
    precondition(fitting.contains(index), "what was found does not fit")
    for other in fitting where other != index {
        precondition(isWithin(routes[index], routes[other]), "a more specific one fits")
    }
}

private func fits(_ template: [TemplateSegment], _ segments: [[UInt8]]) -> Bool {
    for (index, part) in template.enumerated() {
        if part == .rest { return segments.count > index }
        guard index < segments.count else { return false }
        if case .literal(let text) = part, text != segments[index] { return false }
    }
    return template.count == segments.count
}

private func isWithin(_ a: RouteDefinition, _ b: RouteDefinition) -> Bool {
    guard let x = try? RouteTemplate(a.path), let y = try? RouteTemplate(b.path) else {
        return false
    }
    let methods: Overlap =
        a.method == b.method ? .same : b.method == "*" ? .moreSpecific : .disjoint
    return methods.and(x.compare(y)) == .moreSpecific
}
