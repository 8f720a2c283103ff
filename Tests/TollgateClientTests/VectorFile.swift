import Foundation
import Testing

/// Tests/Vectors/frames.json: Protocol.md, "Test vectors".
struct VectorFile: Decodable {
    struct Limit: Decodable, Equatable {
        var name: String
        var limit, remaining, resetMs: UInt64
    }

    struct Entry: Decodable, Equatable {
        var kind, scope, name, meter: String
        var refuses: Bool
        var used, held, limit, remaining, resetMs, lengthMs: UInt64
        var shadow: Bool
    }

    struct Would: Decodable, Equatable {
        var reason: String
        var reasonCode: UInt16
        var limit: String?
    }

    struct Number: Decodable, Equatable {
        var kind, name: String
        var value: UInt64
    }

    enum Meter: Decodable {
        /// The second number is of EXTEND.
        case named(String, UInt64, used: UInt64?)

        init(from decoder: any Decoder) throws {
            var parts = try decoder.unkeyedContainer()
            let (name, units) = (try parts.decode(String.self), try parts.decode(UInt64.self))
            let used = parts.isAtEnd ? nil : try parts.decode(UInt64.self)
            self = .named(name, units, used: used)
        }
    }

    /// A request's is its id alone, a reply's has its time to live.
    struct Held: Decodable, Equatable {
        var id: String
        var ttlMs: UInt32?

        private enum Keys: CodingKey { case id, ttlMs }

        init(id: String, ttlMs: UInt32?) { (self.id, self.ttlMs) = (id, ttlMs) }

        init(from decoder: any Decoder) throws {
            if let id = try? decoder.singleValueContainer().decode(String.self) {
                self.init(id: id, ttlMs: nil)
                return
            }
            let members = try decoder.container(keyedBy: Keys.self)
            self.init(
                id: try members.decode(String.self, forKey: .id),
                ttlMs: try members.decode(UInt32.self, forKey: .ttlMs))
        }
    }

    /// The fields of every opcode's request and reply; each vector has its own of them.
    struct Fields: Decodable {
        var credentialKind: UInt8?
        var credential, address, operation, method, path: String?
        var organization, user, plan, name, reason, status, detail, daemonVersion: String?
        var meters: [Meter]?
        var dryRun, explain, personal, allowed, overage, detached: Bool?
        var idempotencyId: String?
        var reservation: Held?
        var costMicros: UInt64?
        var decisionId: String?
        var wouldDeny: Would?
        var reasonCode: UInt16?
        var retryAfterMs, graceMs, ttlMs: UInt32?
        var policyGeneration: UInt64?
        var rateLimit, quota: Limit?
        var explanation, limits: [Entry]?
        var entries: [Number]?
    }

    struct Request: Decodable {
        var name, hex: String
        var opcode: String?
        var id: UInt64?
        var status: UInt16
        var fields: Fields?
    }

    struct Reply: Decodable, CustomTestStringConvertible {
        var name, opcode, hex: String
        var id: UInt64
        var status: UInt16
        var malformed: Bool
        var fields: Fields?

        var testDescription: String { name }
    }

    /// A call of the catalogue: members as Protocol.md marks them.
    struct Call: Decodable, Equatable {
        var call, role: String
        var members: [String]
    }

    var requests: [Request]
    var replies: [Reply]
    var calls: [Call]

    private static var path: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Vectors/frames.json")
    }

    /// What CALL's vectors hold in `fields`, by the name of the vector, as Foundation reads it.
    static func callFields() throws -> [String: [String: Any]] {
        let json = try JSONSerialization.jsonObject(with: Data(contentsOf: path))
        let file = try #require(json as? [String: Any])
        var found: [String: [String: Any]] = [:]
        for kind in ["requests", "replies"] {
            for vector in try #require(file[kind] as? [[String: Any]]) {
                guard vector["opcode"] as? String == "CALL",
                    let fields = vector["fields"] as? [String: Any]
                else { continue }
                found[try #require(vector["name"] as? String)] = fields
            }
        }
        return found
    }

    static func read() throws -> VectorFile {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(VectorFile.self, from: Data(contentsOf: path))
    }

    static func bytes(_ hex: String) throws -> [UInt8] {
        let digits = Array(hex.utf8)
        return try stride(from: 0, to: digits.count, by: 2).map { index in
            let pair = String(decoding: digits[index..<(index + 2)], as: UTF8.self)
            return try #require(UInt8(pair, radix: 16))
        }
    }
}
