/// What is wrong with a policy file, and where. Lines and columns count from 1; 0 is the whole
/// file.
package struct PolicyError: Error, Sendable, Equatable, CustomStringConvertible {
    package var file: String
    package var line: Int
    package var column: Int
    package var message: String

    package var description: String {
        line == 0 ? "\(file): \(message)" : "\(file):\(line):\(column): \(message)"
    }
}

/// Everything that is wrong with a policy file, as far as it was read; never empty.
package struct PolicyErrors: Error, Sendable, Equatable, CustomStringConvertible {
    package static let errorsMax = 20
    static let messageCharactersMax = 600
    package var errors: [PolicyError]

    package var description: String {
        errors.map(\.description).joined(separator: "\n")
    }
}

/// A text of the file or about it, fit to stand in a message: on one line, without control
/// characters, at most `charactersMax` long.
func onOneLine(_ text: String, charactersMax: Int) -> String {
    var line = ""
    for scalar in text.unicodeScalars.prefix(charactersMax) {
        let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        line.unicodeScalars.append(isControl ? "\u{fffd}" : scalar)
    }
    return text.unicodeScalars.count > charactersMax ? line + "…" : line
}

/// The word of `known` that `word` was probably meant to be: at most two edits away.
package func likelyMeant(_ word: String, _ known: [String]) -> String? {
    let candidates = known.map { ($0, distance(Array(word.utf8), Array($0.utf8))) }
    guard let best = candidates.min(by: { $0.1 < $1.1 }) else { return nil }
    return best.1 <= 2 && best.1 < max(2, best.0.utf8.count) ? best.0 : nil
}

/// Levenshtein's distance of two short words.
private func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    guard a.count <= 64, b.count <= 64 else { return .max }
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var previous = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let next = min(row[j] + 1, row[j + 1] + 1, previous + (x == y ? 0 : 1))
            previous = row[j + 1]
            row[j + 1] = next
        }
    }
    return row[b.count]
}
