import TollgateCore
import TollgateStorage
import TollgateWire

/// The keys that the daemon signs access tokens with. Their secrets stand in files, and are told to
/// nobody.
extension CallHandlers {
    static func addSigningKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        guard let name = arguments.optionalText("id") ?? Randomness.identifier() else {
            throw context.noRandomness()
        }
        guard SigningKeyFiles.isFit(name) else {
            throw .invalid(field: "id", why: "has 1 to 64 letters, digits, - and _")
        }
        let id = SigningKeyID(unchecked: name)
        // Asked first: the file of a key that is there must not be touched.
        if try context.store.hasSigningKey(id) { throw .exists }
        let secret: SecretBytes
        do throws(SigningKeyFault) { secret = try context.issuer.files.make(name) } catch {
            throw context.refuse(.storageFailed, error.message)
        }
        let record = try context.store.addSigningKey(id, by: context.change)
        context.publications.append(.signingKeys(.added(OwnKey(record: record, secret: secret))))
        return shown(record, context)
    }

    static func promoteSigningKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let id: SigningKeyID = try arguments.id("id")
        let key = try context.store.promoteSigningKey(id, by: context.change)
        if !context.issuer.has(id) {
            // Its file was missing at the start, or it was added in this very batch.
            let secret: SecretBytes
            do throws(SigningKeyFault) { secret = try context.issuer.files.read(id.text) } catch {
                throw .conflict("signing key \(error.message)")
            }
            context.publications.append(.signingKeys(.added(OwnKey(record: key, secret: secret))))
        }
        // The one that signed before is another now too.
        context.publications.append(.signingKeys(.states(try context.store.allSigningKeys())))
        return shown(key, context)
    }

    static func retireSigningKey(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let key = try context.store.retireSigningKey(
            try arguments.id("id"),
            longestLifeMilliseconds: context.issuer.longestLifeMilliseconds, by: context.change)
        context.publications.append(.signingKeys(.gone(key.id)))
        return shown(key, context)
    }

    static func listSigningKeys(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let context = context
        return try arguments.list({ after, limit throws(DirectoryError) in
            try context.store.signingKeys(after: after, limit: limit)
        }) { document($0, context) }
    }

    private static func document(
        _ record: SigningKeyRecord, _ context: CallContext
    ) -> SigningKey {
        SigningKey(record, longestLifeMilliseconds: context.issuer.longestLifeMilliseconds)
    }

    private static func shown(_ record: SigningKeyRecord, _ context: CallContext) -> JSONValue {
        .object(["signing_key": document(record, context).json])
    }
}

extension DirectoryStore {
    func hasSigningKey(_ id: SigningKeyID) throws(DirectoryError) -> Bool {
        do throws(DirectoryError) {
            _ = try signingKey(id)
            return true
        } catch {
            guard error == .notFound else { throw error }
            return false
        }
    }

    /// Of every state.
    func allSigningKeys() throws(DirectoryError) -> [SigningKeyRecord] {
        var all: [SigningKeyRecord] = []
        var after: String?
        repeat {
            let page = try signingKeys(after: after, limit: Page<SigningKeyRecord>.itemsMax)
            all += page.items
            after = page.next
        } while after != nil
        return all
    }
}
