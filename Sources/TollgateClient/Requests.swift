import TollgateWire

/// Where a request comes from, for limits by address.
public enum ClientAddress: Sendable, Equatable {
    case none
    /// Four bytes in network order.
    case v4([UInt8])
    /// Sixteen bytes in network order.
    case v6([UInt8])
}

/// What the caller wants to do.
public enum OperationSelector: Sendable, Equatable {
    case name(String)
    /// The path may carry its query.
    case route(method: String, path: String)
}

/// Units of one meter.
public struct MeterUnits: Sendable, Equatable {
    public var meter: String
    public var units: UInt64

    /// So many units of that meter.
    public init(_ meter: String, _ units: UInt64) {
        self.meter = meter
        self.units = units
    }
}

/// What a caller proves its identity with. Prints as `(secret)`.
public struct Credential: Sendable, Equatable, CustomStringConvertible {
    /// No credential: the daemon denies with reason 10.
    public static let none = Credential(kind: .none, text: "")

    /// Which of them it is.
    public let kind: CredentialKind
    private let secret: SecretText

    private init(kind: CredentialKind, text: String) {
        self.kind = text.isEmpty ? .none : kind
        secret = SecretText(text)
    }

    /// A JWT in compact form; empty is none.
    public static func accessToken(_ text: String) -> Credential {
        Credential(kind: .accessToken, text: text)
    }

    /// An API key, `tg_…`; empty is none.
    public static func apiKey(_ text: String) -> Credential {
        Credential(kind: .apiKey, text: text)
    }

    /// What stood behind `Bearer`, where callers may send either: what begins with `tg_` is taken
    /// for an API key, as no token does.
    public static func presented(_ text: String) -> Credential {
        text.utf8.starts(with: "tg_".utf8) ? .apiKey(text) : .accessToken(text)
    }

    /// The credential itself. Whoever asks for it keeps it out of logs, errors and arguments.
    public func revealed() -> String { secret.revealed() }

    /// Never the credential.
    public var description: String { secret.description }
}

/// One question to the daemon: Protocol.md, "CHECK".
public struct CheckQuestion: Sendable {
    public var credential: Credential
    /// An access token; empty is none.
    public var token: String {
        get { credential.revealed() }
        set { credential = .accessToken(newValue) }
    }
    /// An API key may be bound to addresses: then a question without one is denied.
    public var address: ClientAddress
    public var operation: OperationSelector
    /// Instead of the operation's defaults.
    public var meters: [MeterUnits]
    /// Decide, and charge nothing.
    public var isDryRun: Bool
    /// Ask for every limit that was looked at.
    public var explains: Bool
    /// Charged once, however often it is asked with it; the clients then ask again by themselves
    /// when a connection ends before the answer.
    public var idempotencyID: IdempotencyID?

    /// With an access token; empty is none. Checked when it is asked, not here.
    public init(
        token: String, operation: OperationSelector, address: ClientAddress = .none,
        meters: [MeterUnits] = [], isDryRun: Bool = false, explains: Bool = false,
        idempotencyID: IdempotencyID? = nil
    ) {
        self.init(
            credential: .accessToken(token), operation: operation, address: address,
            meters: meters, isDryRun: isDryRun, explains: explains, idempotencyID: idempotencyID)
    }

    /// With any credential. Checked when it is asked, not here.
    public init(
        credential: Credential, operation: OperationSelector, address: ClientAddress = .none,
        meters: [MeterUnits] = [], isDryRun: Bool = false, explains: Bool = false,
        idempotencyID: IdempotencyID? = nil
    ) {
        self.credential = credential
        self.operation = operation
        self.address = address
        self.meters = meters
        self.isDryRun = isDryRun
        self.explains = explains
        self.idempotencyID = idempotencyID
    }

    /// The body of the frame: CHECK's, or with a flag and a time to live RESERVE's.
    func body(
        flags: UInt16 = 0, timeToLiveMilliseconds: UInt32 = 0
    ) throws(ClientError) -> [UInt8] {
        var method = ""
        var name = ""
        switch operation {
        case .name(let text): name = text
        case .route(let verb, let path):
            // Without a method, a path would go as a name.
            guard !verb.isEmpty else { throw .invalidRequest("the method is empty") }
            (method, name) = (verb, path)
        }
        let secret = credential.revealed()
        guard secret.utf8.count <= WireLimits.credentialBytesMax else {
            throw .invalidRequest("the credential is longer than 8192 bytes")
        }
        guard method.utf8.count <= WireLimits.methodBytesMax,
            (1...WireLimits.pathBytesMax).contains(name.utf8.count)
        else { throw .invalidRequest("the operation, method or path has a bad length") }
        var writer = BodyWriter()
        writer.byte(credential.kind.rawValue)
        let (family, bytes) = try addressBytes()
        writer.byte(family)
        writer.byte(method.isEmpty ? 1 : 2)
        writer.byte(UInt8(clamping: meters.count))
        writer.little(
            flags | (isDryRun ? RequestFlags.dryRun : 0) | (explains ? RequestFlags.explain : 0))
        writer.little(UInt16(secret.utf8.count))
        writer.little(UInt16(name.utf8.count))
        writer.byte(UInt8(method.utf8.count))
        writer.byte(0)
        writer.little(timeToLiveMilliseconds)
        writer.bytes += bytes
        writer.text(secret)
        writer.text(method)
        writer.text(name)
        try writer.meters(meters)
        writer.idempotencyID(idempotencyID)
        return writer.bytes
    }

    private func addressBytes() throws(ClientError) -> (UInt8, [UInt8]) {
        switch address {
        case .none: return (0, [UInt8](repeating: 0, count: 16))
        case .v4(let bytes) where bytes.count == 4:
            return (4, bytes + [UInt8](repeating: 0, count: 12))
        case .v6(let bytes) where bytes.count == 16: return (6, bytes)
        default: throw .invalidRequest("an address is 4 or 16 bytes")
        }
    }
}

/// Usage reported after the fact: Protocol.md, "CONSUME".
public struct Consumption: Sendable {
    public var organization: String
    public var user: String
    public var plan: String
    public var operation: String
    public var meters: [MeterUnits]
    public var isPersonal: Bool
    /// Charged once, however often it is asked with it.
    public var idempotencyID: IdempotencyID?

    /// As the decision named them: organization, user, plan, operation, `isPersonal`.
    public init(
        organization: String, user: String, plan: String, operation: String,
        meters: [MeterUnits], isPersonal: Bool = false, idempotencyID: IdempotencyID? = nil
    ) {
        self.organization = organization
        self.user = user
        self.plan = plan
        self.operation = operation
        self.meters = meters
        self.isPersonal = isPersonal
        self.idempotencyID = idempotencyID
    }

    func body() throws(ClientError) -> [UInt8] {
        var writer = BodyWriter()
        let texts = [organization, user, plan, operation]
        for text in texts where !(1...WireLimits.identifierBytesMax).contains(text.utf8.count) {
            throw .invalidRequest("\"\(text)\" is not 1 to 128 bytes long")
        }
        for text in texts.prefix(3) { writer.byte(UInt8(text.utf8.count)) }
        writer.byte(UInt8(clamping: meters.count))
        writer.little(isPersonal ? RequestFlags.personalOrganization : 0)
        writer.byte(UInt8(operation.utf8.count))
        writer.zeros(9)
        for text in texts { writer.text(text) }
        try writer.meters(meters)
        writer.idempotencyID(idempotencyID)
        return writer.bytes
    }
}

/// Builds a body. Little-endian, as all of the protocol.
struct BodyWriter {
    var bytes: [UInt8] = []

    mutating func byte(_ value: UInt8) { bytes.append(value) }
    mutating func zeros(_ count: Int) { bytes += [UInt8](repeating: 0, count: count) }
    mutating func text(_ text: String) { bytes += Array(text.utf8) }
    mutating func little<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes += Array($0) }
    }

    mutating func meters(_ meters: [MeterUnits]) throws(ClientError) {
        guard meters.count <= WireLimits.metersMax else {
            throw .invalidRequest("more than 16 meters")
        }
        for meter in meters {
            try name(meter.meter)
            little(meter.units)
        }
    }

    /// A meter's.
    mutating func name(_ name: String) throws(ClientError) {
        guard (1...WireLimits.identifierBytesMax).contains(name.utf8.count) else {
            throw .invalidRequest("a meter's name is 1 to 128 bytes long")
        }
        byte(UInt8(name.utf8.count))
        text(name)
    }
}
