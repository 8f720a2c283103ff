import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Faults of operations and plans: exactly what is wrong, and where.
@Suite struct PolicyPlanFaultTests {
    /// Faults that only the compiled policy shows; they have their places too.
    @Test(arguments: [
        (
            "operations: {a: {routes: [\"GET /a/{x}\", \"POST /b\"]}, b: {routes: [\"POST /b\"]}}",
            [#"1:67: route "POST /b" is the same as "POST /b" of operation a"#]
        ),
        (
            "operations:\n  a: {routes: [\"GET /a/{x}\"]}\n  b:\n    routes:\n      - GET /b\n      - GET /a/{y}\n      - \"* /{z}/c\"\n      - GET /{z}/c",
            [
                #"6:9: route "GET /a/{y}" is the same as "GET /a/{x}" of operation a"#,
                #"7:9: route "* /{z}/c" overlaps "GET /a/{x}" of operation a, and neither is the more specific one"#,
                #"8:9: route "GET /{z}/c" overlaps "GET /a/{x}" of operation a, and neither is the more specific one"#,
            ]
        ),
        (
            "meters: [tokens]\noperations: {a: {}}",
            [#"2:14: operation a: no meter "calls": add it to meters, or name another here"#]
        ),
        ("meters: [calls, a, calls]", [#"1:20: two meters have the name "calls""#]),
        (
            "meters: [calls, a b, no]",
            [
                "1:17: a name of meters is 1 to 128 bytes without spaces or controls",
                #"1:22: a name of meters is a text: write "no" in quotes if it is meant"#,
            ]
        ),
        (
            "operations: {a: {permission: \"x y\"}}",
            [#"1:30: permission "x y": a name is 1 to 128 bytes without spaces or controls"#]
        ),
        (
            "operations: {a: {charges: {calls: {units: 1099511627776, weight: 1000000000}}}}",
            [
                "1:28: operation a: units times weight of calls are out of range"
            ]
        ),
        (
            "operations: {a: {charges: {calls: {units: 1099511627777}}}}",
            ["1:43: units is between 0 and 1099511627776"]
        ),
        (
            "operations: {a: {charges: {cals: {}}}}",
            [#"1:28: no meter "cals" (did you mean "calls"?)"#]
        ),
        (
            "operations: {a: {routes: [\"get /a\"]}}",
            ["1:27: methods are told apart by case: get (did you mean GET?)"]
        ),
        (
            "operations: {a: {routes: [GET]}}",
            ["1:27: a route is a method, a space and a path: POST /v1/files/{id}"]
        ),
        (
            "operations: {a: {routes: [\"GET /a//b\"]}}",
            [#"1:27: route "GET /a//b": an empty segment (a doubled slash, or one at the end)"#]
        ),
        (
            "operations: {yes: {}}",
            [#"1:14: a name of operations is a text: write "yes" in quotes if it is meant"#]
        ),
        (
            "meters: [tokens]\naddress_limits: {a: {limit: 1, window: 1s}}",
            [
                #"2:18: address limits, limit a: no meter "calls": add it to meters, or name another here"#
            ]
        ),
    ])
    func whatOnlyCompilingShowsHasItsPlaceToo(text: String, faults: [String]) throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(text + "\nversion: 1\nplans: {pro: {}}")
        #expect(found == faults.map { "p.yaml:" + $0 })
    }

    @Test(arguments: [
        (
            "{permission: []}",
            [#"6:9: unknown key "permission" in plan pro (did you mean "permissions"?)"#]
        ),
        ("[1]", ["6:8: plan pro is a mapping (name: value), not a list"]),
        ("{permissions: can_use}", [#"6:22: permissions is a list, not "can_use""#]),
        (
            "{permissions: [on]}",
            [#"6:23: a name of permissions is a text: write "on" in quotes if it is meant"#]
        ),
        (
            "{quotas: {d: {scope: user, limit: 1, period: year}}}",
            [#"6:53: period "year" is unknown; known: day, week, month, billing_month, total"#]
        ),
        (
            "{quotas: {d: {scope: user, limit: 1, period: billing-month}}}",
            [#"6:53: period "billing-month" is unknown (did you mean "billing_month"?)"#]
        ),
        (
            "{quotas: {d: {scope: team, limit: 1, period: day}}}",
            [#"6:29: scope "team" is unknown; known: user, organization"#]
        ),
        (
            "{quotas: {d: {scope: credential, limit: 1, period: day}}}",
            ["6:29: limits of scope credential are not counted yet: use user or organization"]
        ),
        (
            "{rate_limits: {d: {scope: credential, limit: 1, window: 1s}}}",
            ["6:34: limits of scope credential are not counted yet: use user or organization"]
        ),
        (
            "{rate_limits: {d: {scope: address, limit: 1, window: 1s}}}",
            ["6:34: limits of scope address stand in address_limits, not in a plan"]
        ),
        (
            "{quotas: {d: {scope: user, meter: token, limit: 1, period: day}}}",
            [#"6:42: no meter "token" (did you mean "tokens"?)"#]
        ),
        (
            "{quotas: {d: {scope: user, limit: 1 000, period: day}}}",
            [#"6:42: limit is a whole number written in digits, not "1 000" (did you mean 1000?)"#]
        ),
        (
            "{quotas: {d: {scope: user, limit: 10k, period: day}}}",
            [#"6:42: limit is a whole number written in digits, not "10k""#]
        ),
        (
            "{quotas: {d: {scope: user, limit: 9223372036854775808, period: day}}}",
            ["6:42: limit is between 0 and 9223372036854775807"]
        ),
        ("{quotas: {d: {}}}", [#"6:18: "scope" is missing"#]),
        (
            "{quotas: {d: {scope: user, limit: 1, period: day, time_zone: Europe/Nowhere}}}",
            [#"6:69: no time zone "Europe/Nowhere""#]
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 1s, classes: [chta]}}}",
            [#"6:72: no operation has the class "chta" (did you mean "chat"?)"#]
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 1s}}, quotas: {d: {scope: user, limit: 1, period: day}}}",
            ["6:73: a rate limit of the plan has that name already"]
        ),
        (
            "{rate_limits: {d: {scope: user, limit: 1, window: 90d}}}",
            ["6:58: a window lasts 1ms to 31d; for longer periods use a quota"]
        ),
    ])
    func aFaultOfAPlanIsExplained(plan: String, faults: [String]) throws {
        let directory = try PolicyDirectory()
        let found = directory.faults(smallPolicy(plan: plan))
        #expect(found.count == faults.count, "\(found)")
        for (a, b) in zip(found, faults) { #expect(a.hasPrefix("p.yaml:" + b), "\(a)") }
    }
}
