import Testing

@testable import TollgateCore

@Suite struct RouteTableTests {
    private func table(_ routes: [String]) throws(RouteConflict) -> RouteTable {
        try RouteTable(routes.enumerated().map { index, route in
            let parts = route.split(separator: " ")
            return OperationDefinition(
                name: "op\(index)",
                routes: [RouteDefinition(method: String(parts[0]), path: String(parts[1]))])
        })
    }

    private func match(_ table: RouteTable, _ method: String, _ path: String) -> RouteMatch {
        Array(method.utf8).withUnsafeBytes { method in
            Array(path.utf8).withUnsafeBytes { table.match(method: method, path: $0) }
        }
    }

    @Test func theMostSpecificRouteDecidesWhateverTheOrder() throws {
        let routes = [
            "* /{rest...}", "GET /v1/files/{id}", "GET /v1/files/search", "* /v1/files/{id}",
            "POST /v1/raw/{rest...}", "GET /", "GET /v1/{kind}/search/deep",
        ]
        for shift in routes.indices {
            let order = Array(routes[shift...] + routes[..<shift])
            let table = try table(order)
            func expect(_ method: String, _ path: String, _ route: String?) {
                let index = route.flatMap { order.firstIndex(of: $0) }
                #expect(match(table, method, path) == (index.map { .operation($0) } ?? .none))
            }
            expect("GET", "/v1/files/search?q=1", routes[2])
            expect("GET", "/v1/files/x", routes[1])
            expect("DELETE", "/v1/files/search", routes[3])
            expect("GET", "/v1/files/search/deep", routes[6])
            expect("GET", "/v1/files/search/other", routes[0])
            expect("POST", "/v1/raw/a/b/c", routes[4])
            expect("POST", "/v1/raw", routes[0])
            expect("GET", "/", routes[5])
            expect("POST", "/", nil)
            expect("GET", "/v1/files/a%C3%A9", routes[1])
        }
    }

    @Test(arguments: [
        ["GET /a/{x}", "GET /a/{y}"], ["GET /a/{x}/c", "GET /a/b/{y}"], ["* /a", "* /a"],
        ["GET /a/{x...}", "GET /a/{y...}"], ["* /a/b", "GET /a/{x}"],
    ])
    func routesOfWhichNeitherIsMoreSpecificAreRefused(routes: [String]) {
        #expect(throws: RouteConflict.self) { _ = try table(routes) }
    }

    @Test(arguments: ["a", "/a//b", "/a/", "/{x", "/{}", "/a/{r...}/b", "/a%20", "/..", "/a;b"])
    func templatesThatAreNoneAreRefused(path: String) {
        #expect(throws: RouteConflict.self) { _ = try table(["GET \(path)"]) }
    }

    @Test(arguments: [
        "", "v1", "//v1", "/v1//x", "/v1/", "/./v1", "/v1/..", "/v1/../x", "/v1/%2e%2e/x", "/%2Fv1",
        "/v1%5cx", "/v1\\x", "/v1;a=b/x", "/v1 x", "/v1\u{0}", "/v1%00", "/%61dmin", "/v1%",
        "/v1%2",
        "/v1%zz", "/v1#x", "/v1/é", "http://host/v1", "/v1%25", "/v1?a b", "/v1?a\u{7f}", "*",
    ])
    func pathsThatAreNotCanonicalAreRefused(path: String) throws {
        let table = try table(["* /{rest...}", "* /"])
        #expect(match(table, "GET", path) == .notCanonical)
    }

    @Test(arguments: 1...20) func aLookUpAgreesWithTryingEveryRoute(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func pick(_ words: [String]) -> String { words.randomElement(using: &random) ?? "" }
        var routes: [String] = []
        for _ in 0..<30 {
            var path = ""
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                path += "/" + pick(["a", "b", "{x}"])
            }
            if Int.random(in: 0..<5, using: &random) == 0 { path += "/{r...}" }
            let route = pick(["GET", "PUT", "*"]) + " " + path
            if (try? table(routes + [route])) != nil { routes.append(route) }
        }
        let table = try table(routes)
        for _ in 0..<300 {
            var path = ""
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                path += "/" + pick(["a", "b", "c"])
            }
            let method = pick(["GET", "PUT", "POST"])
            let fitting = routes.indices.filter { fits(routes[$0], method, path) }
            let best = fitting.first { a in
                fitting.allSatisfy { a == $0 || isWithin(routes[a], routes[$0]) }
            }
            #expect(
                match(table, method, path) == (best.map { .operation($0) } ?? .none),
                "\(path) \(seed)")
            #expect(best != nil || fitting.isEmpty)
        }
    }

    private func fits(_ route: String, _ method: String, _ path: String) -> Bool {
        let parts = route.split(separator: " ")
        guard parts[0] == "*" || parts[0] == method else { return false }
        let template = parts[1].split(separator: "/")
        let segments = path.split(separator: "/")
        for (index, part) in template.enumerated() {
            if part.hasSuffix("...}") { return segments.count > index }
            guard index < segments.count else { return false }
            if !part.hasPrefix("{") && part != segments[index] { return false }
        }
        return template.count == segments.count
    }

    private func isWithin(_ a: String, _ b: String) -> Bool {
        let (x, y) = (a.split(separator: " "), b.split(separator: " "))
        let methods: Overlap =
            x[0] == y[0]
            ? .same : x[0] == "*" ? .lessSpecific : y[0] == "*" ? .moreSpecific : .disjoint
        guard let p = try? RouteTemplate(String(x[1])), let q = try? RouteTemplate(String(y[1]))
        else {
            return false
        }
        return methods.and(p.compare(q)) == .moreSpecific
    }
}
