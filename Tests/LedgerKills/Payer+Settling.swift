import TollgateClient
import TollgateWire

/// Between two lives: what the daemon kept, against what it had told.
extension Payer {
    /// What had no answer is asked for again where that is safe, or may have come to be or not;
    /// then every counter of this payer's is compared.
    func settle() throws {
        client.disconnect()
        let asked = pending
        pending = nil
        for hold in books.holds {
            if hold.isDetached {
                counts[.heldOver] += 1
            } else if !hold.isCut {
                books.cut(hold.id)
                counts[.cutHolds] += 1
            }
        }
        var candidates = [books]
        if let asked { candidates = try resolve(asked) }
        try compare(candidates)
        for (request, decision) in answered where try !askAgain(request, decision) {
            throw Mismatch("the daemon ended")
        }
        // Nothing may come of having asked again.
        try compare([books])
        // Where no quota may be passed, what a death has charged is left at that.
        books.holds.removeAll { $0.isCut && $0.tier == .narrow }
    }

    /// What may have come of a request that has no answer.
    private func resolve(_ asked: Request) throws -> [Books] {
        guard asked.isKnownAgain else {
            counts[.unanswered] += 1
            // A reservation without an id is cut, and nothing of it was reported.
            if case .reserve = asked { return [books] }
            var other = books
            switch asked {
            case .check(let tier, let units, _), .consume(let tier, let units, _):
                other[tier].totals.used = other[tier].totals.used + units
            default: break
            }
            return [books, other]
        }
        counts[.askedAgain] += 1
        if case .extend(let id, _, let reported) = asked, isCut(id) {
            var other = books
            other.extend(id, to: nil, reported: reported)
            return [books, other]
        }
        let decision: CheckDecision
        do throws(ClientError) { decision = try asked.send(client, books) } catch {
            // Cut before it was canceled.
            if case .cancel(let id) = asked, isCut(id), case .refused(.conflict, _) = error {
                return [books]
            }
            throw Mismatch("\(asked): \(error)")
        }
        if case .settle(let id, _) = asked, isCut(id) { counts[.lateSettles] += 1 }
        try note(asked, decision)
        guard case .reserve(_, _, false, _) = asked, let made = decision.reservation else {
            return [books]
        }
        // Made now, or before the death: then it was cut.
        var other = books
        other.cut(made.id)
        return [books, other]
    }

    private func isCut(_ id: ReservationID) -> Bool {
        books.holds.contains { $0.id == id && $0.isCut }
    }

    /// One of them is what the daemon has.
    private func compare(_ candidates: [Books]) throws {
        let found = try books.accounts.map { try Self.totals(client, of: $0) }
        counts[.usersCompared] += found.count
        guard let right = candidates.first(where: { $0.accounts.map(\.totals) == found }) else {
            throw Mismatch(
                "payer \(number), \(books.accounts.map(\.user)): found \(found), told "
                    + candidates.map { "\($0.accounts.map(\.totals))" }.joined(separator: " or "))
        }
        books = right
    }

    static func totals(_ client: BlockingClient, of account: Account) throws -> Totals {
        let report = try client.usage(
            organization: account.organization, user: account.user, plan: account.tier.rawValue)
        return try Totals(report, prefix: "user_")
    }

    static func totals(
        _ client: BlockingClient, organization: String, _ tier: Tier
    ) throws -> Totals {
        let report = try client.usage(organization: organization, plan: tier.rawValue)
        return try Totals(report, prefix: "")
    }
}
