/// When to connect again. After the first failure soon, then in steps that double; each wait is
/// shortened by up to a half at random, so that the clients of a host do not come all at once.
struct Backoff {
    static let nanosecondsMin: UInt64 = 5_000_000
    static let nanosecondsMax: UInt64 = 500_000_000
    private var failures = 0
    /// Not before this instant.
    private(set) var retryAt: UInt64 = 0

    mutating func failed(now: UInt64) {
        let doubled = Self.nanosecondsMin << UInt64(min(failures, 16))
        let most = min(doubled, Self.nanosecondsMax)
        failures += 1
        retryAt = now + UInt64.random(in: (most / 2)...most)
    }

    mutating func succeeded() { self = Backoff() }
}
