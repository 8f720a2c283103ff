import TollgateCore
import TollgateWire

/// What a signing key is for. The secret stands in a file, never here.
///
/// verifying → signing (promoted), retired
/// signing → retiring (another is promoted)
/// retiring → signing (promoted again), retired (once every token it signed has expired)
/// retired → nothing: an id is used once
package enum SigningKeyState: String, Sendable, Equatable, CaseIterable {
    case verifying, signing, retiring, retired
}

package struct SigningKeyID: DirectoryIdentifier {
    package let text: String
    package init(unchecked: String) { text = unchecked }
    package static var field: String { "signing key" }
}

package struct SigningKeyRecord: Sendable, Equatable {
    package var id: SigningKeyID
    package var state: SigningKeyState
    package var added: WallTime
    package var promoted: WallTime?
    /// When it signed last.
    package var demoted: WallTime?
    package var retired: WallTime?

    package init(
        id: SigningKeyID, state: SigningKeyState, added: WallTime, promoted: WallTime? = nil,
        demoted: WallTime? = nil, retired: WallTime? = nil
    ) {
        self.id = id
        self.state = state
        self.added = added
        self.promoted = promoted
        self.demoted = demoted
        self.retired = retired
    }
}

extension DirectoryStore {
    /// Tokens signed with it are accepted; none is signed with it yet.
    package func addSigningKey(
        _ id: SigningKeyID, by change: Change
    ) throws(DirectoryError) -> SigningKeyRecord {
        let made = SigningKeyRecord(
            id: id, state: .verifying, added: change.at, promoted: nil, demoted: nil, retired: nil)
        return try self.change(change, "signing.add", of: nil, id.text) {
            () throws(DirectoryError) in
            try run(
                "INSERT INTO signing_keys(id, state, added) VALUES(?, ?, ?)",
                [.text(id.text), .text(made.state.rawValue), .integer(change.at.milliseconds)])
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    /// Signs from now on; the one that did so before goes on verifying.
    package func promoteSigningKey(
        _ id: SigningKeyID, by change: Change
    ) throws(DirectoryError) -> SigningKeyRecord {
        try self.change(change, "signing.promote", of: nil, id.text) {
            () throws(DirectoryError) in
            let before = try signingKey(id)
            guard before.state != .retired else { throw .conflict("\(id) is retired: add another") }
            if before.state == .signing { return Changed(result: before) }
            try run(
                "UPDATE signing_keys SET state = 'retiring', demoted = ? WHERE state = 'signing'",
                [.integer(change.at.milliseconds)])
            var after = before
            after.state = .signing
            after.promoted = change.at
            after.demoted = nil
            try write(after)
            return Changed(result: after, before: before.logText, after: after.logText)
        }
    }

    /// Its tokens are refused from now on; refused itself while one of them may live.
    package func retireSigningKey(
        _ id: SigningKeyID, longestLifeMilliseconds: Int64, by change: Change
    ) throws(DirectoryError) -> SigningKeyRecord {
        try self.change(change, "signing.retire", of: nil, id.text) {
            () throws(DirectoryError) in
            let before = try signingKey(id)
            switch before.state {
            case .retired: return Changed(result: before)
            case .signing: throw .conflict("\(id) signs: promote another first")
            case .verifying: break
            case .retiring:
                let last = before.demoted?.milliseconds ?? .max
                let (end, overflow) = last.addingReportingOverflow(longestLifeMilliseconds)
                guard !overflow, change.at.milliseconds >= end else {
                    throw .conflict(
                        "tokens that \(id) signed may live until \(overflow ? .max : end)"
                            + " (milliseconds since 1970): retire it then")
                }
            }
            var after = before
            after.state = .retired
            after.retired = change.at
            try write(after)
            return Changed(result: after, before: before.logText, after: after.logText)
        }
    }

    package func signingKey(_ id: SigningKeyID) throws(DirectoryError) -> SigningKeyRecord {
        let found = try row(
            SigningKeyRecord.select + " WHERE id = ?", [.text(id.text)], SigningKeyRecord.read)
        guard let found else { throw .notFound }
        return found
    }

    /// All of them, retired ones too; by id.
    package func signingKeys(
        after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<SigningKeyRecord> {
        try page(
            SigningKeyRecord.select + " WHERE id > ? ORDER BY id LIMIT ?", [.text(after ?? "")],
            limit: limit, cursor: { $0.id.text }, SigningKeyRecord.read)
    }

    private func write(_ key: SigningKeyRecord) throws(DirectoryError) {
        try run(
            """
            UPDATE signing_keys SET state = ?2, promoted = ?3, demoted = ?4, retired = ?5
            WHERE id = ?1
            """,
            [
                .text(key.id.text), .text(key.state.rawValue), .optional(key.promoted),
                .optional(key.demoted), .optional(key.retired),
            ])
    }
}

extension SigningKeyRecord {
    static let select = "SELECT id, state, added, promoted, demoted, retired FROM signing_keys"

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        Self(
            id: SigningKeyID(unchecked: try row.name(0)),
            state: try row.word(1, SigningKeyState.self),
            added: row.time(2), promoted: row.optionalTime(3), demoted: row.optionalTime(4),
            retired: row.optionalTime(5))
    }

    var logText: String {
        LogText.json([
            ("state", .string(state.rawValue)), ("promoted", LogText.time(promoted)),
            ("demoted", LogText.time(demoted)), ("retired", LogText.time(retired)),
        ])
    }
}
