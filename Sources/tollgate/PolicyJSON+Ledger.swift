import TollgateCore
import TollgatePolicy

/// Quotas, reservations and the ledger, as JSON; names as in the policy file.
extension PolicyJSON {
    /// An unlimited one has the limit null; so has a subscription's zone the time zone null.
    static func quota(_ quota: QuotaDefinition) -> JSON {
        .object([
            ("scope", .text("\(quota.scope)")), ("meter", .text(quota.meter)),
            ("limit", .optional(quota.isUnlimited ? nil : quota.limit)),
            ("period", .text(quota.period.word)),
            ("time_zone", .optional(quota.timeZone?.name)), ("soft", .bool(quota.isSoft)),
            ("overage_max", .optional(quota.overageMax)),
            ("rollover_max", .optional(quota.rolloverMax)),
            ("member_min", .count(quota.memberMin)), ("member_max", .optional(quota.memberMax)),
            ("shadow", .bool(quota.isShadow)),
        ])
    }

    static func holds(_ holds: HoldTerms) -> JSON {
        .object([
            ("ttl_default_ms", .count(holds.ttlDefaultMilliseconds)),
            ("ttl_max_ms", .count(holds.ttlMaxMilliseconds)),
            ("cut_stream", .text("\(holds.cutStream)")),
        ])
    }

    static func ledger(_ ledger: LedgerSettings) -> JSON {
        .object([
            ("path", .text(ledger.path)), ("durability", .text("\(ledger.durability)")),
            ("snapshot_interval_ms", .count(ledger.snapshotIntervalMilliseconds)),
            ("segment_bytes", .count(ledger.segmentBytes)),
            ("on_failure", .text("\(ledger.onFailure)")),
            ("reservations_max", .count(ledger.reservationsMax)),
        ])
    }

    static func audit(_ audit: AuditLogSettings) -> JSON {
        .object([
            ("path", .text(audit.path)), ("overload", .text("\(audit.overload)")),
            ("sample_allowed", .count(audit.sampleAllowed)),
            ("ring_bytes", .count(audit.ringBytes)),
            ("segment_bytes", .count(audit.segmentBytes)),
            ("segment_age_ms", .count(audit.segmentAgeMilliseconds)),
            ("keep_ms", .optional(audit.keepMilliseconds)),
            ("bytes_max", .optional(audit.bytesMax)),
        ])
    }

    static func idempotency(_ terms: IdempotencyTerms) -> JSON {
        .object([
            ("lifetime_ms", .count(terms.lifetimeMilliseconds)),
            ("records_max", .count(terms.recordsMax)),
        ])
    }
}
