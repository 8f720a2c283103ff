import TollgateCore
import TollgateStorage
import TollgateWire

/// Organizations as such, and the terms of their subscriptions; their plans: `Calls+PlanChange`.
extension CallHandlers {
    static func createOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let id: OrganizationID = try arguments.id("id")
        let name = arguments.optionalText("name") ?? id.text
        let tenant = context.acting(for: id)
        try context.forgetLeftover(of: id, isPersonal: arguments.flag("personal"))
        let made = try context.store.createOrganization(
            id, name: name, personal: arguments.flag("personal"), by: context.change)
        try subscribe(tenant, arguments, &context)
        try context.publishOrganization(id)
        if made.isPersonal {
            let user = try tenant.createUser(
                UserID(unchecked: id.text), name: name, role: .owner, by: context.change)
            try context.publishUser(user, of: made)
        }
        return try shown(tenant)
    }

    private static func subscribe(
        _ tenant: TenantDirectory, _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) {
        guard let plan = arguments.optionalText("plan") else {
            for member in ["time_zone", "anchor_at", "subscription_status"]
            where arguments.has(member) {
                throw .invalid(field: member, why: "goes with a plan")
            }
            return
        }
        _ = try tenant.subscribe(
            to: try context.planName(plan),
            status: arguments.word("subscription_status") ?? .active,
            anchor: arguments.time("anchor_at") ?? context.now,
            zone: try context.zone(arguments) ?? context.policy.timeZone.name,
            by: context.change)
    }

    static func listOrganizations(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let store = context.store
        return try arguments.list({ after, limit throws(DirectoryError) in
            try store.organizations(after: after, limit: limit)
        }) { record throws(DirectoryError) in
            Organization(record, try store.acting(for: record.id).subscriptionIfAny())
        }
    }

    static func showOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try shown(context.acting(for: try arguments.organization))
    }

    static func renameOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        _ = try tenant.rename(try arguments.text("name"), by: context.change)
        return try shown(tenant)
    }

    static func suspendOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try setStatus(.suspended, arguments, &context)
    }

    static func resumeOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        try setStatus(.active, arguments, &context)
    }

    private static func setStatus(
        _ status: Standing, _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        _ = try tenant.setStatus(status, by: context.change)
        try context.publishOrganization(tenant.organization)
        return try shown(tenant)
    }

    static func deleteOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let gone = try tenant.record()
        let revocation = try tenant.delete(tokensExpire: context.tokensExpire, by: context.change)
        // The tokens first: at no instant may they pass as those of an unknown organization.
        context.publish(revocation)
        context.publications.append(.organizationGone(gone))
        return .object(["revocation": Revocation(revocation).json])
    }

    static func setSubscription(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        _ = try tenant.record()
        guard try tenant.subscriptionIfAny() != nil else {
            throw .conflict(
                "the organization has no subscription: give it a plan with org.change_plan")
        }
        _ = try tenant.amendSubscription(
            status: arguments.word("status"), anchor: arguments.time("anchor_at"),
            zone: try context.zone(arguments), by: context.change)
        try context.publishOrganization(tenant.organization)
        return try shown(tenant)
    }

    static func shown(_ tenant: TenantDirectory) throws(DirectoryError) -> JSONValue {
        let document = Organization(try tenant.record(), try tenant.subscriptionIfAny())
        return .object(["organization": document.json])
    }
}

extension CallContext {
    /// A plan of the policy in force.
    func planName(_ name: String) throws(DirectoryError) -> PlanName {
        guard policy.hasPlan(name) else {
            throw .invalid(field: "plan", why: "the policy has no plan of that name")
        }
        return PlanName(unchecked: name)
    }

    /// The IANA name that the call gives.
    func zone(_ arguments: CallArguments) throws(DirectoryError) -> String? {
        guard let name = arguments.optionalText("time_zone") else { return nil }
        guard plan.zone(name) != nil else {
            throw .invalid(
                field: "time_zone", why: "no time zone of that name; names are like Europe/Berlin")
        }
        return name
    }

    /// When the last access token that is out now, of any issuer, has expired.
    var tokensExpire: WallTime { issuer.tokensExpire(from: now) }

    /// An id may be given again when nothing is left of who had it.
    func forgetLeftover(of id: OrganizationID, isPersonal: Bool) throws(DirectoryError) {
        let leftover = Leftover(organization: id, isPersonal: isPersonal)
        guard try store.hasLeftover(leftover), engine.forgetForGood(leftover) else { return }
        try store.remove(leftover)
    }
}
