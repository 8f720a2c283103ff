import TollgateWire

/// What a scraper is told of organizations, where it is wanted: at most so many of either list, by
/// name. Users count without theirs: of each organization the nearest stands for all.
enum OrganizationFamilies {
    static func families(_ top: TopOrganizations, most: Int) -> [MetricFamily] {
        var families = [
            MetricFamily("tollgate_organizations_counted", .gauge, top.since == nil ? 0 : 1)
        ]
        var decisions = MetricFamily(name: "tollgate_organization_decisions", kind: .counter)
        for busy in top.busiest.prefix(most) {
            for (verdict, count) in [("allow", busy.allowed), ("deny", busy.denied)] {
                decisions.samples.append(
                    MetricFamily.Sample(
                        suffix: "_total",
                        labels: labels(busy.organization, busy.isPersonal)
                            + [StatisticName.Label(name: "verdict", value: verdict)],
                        value: String(count)))
            }
        }
        var ratios = MetricFamily(name: "tollgate_organization_quota_used_ratio", kind: .gauge)
        ratios.samples = ratioSamples(top.nearest, most: most)
        families += [decisions, ratios]
        return families
    }

    private struct Ratio {
        var near: NearestQuota
        var value: Double

        /// What its labels say.
        func isSameSeries(as other: Ratio) -> Bool {
            near.organization == other.near.organization
                && near.isPersonal == other.near.isPersonal && near.quota == other.near.quota
                && (near.user == nil) == (other.near.user == nil)
        }
    }

    private static func ratioSamples(
        _ nearest: [NearestQuota], most: Int
    ) -> [MetricFamily.Sample] {
        var kept: [Ratio] = []
        var organizations: [(String, Bool)] = []
        for near in nearest where near.limit > 0 {
            let taken = Double(near.used) + Double(near.held)
            let ratio = Ratio(near: near, value: taken / Double(near.limit))
            if !organizations.contains(where: { $0 == (near.organization, near.isPersonal) }) {
                guard organizations.count < most else { continue }
                organizations.append((near.organization, near.isPersonal))
            }
            // The nearest comes first.
            if !kept.contains(where: { ratio.isSameSeries(as: $0) }) { kept.append(ratio) }
        }
        return kept.map { ratio in
            let scope = ratio.near.user == nil ? "organization" : "user"
            return MetricFamily.Sample(
                labels: labels(ratio.near.organization, ratio.near.isPersonal) + [
                    StatisticName.Label(name: "quota", value: escaped(ratio.near.quota)),
                    StatisticName.Label(name: "scope", value: scope),
                ],
                value: "\(ratio.value)")
        }
    }

    private static func labels(
        _ organization: String, _ isPersonal: Bool
    ) -> [StatisticName.Label] {
        [
            StatisticName.Label(name: "organization", value: escaped(organization)),
            StatisticName.Label(name: "personal", value: isPersonal ? "true" : "false"),
        ]
    }

    /// As it stands between a label's quotes.
    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\", "\"": escaped += "\\\(scalar)"
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
