import TollgateCore

/// A token in compact form taken apart, its signature aside. Throws what is wrong with it.
struct TokenText {
    /// A member of a JSON object: its name as it stands, and its value as JSON.
    struct Member {
        var name: String
        var value: String

        /// The text between the quotes of a string; else the JSON itself.
        var plain: String {
            value.hasPrefix("\"") ? String(value.dropFirst().dropLast()) : value
        }
    }

    var header: [Member]
    var claims: [Member]
    /// As they were signed.
    var headerJSON: String
    var claimsJSON: String
    var tokenBytes: Int

    init(_ token: String) throws(Failure) {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else {
            throw Failure(
                .badData,
                token.isEmpty
                    ? "there is no token"
                    : "a token in compact form has three parts, this has \(parts.count)",
                next: "give a file with one token in it, or - and the token on standard input")
        }
        headerJSON = try Self.decode(String(parts[0]), "header")
        claimsJSON = try Self.decode(String(parts[1]), "payload")
        header = Self.members(of: headerJSON)
        claims = Self.members(of: claimsJSON)
        tokenBytes = token.utf8.count
    }

    /// The part as text: one strict JSON object, by the rules the daemon has.
    private static func decode(_ part: String, _ what: String) throws(Failure) -> String {
        let encoded = Array(part.utf8)
        var decoded = [UInt8](repeating: 0, count: encoded.count)
        let count = encoded.withUnsafeBytes { source in
            decoded.withUnsafeMutableBytes { Base64URL.decode(source, into: $0) }
        }
        guard let count else {
            throw Failure(.badData, "the \(what) is not base64url without padding")
        }
        let text = decoded[..<count]
        var scanner = JSONScanner(textBytesMax: max(count, 16))
        scanner.text.copyBytes(from: text)
        guard scanner.scan(textBytes: count), let json = String(validating: text, as: UTF8.self)
        else {
            throw Failure(
                .badData,
                "the \(what) is not one JSON object, or has a member twice, or is nested too deep:"
                    + " the daemon refuses it")
        }
        return json
    }

    /// The members of a JSON object that was found to be strict JSON.
    private static func members(of json: String) -> [Member] {
        var members: [Member] = []
        var name = ""
        var current = String.UnicodeScalarView()
        var depth = 0
        var (isInString, isEscaped) = (false, false)
        func end() {
            guard !name.isEmpty else { return }
            members.append(
                Member(name: String(name.dropFirst().dropLast()), value: String(current)))
            (name, current) = ("", .init())
        }
        for scalar in json.unicodeScalars {
            if isInString {
                isInString = isEscaped || scalar != "\""
                isEscaped = !isEscaped && scalar == "\\"
                current.append(scalar)
                continue
            }
            switch (scalar, depth) {
            case (" ", _), ("\t", _), ("\n", _), ("\r", _), ("{", 0): break
            case ("}", 1), (",", 1): end()
            case (":", 1): (name, current) = (String(current), .init())
            default:
                isInString = scalar == "\""
                current.append(scalar)
            }
            if scalar == "{" || scalar == "[" { depth += 1 }
            if scalar == "}" || scalar == "]" { depth -= 1 }
        }
        return members
    }
}
