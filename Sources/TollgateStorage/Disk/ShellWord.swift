/// A word as a shell takes it, so that a command which a message names works as printed.
package func shellWord(_ text: String) -> String {
    let isPlain =
        !text.isEmpty
        && text.utf8.allSatisfy { byte in
            switch byte {
            case 0x2b, 0x2c, 0x2d...0x2f, 0x30...0x3a, 0x40...0x5a, 0x5f, 0x61...0x7a: true
            default: false
            }
        }
    if isPlain { return text }
    let parts = text.split(separator: "'", omittingEmptySubsequences: false)
    return "'" + parts.joined(separator: "'\\''") + "'"
}
