import ArgumentParser
import Glibc
import TollgateClient
import TollgateWire

/// Values as they stand on the command line, and files that it names.
enum Input {
    private static let bytesMax = 1 << 20

    /// Tokens are secrets: they come from a file or the environment, never from an argument.
    static func token(_ file: String?) throws -> String {
        guard let file else { return environment("TOLLGATE_TOKEN") ?? "" }
        var text = try readText(file)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }

    /// The text of a file; `-` is standard input.
    static func readText(_ path: String) throws -> String {
        let descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw missing(path, errno) }
        defer { if descriptor > 0 { close(descriptor) } }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let got = read(descriptor, &chunk, chunk.count)
            if got == 0 { break }
            guard got > 0 else {
                if errno == EINTR { continue }
                throw missing(path, errno)
            }
            bytes += chunk[..<got]
            guard bytes.count <= bytesMax else {
                throw Failure(.badData, "\(path) is longer than 1 MiB: that is no token")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(.badData, "\(path) is not text in UTF-8")
        }
        return text
    }

    static func missing(_ path: String, _ code: Int32) -> Failure {
        Failure(
            .noInput, "cannot read \(path): \(systemText(code))",
            next: "name a file that is there and that you may read, or - for standard input")
    }

    /// The policy file: as given, as TOLLGATE_CONFIG says, or where the daemon looks for it.
    static func policyPath(_ given: String?) throws -> String {
        let path = given ?? environment("TOLLGATE_CONFIG") ?? "/etc/tollgate/tollgate.yaml"
        guard access(path, R_OK) == 0 else {
            throw Failure(
                .noInput, "cannot read \(path): \(systemText(errno))",
                next: "name the policy file, or set TOLLGATE_CONFIG")
        }
        return path
    }

    static func units(_ text: String) throws -> MeterUnits {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, let units = UInt64(parts[1]),
            units <= WireLimits.unitsMax
        else { throw ValidationError("units are METER=NUMBER (at most 2^40), not \"\(text)\"") }
        return MeterUnits(String(parts[0]), units)
    }

    static func address(_ text: String?) throws -> ClientAddress {
        guard let text else { return .none }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 { return .v4(Array(bytes[..<4])) }
        if inet_pton(AF_INET6, text, &bytes) == 1 { return .v6(bytes) }
        throw ValidationError("\"\(text)\" is no IPv4 or IPv6 address")
    }
}
