"""Calls about organizations, users, plans, overrides and credits."""

from __future__ import annotations

from typing import Optional

from . import documents as docs
from .calls import Group, Mode, Request, call, listing
from .documents import Page
from .json_bodies import NULL, Instant, member, of, page

ORGANIZATION = member("organization", docs.Organization)
USER = member("user", docs.User)
OVERRIDE = member("override", docs.Override)
CREDIT = member("credit", docs.Credit)
REVOCATION = member("revocation", docs.Revocation)


class Organizations(Group[Mode]):
    @call
    def create(
        self, id: str, *, name: Optional[str] = None, personal: bool = False,
        plan: Optional[str] = None, time_zone: Optional[str] = None,
        anchor_at: Optional[Instant] = None,
        subscription_status: Optional[docs.SubscriptionStatus] = None,
    ) -> "Request[docs.Organization]":
        """With a `plan`, subscribed to it. A personal one has its user from the start, as its
        owner. The time zone is an IANA name; its billing months begin on the anchor's day."""
        return Request("org.create", {
            "id": id, "name": name, "personal": personal or None, "plan": plan,
            "time_zone": time_zone, "anchor_at": anchor_at,
            "subscription_status": subscription_status}, ORGANIZATION)

    @listing
    def list(self) -> "Request[Page[docs.Organization]]":
        return Request("org.list", {}, page(docs.Organization))

    @call
    def show(self, organization: str) -> "Request[docs.Organization]":
        return Request("org.show", {"organization": organization}, ORGANIZATION)

    @call
    def rename(self, organization: str, name: str) -> "Request[docs.Organization]":
        return Request("org.rename", {"organization": organization, "name": name}, ORGANIZATION)

    @call
    def suspend(self, organization: str) -> "Request[docs.Organization]":
        """Refuses all its users, whatever their tokens claim."""
        return Request("org.suspend", {"organization": organization}, ORGANIZATION)

    @call
    def resume(self, organization: str) -> "Request[docs.Organization]":
        return Request("org.resume", {"organization": organization}, ORGANIZATION)

    @call
    def delete(self, organization: str) -> "Request[docs.Revocation]":
        """With its users, keys and sessions; its tokens are refused from then on."""
        return Request("org.delete", {"organization": organization}, REVOCATION)

    @call
    def change_plan(
        self, organization: str, plan: str, *, mode: Optional[docs.ChangeMode] = None,
        when: Optional[docs.When] = None, preview: bool = False,
    ) -> "Request[docs.PlanChange]":
        """`mode` of what is used already: carry (as left out), prorate or reset. `when`: now (as
        left out) or period_end. A preview changes nothing. Without a subscription, makes one."""
        return Request("org.change_plan", {
            "organization": organization, "plan": plan, "mode": mode, "when": when,
            "preview": preview or None}, of(docs.PlanChange))

    @call
    def cancel_plan_change(self, organization: str) -> "Request[docs.Organization]":
        """Of a change that waits for the end of the period."""
        return Request("org.cancel_plan_change", {"organization": organization}, ORGANIZATION)

    @call
    def set_subscription(
        self, organization: str, *, status: Optional[docs.SubscriptionStatus] = None,
        time_zone: Optional[str] = None, anchor_at: Optional[Instant] = None,
    ) -> "Request[docs.Organization]":
        """Status trialing, active and past_due are served, suspended and canceled refused."""
        return Request("org.set_subscription", {
            "organization": organization, "status": status, "time_zone": time_zone,
            "anchor_at": anchor_at}, ORGANIZATION)


class Users(Group[Mode]):
    @call
    def create(
        self, organization: str, id: str, *, name: Optional[str] = None,
        role: Optional[docs.Role] = "member",
    ) -> "Request[docs.User]":
        """Role owner, admin or member; None makes a user without a seat, who is refused."""
        return Request("user.create", {
            "organization": organization, "id": id, "name": name,
            "role": NULL if role is None else role}, USER)

    @listing
    def list(self, organization: str) -> "Request[Page[docs.User]]":
        return Request("user.list", {"organization": organization}, page(docs.User))

    @call
    def show(self, organization: str, user: str) -> "Request[docs.User]":
        return Request("user.show", {"organization": organization, "user": user}, USER)

    @call
    def rename(self, organization: str, user: str, name: str) -> "Request[docs.User]":
        return Request("user.rename", {
            "organization": organization, "user": user, "name": name}, USER)

    @call
    def set_role(
        self, organization: str, user: str, role: Optional[docs.Role]
    ) -> "Request[docs.User]":
        """None takes the seat away."""
        return Request("user.set_role", {
            "organization": organization, "user": user,
            "role": NULL if role is None else role}, USER)

    @call
    def suspend(self, organization: str, user: str) -> "Request[docs.User]":
        return Request("user.suspend", {"organization": organization, "user": user}, USER)

    @call
    def resume(self, organization: str, user: str) -> "Request[docs.User]":
        return Request("user.resume", {"organization": organization, "user": user}, USER)

    @call
    def delete(self, organization: str, user: str) -> "Request[docs.Revocation]":
        """With their keys and sessions; their tokens are refused from then on."""
        return Request("user.delete", {"organization": organization, "user": user}, REVOCATION)


class Overrides(Group[Mode]):
    @call
    def set(
        self, organization: str, limit: str, units: int, *, user: Optional[str] = None,
        expires_at: Optional[Instant] = None,
    ) -> "Request[docs.Override]":
        """Another amount than the plan's, for the organization or for one of its users."""
        return Request("override.set", {
            "organization": organization, "user": user, "limit": limit, "units": units,
            "expires_at": expires_at}, OVERRIDE)

    @call
    def remove(
        self, organization: str, limit: str, *, user: Optional[str] = None
    ) -> "Request[docs.Override]":
        """What is removed; the plan's amount holds again."""
        return Request("override.remove", {
            "organization": organization, "user": user, "limit": limit}, OVERRIDE)

    @listing
    def list(self, organization: str) -> "Request[Page[docs.Override]]":
        return Request("override.list", {"organization": organization}, page(docs.Override))


class Credits(Group[Mode]):
    """Units granted to organizations beyond quotas that take credits."""

    @call
    def grant(
        self, organization: str, quota: str, units: int, *, priority: Optional[int] = None,
        effective_at: Optional[Instant] = None, expires_at: Optional[Instant] = None,
        id: Optional[str] = None, note: Optional[str] = None,
    ) -> "Request[docs.Credit]":
        """With an `id` the same call again is the same grant. The lower `priority` burns first;
        100 where it is left out."""
        return Request("credit.grant", {
            "organization": organization, "quota": quota, "units": units, "priority": priority,
            "effective_at": effective_at, "expires_at": expires_at, "id": id, "note": note},
            CREDIT)

    @call
    def void(self, organization: str, id: str) -> "Request[docs.Credit]":
        """What is burnt of it stays burnt."""
        return Request("credit.void", {"organization": organization, "id": id}, CREDIT)

    @listing
    def list(self, organization: str) -> "Request[Page[docs.Credit]]":
        return Request("credit.list", {"organization": organization}, page(docs.Credit))


class Plans(Group[Mode]):
    """What the policy defines; it is changed there."""

    @listing
    def list(self) -> "Request[Page[docs.Plan]]":
        return Request("plan.list", {}, page(docs.Plan))

    @call
    def show(self, plan: str) -> "Request[docs.Plan]":
        return Request("plan.show", {"plan": plan}, member("plan", docs.Plan))
