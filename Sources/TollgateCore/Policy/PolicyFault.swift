/// One thing that is wrong with a policy, in one line, and where it stands: the keys and positions
/// that lead there from the top of a policy file. Empty is the whole file.
package struct PolicyFault: Sendable, Equatable {
    package enum Step: Sendable, Equatable, ExpressibleByStringLiteral {
        case key(String)
        case position(Int)

        package init(stringLiteral value: String) { self = .key(value) }
    }

    package var path: [Step]
    package var message: String

    package init(_ path: [Step], _ message: String) {
        self.path = path
        self.message = message
    }
}

/// What is wrong with a policy; never empty.
package struct PolicyCompileError: Error, Sendable, Equatable {
    package var faults: [PolicyFault]

    package init(faults: [PolicyFault]) { self.faults = faults }

    package init(messages: [String]) { faults = messages.map { PolicyFault([], $0) } }

    package var messages: [String] { faults.map(\.message) }
}

extension IssuerTableError {
    /// Where in a policy file the fault stands.
    func path(in issuers: [IssuerDefinition]) -> [PolicyFault.Step] {
        func issuer(_ value: String, _ steps: PolicyFault.Step...) -> [PolicyFault.Step] {
            // The last one of that `iss`: of two, the second is the one too many.
            let found = issuers.last { $0.issuer.utf8.elementsEqual(value.utf8) }
            return found.map { ["issuers", .key($0.name)] + steps } ?? ["issuers"]
        }
        func key(_ value: String, _ isAtFault: (SigningKeyDefinition) -> Bool) -> [PolicyFault.Step]
        {
            let keys = issuers.last { $0.issuer.utf8.elementsEqual(value.utf8) }?.keys ?? []
            let position = keys.lastIndex(where: isAtFault) ?? 0
            return issuer(value, "keys", .position(position))
        }
        switch self {
        case .noKeys(let value), .tooManyKeys(let value, _): return issuer(value, "keys")
        case .emptyIssuer(let name): return ["issuers", .key(name), "issuer"]
        case .duplicateIssuer(let value): return issuer(value, "issuer")
        case .duplicateKeyID(let value, let id): return key(value) { $0.keyID == id } + ["id"]
        case .keyWithoutID(let value): return key(value) { $0.keyID == nil }
        case .keyIDLength(let value):
            return key(value) {
                !(1...IssuerTable.keyIDBytesMax).contains(($0.keyID ?? "x").utf8.count)
            } + ["id"]
        case .secretTooShort(let value, _, _): return issuer(value, "keys")
        case .leewayOutOfRange(let value, _): return issuer(value, "leeway")
        case .lifetimeOutOfRange(let value, _): return issuer(value, "lifetime_max")
        case .identifierLength(let value, _): return issuer(value)
        case .tooManyIssuers, .memoryShort: return ["issuers"]
        }
    }
}
