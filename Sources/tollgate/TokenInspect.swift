import ArgumentParser
import Glibc
import TollgateWire

struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Log users in, and make and read access tokens.",
        subcommands: [
            TokenIssue.self, TokenRefresh.self, TokenRevoke.self, TokenMint.self,
            TokenInspect.self,
        ])
}

struct TokenInspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a token says. Its signature is not verified: check does that.")
    @OptionGroup var output: OutputOptions
    @Argument(help: "File with the token; - is standard input.", completion: .file())
    var file = "-"

    func run() throws {
        let token = try TokenText(try Input.token(file))
        try output.print(json(token), text(token))
    }

    /// The claims that are instants (RFC 7519 §4.1), as seconds, where they can be read.
    private func instants(_ token: TokenText) -> [(name: String, seconds: Double)] {
        token.claims.compactMap { claim in
            guard ["exp", "nbf", "iat"].contains(claim.name), let seconds = Double(claim.value),
                Times.secondsRange.contains(seconds)
            else { return nil }
            return (claim.name, seconds)
        }
    }

    private func text(_ token: TokenText) -> String {
        let now = Double(Times.now)
        let instants = instants(token)
        let claims = token.claims.map { claim -> (String, String) in
            let seconds = instants.first { $0.name == claim.name }?.seconds
            guard let seconds, let date = Times.calendar(seconds) else {
                return (claim.name, claim.plain)
            }
            return (claim.name, "\(claim.value)  \(date), \(Times.distance(seconds, from: now))")
        }
        return [
            output.paint("header", .bold), pairs(token.header.map { ($0.name, $0.plain) }),
            output.paint("claims", .bold), pairs(claims), state(token, now),
            output.paint("the signature was not verified: tollgate check does that", .dim),
        ].filter { !$0.isEmpty }.joined(separator: "\n")
    }

    /// The times in words, without any issuer's leeway.
    private func state(_ token: TokenText, _ now: Double) -> String {
        let instants = instants(token)
        func at(_ name: String) -> Double? { instants.first { $0.name == name }?.seconds }
        if token.tokenBytes > WireLimits.credentialBytesMax {
            return output.paint("longer than 8192 bytes: the daemon refuses it", .red)
        }
        guard let expiry = at("exp") else {
            return output.paint("it has no readable \"exp\": the daemon refuses it", .red)
        }
        if expiry <= now {
            return output.paint("expired \(Times.distance(expiry, from: now))", .red)
        }
        if let start = at("nbf"), start > now {
            return output.paint("not valid yet: \(Times.distance(start, from: now))", .red)
        }
        return output.paint("expires \(Times.distance(expiry, from: now))", .green)
    }

    private func json(_ token: TokenText) -> JSON {
        let now = Double(Times.now)
        let times = instants(token)
        return .object([
            ("header", .verbatim(token.headerJSON)), ("claims", .verbatim(token.claimsJSON)),
            (
                "times",
                .object(
                    times.map { name, seconds in
                        (
                            name,
                            .object([
                                ("at", .optional(Times.calendar(seconds))),
                                ("seconds_from_now", .count(Int64(seconds.rounded(.down) - now))),
                            ])
                        )
                    })
            ),
            ("expired", .bool(times.contains { $0.name == "exp" && $0.seconds <= now })),
            ("signature_verified", .bool(false)),
        ])
    }
}
