import TollgateCore
import TollgateStorage
import TollgateWire

/// What a call is carried out with, and what it leaves to be done once it is on the disk. Made for
/// each call, on the directory's thread.
struct CallContext {
    let store: DirectoryStore
    let engine: Engine
    let policy: PolicyImage
    let issuer: OwnIssuer
    let plan: DirectoryPlan
    let peer: CallPeer
    let now: WallTime
    /// What is put in force when the call is on the disk, in this order.
    var publications: [Publication] = []
    /// Answered in place of a reply: with a call that ends well its changes stay, else they go.
    var refusal: (status: Status, detail: String)?
    /// Lines for the log, once the call is on the disk.
    var warnings: [String] = []
    /// Refresh tokens that were used twice: whose.
    var reuses: [AlertEvent] = []
    /// Sessions that gave place to another of their user.
    var displaced = 0

    var change: Change { Change(uid: peer.uid, pid: peer.pid, at: now) }

    /// The pepper of new secrets.
    var pepper: APIKeyPepper? { plan.peppers.last }

    func acting(for organization: OrganizationID) -> TenantDirectory {
        store.acting(for: organization)
    }

    /// Ends the call with a status that the store knows nothing of.
    mutating func refuse(_ status: Status, _ detail: String) -> DirectoryError {
        refusal = (status, detail)
        return .conflict(detail)
    }

    // MARK: what is put in force

    /// The organization as the directory has it now.
    mutating func publishOrganization(_ id: OrganizationID) throws(DirectoryError) {
        let tenant = acting(for: id)
        publications.append(
            .organization(
                OrganizationEntry(
                    try tenant.record(), try tenant.subscriptionIfAny(),
                    try tenant.overrides(of: nil), zone: plan.zone)))
    }

    mutating func publishUser(
        _ user: UserRecord, of organization: OrganizationRecord
    ) throws(DirectoryError) {
        let overrides = try acting(for: organization.id).overrides(of: user.id)
        publications.append(
            .user(UserEntry(user, isPersonal: organization.isPersonal, overrides)))
    }

    mutating func publishKey(_ key: APIKeyRecord) throws(DirectoryError) {
        let organization = try acting(for: key.organization).record()
        publications.append(
            .key(
                APIKeyEntry(
                    key, isPersonal: organization.isPersonal,
                    lastUsed: engine.directory.lastUsed(key.id))))
    }

    mutating func publish(_ revocation: RevocationRecord) {
        publications.append(.revocation(RevocationEntry(revocation)))
    }
}

extension TenantDirectory {
    /// `nil` when the organization has none, or is not there.
    func subscriptionIfAny() throws(DirectoryError) -> SubscriptionRecord? {
        do throws(DirectoryError) { return try subscription() } catch {
            guard error == .notFound else { throw error }
            return nil
        }
    }
}
