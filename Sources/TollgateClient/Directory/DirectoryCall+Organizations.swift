import TollgateWire

extension DirectoryCall where Answer == Organization {
    /// A new tenant; with a plan, subscribed to it. A personal one comes with its user, of the same
    /// id. Left out: the id as its name, the policy's zone, anchored now, active.
    public static func createOrganization(
        id: String, name: String? = nil, isPersonal: Bool = false, plan: String? = nil,
        timeZone: String? = nil, anchorAt: Timestamp? = nil,
        subscriptionStatus: Subscription.Status? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .createOrganization, answering: "organization",
            [
                "id": .string(id), "name": .member(name), "personal": .flag(isPersonal),
                "plan": .member(plan), "time_zone": .member(timeZone),
                "anchor_at": .member(anchorAt), "subscription_status": .member(subscriptionStatus),
            ])
    }

    /// The organization as it is.
    public static func organization(_ id: String) -> DirectoryCall {
        of(.showOrganization, id)
    }

    /// Another name; the id stays.
    public static func renameOrganization(_ id: String, to name: String) -> DirectoryCall {
        DirectoryCall(
            .renameOrganization, answering: "organization",
            ["organization": .string(id), "name": .string(name)])
    }

    /// From now on nobody of it is served.
    public static func suspendOrganization(_ id: String) -> DirectoryCall {
        of(.suspendOrganization, id)
    }

    /// Takes a suspension back.
    public static func resumeOrganization(_ id: String) -> DirectoryCall {
        of(.resumeOrganization, id)
    }

    /// The change that is pending does not come.
    public static func cancelPlanChange(organization id: String) -> DirectoryCall {
        of(.cancelPlanChange, id)
    }

    /// Changes what is given of the subscription, which there is.
    public static func setSubscription(
        organization: String, status: Subscription.Status? = nil, timeZone: String? = nil,
        anchorAt: Timestamp? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .setSubscription, answering: "organization",
            [
                "organization": .string(organization), "status": .member(status),
                "time_zone": .member(timeZone), "anchor_at": .member(anchorAt),
            ])
    }

    private static func of(_ call: CallName, _ id: String) -> DirectoryCall {
        DirectoryCall(call, answering: "organization", ["organization": .string(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<Organization> {
    /// All organizations, part by part.
    public static func organizations(after: String? = nil, limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.listOrganizations, ["after": .member(after), "limit": .member(limit)])
    }
}

extension DirectoryCall where Answer == Revocation {
    /// Takes the organization out with all that is of it, and refuses its access tokens.
    public static func deleteOrganization(_ id: String) -> DirectoryCall {
        DirectoryCall(
            .deleteOrganization, answering: "revocation", ["organization": .string(id)])
    }
}

/// When a change of plans comes.
public enum PlanChangeTime: String, DirectoryChoice {
    case now
    /// The end of the billing month.
    case periodEnd = "period_end"
}

extension DirectoryCall where Answer == PlanChange {
    /// Another plan, or the first one. Left out: usage is carried over, now.
    public static func changePlan(
        organization: String, to plan: String, mode: Subscription.ChangeMode? = nil,
        when: PlanChangeTime? = nil
    ) -> DirectoryCall {
        change(organization, plan, mode, when, isPreview: false)
    }

    /// What `changePlan` would do; it changes nothing.
    public static func previewPlanChange(
        organization: String, to plan: String, mode: Subscription.ChangeMode? = nil,
        when: PlanChangeTime? = nil
    ) -> DirectoryCall {
        change(organization, plan, mode, when, isPreview: true)
    }

    private static func change(
        _ organization: String, _ plan: String, _ mode: Subscription.ChangeMode?,
        _ when: PlanChangeTime?, isPreview: Bool
    ) -> DirectoryCall {
        DirectoryCall(
            .changePlan,
            [
                "organization": .string(organization), "plan": .string(plan),
                "mode": .member(mode), "when": .member(when), "preview": .flag(isPreview),
            ], isRepeatable: isPreview)
    }
}
