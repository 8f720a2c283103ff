/// Which names a request may give for where it was sent (RFC 9112, section 3.2).
///
/// On the loopback interface a browser is a client too, and a page of anybody's may have it ask
/// there under a name of its own that leads here (DNS rebinding), and read the answer. So there
/// only names are taken that nobody else can have.
struct HostRule: Sendable {
    /// Also taken on TCP: in lower case, without a port.
    var names: Set<String> = []

    enum Answer: Equatable {
        /// The path that is asked for, without its query.
        case path(String)
        case refused(code: Int, String)
    }

    /// `hosts`: the values of all headers Host. `isTCP`: the connection came over the loopback
    /// interface; on a Unix socket its mode says who may ask, and any name will do.
    func look(at target: String, hosts: [String], isVersion11: Bool, isTCP: Bool) -> Answer {
        // Of HTTP/1.0 none is wanted, and who sends that is no browser.
        guard hosts.count == 1 || hosts.isEmpty && !isVersion11 else {
            return .refused(code: 400, "a request has one header Host, not \(hosts.count)")
        }
        var host: String?
        if let given = hosts.first {
            host = Self.name(of: given)
            guard host != nil else { return .refused(code: 400, "Host is no host's name") }
        }
        var rest = target[...]
        if let authority = Self.authority(of: target) {
            // What the target says holds, and not the header.
            host = authority.isEmpty ? nil : Self.name(of: String(authority))
            guard host != nil else { return .refused(code: 400, "the target names no host") }
            rest = target[authority.endIndex...]
            if rest.first != "/" { rest = "/" + rest }
        }
        if isTCP, let host, !isOurs(host) {
            return .refused(
                code: 421,
                "\(host.isEmpty ? "no name" : host) is not ours; ask for localhost or 127.0.0.1,"
                    + " or start tollgate-http with --host NAME")
        }
        return .path(String(rest.prefix { $0 != "?" && $0 != "#" }))
    }

    private func isOurs(_ host: String) -> Bool {
        if host == "localhost" || names.contains(host) { return true }
        let literal = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        // Four numbers stand without brackets, and what has colons in them.
        guard literal.contains(":") == host.hasPrefix("[") else { return false }
        return ListenPlace.address(literal).map(ListenPlace.isLoopback) ?? false
    }

    /// Of a target in absolute form, `http://AUTHORITY/path`; `nil` of any other.
    private static func authority(of target: String) -> Substring? {
        let scheme = "http://"
        guard target.prefix(scheme.count).lowercased() == scheme else { return nil }
        return target.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    }

    /// Of `host[:port]`, in lower case, an IPv6 address within its brackets; `nil`: it is none.
    static func name(of text: String) -> String? {
        let bytes = Array(text.utf8)
        var end = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.count
        if bytes.first == UInt8(ascii: "[") {
            guard let bracket = bytes.firstIndex(of: UInt8(ascii: "]")) else { return nil }
            guard bytes[1..<bracket].allSatisfy(isOfAddress) else { return nil }
            end = bracket + 1
        } else {
            guard bytes[..<end].allSatisfy(isOfName) else { return nil }
        }
        let port = bytes[end...]
        let digits = port.dropFirst()
        guard port.isEmpty || port.first == UInt8(ascii: ":"), digits.count <= 5,
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return String(decoding: bytes[..<end], as: UTF8.self).lowercased()
    }

    private static func isOfAddress(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: ":"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// RFC 3986's reg-name.
    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: "-._~!$&'()*+,;=%".utf8.contains(byte)
        }
    }
}
