import TollgateWire

// What stands in a row of the directory's tables behind its id. Plain bytes; an object that a row
// points at is retained by the row and read under the row's lock only.

/// Of kind `.organization` or `.personalOrganization`; then the names of plan and pending plan.
struct OrganizationRow: BitwiseCopyable {
    var isActive: Bool
    var hasSubscription: Bool
    var isServed: Bool
    /// Of the subscription, in `DirectoryImage.calendars`.
    var calendar: UInt16
    var planBytes: UInt8
    /// 0: nothing is pending.
    var pendingBytes: UInt8
    var pendingAt: Int64
    var overrides: OverrideList.Reference
    /// Active users, and how many ever became so. Of what they were when the row was written anew.
    var memberCount: UInt32 = 0
    var joinedCount: UInt32 = 0

    func members(isStranger: Bool) -> PoolMembers {
        PoolMembers(
            count: memberCount, joined: joinedCount, isStranger: memberCount > 0 && isStranger)
    }

    /// The plan, by `now`, and the instant from which it may be another.
    static func plan(_ row: Row, at now: WallTime) -> (name: UnsafeRawBufferPointer, until: Int64) {
        let record = row.payload(Self.self).pointee
        let start = UnsafeRawPointer(row.counters) + MemoryLayout<Self>.stride
        let plan = UnsafeRawBufferPointer(start: start, count: Int(record.planBytes))
        guard record.pendingBytes > 0 else { return (plan, .max) }
        if now.milliseconds < record.pendingAt { return (plan, record.pendingAt) }
        let next = start + plan.count
        return (UnsafeRawBufferPointer(start: next, count: Int(record.pendingBytes)), .max)
    }
}

/// Of kind `.user`.
struct UserRow: BitwiseCopyable {
    var isActive: Bool
    var overrides: OverrideList.Reference
}

/// Of kind `.key`; then the names of organization and user.
struct KeyRow: BitwiseCopyable {
    var digest: APIKeyDigest
    /// `Int64.max`: never.
    var expires: Int64
    /// 0: never, or long ago.
    var lastUsed: Int64
    var details: KeyDetails.Reference
    var pepper: UInt32
    var organizationBytes: UInt8
    var userBytes: UInt8
    var isPersonal: Bool
    var isRevoked: Bool
    /// Its use stands in the list that `takeUses` takes.
    var isNoted = false

    static func organization(_ row: Row) -> UnsafeRawBufferPointer {
        let record = row.payload(Self.self)
        return UnsafeRawBufferPointer(
            start: UnsafeRawPointer(record + 1), count: Int(record.pointee.organizationBytes))
    }

    static func user(_ row: Row) -> UnsafeRawBufferPointer {
        let record = row.payload(Self.self)
        return UnsafeRawBufferPointer(
            start: UnsafeRawPointer(record + 1) + Int(record.pointee.organizationBytes),
            count: Int(record.pointee.userBytes))
    }
}

/// Of the kinds of revocations.
struct RevocationRow: BitwiseCopyable {
    var at: Int64
    var expires: Int64
}

extension Row {
    func payload<T: BitwiseCopyable>(_ type: T.Type) -> UnsafeMutablePointer<T> {
        counters.assumingMemoryBound(to: type)
    }
}

/// The overrides of an organization or a user: few have any.
final class OverrideList: Sendable {
    typealias Reference = UInt
    struct Entry: Sendable {
        var limit: [UInt8]
        var units: UInt64
        /// `Int64.max`: for good.
        var expires: Int64
    }

    let entries: [Entry]

    private init(_ entries: [OverrideEntry]) {
        self.entries = entries.map {
            Entry(
                limit: Array($0.limit.utf8), units: $0.units,
                expires: $0.expires?.milliseconds ?? .max)
        }
    }

    /// Retained; 0 when there are none.
    static func make(_ entries: [OverrideEntry]) -> Reference {
        entries.isEmpty ? 0 : retained(OverrideList(entries))
    }
}

/// What few keys have.
final class KeyDetails: Sendable {
    typealias Reference = UInt

    let previous: APIKeyDigest?
    let previousPepper: UInt32
    let previousUntil: Int64
    /// `nil`: all that the plan grants.
    let permissions: [[UInt8]]?
    let addresses: [AddressBlock]?
    let limit: KeyLimit?

    private init(_ key: APIKeyEntry) {
        previous = key.previous
        previousPepper = key.previousPepper
        previousUntil = key.previousUntil?.milliseconds ?? 0
        permissions = key.permissions?.map { Array($0.utf8) }
        addresses = key.addresses
        limit = key.limit
    }

    static func make(_ key: APIKeyEntry) -> Reference {
        guard
            key.previous != nil || key.permissions != nil || key.addresses != nil
                || key.limit != nil
        else { return 0 }
        return retained(KeyDetails(key))
    }
}

private func retained<T: AnyObject>(_ object: T) -> UInt {
    UInt(bitPattern: Unmanaged.passRetained(object).toOpaque())
}

/// Lends what a row points at, under the row's lock; no reference is counted.
func withObject<T: AnyObject, R>(_ reference: UInt, _ type: T.Type, _ body: (T) -> R) -> R? {
    guard let address = UnsafeRawPointer(bitPattern: reference) else { return nil }
    return Unmanaged<T>.fromOpaque(address)._withUnsafeGuaranteedRef(body)
}

func releaseObject<T: AnyObject>(_ reference: UInt, _ type: T.Type) {
    guard let address = UnsafeRawPointer(bitPattern: reference) else { return }
    Unmanaged<T>.fromOpaque(address).release()
}
