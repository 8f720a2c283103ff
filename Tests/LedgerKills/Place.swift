import CLinux
import Glibc
import TestSupport
import TollgateClient
import TollgateCore
import TollgateWire

/// One ledger, and the lives of the daemons that it has, one after the other.
///
/// It is used by the thread that runs it; the counts are read once that was joined.
final class Place: @unchecked Sendable {
    static let payers = 6
    static let organizations = 2

    let lives: Int
    private(set) var counts = Counts()
    private(set) var failure: (any Error)?
    private var daemon: KilledDaemon
    private var random: SeededRandom
    private var payers: [Payer] = []
    private var makings = [Tier: Int]()
    private let secret: SecretBytes

    init(binary: String, directory: String, durability: String, seed: UInt64, lives: Int) throws {
        self.lives = lives
        daemon = KilledDaemon(binary: binary, directory: directory)
        random = SeededRandom(seed: seed)
        var key: [UInt8] = []
        for _ in 0..<32 { key.append(UInt8(truncatingIfNeeded: random.next())) }
        secret = SecretBytes(copying: key)
        mkdir(directory, 0o700)
        mkdir(directory + "/ledger", 0o700)
        try write(Base64URL.encode(key), to: directory + "/main.key")
        let policy = KillPolicy(ledger: directory + "/ledger", durability: durability)
        try write(Array(policy.text.utf8), to: directory + "/policy.yaml")
        payers = try (0..<Self.payers).map { number in
            Payer(
                number, path: daemon.dataSocket, seed: random.next(),
                accounts: try Tier.allCases.map { try account($0, payer: number) })
        }
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        defer { close(file) }
        guard Glibc.write(file, bytes, bytes.count) == bytes.count else {
            throw Mismatch("\(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Of this payer's own, in an organization that it shares with others.
    private func account(_ tier: Tier, payer: Int) throws -> Account {
        let making = makings[tier] ?? 0
        // All race for one.
        let organization = "\(tier)-\(making)-\(tier == .race ? 0 : payer % Self.organizations)"
        let now = tg_walltime() / 1_000
        let claims: [(name: String, value: ClaimValue)] = [
            ("iss", .string("https://login.example.com")),
            ("aud", .string("https://api.example.com")), ("sub", .string("u\(payer)")),
            ("org", .string(organization)), ("plan", .string(tier.rawValue)),
            ("iat", .integer(now)), ("exp", .integer(now + 86_000)),
        ]
        guard let token = TokenMinter.mint(
            claims: claims, algorithm: .hs256, keyID: "main-1", secret: secret)
        else { throw Mismatch("no token") }
        return Account(tier: tier, organization: organization, user: "u\(payer)", token: token)
    }

    // MARK: lives

    func run() {
        do { try live() } catch {
            failure = Mismatch("\(daemon.directory): \(error)")
            daemon.abandon()
        }
        counts[.segments] = newestSegment()
        for payer in payers { counts.add(payer.counts) }
    }

    private func milliseconds(_ bound: Double) -> UInt32 {
        UInt32(Double.random(in: 0..<bound, using: &random) * 1_000)
    }

    private func live() throws {
        try start()
        while counts[.lives] < lives {
            try liveOnce(ending: random.next() % 40 == 0 ? SIGTERM : SIGKILL)
            try start()
            try compare()
        }
        try daemon.end(SIGTERM)
        counts[.orderlyEnds] += 1
        try start()
        try compare()
        try compareAll()
        try daemon.end(SIGTERM)
        counts[.orderlyEnds] += 1
    }

    /// Sometimes it is killed again before it is there.
    private func start() throws {
        try daemon.spawn()
        while random.next() % 12 == 0, counts[.lives] < lives {
            usleep(milliseconds(60))
            try daemon.end(SIGKILL)
            counts[.lives] += 1
            counts[.deathsInStart] += 1
            try daemon.spawn()
        }
        try daemon.waitUntilReady()
    }

    private func liveOnce(ending signal: Int32) throws {
        let admin = daemon.adminSocket
        let made = SnapshotCount()
        var workers = [try Worker { made.count = Self.makeSnapshots(admin) }]
        for payer in payers { workers.append(try Worker { payer.live() }) }
        usleep(milliseconds(150))
        try daemon.end(signal)
        for worker in workers { worker.join() }
        counts[.snapshots] += made.count
        counts[signal == SIGKILL ? .lives : .orderlyEnds] += 1
        for payer in payers { if let failure = payer.failure { throw failure } }
    }

    /// Written by the thread that makes them, read when that was joined.
    private final class SnapshotCount: @unchecked Sendable { var count = 0 }

    /// Every 50 ms, until the daemon is gone; how many.
    private static func makeSnapshots(_ path: String) -> Int {
        let client = BlockingClient(path: path, timeoutMilliseconds: 20_000)
        var made = 0
        while true {
            do throws(ClientError) {
                _ = try client.perform(.createSnapshot())
                made += 1
            } catch {
                // Another was written in the meantime.
                guard case .refused(.conflict, _) = error else { return made }
            }
            usleep(50_000)
        }
    }

    // MARK: comparing

    private func compare() throws {
        for payer in payers { try payer.settle() }
        let client = BlockingClient(path: daemon.dataSocket, timeoutMilliseconds: 20_000)
        for tier in Tier.allCases { try compare(tier, client) }
    }

    private func compare(_ tier: Tier, _ client: BlockingClient) throws {
        let accounts = payers.map { $0.books[tier] }
        for organization in Set(accounts.map(\.organization)).sorted() {
            let members = accounts.filter { $0.organization == organization }
            let told = members.map(\.totals).reduce(Totals(), +)
            let found = try Payer.totals(client, organization: organization, tier)
            counts[.organizationsCompared] += 1
            guard found == told else {
                throw Mismatch("\(organization): found \(found), told \(told)")
            }
            try checkBounds(tier, organization, told, members.contains(where: \.isUsedUp))
        }
        let isOver = accounts.contains(where: \.isUsedUp)
        let hasHolds = payers.contains { $0.books.holds.contains { $0.tier == tier } }
        if isOver, !hasHolds { try begin(tier) }
    }

    /// A quota of N admits N, whatever was killed meanwhile.
    private func checkBounds(
        _ tier: Tier, _ organization: String, _ told: Totals, _ isOver: Bool
    ) throws {
        switch tier {
        case .wide: break
        case .narrow:
            guard told.used.tokens + told.held.tokens <= Tier.narrowTokens else {
                throw Mismatch("\(organization): more than its quota: \(told)")
            }
        case .race:
            guard isOver ? told.used.calls == Tier.raceCalls : told.used.calls <= Tier.raceCalls
            else { throw Mismatch("\(organization): not its quota to the unit: \(told)") }
            counts[.quotasUsedUp] += isOver ? 1 : 0
        }
    }

    /// Goes on with organizations that have used nothing yet.
    private func begin(_ tier: Tier) throws {
        makings[tier, default: 0] += 1
        for payer in payers {
            payer.past.append(payer.books[tier])
            payer.books[tier] = try account(tier, payer: payer.number)
            payer.answered = []
        }
    }

    /// Also what is used up since long.
    private func compareAll() throws {
        let client = BlockingClient(path: daemon.dataSocket, timeoutMilliseconds: 20_000)
        var sums = [String: (tier: Tier, totals: Totals)]()
        for account in payers.flatMap(\.past) {
            let found = try Payer.totals(client, of: account)
            counts[.usersCompared] += 1
            guard found == account.totals else {
                throw Mismatch("\(account): found \(found)")
            }
            let sum = sums[account.organization]?.totals ?? Totals()
            sums[account.organization] = (account.tier, sum + account.totals)
        }
        for (organization, told) in sums.sorted(by: { $0.key < $1.key }) {
            let found = try Payer.totals(client, organization: organization, told.tier)
            counts[.organizationsCompared] += 1
            guard found == told.totals else {
                throw Mismatch("\(organization): found \(found), told \(told.totals)")
            }
        }
    }

    /// The highest number of a file of the journal.
    private func newestSegment() -> Int {
        guard let listing = opendir(daemon.directory + "/ledger") else { return 0 }
        defer { closedir(listing) }
        var newest = 0
        var failure: Int32 = 0
        while let name = tg_next_name(UnsafeMutableRawPointer(listing), &failure) {
            // journal-000000000013.tgj
            let parts = String(cString: name).split(whereSeparator: { $0 == "-" || $0 == "." })
            if parts.count == 3, parts[0] == "journal" { newest = max(newest, Int(parts[1]) ?? 0) }
        }
        return newest
    }
}
