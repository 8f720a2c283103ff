/// An HTTP request by curl. What it is to do stands in a configuration that it reads from standard
/// input, so that neither a URL nor a signature is in its arguments, which others can see.
struct CurlRequest {
    var url: String
    var headers: [(name: String, value: String)]
    var body: [UInt8]
    var milliseconds: UInt64

    enum Outcome: Equatable {
        /// With the seconds of its Retry-After.
        case answered(status: Int, retryAfter: UInt64?)
        /// Why, without the URL.
        case failed(String)
    }

    /// `-q` first: no configuration of the user's own.
    static let words = ["curl", "-q", "--config", "-"]

    var configuration: [UInt8] {
        let seconds = "\(milliseconds / 1_000).\(String(milliseconds % 1_000 + 1_000).dropFirst())"
        var lines = [
            "url = \(Self.quoted(url.utf8))", "request = \"POST\"", "proto = \"=http,https\"",
            "silent", "globoff", "max-time = \(seconds)", "output = \"/dev/null\"",
            "dump-header = \"-\"",
        ]
        // So that curl sends the body at once, whatever its size.
        lines.append("header = \"Expect:\"")
        for header in headers {
            lines.append("header = \(Self.quoted("\(header.name): \(header.value)".utf8))")
        }
        lines.append("data-binary = \(Self.quoted(body))")
        return Array((lines.joined(separator: "\n") + "\n").utf8)
    }

    /// As curl's manual has it: in quotes, with a backslash before quotes, backslashes and what
    /// ends a line. JSON has no other controls in it.
    private static func quoted(_ bytes: some Sequence<UInt8>) -> String {
        var quoted: [UInt8] = [UInt8(ascii: "\"")]
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "\""): quoted += [UInt8(ascii: "\\"), byte]
            case 0x0a: quoted += Array("\\n".utf8)
            case 0x0d: quoted += Array("\\r".utf8)
            case 0x09: quoted += Array("\\t".utf8)
            default: quoted.append(byte)
            }
        }
        return String(decoding: quoted, as: UTF8.self) + "\""
    }

    func send() -> Outcome {
        // curl ends by itself at its time; the rest is for its start.
        let outcome = ChildProcess.run(
            Self.words, input: configuration, milliseconds: milliseconds + 5_000)
        switch outcome {
        case .ended(0, let output): return Self.answer(output)
        case .ended(let code, _): return .failed(Self.words(of: code))
        case .killed(let signal): return .failed("curl was ended by signal \(signal)")
        case .timedOut: return .failed("no answer in time")
        case .notStarted(let error):
            return .failed(
                "curl cannot be started (\(systemText(error))); install the Debian package curl")
        }
    }

    /// The last answer's head: there may be interim ones, and a proxy's before.
    static func answer(_ output: [UInt8]) -> Outcome {
        var status: Int?
        var retryAfter: UInt64?
        for line in output.split(separator: 0x0a) {
            var text = String(decoding: line, as: UTF8.self)
            if text.hasSuffix("\r") { text.removeLast() }
            if text.hasPrefix("HTTP/") {
                status = text.split(separator: " ").dropFirst().first.flatMap { Int($0) }
                retryAfter = nil
            }
            let parts = text.split(separator: ":", maxSplits: 1)
            if parts.count == 2, parts[0].lowercased() == "retry-after" {
                retryAfter = UInt64(parts[1].filter { $0 != " " })
            }
        }
        guard let status else { return .failed("no answer that is HTTP") }
        return .answered(status: status, retryAfter: retryAfter)
    }

    /// Exit codes, curl(1).
    private static func words(of code: Int32) -> String {
        switch code {
        case 5: "the proxy's name cannot be resolved"
        case 6: "the host's name cannot be resolved"
        case 7: "nobody answers at the host"
        case 28: "no answer in time"
        case 35: "the TLS handshake failed"
        case 52: "the connection was closed without an answer"
        case 55, 56: "the connection broke"
        case 60: "the host's certificate is not to be trusted"
        default: "curl ended with exit code \(code)"
        }
    }
}
