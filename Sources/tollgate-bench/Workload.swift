import CLinux
import TollgateCore
import TollgateWire

/// Requests, ready to be sent, one after the other, round and round.
struct Workload {
    enum Answers { case frames, lines }

    var requests: [[UInt8]]
    /// How replies are told apart.
    var answers: Answers

    static let users = 10_000
    static let organizations = 1_000

    /// A full CHECK: token, address, operation by name; 10,000 users of 1,000 organizations.
    static func checks(secret: SecretBytes) -> Workload {
        checks(secret: secret, users: users, user: user, organization: organization)
    }

    /// The same of other users.
    static func checks(
        secret: SecretBytes, users: Int, user name: (Int) -> String,
        organization: (Int) -> String
    ) -> Workload {
        let now = tg_walltime() / 1_000
        let requests = (0..<users).map { user -> [UInt8] in
            let token = TokenMinter.mint(
                claims: [
                    ("iss", .string("https://login.example.com")),
                    ("sub", .string(name(user))), ("org", .string(organization(user))),
                    ("plan", .string("pro_tier")), ("aud", .string("https://api.example.com")),
                    ("iat", .integer(now)), ("exp", .integer(now + 7_200)),
                ], algorithm: .hs256, keyID: "bench-1", secret: secret) ?? ""
            return check(token, user: user)
        }
        return Workload(requests: requests, answers: .frames)
    }

    /// The same CHECK with an API key, by user.
    static func checks(keys: [String]) -> Workload {
        Workload(
            requests: keys.enumerated().map { check($1, user: $0, .apiKey) }, answers: .frames)
    }

    static func user(_ index: Int) -> String { "user-\(100_000 + index)" }
    static func organization(_ user: Int) -> String {
        "organization-\(1_000 + user % organizations)"
    }

    /// RESERVE of what `checks` ask.
    static func reserves(secret: SecretBytes) -> Workload {
        var workload = checks(secret: secret)
        for index in workload.requests.indices {
            workload.requests[index][4] = Opcode.reserve.rawValue
        }
        return workload
    }

    /// SETTLE of reservations, each at its estimate.
    static func settles(_ reservations: [[UInt8]]) -> Workload {
        let requests = reservations.enumerated().map { index, reservation in
            frame(.settle, reservation + [UInt8](repeating: 0, count: 8), id: UInt64(index))
        }
        return Workload(requests: requests, answers: .frames)
    }

    /// CONSUME of one call of each user of a range, of the workload's organizations.
    static func consumes(users: Range<Int>) -> Workload {
        let requests = users.map { user -> [UInt8] in
            let names = [organization(user), Self.user(user), "pro_tier", "chat.completions"]
            var body = names.prefix(3).map { UInt8($0.utf8.count) } + [1, 0, 0]
            body += [UInt8(names[3].utf8.count)] + [UInt8](repeating: 0, count: 9)
            body += names.flatMap { Array($0.utf8) } + [5] + Array("calls".utf8)
            body += [1] + [UInt8](repeating: 0, count: 7)
            return frame(.consume, body, id: UInt64(user))
        }
        return Workload(requests: requests, answers: .frames)
    }

    private static func frame(_ opcode: Opcode, _ body: [UInt8], id: UInt64) -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: WireLimits.headerBytes)
        let header = FrameHeader(opcode: opcode.rawValue, requestID: id, bodyBytes: body.count)
        frame.withUnsafeMutableBytes { header.write(to: $0) }
        return frame + body
    }

    private static func check(
        _ token: String, user: Int, _ kind: CredentialKind = .accessToken
    ) -> [UInt8] {
        let operation = "chat.completions"
        var body: [UInt8] = [kind.rawValue, 4, 1, 0, 0, 0]
        body += [UInt8(token.utf8.count & 255), UInt8(token.utf8.count >> 8)]
        body += [UInt8(operation.utf8.count), 0, 0, 0, 0, 0, 0, 0]
        body += [10, UInt8(user >> 16 & 255), UInt8(user >> 8 & 255), UInt8(user & 255)]
        body += [UInt8](repeating: 0, count: 12)
        body += Array(token.utf8) + Array(operation.utf8)
        return frame(.check, body, id: UInt64(user))
    }

    private static func command(_ words: [String]) -> [UInt8] {
        var text = "*\(words.count)\r\n"
        for word in words { text += "$\(word.utf8.count)\r\n\(word)\r\n" }
        return Array(text.utf8)
    }

    static func incrby() -> Workload {
        Workload(
            requests: (0..<users).map { command(["INCRBY", "usage:user-\(100_000 + $0)", "1"]) },
            answers: .lines)
    }

    /// One sliding window of an organization (two buckets, weighted) and one daily quota of the
    /// user, checked, then charged: what a team writes when it keeps limits in Redis.
    static let script = """
        local now = tonumber(ARGV[1]); local width = tonumber(ARGV[2])
        local bucket = math.floor(now / width)
        local current = tonumber(redis.call('GET', KEYS[1] .. ':' .. bucket) or '0')
        local before = tonumber(redis.call('GET', KEYS[1] .. ':' .. (bucket - 1)) or '0')
        local used = current + before * (1 - (now % width) / width)
        if used + 1 > tonumber(ARGV[3]) then return 0 end
        local quota = tonumber(redis.call('GET', KEYS[2]) or '0')
        if quota + 1 > tonumber(ARGV[4]) then return 0 end
        redis.call('INCR', KEYS[1] .. ':' .. bucket)
        redis.call('PEXPIRE', KEYS[1] .. ':' .. bucket, 2 * width)
        redis.call('INCR', KEYS[2])
        return 1
        """

    static var loadScript: [UInt8] { command(["SCRIPT", "LOAD", script]) }

    static func lua(sha: String) -> Workload {
        let now = String(tg_walltime())
        return Workload(
            requests: (0..<users).map { user in
                command([
                    "EVALSHA", sha, "2", "window:organization-\(1_000 + user % organizations)",
                    "quota:user-\(100_000 + user)", now, "60000", "1000000000", "1000000000",
                ])
            }, answers: .lines)
    }
}
