import Testing
import TollgateCore
import TollgateWire

/// `exp`, `nbf` and `iat`: every pair of values and types against a decision table of its own
/// (RELIABILITY J8).
@Suite struct TokenTimeTests {
    /// What a claim may hold; `nil` is absent.
    static let values: [String?] = {
        let now = TokenBench.now
        let whole = [
            0, 1, now - 86_401, now - 86_400, now - 100, now - 30, now - 1, now, now + 1,
            now + 29, now + 30, now + 31, now + 100, now + 86_400, now + 86_401, 1 << 53,
        ]
        let broken = [
            "-1", "-0", "1e3", "18e8", "1.8E9", "1e308", "1e400", "9007199254740993",
            "9007199254740992.5", "9223372036854775808", "18446744073709551617",
            "99999999999999999999999999", "null", "true", "\"\"", "\"\(now + 100)\"", "[]",
            "[\(now)]", "{}", "{\"a\":\(now)}",
        ]
        let fractions = [
            "\(now).0", "\(now).5", "\(now + 29).999", "\(now + 30).001", "\(now - 30).5",
        ]
        return [nil] + whole.map { String($0) } + broken + fractions
    }()

    /// A time as the model sees it.
    enum Model: Equatable {
        case absent, broken
        case at(down: Int64, up: Int64)

        init(_ text: String?) {
            guard let text else {
                self = .absent
                return
            }
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count <= 2,
                parts.allSatisfy({ $0.allSatisfy { "0123456789".contains($0) } }),
                let seconds = Int64(parts[0]), seconds <= 1 << 53
            else {
                self = .broken
                return
            }
            let fraction = parts.count == 2 && parts[1].contains { $0 != "0" }
            self =
                fraction && seconds == 1 << 53
                ? .broken : .at(down: seconds, up: fraction ? seconds + 1 : seconds)
        }
    }

    /// The written table: the first line that holds gives the reason.
    static func expected(exp: Model, nbf: Model, iat: Model, leeway: Int64, lifetime: Int64)
        -> Reason
    {
        let now = TokenBench.now
        if case .at(let down, _) = exp, now >= down + leeway { return .tokenExpired }
        if case .at(_, let up) = nbf, up > now + leeway { return .tokenNotYetValid }
        if case .at(_, let up) = iat, up > now + leeway { return .tokenNotYetValid }
        if case .at(_, let up) = exp {
            if case .at(let issued, _) = iat, up - issued > lifetime {
                return .tokenLifetimeTooLong
            }
            if iat == .absent || iat == .broken, up - now > lifetime {
                return .tokenLifetimeTooLong
            }
        }
        guard case .at(let end, _) = exp, nbf != .broken, iat != .broken else {
            return .claimInvalid
        }
        if case .at(_, let begin) = nbf, begin > end { return .claimInvalid }
        return .none
    }

    @Test(arguments: [0, 30, 60] as [Int64])
    func timesAreJudgedByTheTable(_ leeway: Int64) throws {
        let lifetime: Int64 = 86_400
        var bench = try TokenBench([
            TokenBench.issuer {
                $0.leewaySeconds = leeway
                $0.lifetimeMaxSeconds = lifetime
            }
        ])
        var reached: [Reason: Int] = [:]
        func check(_ exp: String?, _ nbf: String?, _ iat: String?) throws {
            let payload = TokenBench.payload(["exp": exp, "nbf": nbf, "iat": iat])
            let want = Self.expected(
                exp: Model(exp), nbf: Model(nbf), iat: Model(iat), leeway: leeway,
                lifetime: lifetime)
            reached[want, default: 0] += 1
            let found = bench.verify(try TokenBench.token(payload: payload))
            if found != want { Issue.record("\(payload): \(found), not \(want)") }
        }
        for first in Self.values {
            for second in Self.values {
                try check(first, second, String(TokenBench.now - 1))
                try check(first, nil, second)
                try check(String(TokenBench.now + 100), first, second)
            }
        }
        let all: [Reason] = [
            .none, .tokenExpired, .tokenNotYetValid, .tokenLifetimeTooLong, .claimInvalid,
        ]
        for reason in all { #expect(reached[reason, default: 0] > 20) }
    }

    @Test func theTwoClocksAreAskedForTheirOwnSide() throws {
        var bench = try TokenBench()
        let token = try TokenBench.token(
            payload: TokenBench.payload(["nbf": String(TokenBench.now)]))
        bench.expiryNow = WallTime(seconds: TokenBench.now + 299)
        #expect(bench.verify(token) == .none)
        bench.notBeforeNow = WallTime(milliseconds: TokenBench.now * 1_000 - 1)
        #expect(bench.verify(token) == .tokenNotYetValid)
        bench.notBeforeNow = WallTime(seconds: TokenBench.now)
        bench.expiryNow = WallTime(seconds: TokenBench.now + 300)
        #expect(bench.verify(token) == .tokenExpired)
    }

    @Test func clocksFarOutTrapNothing() throws {
        var bench = try TokenBench()
        for exp in ["0", "9007199254740992", "1800000300"] {
            let token = try TokenBench.token(payload: TokenBench.payload(["exp": exp, "iat": nil]))
            for milliseconds in [0, -1, -62_135_596_800_000, 253_402_300_799_000] as [Int64] {
                bench.expiryNow = WallTime(milliseconds: milliseconds)
                bench.notBeforeNow = WallTime(milliseconds: milliseconds)
                let reason = bench.verify(token)
                // Without `iat`: a day or less before its end, whatever the clock says.
                let left = (Int64(exp) ?? 0) * 1_000 - milliseconds
                #expect((reason == .none) == (left > 0 && left <= 86_400_000))
            }
        }
    }
}
