/// Text of others, such as names of organizations, as people may be shown it: in logs, on
/// terminals, in messages.
package enum VisibleText {
    /// Controls, among them those that begin escape sequences, and marks that are not seen or turn
    /// the direction of what follows are spelled out, as `\\u{202e}`. Line feeds stay with `lines`.
    package static func spelledOut(_ text: String, lines: Bool = false) -> String {
        guard text.unicodeScalars.contains(where: isHidden) else { return text }
        var shown = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if isHidden(scalar), !(lines && scalar == "\n") {
                shown.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
            } else {
                shown.append(scalar)
            }
        }
        return String(shown)
    }

    /// Unicode's Cc, Zl, Zp, and of Cf all but the two joiners, which scripts and emoji need.
    package static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        // Nearly all text: without a look into tables.
        if scalar.value < 0xad {
            return scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        }
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: return true
        case .format: return scalar.value != 0x200c && scalar.value != 0x200d
        default: return false
        }
    }
}
