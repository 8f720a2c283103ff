/// An instant of a document: milliseconds since 1970, UTC, 0 to 2^53.
public struct Timestamp: Sendable, Hashable, Comparable {
    public var milliseconds: Int64

    /// So many milliseconds after the beginning of 1970.
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The earlier one is less.
    public static func < (one: Timestamp, other: Timestamp) -> Bool {
        one.milliseconds < other.milliseconds
    }

    var json: JSONValue { .integer(milliseconds) }
}
