/// What is known of each ring, over all lives, at a place of the chain.
struct AuditMarks: Sendable, Equatable {
    private(set) var all: [AuditRingMark] = []

    init(_ all: [AuditRingMark] = []) { self.all = all }

    func mark(_ ring: UInt8) -> AuditRingMark? { all.first { $0.ring == ring } }

    mutating func change(_ ring: UInt8, _ body: (inout AuditRingMark) -> Void) {
        if let index = all.firstIndex(where: { $0.ring == ring }) {
            body(&all[index])
        } else {
            var mark = AuditRingMark(ring: ring)
            body(&mark)
            all.append(mark)
        }
    }

    /// A block with these records is in the log.
    mutating func add(_ source: AuditSource) {
        change(source.ring) { mark in
            mark.enter(life: source.life)
            mark.position = max(mark.position, source.position)
            mark.highest = max(mark.highest, source.highest)
        }
    }

    /// A gap of dropped entries is in the log.
    mutating func add(_ dropped: AuditDrop) {
        change(dropped.ring) { mark in
            mark.enter(life: dropped.life)
            mark.dropped = max(mark.dropped, dropped.through)
        }
    }
}
