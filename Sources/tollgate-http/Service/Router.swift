/// What is asked, as far as a route needs it.
struct HTTPRequest: Sendable {
    var method: String
    /// Without the query.
    var path: String
    var accept: String
}

struct HTTPResponse: Sendable {
    var code: Int
    var contentType = "text/plain; charset=utf-8"
    /// Of headers beside those that every answer has.
    var headers: [(String, String)] = []
    var body: [UInt8]

    init(_ code: Int, _ text: String, headers: [(String, String)] = []) {
        self.code = code
        self.headers = headers
        body = Array(text.utf8)
    }

    init(_ code: Int, contentType: String, body: [UInt8]) {
        self.code = code
        self.contentType = contentType
        self.body = body
    }
}

/// A path, and what answers it. It runs beside the event loop and may wait; the connection's
/// deadline ends the wait.
struct Route: Sendable {
    var path: String
    /// HEAD goes with GET.
    var methods: [String] = ["GET", "HEAD"]
    var answer: @Sendable (HTTPRequest) async -> HTTPResponse
}

/// Finds the route of a request by its path.
struct Router: Sendable {
    var routes: [Route]

    func answer(_ request: HTTPRequest) async -> HTTPResponse {
        guard let route = routes.first(where: { $0.path == request.path }) else {
            let paths = routes.map(\.path).joined(separator: ", ")
            return HTTPResponse(404, "nothing is here; there are: \(paths)\n")
        }
        guard route.methods.contains(request.method) else {
            let allowed = route.methods.joined(separator: ", ")
            return HTTPResponse(
                405, "\(route.path) takes \(allowed)\n", headers: [("Allow", allowed)])
        }
        return await route.answer(request)
    }
}
