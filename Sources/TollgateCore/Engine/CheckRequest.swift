import TollgateWire

/// Why a body was not decided on. The text goes to the peer as the status' detail.
package struct Refusal: Error {
    package var status: Status
    package var detail: StaticString

    init(_ status: Status, _ detail: StaticString) {
        self.status = status
        self.detail = detail
    }
}

/// A CHECK's body, or RESERVE's, taken apart in place. Borrows the frame; Protocol.md, "CHECK".
struct CheckRequest: BitwiseCopyable {
    var credentialKind: CredentialKind
    var addressFamily: UInt8
    var byRoute: Bool
    var meterCount: Int
    var flags: UInt16
    var address: UnsafeRawBufferPointer
    var credential: UnsafeRawBufferPointer
    var method: UnsafeRawBufferPointer
    /// Name or path.
    var operation: UnsafeRawBufferPointer
    /// Where the meters begin.
    var metersOffset: Int
    var isDryRun: Bool { flags & RequestFlags.dryRun != 0 }

    /// Whose body it is: RESERVE has a time to live among the reserved bytes, and a flag more.
    enum Form { case check, reserve }

    /// Checks the fixed part and every length. Does not allocate, does not trap on any bytes.
    init(decoding body: UnsafeRawBufferPointer, as form: Form = .check) throws(Refusal) {
        guard body.count >= BodyBytes.checkRequest else {
            throw Refusal(.malformedBody, "the body is shorter than its fixed part")
        }
        guard let kind = CredentialKind(rawValue: body[0]) else {
            throw Refusal(.malformedBody, "credential kind is not 0, 1 or 2")
        }
        credentialKind = kind
        addressFamily = body[1]
        byRoute = body[2] == 2
        meterCount = Int(body[3])
        flags = body.loadLittle(at: 4, as: UInt16.self)
        let credentialBytes = Int(body.loadLittle(at: 6, as: UInt16.self))
        let operationBytes = Int(body.loadLittle(at: 8, as: UInt16.self))
        let methodBytes = Int(body[10])
        guard body[2] == 1 || body[2] == 2 else {
            throw Refusal(.malformedBody, "the operation is given by 1 (name) or 2 (route)")
        }
        try Self.checkReserved(body, flags, form)
        guard (credentialBytes == 0) == (kind == .none) else {
            throw Refusal(.malformedBody, "credential kind and length contradict")
        }
        guard credentialBytes <= WireLimits.credentialBytesMax else {
            throw Refusal(.malformedBody, "credential longer than 8192 bytes")
        }
        guard meterCount <= WireLimits.metersMax else {
            throw Refusal(.malformedBody, "more than 16 meters")
        }
        try Self.checkOperation(byRoute: byRoute, bytes: operationBytes, method: methodBytes)
        address = body.slice(at: 16, length: 16)
        try Self.checkAddress(family: addressFamily, address)
        metersOffset =
            BodyBytes.checkRequest &+ credentialBytes &+ methodBytes &+ operationBytes
        guard metersOffset <= body.count else {
            throw Refusal(.malformedBody, "the strings run past the end of the frame")
        }
        credential = body.slice(at: BodyBytes.checkRequest, length: credentialBytes)
        method = body.slice(at: BodyBytes.checkRequest &+ credentialBytes, length: methodBytes)
        operation = body.slice(at: metersOffset &- operationBytes, length: operationBytes)
    }

    private static func checkReserved(
        _ body: UnsafeRawBufferPointer, _ flags: UInt16, _ form: Form
    ) throws(Refusal) {
        let known =
            form == .check ? RequestFlags.knownToCheck : RequestFlags.knownToReserve
        guard flags & ~known == 0 else { throw Refusal(.unsupportedField, "unknown flag") }
        guard body.loadLittle(at: 11, as: UInt8.self) == 0,
            form == .reserve || body.loadLittle(at: 12, as: UInt32.self) == 0
        else { throw Refusal(.malformedBody, "reserved bytes are not 0") }
    }

    private static func checkOperation(
        byRoute: Bool, bytes: Int, method: Int
    ) throws(Refusal) {
        if byRoute {
            guard (1...WireLimits.pathBytesMax).contains(bytes),
                (1...WireLimits.methodBytesMax).contains(method)
            else { throw Refusal(.malformedBody, "method or path has a bad length") }
        } else {
            guard (1...WireLimits.identifierBytesMax).contains(bytes), method == 0 else {
                throw Refusal(.malformedBody, "operation name has a bad length")
            }
        }
    }

    private static func checkAddress(
        family: UInt8, _ address: UnsafeRawBufferPointer
    ) throws(Refusal) {
        let low = address.loadLittle(at: 8, as: UInt64.self)
        let high = address.loadLittle(at: 0, as: UInt64.self)
        switch family {
        case 0:
            guard high == 0, low == 0 else {
                throw Refusal(.malformedBody, "an address without a family")
            }
        case 4:
            guard high &>> 32 == 0, low == 0 else {
                throw Refusal(.malformedBody, "bytes after an IPv4 address are not 0")
            }
        case 6: break
        default: throw Refusal(.malformedBody, "address family is not 0, 4 or 6")
        }
    }
}

/// A body that names organization, user, plan and operation: CONSUME and USAGE.
struct SubjectRequest: BitwiseCopyable {
    var organization: UnsafeRawBufferPointer
    var user: UnsafeRawBufferPointer
    var plan: UnsafeRawBufferPointer
    var operation: UnsafeRawBufferPointer
    var meterCount: Int
    var flags: UInt16
    var metersOffset: Int

    static func consume(_ body: UnsafeRawBufferPointer) throws(Refusal) -> SubjectRequest {
        guard body.count >= BodyBytes.consumeRequest else {
            throw Refusal(.malformedBody, "CONSUME: the body is shorter than its fixed part")
        }
        guard body[7] == 0, body.loadLittle(at: 8, as: UInt64.self) == 0 else {
            throw Refusal(.malformedBody, "CONSUME: reserved bytes are not 0")
        }
        guard (1...WireLimits.metersMax).contains(Int(body[3])) else {
            throw Refusal(.malformedBody, "CONSUME: 1 to 16 meters")
        }
        let lengths = (Int(body[0]), Int(body[1]), Int(body[2]), Int(body[6]))
        guard lengths.0 > 0, lengths.1 > 0, lengths.2 > 0, lengths.3 > 0 else {
            throw Refusal(.malformedBody, "CONSUME: organization, user, plan or operation is empty")
        }
        return try SubjectRequest(
            body, fixed: BodyBytes.consumeRequest, lengths: lengths, meters: Int(body[3]),
            known: RequestFlags.knownToConsume)
    }

    static func usage(_ body: UnsafeRawBufferPointer) throws(Refusal) -> SubjectRequest {
        guard body.count >= BodyBytes.usageRequest else {
            throw Refusal(.malformedBody, "USAGE: the body is shorter than its fixed part")
        }
        guard body[3] == 0, body.loadLittle(at: 6, as: UInt16.self) == 0 else {
            throw Refusal(.malformedBody, "USAGE: reserved bytes are not 0")
        }
        guard body[0] > 0 else {
            throw Refusal(.malformedBody, "USAGE: the organization is empty")
        }
        return try SubjectRequest(
            body, fixed: BodyBytes.usageRequest,
            lengths: (Int(body[0]), Int(body[1]), Int(body[2]), 0), meters: 0,
            known: RequestFlags.knownToUsage)
    }

    private init(
        _ body: UnsafeRawBufferPointer, fixed: Int, lengths: (Int, Int, Int, Int), meters: Int,
        known: UInt16
    ) throws(Refusal) {
        flags = body.loadLittle(at: 4, as: UInt16.self)
        guard flags & ~known == 0 else { throw Refusal(.unsupportedField, "unknown flag") }
        guard
            max(max(lengths.0, lengths.1), max(lengths.2, lengths.3))
                <= WireLimits.identifierBytesMax
        else { throw Refusal(.malformedBody, "an identifier is longer than 128 bytes") }
        var reader = ByteReader(body, at: fixed)
        guard let organization = reader.take(lengths.0), let user = reader.take(lengths.1),
            let plan = reader.take(lengths.2), let operation = reader.take(lengths.3)
        else { throw Refusal(.malformedBody, "the strings run past the end of the frame") }
        // What no token can say names nobody.
        guard Self.isName(organization), Self.isName(user), Self.isName(plan),
            Self.isName(operation)
        else {
            throw Refusal(.malformedBody, "an identifier has a control character or is not UTF-8")
        }
        self.organization = organization
        self.user = user
        self.plan = plan
        self.operation = operation
        meterCount = meters
        metersOffset = reader.offset
    }

    private static func isName(_ text: UnsafeRawBufferPointer) -> Bool {
        if text.count == 0 { return true }
        guard TokenVerifier.isIdentifier(text) else { return false }
        if text.allSatisfy({ $0 < 0x80 }) { return true }
        var parser = Unicode.UTF8.ForwardParser()
        var bytes = text.makeIterator()
        while true {
            switch parser.parseScalar(from: &bytes) {
            case .valid: continue
            case .emptyInput: return true
            case .error: return false
            }
        }
    }
}
