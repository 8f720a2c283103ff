import COpenSSL
import Glibc
import TollgateCore

package struct KeyFileFault: Error {
    package var message: String

    package init(message: String) { self.message = message }
}

/// The bytes of a key file; its path as the policy gives it, then with the directory.
package typealias KeyReader = (_ path: String, _ full: String) throws(KeyFileFault) -> [UInt8]

/// Reads signing keys, which stand in files and nowhere else: a JWK of type `oct` (RFC 7517, RFC
/// 7518 §6.4), or base64url on one line. Buffers are zeroed after use.
package struct KeyFiles {
    package enum Format { case jwk, base64url }

    /// Relative paths begin here.
    let directory: String
    let read: KeyReader
    private static let bytesMax = 16_384

    package init(directory: String, read: @escaping KeyReader = KeyFiles.read) {
        self.directory = directory
        self.read = read
    }

    package func secret(
        _ path: String, format: Format, algorithm: TokenAlgorithm, keyID: String?
    ) throws(KeyFileFault) -> SecretBytes {
        var text = try bytes(of: path)
        defer { Self.zero(&text) }
        var encoded = ArraySlice(text)
        if format == .jwk {
            encoded = try Self.keyMember(of: text, path: path, algorithm: algorithm, keyID: keyID)
        }
        let secret = try Self.decoded(encoded, "key file \(path)")
        let problem = secret.withBytes { SecretCheck.problem(with: $0, algorithm: algorithm) }
        if let problem { throw KeyFileFault(message: "key file \(path): \(problem)") }
        return secret
    }

    /// What stands in a file that the policy names; the caller zeroes it.
    func bytes(of path: String) throws(KeyFileFault) -> [UInt8] {
        guard !Self.looksLikeKey(path) else {
            throw KeyFileFault(
                message: "file is a path, and this (not shown) looks like a key: put it into a file"
                    + " that others may not read, and name that")
        }
        return try read(path, path.hasPrefix("/") ? path : directory + "/" + path)
    }

    /// The secret of one line of base64url.
    static func decoded(
        _ line: ArraySlice<UInt8>, _ shown: String
    ) throws(KeyFileFault) -> SecretBytes {
        var encoded = line
        while let last = encoded.last, last == 0x0a || last == 0x0d { encoded.removeLast() }
        var secret = [UInt8](repeating: 0, count: encoded.count)
        defer { zero(&secret) }
        let count = encoded.withUnsafeBytes { source in
            secret.withUnsafeMutableBytes { Base64URL.decode(source, into: $0) }
        }
        guard let count else {
            throw KeyFileFault(message: "\(shown): not base64url without padding on one line")
        }
        return SecretBytes(copying: secret[..<count])
    }

    /// The folder of a file, where relative paths in it begin.
    static func directory(of file: String) -> String {
        file.lastIndex(of: "/").map { String(file[..<$0]) } ?? "."
    }

    /// Base64 long enough to be a secret, without anything that a path has.
    private static func looksLikeKey(_ path: String) -> Bool {
        path.utf8.count >= 43 && !path.hasPrefix("/") && !path.contains(".")
            && path.utf8.allSatisfy { byte in
                let letter = byte | 0x20
                return (0x30...0x39).contains(byte) || (0x61...0x7a).contains(letter)
                    || "-_+/=".utf8.contains(byte)
            }
    }

    static func zero(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { tg_zero(base, $0.count) } }
    }

    /// A small file that nobody but its owner may write, and others may not read. Messages name it
    /// as the policy does.
    package static func read(_ path: String, _ full: String) throws(KeyFileFault) -> [UInt8] {
        try contents(
            path, full,
            missing: "make one with: openssl rand 32 | basenc --base64url -w0 | tr -d = > FILE")
    }

    /// The same; `missing`: what to do where there is none.
    static func contents(
        _ path: String, _ full: String? = nil, missing: String
    ) throws(KeyFileFault) -> [UInt8] {
        let descriptor = open(full ?? path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let reason = String(cString: strerror(errno))
            throw KeyFileFault(
                message: "key file \(path): \(reason); \(missing)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size <= bytesMax
        else { throw KeyFileFault(message: "key file \(path): not a file of at most 16 KiB") }
        guard status.st_mode & 0o027 == 0 else {
            throw KeyFileFault(
                message: "key file \(path): others may read or write it; run: chmod g-w,o= \(path)")
        }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let got = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, $0.count - filled)
            }
            guard got > 0 else { throw KeyFileFault(message: "key file \(path): cannot be read") }
            filled += got
        }
        return bytes
    }

    /// The member `k` of a JWK, after its other members were found to fit.
    private static func keyMember(
        of text: [UInt8], path: String, algorithm: TokenAlgorithm, keyID: String?
    ) throws(KeyFileFault) -> ArraySlice<UInt8> {
        guard let members = FlatJSON.members(of: text) else {
            throw KeyFileFault(
                message: "key file \(path): not one JWK, that is a JSON object of plain texts")
        }
        func member(_ name: String) -> String? {
            members[name].map { String(decoding: text[$0], as: UTF8.self) }
        }
        guard member("kty") == "oct" else {
            throw KeyFileFault(
                message: "key file \(path): \"kty\" is not \"oct\": only keys for HMAC are used")
        }
        if let named = member("alg"), named != algorithm.headerName {
            throw KeyFileFault(
                message: "key file \(path): \"alg\" is \(named), the policy says"
                    + " \(algorithm.headerName)")
        }
        if let named = member("kid"), named != keyID {
            throw KeyFileFault(
                message: "key file \(path): \"kid\" is \(named), the policy says"
                    + " \(keyID ?? "nothing: add id: \(named)")")
        }
        if let use = member("use"), use != "sig" {
            throw KeyFileFault(message: "key file \(path): \"use\" is not \"sig\"")
        }
        guard let range = members["k"] else {
            throw KeyFileFault(message: "key file \(path): \"k\" is missing")
        }
        return text[range]
    }
}

/// One JSON object whose members are texts without escapes, or lists of such; enough for a JWK.
enum FlatJSON {
    /// The members that are texts, as ranges of the file's bytes; `nil` when it is anything else.
    static func members(of bytes: [UInt8]) -> [String: Range<Int>]? {
        var at = 0
        func skipSpace() {
            while at < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[at]) { at += 1 }
        }
        func take(_ character: Character) -> Bool {
            skipSpace()
            guard at < bytes.count, bytes[at] == character.asciiValue else { return false }
            at += 1
            return true
        }
        func string() -> Range<Int>? {
            guard take("\"") else { return nil }
            let start = at
            while at < bytes.count, bytes[at] != 0x22 {
                if bytes[at] == 0x5c || bytes[at] < 0x20 { return nil }
                at += 1
            }
            guard at < bytes.count else { return nil }
            at += 1
            return start..<(at - 1)
        }
        func strings() -> Bool {
            guard take("[") else { return false }
            if take("]") { return true }
            repeat { if string() == nil { return false } } while take(",")
            return take("]")
        }
        var members: [String: Range<Int>] = [:]
        guard take("{") else { return nil }
        if !take("}") {
            repeat {
                guard let name = string(), take(":") else { return nil }
                let key = String(decoding: bytes[name], as: UTF8.self)
                guard members[key] == nil else { return nil }
                if let value = string() {
                    members[key] = value
                } else if !strings() {
                    return nil
                }
            } while take(",")
            guard take("}") else { return nil }
        }
        skipSpace()
        return at == bytes.count ? members : nil
    }
}
