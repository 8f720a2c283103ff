import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Faults of quotas, reservations, prices and the ledger: exactly what is wrong, and where.
@Suite struct PolicyLedgerFaultTests {
    private static let quotas: [(String, [String])] = [
        (
            "limit: unlimted",
            [#"9: limit is a whole number, or unlimited, not "unlimted" (did you mean unlimited?)"#]
        ),
        ("limit: -1", [#"9: limit is a whole number written in digits, not "-1""#]),
        (
            "limit: unlimited, soft: true",
            ["26: plan pro, quota q: of what is unlimited, nothing is left over or runs out"]
        ),
        (
            "limit: unlimited, rollover_max: 5",
            ["34: plan pro, quota q: of what is unlimited, nothing is left over or runs out"]
        ),
        (
            "limit: unlimited, member_min: 5",
            ["32: plan pro, quota q: of what is unlimited, nothing is left over or runs out"]
        ),
        ("limit: 1, soft: yes", [#"18: soft is true or false, not "yes""#]),
        (
            "limit: 1, overage_max: 5",
            [
                "25: plan pro, quota q: overage_max bounds a soft quota: add soft: true, or leave it out"
            ]
        ),
        (
            "limit: 1, soft: true, overage_max: 1.5",
            [#"37: overage_max is a whole number written in digits, not "1.5""#]
        ),
        (
            "limit: 9223372036854775807, soft: true, overage_max: 9223372036854775808",
            ["55: overage_max is between 0 and 9223372036854775807"]
        ),
        ("limit: 1, rollover_max: 0", ["26: rollover_max is between 1 and 9223372036854775807"]),
        ("limit: 1, member_min: 0", ["24: member_min is between 1 and 9223372036854775807"]),
        (
            "limit: 10, member_min: 11",
            ["25: plan pro, quota q: member_min is at most the limit, which is 10"]
        ),
        (
            "limit: 10, member_min: 3, member_max: 2",
            ["25: plan pro, quota q: member_min is at most member_max, which is 2"]
        ),
        ("limit: 1, overage: 5", [#"12: unknown key "overage" in quota q"#]),
        (
            "limit: 1, rollover_mx: 5",
            [#"12: unknown key "rollover_mx" in quota q (did you mean "rollover_max"?)"#]
        ),
        (
            "limit: 1, meter: cost",
            [
                "19: plan pro, quota q: cost counts what a plan's prices come to, and here are none: add prices to it"
            ]
        ),
    ]

    /// Columns count from the first word behind the period.
    @Test(arguments: quotas)
    func aFaultOfAQuotaIsExplained(text: String, faults: [String]) throws {
        let start = "{quotas: {q: {scope: organization, period: month, "
        let directory = try PolicyDirectory()
        let found = directory.faults(smallPolicy(plan: start + text + "}}}"))
        #expect(found.count == faults.count, "\(found)")
        let before = "  pro: ".utf8.count + start.utf8.count - 1
        for (a, b) in zip(found, faults) {
            let column = Int(b.prefix { $0.isNumber }) ?? 0
            let expected = "p.yaml:6:\(before + column)" + b.drop { $0.isNumber }
            #expect(a == expected || a.hasPrefix(expected), "\(a), not \(expected)")
        }
    }

    @Test(arguments: [
        (
            "{quotas: {q: {scope: user, period: total, limit: 5, rollover_max: 3}}}",
            [
                "6:74: plan pro, quota q: a total never ends, so nothing of it is carried over: choose another period, or leave rollover_max out"
            ]
        ),
        (
            "{quotas: {q: {scope: user, period: total, limit: 5, time_zone: UTC}}}",
            ["6:71: plan pro, quota q: a total has no days, and so no time_zone"]
        ),
        (
            "{quotas: {q: {scope: user, period: day, limit: 5, member_max: 3}}}",
            [
                "6:70: plan pro, quota q: members share an organization's quotas: scope organization"
            ]
        ),
        ("{concurrency: {c: {scope: user}}}", [#"6:23: "limit" is missing"#]),
        (
            "{concurrency: {c: {scope: address, limit: 1}}}",
            ["6:34: limits of scope address stand in address_limits, not in a plan"]
        ),
        (
            "{concurrency: {c: {scope: user, limit: 1000001}}}",
            ["6:47: limit is between 0 and 1000000"]
        ),
        (
            "{concurrency: {c: {scope: user, limit: 1, window: 1s}}}",
            [#"6:50: unknown key "window" in concurrency c; known: scope, limit, shadow"#]
        ),
        (
            "{quotas: {c: {scope: user, limit: 1, period: day}}, concurrency: {c: {scope: user, limit: 1}}}",
            ["6:74: another limit of the plan has that name already"]
        ),
        (
            "{holds: {ttl_default: 2s, ttl_max: 1s}}",
            ["6:30: plan pro: ttl_default is at most ttl_max, which is 1000 ms"]
        ),
        ("{holds: {ttl_max: 25h}}", ["6:26: ttl_max is 100ms to 24h"]),
        ("{holds: {ttl_default: 99ms}}", ["6:30: ttl_default is 100ms to 24h"]),
        (
            "{holds: {cut_stream: all}}",
            [#"6:29: cut_stream "all" is unknown; known: estimate, reported, nothing"#]
        ),
        (
            "{holds: {ttl: 1s}}",
            [#"6:17: unknown key "ttl" in holds; known: ttl_default, ttl_max, cut_stream"#]
        ),
        (
            "{prices: {token: 1}}",
            [#"6:18: no meter "token" (did you mean "tokens"?)"#]
        ),
        (
            "{prices: {tokens: 0.015}}",
            [#"6:26: a price is a whole number written in digits, not "0.015""#]
        ),
        (
            "{prices: {tokens: 1000000000001}}",
            ["6:26: a price is between 0 and 1000000000000"]
        ),
        (
            "{prices: {cost: 1}}",
            ["6:18: cost is what prices come to: it has no price of its own"]
        ),
        ("{prices: [tokens]}", ["6:17: prices is a mapping (name: value), not a list"]),
    ])
    func aFaultOfALedgersTermsIsExplained(plan: String, faults: [String]) throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(smallPolicy(plan: plan))
        #expect(found == faults.map { "p.yaml:" + $0 })
    }

    @Test(arguments: [
        ("ledger: {}", [#"7:9: "path" is missing"#]),
        ("ledger: /var/lib", [#"7:9: ledger is a mapping (name: value), not "/var/lib""#]),
        (
            "ledger: {path: ledger}",
            [
                #"7:16: path begins with / and names a directory, without "." or "..", in at most 400 bytes"#
            ]
        ),
        (
            "ledger: {path: /l, durability: never}",
            [#"7:32: durability "never" is unknown; known: second, always"#]
        ),
        (
            "ledger: {path: /l, snapshot_interval: 500ms}",
            ["7:39: snapshot_interval is 1s to 24h"]
        ),
        (
            "ledger: {path: /l, segment_bytes: 16MiB}",
            [#"7:35: segment_bytes is a whole number written in digits, not "16MiB""#]
        ),
        (
            "ledger: {path: /l, segment_bytes: 1048575}",
            ["7:35: segment_bytes is between 1048576 and 1073741824"]
        ),
        (
            "ledger: {path: /l, segment_bytes: 1048577}",
            ["7:35: segment_bytes is a multiple of 4096"]
        ),
        (
            "ledger: {path: /l, reservations_max: 0}",
            ["7:38: reservations_max is between 1 and 50000000"]
        ),
        (
            "ledger: {path: /l, reservations_max: 1e6}",
            [#"7:38: reservations_max is a whole number written in digits, not "1e6""#]
        ),
        (
            "ledger: {path: /l, on_failure: alow}",
            [#"7:32: on_failure "alow" is unknown (did you mean "allow"?)"#]
        ),
        (
            "ledger: {path: /l//}\ndirectory: {path: /l, peppers: [{generation: 1, file: k}]}",
            [
                "7:16: ledger and directory each have a directory of their own: choose another path, such as /l///ledger"
            ]
        ),
        ("idempotency: {lifetime: 25h}", ["7:25: lifetime is 1s to 24h"]),
        ("idempotency: {records_max: 0}", ["7:28: records_max is between 1 and 50000000"]),
        (
            "idempotency: {record_max: 9}",
            [#"7:15: unknown key "record_max" in idempotency (did you mean "records_max"?)"#]
        ),
        ("address_limits: {a: {meter: cost, limit: 1, window: 1s}}", [#"7:29: no meter "cost""#]),
    ])
    func aFaultOfTheLedgersSettingsIsExplained(text: String, faults: [String]) throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(smallPolicy(text))
        #expect(found.count == faults.count, "\(found)")
        for (a, b) in zip(found, faults) { #expect(a.hasPrefix("p.yaml:" + b), "\(a)") }
    }

    @Test(arguments: [
        (
            "meters: [calls, cost]\nplans: {}",
            "1:17: cost is built in, and counts what prices come to: give the meter another name, or leave it out"
        ),
        (
            "plans: {}\noperations: {a: {charges: {cost: {}}}}", #"2:28: no meter "cost""#
        ),
        (
            "plans:\n  a: {quotas: {q: {scope: user, limit: 1, period: day}}}\n  b: {quotas: {q: {scope: user, limit: 1, period: week}}}",
            "3:16: plan b, limit q: it is a quota of calls by week here, but a quota of calls by day in plan a: a name is one counter in all plans, so give one of them another name"
        ),
        (
            "plans:\n  a: {quotas: {q: {scope: user, limit: 1, period: day}}}\n  b: {quotas: {q: {scope: user, limit: 1, period: day, time_zone: UTC}}}",
            "3:16: plan b, limit q: it is a quota of calls by day here, but a quota of calls by day in another time zone in plan a: a name is one counter in all plans, so give one of them another name"
        ),
    ])
    func whatOnlyCompilingShowsHasItsPlace(text: String, fault: String) throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(text + "\nversion: 1")
        #expect(found.count == 1 && found.first?.hasPrefix("p.yaml:" + fault) == true, "\(found)")
    }

    @Test func everySettingIsRead() throws {
        let directory = try PolicyDirectory()
        let plan = """
            {quotas: {q: {scope: organization, limit: 7, period: week, soft: true, overage_max: 3, \
            rollover_max: 5, member_min: 2, member_max: 6, meter: cost}, \
            u: {scope: user, limit: unlimited, period: total}}, \
            rate_limits: {r: {scope: user, limit: 1, window: 1s, meter: cost}}, \
            concurrency: {c: {scope: organization, limit: 4}}, \
            holds: {ttl_max: 30s, cut_stream: nothing}, prices: {tokens: 15, calls: 0}}
            """
        let text = """
            ledger: {path: /l, durability: always, snapshot_interval: 1m, segment_bytes: 1048576, \
            on_failure: allow, reservations_max: 7}
            idempotency: {lifetime: 2s, records_max: 9}
            """
        let loaded = try directory.load(Array(smallPolicy(text, plan: plan).utf8))
        let pro = loaded.definition.plans[0]
        let pool = pro.quotas[0]
        #expect(pool.isSoft && pool.overageMax == 3 && pool.rolloverMax == 5 && pool.isPool)
        #expect(pool.memberMin == 2 && pool.memberMax == 6 && pool.meter == "cost")
        #expect(pool.period == .week && pro.rateLimits[0].meter == "cost")
        #expect(pro.quotas[1].isUnlimited && pro.quotas[1].period == .total)
        #expect(
            pro.concurrency == [ConcurrencyDefinition(name: "c", scope: .organization, limit: 4)])
        // The default is lowered with the most.
        #expect(pro.holds.ttlDefaultMilliseconds == 30_000 && pro.holds.cutStream == .nothing)
        #expect(pro.prices == ["tokens": 15, "calls": 0])
        var ledger = LedgerSettings(path: "/l")
        (ledger.durability, ledger.onFailure) = (.always, .allow)
        (ledger.snapshotIntervalMilliseconds, ledger.segmentBytes) = (60_000, 1 << 20)
        ledger.reservationsMax = 7
        #expect(loaded.ledger == ledger)
        #expect(loaded.definition.idempotency.lifetimeMilliseconds == 2_000)
        #expect(loaded.definition.idempotency.recordsMax == 9)
    }
}
