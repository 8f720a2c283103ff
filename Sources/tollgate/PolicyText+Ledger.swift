import TollgateCore
import TollgatePolicy

/// Quotas, reservations, prices and the ledger, for people.
extension PolicyText {
    func row(_ quota: QuotaDefinition, _ policy: PolicyDefinition) -> [String] {
        [
            quota.name, "\(quota.scope)", quota.meter,
            quota.isUnlimited ? "unlimited" : "\(quota.limit)", quota.period.word,
            Self.counting(quota, policy),
        ]
    }

    private static func counting(_ quota: QuotaDefinition, _ policy: PolicyDefinition) -> String {
        var parts: [String] = []
        if quota.period != .total {
            parts.append(
                quota.timeZone.map { "in \($0.name)" }
                    ?? "in the subscription's zone, else \(policy.timeZone.name)")
        }
        if quota.isSoft {
            parts.append(quota.overageMax.map { "soft, up to \($0) more" } ?? "soft")
        }
        if let most = quota.rolloverMax { parts.append("carries over up to \(most)") }
        if quota.memberMin > 0 { parts.append("each member at least \(quota.memberMin)") }
        if let most = quota.memberMax { parts.append("each member at most \(most)") }
        if quota.isShadow { parts.append("in shadow") }
        return parts.joined(separator: ", ")
    }

    func row(_ limit: ConcurrencyDefinition) -> [String] {
        [
            limit.name, "\(limit.scope)", "-", "\(limit.limit)", "-",
            "open reservations" + (limit.isShadow ? ", in shadow" : ""),
        ]
    }

    static func terms(_ plan: PlanDefinition) -> [(String, String)] {
        let holds = plan.holds
        var terms = [
            (
                "holds",
                "\(span(UInt64(holds.ttlDefaultMilliseconds))), at most"
                    + " \(span(UInt64(holds.ttlMaxMilliseconds))); one that is cut costs"
                    + " \(cost(holds.cutStream))"
            )
        ]
        if !plan.prices.isEmpty {
            let prices = plan.prices.sorted { $0.key < $1.key }
            terms.append(
                ("prices", prices.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
            )
        }
        return terms
    }

    private static func cost(_ cut: CutStream) -> String {
        switch cut {
        case .estimate: "its estimate"
        case .reported: "what was reported"
        case .nothing: "nothing"
        }
    }

    func audit(_ audit: AuditLogSettings?) -> String {
        guard let audit else {
            return pairs([("path", "none: decisions are recorded nowhere")])
        }
        let one = audit.sampleAllowed
        return pairs([
            ("path", audit.path),
            (
                "without room",
                audit.overload == .block
                    ? "a request waits, and is refused after a second"
                    : "it is left out and counted"
            ),
            ("allowed checks", one == 1 ? "every one" : "one in \(one)"),
            ("segment", "\(audit.segmentBytes) bytes or \(span(audit.segmentAgeMilliseconds))"),
            ("kept for", audit.keepMilliseconds.map { span($0) } ?? "ever"),
            ("at most", audit.bytesMax.map { "\($0) bytes" } ?? "as many bytes as come"),
        ])
    }

    func ledger(_ ledger: LedgerSettings?, _ policy: PolicyDefinition) -> String {
        let answers = (
            "answers", "kept \(span(policy.idempotency.lifetimeMilliseconds)), at most"
                + " \(policy.idempotency.recordsMax)"
        )
        guard let ledger else {
            return pairs([("path", "none: what was used is forgotten at the end"), answers])
        }
        return pairs([
            ("path", ledger.path),
            (
                "a power cut takes",
                ledger.durability == .always ? "nothing" : "at most the last second"
            ),
            ("snapshot every", span(ledger.snapshotIntervalMilliseconds)),
            ("segment", "\(ledger.segmentBytes) bytes"),
            (
                "when it fails",
                ledger.onFailure == .refuse ? "charges are refused" : "charges are not kept"
            ), ("reservations", "at most \(ledger.reservationsMax)"), answers,
        ])
    }
}
