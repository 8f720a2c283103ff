/// Rows of values separated by commas, as RFC 4180 has them. By unicode scalars, not by characters:
/// a mark that is combined with a quotation mark makes another character of the two, and is no
/// reason to take the quotation mark for less.
enum CSV {
    /// What a spreadsheet takes for a formula that begins a cell (OWASP, "CSV Injection").
    private static let formulas = "=+-@\t\r".unicodeScalars
    private static let quoting = ",\"\n\r".unicodeScalars

    static func row(_ cells: [String]) -> String {
        var row = String.UnicodeScalarView()
        for (index, cell) in cells.enumerated() {
            if index > 0 { row.append(",") }
            row.append(contentsOf: quoted(cell))
        }
        return String(row)
    }

    /// What somebody chose, and a spreadsheet would take for a formula, is told apart by a
    /// quotation mark before it.
    private static func quoted(_ cell: String) -> String.UnicodeScalarView {
        var guarded = String.UnicodeScalarView()
        if let first = cell.unicodeScalars.first, formulas.contains(first) { guarded.append("'") }
        guarded.append(contentsOf: cell.unicodeScalars)
        guard guarded.contains(where: { quoting.contains($0) }) else { return guarded }
        var quoted = String.UnicodeScalarView(["\""])
        for scalar in guarded {
            quoted.append(scalar)
            if scalar == "\"" { quoted.append(scalar) }
        }
        quoted.append("\"")
        return quoted
    }
}
