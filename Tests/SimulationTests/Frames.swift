import TollgateWire

/// Who asks, for what, as the bytes of a request say it.
struct Asked: Hashable {
    var organization: String
    var user: String
    var plan: String
    var operation: String
    var meters: [String: UInt64] = [:]
    var dryRun = false
    var explain = true
    /// An idempotency id; empty is none.
    var id: [UInt8] = []
    /// Time to live of a hold, in milliseconds; 0 is the plan's.
    var ttl: UInt32 = 0
    var detached = false

    var flags: UInt16 { (dryRun ? 1 : 0) | (explain ? 2 : 0) | (detached ? 8 : 0) }
}

/// Bodies of requests: Protocol.md.
enum Frames {
    static func check(_ asked: Asked, token: String) -> [UInt8] {
        decision(asked, token: token, ttl: 0)
    }

    static func reserve(_ asked: Asked, token: String) -> [UInt8] {
        decision(asked, token: token, ttl: asked.ttl)
    }

    private static func decision(_ asked: Asked, token: String, ttl: UInt32) -> [UInt8] {
        var body: [UInt8] = [1, 0, 1, UInt8(asked.meters.count)]
        body += little(asked.flags)
        body += little(UInt16(token.utf8.count)) + little(UInt16(asked.operation.utf8.count))
        body += [0, 0] + little(ttl)
        body += [UInt8](repeating: 0, count: 16)
        body += Array(token.utf8) + Array(asked.operation.utf8)
        return body + meters(asked.meters) + idempotency(asked.id)
    }

    static func consume(_ asked: Asked) -> [UInt8] {
        let names = [asked.organization, asked.user, asked.plan, asked.operation]
        var body: [UInt8] = names[..<3].map { UInt8($0.utf8.count) }
        body.append(UInt8(asked.meters.count))
        body += little(asked.flags) + [UInt8(asked.operation.utf8.count)]
        body += [UInt8](repeating: 0, count: 9)
        for name in names { body += Array(name.utf8) }
        return body + meters(asked.meters) + idempotency(asked.id)
    }

    static func usage(organization: String, user: String, plan: String) -> [UInt8] {
        let names = [organization, user, plan]
        return names.map { UInt8($0.utf8.count) } + [0, 0, 0, 0, 0]
            + names.flatMap { Array($0.utf8) }
    }

    static func extend(
        _ hold: [UInt8], ttl: UInt32, units: [String: (hold: UInt64, used: UInt64)]
    ) -> [UInt8] {
        var body = hold + [UInt8(units.count), 0] + little(UInt16(2)) + little(ttl)
        for (name, units) in units.sorted(by: { $0.key < $1.key }) {
            body += [UInt8(name.utf8.count)] + Array(name.utf8)
            body += little(units.hold) + little(units.used)
        }
        return body
    }

    static func settle(_ hold: [UInt8], units: [String: UInt64]) -> [UInt8] {
        hold + [UInt8(units.count), 0] + little(UInt16(2)) + little(UInt32(0)) + meters(units)
    }

    static func cancel(_ hold: [UInt8]) -> [UInt8] {
        hold + little(UInt16(2)) + [0, 0, 0, 0, 0, 0]
    }

    private static func meters(_ units: [String: UInt64]) -> [UInt8] {
        units.sorted { $0.key < $1.key }.flatMap { name, units in
            [UInt8(name.utf8.count)] + Array(name.utf8) + little(units)
        }
    }

    /// Extension 2, critical.
    private static func idempotency(_ id: [UInt8]) -> [UInt8] {
        id.isEmpty ? [] : [2, 1, 16, 0] + id
    }

    static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

/// A decision, taken apart.
struct Answer: Equatable {
    /// A limit that was looked at.
    struct Entry: Equatable {
        var kind: UInt8
        var scope: UInt8
        var name: String
        var used: UInt64
        var held: UInt64
        var limit: UInt64
        var remaining: UInt64
        var reset: UInt64
    }

    var bytes: [UInt8]
    /// Without the explanation, which is not given again.
    var answer: [UInt8] = []
    var status: Status
    var reason = Reason.none
    var flags: UInt8 = 0
    var entries: [Entry] = []
    /// Of a hold that was made.
    var hold: [UInt8] = []
    var ttl: UInt32 = 0

    var isAllowed: Bool { status == .ok && reason == .none }
    var isOverage: Bool { flags & 16 != 0 }

    /// Of USAGE, whose reply is no decision, the bytes alone.
    init(status: Status, bytes: [UInt8], isDecision: Bool = true) {
        self.status = status
        self.bytes = bytes
        answer = bytes
        guard isDecision, status == .ok, bytes.count >= 64 else { return }
        reason = Reason(rawValue: UInt16(bytes[2]) | UInt16(bytes[3]) << 8) ?? .none
        precondition((bytes[0] == 1) == (reason == .none), "verdict and reason contradict")
        flags = bytes[1]
        var at = 64 + bytes[56...61].reduce(0) { $0 + Int($1) }
        while at + 4 <= bytes.count {
            let length = Int(bytes[at + 2]) | Int(bytes[at + 3]) << 8
            let value = Array(bytes[(at + 4)..<(at + 4 + length)])
            if bytes[at] == 1 {
                entries = Self.entries(value, at: 2)
                answer = Array(bytes[..<at])
            }
            if bytes[at] == 4 {
                hold = Array(value[..<16])
                ttl = UInt32(truncatingIfNeeded: Self.word(value, 16))
            }
            at += 4 + length
        }
    }

    static func entries(_ bytes: [UInt8], at start: Int) -> [Entry] {
        var at = start
        var entries: [Entry] = []
        while at + 56 <= bytes.count {
            let (name, meter) = (Int(bytes[at + 3]), Int(bytes[at + 4]))
            entries.append(
                Entry(
                    kind: bytes[at], scope: bytes[at + 1],
                    name: String(decoding: bytes[(at + 56)..<(at + 56 + name)], as: UTF8.self),
                    used: word(bytes, at + 8), held: word(bytes, at + 16),
                    limit: word(bytes, at + 24), remaining: word(bytes, at + 32),
                    reset: word(bytes, at + 40)))
            at += 56 + name + meter
        }
        return entries
    }

    private static func word(_ bytes: [UInt8], _ at: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(bytes[at + $1]) << (8 * UInt64($1)) }
    }
}
