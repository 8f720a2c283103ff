import TollgateCore

/// A JSON value to be printed, members in their order.
indirect enum JSON: Sendable {
    case null
    case bool(Bool)
    /// A number as it is written.
    case number(String)
    case text(String)
    case list([JSON])
    case object([(String, JSON)])
    /// JSON already.
    case verbatim(String)

    static func count(_ value: some BinaryInteger) -> JSON { .number(String(value)) }
    static func texts(_ values: [String]) -> JSON { .list(values.map { .text($0) }) }

    /// `null` for what is not there.
    static func optional(_ value: String?) -> JSON { value.map { .text($0) } ?? .null }
    static func optional(_ value: (some BinaryInteger)?) -> JSON {
        value.map { .count($0) } ?? .null
    }

    /// With one digit behind the point.
    static func rate(_ value: Double) -> JSON {
        .number(value.isFinite && value < 1e15 ? "\((value * 10).rounded() / 10)" : "0")
    }

    var text: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number(let number): number
        case .text(let text): ClaimValue.quoted(text)
        case .list(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { ClaimValue.quoted($0) + ":" + $1.text }.joined(separator: ",") + "}"
        case .verbatim(let json): json
        }
    }
}
