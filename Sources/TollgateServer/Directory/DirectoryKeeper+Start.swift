import CLinux
import Glibc
import TollgateCore
import TollgateStorage

/// What a start does, before the sockets are there: plans that are due, the image, signing keys.
extension DirectoryKeeper {
    /// Throws when the directory cannot be used, with the exit code and the next step.
    func load() throws(StartError) {
        let begun = tg_boottime()
        do throws(DirectoryError) { try recallTokenLives() } catch {
            throw Self.startError(error)
        }
        applyDuePlans()
        let image = engine.directory
        image.setPeppers(plan.peppers)
        var tally = LoadTally(peppers: plan.peppers)
        do throws(DirectoryError) {
            try store.load { record in
                tally.count(record)
                switch record {
                case .organization(let record, let subscription, let overrides):
                    image.put(
                        OrganizationEntry(record, subscription, overrides, zone: plan.zone))
                case .user(let record, let isPersonal, let overrides):
                    image.put(UserEntry(record, isPersonal: isPersonal, overrides))
                case .key(let record, let isPersonal):
                    image.put(APIKeyEntry(record, isPersonal: isPersonal))
                case .revocation(let record): image.put(RevocationEntry(record))
                case .signingKey: break
                }
            }
        } catch { throw Self.startError(error) }
        try loadSigningKeys(tally.signingKeys)
        let milliseconds = (tg_boottime() &- begun) / 1_000_000
        let counts = image.counts
        log.info(
            "directory \(store.path): \(counts.organizations) organizations, \(counts.users) users,"
                + " \(counts.keys) keys, \(counts.revocations) revocations, loaded in"
                + " \(milliseconds) ms")
        warn(tally)
    }

    /// After the ledger's restart, before requests.
    func publishGrants() throws(StartError) {
        do throws(DirectoryError) {
            try store.loadGrants { record, isPersonal in
                if record.burnt != nil {
                    // Where there is no room in the journal yet, at a later start.
                    _ = engine.forgetGrant(
                        record.id, quota: record.quota.text,
                        organization: record.organization.text, isPersonal: isPersonal,
                        at: .present)
                } else if !engine.put(GrantEntry(record, isPersonal: isPersonal), at: .present) {
                    log.error(
                        "directory: there is no room for grant \(record.id) of organization"
                            + " \(record.organization): it cannot be used")
                }
            }
        } catch { throw Self.startError(error) }
    }

    private func warn(_ tally: LoadTally) {
        for (generation, count) in tally.missingPeppers.sorted(by: { $0.key < $1.key }) {
            log.warning(
                "directory: \(count) keys were made under the pepper of generation \(generation),"
                    + " which the policy does not have: they are refused until it does")
        }
        warn(plans: tally.plans, known: Set(issuer.definition.plans.map(\.name)))
    }

    /// Of subscriptions to plans that the policy does not have.
    func warn(plans: [String: Int], known: Set<String>) {
        for (name, count) in plans.sorted(by: { $0.key < $1.key }) where !known.contains(name) {
            log.warning(
                "directory: \(count) subscriptions are to plan \(name), which the policy does not"
                    + " have: their requests are refused")
        }
    }

    /// The key that signs has its file, and there is one where the policy has tokens. A file of
    /// another that is missing costs that key's tokens alone: the daemon serves without it, so that
    /// the key can be retired, or its file put back.
    private func loadSigningKeys(_ records: [SigningKeyRecord]) throws(StartError) {
        var keys: [OwnKey] = []
        for record in records {
            guard record.state != .retired else {
                // Left by a daemon that was cut short.
                issuer.files.remove(record.id.text)
                continue
            }
            do throws(SigningKeyFault) {
                keys.append(OwnKey(record: record, secret: try issuer.files.read(record.id.text)))
            } catch {
                guard error.isMissing, record.state != .signing else {
                    throw StartError("signing key \(error.message)", exitCode: 78)
                }
                log.error(
                    "signing key \(error.message). Its tokens are refused until the file is back"
                        + " and the daemon is started again")
            }
        }
        issuer.setKeys(keys)
        guard issuer.lacksKey else { return }
        do throws(DirectoryError) {
            try makeFirstKey()
        } catch { throw Self.startError(error) }
    }

    /// Makes a signing key and promotes it. A policy with tokens needs no ceremony to begin with.
    func makeFirstKey() throws(DirectoryError) {
        let change = ownChange
        let (id, secret): (SigningKeyID, SecretBytes)
        do throws(SigningKeyFault) { (id, secret) = try issuer.files.makeNamed() } catch {
            throw .conflict("signing key \(error.message)")
        }
        let record = try store.together { () throws(DirectoryError) in
            _ = try store.addSigningKey(id, by: change)
            return try store.promoteSigningKey(id, by: change)
        }
        issuer.take(.added(OwnKey(record: record, secret: secret)))
        let path = issuer.files.path(id.text)
        log.info("made the signing key \(id), which signs from now on: \(path)")
    }

    /// What the daemon does by itself is logged as done by its own user.
    var ownChange: Change {
        Change(uid: geteuid(), pid: getpid(), at: WallTime(milliseconds: tg_walltime()))
    }

    static func startError(_ error: DirectoryError) -> StartError {
        switch error {
        case .storage(let fault): StartError("directory \(fault)", exitCode: fault.exitCode)
        case .conflict(let why): StartError(why, exitCode: 74)
        default: StartError("directory: \(error)", exitCode: 70)
        }
    }
}

/// What a load comes across that an operator should hear of.
private struct LoadTally {
    var signingKeys: [SigningKeyRecord] = []
    var plans: [String: Int] = [:]
    /// By generation: keys whose secret needs a pepper that is not configured.
    var missingPeppers: [UInt32: Int] = [:]
    private let known: Set<UInt32>

    init(peppers: [APIKeyPepper]) { known = Set(peppers.map(\.generation)) }

    mutating func count(_ record: DirectoryRecord) {
        switch record {
        case .organization(_, let subscription?, _): plans[subscription.plan.text, default: 0] += 1
        case .key(let key, _):
            for kept in [key.current, key.previous].compactMap({ $0 })
            where !known.contains(kept.pepper) && key.revoked == nil {
                missingPeppers[kept.pepper, default: 0] += 1
            }
        case .signingKey(let key): signingKeys.append(key)
        default: break
        }
    }
}
