import Glibc
import Testing

@testable import TollgateCore
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
        for name in ["/keys/main.key", "/keys/other"] { unlink(path + name) }
        rmdir(path + "/keys")
        rmdir(path)
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) {
        let descriptor = open(path + "/" + name, O_CREAT | O_TRUNC | O_WRONLY, mode)
        fchmod(descriptor, mode)
        Array(text.utf8).withUnsafeBytes { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
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

@Suite struct PolicyLoaderTests {
    @Test func theReferencePolicyLoadsAndMeansWhatItSays() throws {
        let directory = try PolicyDirectory()
        let loaded = try directory.load(directory.reference)
        let policy = loaded.definition
        #expect(policy.plans.map(\.name) == ["free_tier", "pro_tier", "enterprise_tier"])
        #expect(policy.plans[1].permissions == ["can_use_gpt4o"])
        #expect(policy.plans[0].rateLimits[1].windowNanoseconds == 60_000_000_000)
        #expect(policy.plans[0].quotas[1].limit == 100_000)
        #expect(policy.operations[0].charges[1].weight == 10)
        #expect(policy.issuers[0].keys[0].keyID == "main-1" && policy.issuers[0].leewaySeconds == 5)
        #expect(policy.invalidCredentialLimit?.limit == 20)
        #expect(loaded.daemon == DaemonSettings())
    }

    /// A small policy with one line changed or added.
    private static func policy(_ extra: String = "", plan: String = "{permissions: []}") -> String {
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

    @Test(arguments: [
        (
            "metres: [x]",
            "p.yaml:7:1: unknown key \"metres\" in the policy (did you mean \"meters\"?)"
        ),
        ("daemon: {threads: many}", "p.yaml:7:19: threads is a whole number"),
        ("daemon: {threads: 0}", "p.yaml:7:19: threads is between 1 and 64"),
        ("daemon: {threads: 1_0}", "p.yaml:7:19: threads is a whole number"),
        ("daemon: {data_socket: {mode: 0660}}", ""),
        ("daemon: {data_socket: {mode: 660}}", "p.yaml:7:30: mode is four octal digits"),
        ("daemon: {log_level: loud}", "p.yaml:7:21: log_level \"loud\" is unknown"),
        ("reveal_credential_failures: yes", "p.yaml:7:29: reveal_credential_failures is true or"),
        ("time_zone: Europe/Nowhere", "p.yaml:7:12: no time zone \"Europe/Nowhere\""),
        ("time_zone: ../../etc/passwd", "p.yaml:7:12: \"../../etc/passwd\" is not the name"),
        ("address_limits: {a: {limit: 5}}", "p.yaml:7:18: \"window\" is missing"),
        (
            "address_limits: {a: {limit: 5, window: 5}}",
            "p.yaml:7:40: window is a number and a unit"
        ),
        ("address_limits: {a: {limit: -5, window: 5s}}", "p.yaml:7:29: limit is a whole number"),
        ("version: 1", "p.yaml:7:1: \"version\" stands twice"),
        ("a: &x 1", "p.yaml:7:4: anchors and tags are not used"),
        ("a: *x", "p.yaml:7:4: aliases are not used"),
        ("issuers: {i: {issuer: x}}", "p.yaml:7:11: \"keys\" is missing"),
        (
            "issuers: {i: {issuer: x, keys: [{algorithm: RS256, file: k}]}}",
            "p.yaml:7:45: algorithm \"RS256\" is unknown"
        ),
        (
            "issuers: {i: {issuer: x, keys: [{algorithm: HS256, file: keys/none}]}}",
            "p.yaml:7:58: key file "
        ),
        (
            "issuers: {i: {issuer: x, default_plan: prop, "
                + "keys: [{algorithm: HS256, file: keys/main.key}]}}",
            "p.yaml:7:40: no plan \"prop\" (did you mean \"pro\"?)"
        ),
        ("a: [", "p.yaml:"),
        ("---\nversion: 1", "p.yaml:7:1: "),
    ]) func aFaultIsNamedWithItsPlace(extra: String, message: String) throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(Self.policy(extra))
        if message.isEmpty {
            #expect(faults.isEmpty)
        } else {
            #expect(faults.contains { $0.hasPrefix(message) }, "\(faults)")
        }
    }

    @Test(arguments: [
        (
            "{permission: []}",
            "unknown key \"permission\" in plan pro (did you mean \"permissions\"?)"
        ),
        ("{quotas: {d: {scope: user, limit: 1, period: week}}}", "period \"week\" is unknown"),
        ("{quotas: {d: {scope: team, limit: 1, period: day}}}", "scope \"team\" is unknown"),
        (
            "{quotas: {d: {scope: user, meter: token, limit: 1, period: day}}}",
            "no meter \"token\" (did you mean \"tokens\"?)"
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 1s, classes: [chta]}}}",
            "no operation has the class \"chta\" (did you mean \"chat\"?)"
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 1s}}, "
                + "quotas: {d: {scope: user, limit: 1, period: day}}}",
            "a rate limit of the plan has that name already"
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 90d}}}",
            "for longer periods use a quota"
        ),
        ("[1]", "plan pro is a mapping"),
    ]) func aFaultOfAPlanIsExplained(plan: String, message: String) throws {
        let directory = try PolicyDirectory()
        let faults = directory.faults(Self.policy(plan: plan))
        #expect(faults.contains { $0.contains(message) && $0.hasPrefix("p.yaml:6:") }, "\(faults)")
    }

    @Test func ambiguousRoutesAreRefused() throws {
        let directory = try PolicyDirectory()
        let text = Self.policy().replacing(
            "  chat: {",
            with: "  other: {routes: [\"POST /v1/{x}\", \"POST /{y}/chat\"]}\n  chat: {")
        #expect(directory.faults(text).contains { $0.contains("overlaps") })
        let bad = Self.policy().replacing("POST /v1/chat", with: "POST /v1//chat")
        #expect(directory.faults(bad).contains { $0.hasPrefix("p.yaml:4:32") })
    }

    @Test func keyFilesThatOthersReadOrThatAreNoSecretsAreRefused() throws {
        let directory = try PolicyDirectory()
        func fault(_ text: String, mode: mode_t = 0o600, format: String = "base64url") -> String {
            directory.write("keys/other", text, mode: mode)
            let issuers =
                "issuers: {i: {issuer: x, keys: "
                    + "[{algorithm: HS256, file: keys/other, format: \(format)}]}}"
            return directory.faults(Self.policy(issuers)).joined(separator: "\n")
        }
        let good = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeAE"
        #expect(fault(good) == "")
        #expect(fault(good, mode: 0o644).contains("others may read"))
        #expect(fault("abc").contains("needs 32"))
        #expect(fault(good + "=").contains("not base64url"))
        #expect(fault(String(repeating: "A", count: 43)).contains("repeats 1 byte"))
        #expect(fault("{\"kty\":\"oct\",\"k\":\"\(good)\",\"alg\":\"HS256\"}", format: "jwk") == "")
        #expect(fault("{\"kty\":\"RSA\",\"n\":\"\(good)\"}", format: "jwk").contains("kty"))
        #expect(
            fault("{\"kty\":\"oct\",\"k\":\"\(good)\",\"alg\":\"HS512\"}", format: "jwk").contains(
                "HS512"))
        #expect(fault("{\"kty\":\"oct\"}", format: "jwk").contains("missing"))
        #expect(fault("{\"kty\":\"oct\",", format: "jwk").contains("not a JSON"))
    }

    @Test(arguments: 1...4) func mutantsOfTheReferenceNeverTrapAndNeverLoadSilentlyWrong(
        seed: UInt64
    ) throws {
        let directory = try PolicyDirectory()
        var random = SystemlessRandom(state: seed)
        for _ in 0..<500 {
            var mutant = directory.reference
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<mutant.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: mutant[at] = .random(in: 0...255, using: &random)
                case 1: mutant.remove(at: at)
                case 2: mutant.insert(.random(in: 9...126, using: &random), at: at)
                default: mutant.removeLast(min(mutant.count - 1, at / 4))
                }
            }
            do { _ = try directory.load(mutant) } catch {
                #expect(!error.errors.isEmpty && error.errors.allSatisfy { !$0.message.isEmpty })
            }
        }
    }
}

struct SystemlessRandom: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}
