import Glibc
import Testing

@testable import TollgatePolicy

/// A directory with the reference policy and a key of its own.
final class PolicyDirectory {
    let path: String
    let reference: [UInt8]

    init() throws {
        var template = Array("/tmp/tollgate-policy.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        mkdir(path + "/keys", 0o700)
        let source = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        reference = try Self.read("/" + source + "/Deploy/tollgate.yaml")
        write("keys/main.key", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeAE\n")
    }

    deinit {
        for name in ["/keys/main.key", "/keys/other", "/keys/third"] { unlink(path + name) }
        rmdir(path + "/keys")
        rmdir(path)
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) {
        write(name, Array(text.utf8), mode: mode)
    }

    func write(_ name: String, _ bytes: [UInt8], mode: mode_t) {
        let descriptor = open(path + "/" + name, O_CREAT | O_TRUNC | O_WRONLY, mode)
        fchmod(descriptor, mode)
        bytes.withUnsafeBytes { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    func load(_ bytes: [UInt8]) throws(PolicyErrors) -> LoadedPolicy {
        try PolicyLoader.load(bytes: bytes, file: path + "/p.yaml")
    }

    /// The messages, without the directory.
    func faults(_ text: String) -> [String] {
        do { _ = try load(Array(text.utf8)) } catch {
            return error.errors.map { String($0.description.dropFirst(path.utf8.count + 1)) }
        }
        return []
    }

    private static func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let got = Glibc.read(descriptor, &bytes, bytes.count)
        return Array(bytes[..<max(0, got)])
    }
}

/// A small policy; more lines go on at line 7.
func smallPolicy(_ extra: String = "", plan: String = "{permissions: []}") -> String {
    """
    version: 1
    meters: [calls, tokens]
    operations:
      chat: {class: chat, routes: ["POST /v1/chat"]}
    plans:
      pro: \(plan)
    \(extra)
    """
}
