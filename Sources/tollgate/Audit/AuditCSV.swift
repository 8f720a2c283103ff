import TollgateCore
import TollgateStorage
import TollgateWire

/// Decisions as lines of CSV, written as bytes: a query may give a million.
struct AuditCSV {
    private static let header = [
        "time", "id", "kind", "verdict", "reason", "organization", "personal_organization", "user",
        "plan", "operation", "credential_kind", "key_id", "issuer", "address", "charges",
        "cost_micros", "rate_limit", "rate_limit_limit", "rate_limit_used", "quota",
        "quota_limit", "quota_used", "retry_after_ms", "latency_ns", "dry_run", "overage",
        "repeated", "reservation", "idempotency_id", "would_deny", "units", "refused_by",
    ]
    private static let kinds = Dictionary(
        uniqueKeysWithValues: AuditKind.allCases.map { ($0, "\($0)") })
    private static let hexDigits = Array("0123456789abcdef".utf8)

    private var bytes: [UInt8] = []
    private var reasons: [UInt16: String] = [:]
    /// The second that was last shown, and how.
    private var second: Int64?
    private var shown: [UInt8] = []
    private var list: [UInt8] = []
    private var isFirst = true

    /// The lines of a part of a list, the first with the header before them, also where there are
    /// none.
    mutating func lines(_ records: [AuditRecord]) -> String {
        bytes.removeAll(keepingCapacity: true)
        if isFirst { bytes.append(contentsOf: CSV.row(Self.header).utf8) }
        isFirst = false
        for record in records {
            if !bytes.isEmpty { bytes.append(UInt8(ascii: "\n")) }
            put(record)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private mutating func put(_ record: AuditRecord) {
        putTime(record.wall)
        comma()
        putHexadecimal(record.id)
        cell(Self.kinds[record.kind] ?? "")
        cell(record.isAllowed ? "allow" : "deny")
        cell(reason(record.reason))
        putOwner(record)
        putAmounts(record)
        flag(record, .dryRun)
        flag(record, .overage)
        flag(record, .repeated)
        cell(record.hold.map { AuditView.hexadecimal($0) } ?? "")
        cell(record.idempotency.map { AuditView.hexadecimal($0) } ?? "")
        cell(record.wouldDeny.joined(separator: " "))
        putCharges(record, \.units)
        cell(record.refusedBy ?? "")
    }

    private mutating func putOwner(_ record: AuditRecord) {
        cell(record.organization)
        flag(record, .personal)
        cell(record.user)
        cell(record.plan ?? "")
        cell(record.operation ?? "")
        cell(AuditView.credential(record.credentialKind))
        cell(record.keyID ?? "")
        cell(record.issuer ?? "")
        cell(record.address ?? "")
    }

    private mutating func putAmounts(_ record: AuditRecord) {
        putCharges(record, \.weighted)
        number(record.cost)
        for limit in [record.rate, record.quota] {
            cell(limit?.name ?? "")
            guard let limit else {
                comma()
                comma()
                continue
            }
            number(limit.limit)
            number(limit.used)
        }
        number(UInt64(record.retryMilliseconds))
        number(UInt64(record.latencyNanoseconds))
    }

    // MARK: cells

    private mutating func comma() { bytes.append(CSV.comma) }

    /// Each but the first of a line has a comma before it.
    private mutating func cell(_ text: String) {
        comma()
        CSV.put(text, to: &bytes)
    }

    private mutating func flag(_ record: AuditRecord, _ flag: AuditFlags) {
        cell(record.flags.contains(flag) ? "true" : "false")
    }

    private mutating func number(_ value: UInt64) {
        comma()
        Self.put(value, to: &bytes)
    }

    private static func put(_ value: UInt64, to bytes: inout [UInt8]) {
        let start = bytes.count
        var rest = value
        repeat {
            bytes.append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    private mutating func putHexadecimal(_ value: UInt64) {
        for shift in stride(from: UInt64(60), through: 0, by: -4) {
            bytes.append(Self.hexDigits[Int(value >> shift & 15)])
        }
    }

    private mutating func putCharges(
        _ record: AuditRecord, _ amount: KeyPath<AuditRecord.Charge, UInt64>
    ) {
        list.removeAll(keepingCapacity: true)
        for charge in record.charges {
            if !list.isEmpty { list.append(UInt8(ascii: " ")) }
            list.append(contentsOf: charge.meter.utf8)
            list.append(UInt8(ascii: "="))
            Self.put(charge[keyPath: amount], to: &list)
        }
        comma()
        CSV.put(list, to: &bytes)
    }

    private mutating func reason(_ number: UInt16) -> String {
        if let known = reasons[number] { return known }
        let made = AuditView.reason(number)
        reasons[number] = made
        return made
    }

    /// As `AuditView.time` has it.
    private mutating func putTime(_ wall: WallTime) {
        let now = wall.milliseconds
        let second = (now >= 0 ? now : now - 999) / 1_000
        if second != self.second {
            self.second = second
            shown = Array(AuditView.time(WallTime(milliseconds: second * 1_000)).utf8)
        }
        guard shown.count == 24, shown[19] == UInt8(ascii: ".") else {
            return CSV.put(AuditView.time(wall), to: &bytes)
        }
        let thousandths = now - second * 1_000
        bytes.append(contentsOf: shown[..<20])
        for digit in [thousandths / 100, thousandths / 10 % 10, thousandths % 10] {
            bytes.append(UInt8(ascii: "0") + UInt8(digit))
        }
        bytes.append(UInt8(ascii: "Z"))
    }
}
