import TestSupport
import TollgateClient

/// A client that asks one thing after the other, and keeps books of what it was told.
///
/// It is used by its own thread while a life goes on, and by its place's between two lives, after
/// that thread was joined.
final class Payer: @unchecked Sendable {
    static let repeatedMax = 4

    let number: Int
    let client: BlockingClient
    var random: SeededRandom
    var counts = Counts()
    var books: Books
    /// Accounts that were used up.
    var past: [Account] = []
    /// What has no answer yet.
    var pending: Request?
    /// With an id, answered and allowed, the last ones.
    var answered: [(request: Request, decision: CheckDecision)] = []
    var failure: (any Error)?

    init(_ number: Int, path: String, seed: UInt64, accounts: [Account]) {
        self.number = number
        client = BlockingClient(path: path, timeoutMilliseconds: 20_000)
        random = SeededRandom(seed: seed)
        books = Books(accounts: accounts)
    }

    /// Asks until the daemon is gone.
    func live() {
        do { while try step() {} } catch { failure = error }
    }

    private func step() throws -> Bool {
        let request = draw()
        pending = request
        let decision: CheckDecision
        do throws(ClientError) { decision = try request.send(client, books) } catch {
            guard error.isDaemonFailure else { throw Mismatch("\(request): \(error)") }
            guard error != .timedOut else { throw Mismatch("no answer in 20 s: \(request)") }
            return false
        }
        try note(request, decision)
        guard request.hasID, decision.isAllowed else { return true }
        if random.next() % 16 == 0 { return try askAgain(request, decision) }
        answered.append((request, decision))
        if answered.count > Self.repeatedMax { answered.removeFirst() }
        return true
    }

    /// The answer to what was asked is known.
    func note(_ request: Request, _ decision: CheckDecision) throws {
        try request.apply(decision, to: &books)
        pending = nil
        counts[.answers] += 1
        counts[request.what] += 1
        counts[decision.isAllowed ? .charges : .denials] += 1
    }

    /// What was answered is answered alike, whenever it is asked; false where the daemon is gone.
    func askAgain(_ request: Request, _ decision: CheckDecision) throws -> Bool {
        let again: CheckDecision
        do throws(ClientError) { again = try request.send(client, books) } catch {
            guard error.isDaemonFailure, error != .timedOut else {
                throw Mismatch("\(request): \(error)")
            }
            return false
        }
        guard again == decision else { throw Mismatch("\(again), and before \(decision)") }
        counts[.answeredAlike] += 1
        return true
    }

    // MARK: what to ask

    private func below(_ bound: UInt64) -> UInt64 { random.next() % max(1, bound) }

    private func id() -> IdempotencyID? {
        var bytes = [UInt8](repeating: 1, count: 16)
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
        return IdempotencyID(bytes)
    }

    private func draw() -> Request {
        let openHolds = books.holds.count
        if openHolds > 12 || (openHolds > 0 && below(3) == 0) { return drawOfHold() }
        let id = below(10) < 6 ? id() : nil
        switch below(20) {
        case 0..<3: return .check(.race, Units(tokens: 0, calls: 1), id)
        case 3..<8: return .check(.narrow, Units(tokens: below(2_000), calls: 1), id)
        case 8..<11 where !books[.narrow].isUsedUp:
            return drawReserve(.narrow, tokens: below(4_000), id)
        case 11..<14: return .check(.wide, units(), id)
        case 14..<17: return .consume(.wide, units(), id)
        default: return drawReserve(.wide, tokens: units().tokens, id)
        }
    }

    private func units() -> Units {
        let tokens = [0, 1, 7, 1_000, below(1 << 20)][Int(below(5))]
        return Units(tokens: tokens, calls: below(8) == 0 ? below(5) : 1)
    }

    private func drawReserve(_ tier: Tier, tokens: UInt64, _ id: IdempotencyID?) -> Request {
        .reserve(tier, tokens: tokens, isDetached: id != nil && below(2) == 0, id)
    }

    private func drawOfHold() -> Request {
        let hold = books.holds[Int(below(UInt64(books.holds.count)))]
        let most = hold.tier == .wide ? 2 * hold.estimate + 5 : hold.estimate
        let used = hold.reported + below(most - min(most, hold.reported) + 1)
        guard !hold.isCut else { return .settle(hold.id, tokens: used) }
        switch below(6) {
        case 0..<3:
            let more = below(2) == 0 ? hold.estimate + below(1_000) : hold.estimate
            return .extend(hold.id, tokens: more, reported: min(used, hold.estimate))
        case 3..<5: return .settle(hold.id, tokens: used)
        default: return .cancel(hold.id)
        }
    }
}
