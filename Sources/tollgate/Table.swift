import TollgateCore

/// Columns as wide as their widest cell; a column of numbers stands to the right.
func table(_ header: [String], _ rows: [[String]], indent: Int = 0) -> String {
    let all = ([header] + rows).map { $0.map { visible($0, onOneLine: true) } }
    let columns = header.indices.map { column -> (width: Int, isNumber: Bool) in
        let cells = all.dropFirst().map { $0[column] }.filter { $0 != "-" && !$0.isEmpty }
        return (
            all.map { $0[column].count }.max() ?? 0,
            !cells.isEmpty && cells.allSatisfy { $0.first?.isNumber == true }
        )
    }
    return all.map { row in
        let cells = zip(row, columns).map { cell, column in
            let gap = String(repeating: " ", count: column.width - cell.count)
            return column.isNumber ? gap + cell : cell + gap
        }
        return trimmed(String(repeating: " ", count: indent) + cells.joined(separator: "  "))
    }.joined(separator: "\n")
}

/// Names and values, one a line.
func pairs(_ rows: [(String, String)], indent: Int = 2) -> String {
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { name, value in
        let gap = String(repeating: " ", count: width - name.count + 2)
        return trimmed(
            String(repeating: " ", count: indent) + visible(name) + gap
                + visible(value, onOneLine: true))
    }.joined(separator: "\n")
}

private func trimmed(_ line: String) -> String {
    var line = line
    while line.last == " " { line.removeLast() }
    return line
}

/// Milliseconds in words: `350 ms`, `12 s`, `5 min`, `3 h`, `12 d`.
func span(_ milliseconds: UInt64) -> String {
    switch milliseconds {
    case UInt64.max: "never"
    case ..<1_000: "\(milliseconds) ms"
    case ..<120_000: "\(milliseconds / 1_000) s"
    case ..<7_200_000: "\(milliseconds / 60_000) min"
    case ..<172_800_000: "\(milliseconds / 3_600_000) h"
    default: "\(milliseconds / 86_400_000) d"
    }
}

/// `1,234,567`.
func grouped(_ value: some BinaryInteger) -> String {
    var digits = String(value)
    var at = digits.count - 3
    while at > 0 {
        digits.insert(",", at: digits.index(digits.startIndex, offsetBy: at))
        at -= 3
    }
    return digits
}

/// `12 B`, `3.4 KiB`, `1.0 MiB`.
func bytes(_ count: Double) -> String {
    var (count, units) = (count, ["B", "KiB", "MiB", "GiB", "TiB"][...])
    while count >= 1_024, units.count > 1 {
        count /= 1_024
        units = units.dropFirst()
    }
    let number = units.first == "B" ? "\(Int(count))" : "\((count * 10).rounded() / 10)"
    return "\(number) \(units.first ?? "")"
}

/// Text of others (names in tokens, details of errors) as it may stand on a terminal. Line feeds
/// stay, except in what is to be one line, as the cell of a table.
func visible(_ text: String, onOneLine: Bool = false) -> String {
    VisibleText.spelledOut(text, lines: !onOneLine)
}
