/// Rows of values separated by commas, as RFC 4180 has them. By unicode scalars, not by characters:
/// a mark that is combined with a quotation mark makes another character of the two, and is no
/// reason to take the quotation mark for less.
enum CSV {
    static func row(_ cells: [String]) -> String {
        var row: [UInt8] = []
        for (index, cell) in cells.enumerated() {
            if index > 0 { row.append(comma) }
            put(cell, to: &row)
        }
        return String(decoding: row, as: UTF8.self)
    }

    static let comma = UInt8(ascii: ",")
    private static let quote = UInt8(ascii: "\"")

    /// What a spreadsheet takes for a formula that begins a cell (OWASP, "CSV Injection").
    private static func isFormula(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "="), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "@"), 9, 13: true
        default: false
        }
    }

    private static func isQuoted(_ byte: UInt8) -> Bool {
        byte == comma || byte == quote || byte == 10 || byte == 13
    }

    /// A cell. What somebody chose, and a spreadsheet would take for a formula, is told apart by a
    /// quotation mark before it. By bytes, as who reads it goes.
    static func put(_ cell: String, to row: inout [UInt8]) {
        var cell = cell
        cell.withUTF8 { put($0, to: &row) }
    }

    static func put(_ cell: some Collection<UInt8>, to row: inout [UInt8]) {
        let isQuoted = cell.contains(where: isQuoted)
        if isQuoted { row.append(quote) }
        if let first = cell.first, isFormula(first) { row.append(UInt8(ascii: "'")) }
        if isQuoted {
            for byte in cell {
                row.append(byte)
                if byte == quote { row.append(byte) }
            }
            row.append(quote)
        } else {
            row.append(contentsOf: cell)
        }
    }
}
