/// A time zone's offsets from UTC over time: the content of one tz database file (RFC 8536).
package struct ZoneRules: Sendable, Equatable {
    /// The IANA name, or `UTC`.
    package var name: String
    /// Instants, in seconds since 1970, from which the offset of the same index holds; ascending.
    package var transitions: [Int64]
    /// Seconds east of UTC from each transition on; as many as `transitions`.
    package var offsets: [Int32]
    /// Seconds east of UTC before the first transition.
    package var firstOffset: Int32

    package init(name: String, transitions: [Int64], offsets: [Int32], firstOffset: Int32) {
        precondition(transitions.count == offsets.count)
        self.name = name
        self.transitions = transitions
        self.offsets = offsets
        self.firstOffset = firstOffset
    }

    package static let utc = ZoneRules(name: "UTC", transitions: [], offsets: [], firstOffset: 0)
}
