import ArgumentParser

/// A figure beside what it is to be.
struct Verdict {
    var name: String
    var figure: Double
    var wanted: Double
    /// At least what is wanted; else at most.
    var isLeast: Bool
    var digits = 2

    var isMet: Bool { isLeast ? figure >= wanted : figure <= wanted }

    var text: String {
        "\(isMet ? "met" : "MISSED")  \(name): \(Report.fixed(figure, digits)), wanted at "
            + (isLeast ? "least " : "most ") + Report.fixed(wanted, digits)
    }

    var json: String {
        "{\"name\":\"\(name)\",\"figure\":\(Report.fixed(figure, 3)),\"wanted\":"
            + Report.fixed(wanted, 3)
            + ",\"bound\":\"\(isLeast ? "least" : "most")\",\"met\":\(isMet)}"
    }
}

/// What one target's rate is to be of another's: `A/B=0.9`, at least.
struct WantedRatio: ExpressibleByArgument {
    var target: String
    var base: String
    var ratio: Double

    init?(argument: String) {
        let sides = argument.split(separator: "=", maxSplits: 1)
        let names = sides.first?.split(separator: "/", maxSplits: 1) ?? []
        guard sides.count == 2, names.count == 2, let ratio = Double(sides[1]) else { return nil }
        (target, base, self.ratio) = (String(names[0]), String(names[1]), ratio)
    }

    /// By the median of the rounds' own ratios; `nil` when one of the two was not measured.
    func verdict(_ row: BenchCommand.Row) -> Verdict? {
        guard let figure = row.figures.first(where: { $0.target == target }),
            let base = row.figures.first(where: { $0.target == base })
        else { return nil }
        return Verdict(
            name: "\(target) of \(base.target), \(row.load.text)",
            figure: base.ratio(ofDaemon: figure), wanted: ratio, isLeast: true)
    }
}
