import CLinux

/// The policy of a place. All days are UTC's, but their edge is half a day away.
struct KillPolicy {
    let ledger: String
    let durability: String

    /// A zone in which it is between 6 and 7 in the morning, by the sign that such names have: west
    /// of Greenwich is positive.
    private var zone: String {
        let hour = Int(tg_walltime() / 3_600_000 % 24)
        let east = (6 - hour + 36) % 24 - 12
        return east >= 0 ? "Etc/GMT-\(east)" : "Etc/GMT+\(-east)"
    }

    private func plan(_ tier: Tier, _ userTokens: UInt64, tokens: UInt64, calls: UInt64) -> String {
        """
          \(tier.rawValue):
            quotas:
              user_tokens: {scope: user, meter: tokens, limit: \(userTokens), period: day}
              user_calls: {scope: user, meter: calls, limit: \(Self.wide), period: month}
              tokens: {scope: organization, meter: tokens, limit: \(tokens), period: month}
              calls: {scope: organization, meter: calls, limit: \(calls), period: day}
            concurrency:
              user_streams: {scope: user, limit: 100000}
              streams: {scope: organization, limit: 100000}
            holds: {ttl_default: 10m, ttl_max: 10m, cut_stream: reported}
        """
    }

    private static let wide: UInt64 = 1 << 50

    var text: String {
        """
        version: 1
        time_zone: \(zone)
        meters: [calls, tokens]
        idempotency: {lifetime: 30s}
        operations:
          chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
        plans:
        \(plan(.wide, Self.wide, tokens: Self.wide, calls: Self.wide))
        \(plan(.narrow, 200_000, tokens: Tier.narrowTokens, calls: Self.wide))
        \(plan(.race, Self.wide, tokens: Self.wide, calls: Tier.raceCalls))
        issuers:
          main:
            issuer: https://login.example.com
            audiences: [https://api.example.com]
            keys: [{id: main-1, algorithm: HS256, file: main.key}]
            lifetime_max: 24h
        ledger:
          path: \(ledger)
          durability: \(durability)
          segment_bytes: 1048576
          snapshot_interval: 1s

        """
    }
}
