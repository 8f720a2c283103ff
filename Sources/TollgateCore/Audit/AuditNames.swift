import TollgateWire

/// What the indices in audit entries stand for, of one generation of the policy.
package struct AuditNames: Sendable, Equatable {
    /// One limit of the policy.
    package struct Limit: Sendable, Equatable {
        package var name: String
        package var meter: String
        /// 0 for a limit that no program has.
        package var kind: UInt8
        package var scope: UInt8
    }

    package var generation: UInt32
    package var plans: [String]
    package var operations: [String]
    package var meters: [String]
    package var issuers: [String]
    package var limits: [Limit]
    /// By plan, then operation: indices into `limits` of all that a decision looks at, in order.
    package var programs: [[UInt16]]
    /// By operation: the permission that it wants, empty for none. Empty as a whole where a log of
    /// before has them not.
    package var permissions: [String]

    package init(
        generation: UInt32, plans: [String] = [], operations: [String] = [],
        meters: [String] = [], issuers: [String] = [], limits: [Limit] = [],
        programs: [[UInt16]] = [], permissions: [String] = []
    ) {
        self.generation = generation
        self.plans = plans
        self.operations = operations
        self.meters = meters
        self.issuers = issuers
        self.limits = limits
        self.programs = programs
        self.permissions = permissions
    }
}

extension PolicyImage {
    package var auditNames: AuditNames {
        var limits = limits.map {
            AuditNames.Limit(
                name: String(decoding: $0.name, as: UTF8.self),
                meter: String(decoding: $0.meter, as: UTF8.self), kind: 0, scope: 0)
        }
        for step in steps {
            let kind = step.isQuota ? LimitKind.quota : .rateLimit
            limits[Int(step.limitIndex)].kind = kind.rawValue
            limits[Int(step.limitIndex)].scope = step.scope.rawValue
        }
        for plan in compiledPlans {
            for step in steps[plan.concurrency] {
                limits[Int(step.limitIndex)].kind = LimitKind.concurrency.rawValue
            }
        }
        if credentialLimit >= 0, credentialLimit < limits.count {
            limits[credentialLimit].kind = LimitKind.rateLimit.rawValue
            limits[credentialLimit].scope = LimitScope.credential.rawValue
        }
        var programs: [[UInt16]] = []
        for plan in 0..<plans.count {
            for operation in 0..<operations.count {
                let own = steps[compiledOperations[operation].addressSteps]
                let tenant = steps[program(plan: plan, operation: operation)]
                programs.append(own.map(\.limitIndex) + tenant.map(\.limitIndex))
            }
        }
        let permissions = permissions.all
        return AuditNames(
            generation: UInt32(truncatingIfNeeded: generation), plans: plans.all,
            operations: operations.all, meters: meters.all, issuers: issuerNames,
            limits: limits, programs: programs,
            permissions: (0..<operations.count).map {
                let wanted = Int(compiledOperations[$0].permission)
                return wanted < 0 ? "" : permissions[wanted]
            })
    }
}

extension UnsafeMutableBufferPointer<ChargeStep> {
    fileprivate subscript(range: StepRange) -> Slice<Self> {
        self[Int(range.start)..<Int(range.end)]
    }
}

extension NameTable {
    fileprivate var all: [String] {
        (0..<count).map { withName($0) { String(decoding: $0, as: UTF8.self) } }
    }
}

/// As bytes, little-endian: "TGNAMES2", u32 generation, then four lists of names, the limits, the
/// programs and the permissions, each with its u16 count first; a name is its u8 length and its
/// bytes; a limit is name, meter, u8 kind, u8 scope; a program is a u16 count and so many u16.
/// "TGNAMES1", of before, ends with the programs; it is read, and no longer written.
extension AuditNames {
    private static let magic = Array("TGNAMES2".utf8)
    private static let magicOfBefore = Array("TGNAMES1".utf8)
    private static let countMax = Int(UInt16.max)

    package var encoded: [UInt8] {
        var bytes = Self.magic
        for shift in [0, 8, 16, 24] {
            bytes.append(UInt8(truncatingIfNeeded: generation >> UInt32(shift)))
        }
        for list in [plans, operations, meters, issuers] {
            Self.append(list.count, to: &bytes)
            for name in list { Self.append(name, to: &bytes) }
        }
        Self.append(limits.count, to: &bytes)
        for limit in limits {
            Self.append(limit.name, to: &bytes)
            Self.append(limit.meter, to: &bytes)
            bytes += [limit.kind, limit.scope]
        }
        Self.append(programs.count, to: &bytes)
        for program in programs {
            Self.append(program.count, to: &bytes)
            for limit in program { Self.append(Int(limit), to: &bytes) }
        }
        Self.append(permissions.count, to: &bytes)
        for name in permissions { Self.append(name, to: &bytes) }
        return bytes
    }

    /// A list beyond the format's counts is cut: the policy's own bounds are far below.
    private static func append(_ count: Int, to bytes: inout [UInt8]) {
        let count = min(count, countMax)
        bytes += [UInt8(count & 0xff), UInt8(count >> 8)]
    }

    private static func append(_ name: String, to bytes: inout [UInt8]) {
        let utf8 = name.utf8.prefix(Int(UInt8.max))
        bytes.append(UInt8(utf8.count))
        bytes += utf8
    }

    /// `nil` when the bytes are not what `encoded` makes, or has made.
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        var reader = ByteReader(bytes)
        guard let magic = reader.take(Self.magic.count) else { return nil }
        let hasPermissions = magic.elementsEqual(Self.magic)
        guard hasPermissions || magic.elementsEqual(Self.magicOfBefore),
            let generation = reader.read(UInt32.self)
        else { return nil }
        self.init(generation: generation)
        guard let plans = Self.names(&reader), let operations = Self.names(&reader),
            let meters = Self.names(&reader), let issuers = Self.names(&reader),
            let limits = Self.list(&reader, Self.limit),
            let programs = Self.list(&reader, { Self.list(&$0) { $0.read(UInt16.self) } }),
            let permissions = hasPermissions ? Self.names(&reader) : [], reader.remaining == 0
        else { return nil }
        self.plans = plans
        self.operations = operations
        self.meters = meters
        self.issuers = issuers
        self.limits = limits
        self.programs = programs
        self.permissions = permissions
    }

    private static func list<T>(
        _ reader: inout ByteReader, _ item: (inout ByteReader) -> T?
    ) -> [T]? {
        guard let count = reader.read(UInt16.self) else { return nil }
        var items: [T] = []
        for _ in 0..<count {
            guard let item = item(&reader) else { return nil }
            items.append(item)
        }
        return items
    }

    private static func names(_ reader: inout ByteReader) -> [String]? { list(&reader, name) }

    private static func name(_ reader: inout ByteReader) -> String? {
        guard let count = reader.read(UInt8.self), let bytes = reader.take(Int(count)) else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func limit(_ reader: inout ByteReader) -> Limit? {
        guard let name = Self.name(&reader), let meter = Self.name(&reader),
            let kind = reader.read(UInt8.self), let scope = reader.read(UInt8.self)
        else { return nil }
        return Limit(name: name, meter: meter, kind: kind, scope: scope)
    }
}
