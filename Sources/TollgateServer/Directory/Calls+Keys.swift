import TollgateCore
import TollgateStorage
import TollgateWire

/// API keys. A secret stands in the reply that makes it, and nowhere else.
extension CallHandlers {
    private static let overlapSecondsDefault: Int64 = 86_400

    static func createKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = try arguments.user
        let environment = arguments.optionalText("environment") ?? "live"
        var scope = KeyScope(name: "key")
        try amend(&scope, arguments, context)
        let made = try makeSecret(environment, nil, &context)
        let record = try tenant.createKey(
            made.id, user: user, environment: environment, digest: made.digest, scope: scope,
            creator: arguments.optionalText("creator") ?? "uid \(context.peer.uid)",
            by: context.change)
        try context.publishKey(record)
        return .object(["key": shown(record, context), "secret": .string(made.secret)])
    }

    static func listKeys(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = arguments.optionalID("user", UserID.self)
        let context = context
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.keys(of: user, after: after, limit: limit)
        }) { info($0, context) }
    }

    static func showKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        return .object(["key": shown(try tenant.key(try arguments.key), context)])
    }

    static func rotateKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let overlap = arguments.integer("overlap_seconds") ?? overlapSecondsDefault
        let before = try tenant.key(try arguments.key)
        let made = try makeSecret(before.environment, before.id, &context)
        let rotated = try tenant.rotateKey(
            before.id, to: made.digest, overlapMilliseconds: overlap * 1_000, by: context.change)
        try context.publishKey(rotated)
        return .object(["key": shown(rotated, context), "secret": .string(made.secret)])
    }

    static func editKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let before = try tenant.key(try arguments.key)
        var scope = KeyScope(
            name: before.name, permissions: before.permissions, addresses: before.addresses,
            rate: before.rate, expires: before.expires)
        try amend(&scope, arguments, context)
        let edited = try tenant.setKeyScope(before.id, scope, by: context.change)
        try context.publishKey(edited)
        return .object(["key": shown(edited, context)])
    }

    static func revokeKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let revoked = try tenant.revokeKey(try arguments.key, by: context.change)
        try context.publishKey(revoked)
        return .object(["key": shown(revoked, context)])
    }

    private static func info(_ record: APIKeyRecord, _ context: CallContext) -> APIKeyInfo {
        APIKeyInfo(
            record, lastUsed: context.engine.directory.lastUsed(record.id), now: context.now)
    }

    private static func shown(_ record: APIKeyRecord, _ context: CallContext) -> JSONValue {
        info(record, context).json
    }

    /// Puts in what the call names: absent is as before, `null` is taken away.
    private static func amend(
        _ scope: inout KeyScope, _ arguments: CallArguments, _ context: CallContext
    ) throws(DirectoryError) {
        if let name = arguments.optionalText("name") { scope.name = name }
        if arguments.has("permissions") {
            scope.permissions = arguments.names("permissions")
            for (place, name) in (scope.permissions ?? []).enumerated()
            where !context.policy.hasPermission(name) {
                throw .invalid(
                    field: "permissions[\(place)]",
                    why: "the policy has no permission of that name (tollgate policy show)")
            }
        }
        if arguments.has("addresses") {
            scope.addresses = arguments.names("addresses")
            for (place, block) in (scope.addresses ?? []).enumerated()
            where AddressBlock(block) == nil {
                throw .invalid(
                    field: "addresses[\(place)]",
                    why: "is no address, and no block such as 192.0.2.0/24 or 2001:db8::/32")
            }
        }
        if arguments.has("rate") {
            do throws(DocumentError) {
                scope.rate = try arguments.request.rate.map {
                    KeyRate(units: $0.limit, seconds: $0.windowSeconds)
                }
            } catch { throw .invalid(field: error.member, why: error.what) }
        }
        if arguments.has("expires_at") {
            scope.expires = arguments.time("expires_at")
            guard scope.expires.map({ $0 > context.now }) ?? true else {
                throw .invalid(
                    field: "expires_at", why: "lies ahead; to end a key now, revoke it")
            }
        }
    }

    /// A new secret, as its holder gets it and as it is kept.
    private static func makeSecret(
        _ environment: String, _ id: APIKeyID?, _ context: inout CallContext
    ) throws(DirectoryError) -> (id: APIKeyID, secret: String, digest: KeptDigest) {
        guard let pepper = context.pepper else {
            throw context.refuse(.internalError, "no pepper is configured")
        }
        let made: (id: APIKeyID, text: SecretBytes)
        do throws(APIKeyError) {
            made = try APIKey.make(environment: environment, id: id) { Randomness.fill($0) }
        } catch .environment {
            throw .invalid(
                field: "environment", why: "has 1 to 6 small letters and digits, a letter first")
        } catch { throw context.noRandomness() }
        let kept = made.text.withBytes { text in
            APIKey(text).map {
                (
                    String(decoding: text, as: UTF8.self),
                    KeptDigest(digest: pepper.digest(of: $0), pepper: pepper.generation)
                )
            }
        }
        guard let kept else { throw context.noRandomness() }
        return (made.id, kept.0, kept.1)
    }
}
