"""Random lives of customers beside a model of them: after every change each credential that was
ever made is decided as the model says, also after kill -9. Prints its seed."""

import os
import random
import time

from directory_daemon import (
    claims,
    everything,
    refused,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Conflict, NotFound, RefreshRefused, check_body

PLANS = {"free_tier": set(), "pro_tier": {"can_use_gpt4o"},
         "enterprise_tier": {"can_use_gpt4o", "can_access_batch_api"}}
OPERATIONS = {"models": None, "chat": "can_use_gpt4o", "batch": "can_access_batch_api"}
SERVED = ("trialing", "active", "past_due")
GRACE = 60


class User:
    def __init__(self, id, role):
        self.id, self.role, self.active, self.gone = id, role, True, False


class Organization:
    def __init__(self, id):
        self.id, self.active, self.plan, self.status, self.gone = id, True, None, None, False
        self.users = {}


class Held:
    """A credential: a secret of a key, or an access token."""

    def __init__(self, text, organization, user, owner):
        self.text, self.organization, self.user, self.owner = text, organization, user, owner
        self.ended = None  # the reason, when it is ended for good


class Key:
    def __init__(self, id):
        self.id, self.permissions, self.revoked, self.held = id, None, False, []


class Login:
    """`chain`: its refresh tokens, the last one good; when the last but one was used."""

    def __init__(self, made):
        self.id, self.chain, self.used_at = made.session.id, [made.refresh_token], 0.0
        self.revoked, self.held = False, []


class Lives:
    def __init__(self, daemon, seed):
        self.daemon, self.admin, self.random = daemon, daemon.admins, random.Random(seed)
        self.organizations, self.held, self.count = {}, [], 0
        self.done = {}

    # The model's answer.

    def expected(self, held, operation):
        organization, user = held.organization, held.user
        is_key = isinstance(held.owner, Key)
        if is_key and (organization.gone or user.gone):
            return "keyUnknown"
        if held.ended is not None:
            return held.ended
        if is_key and held.owner.revoked:
            return "credentialRevoked"
        if not user.active or user.role is None:
            return "credentialRevoked"
        if not organization.active or organization.status not in SERVED:
            return "subscriptionInactive"
        granted = set(PLANS[organization.plan])
        if is_key and held.owner.permissions is not None:
            granted &= set(held.owner.permissions)
        needed = OPERATIONS[operation]
        return organization.plan if needed is None or needed in granted else "permissionDenied"

    def compare(self):
        operation = self.random.choice(list(OPERATIONS))
        bodies = [check_body(one.text, operation=operation, dry_run=True) for one in self.held]
        for one, decision in zip(self.held, self.daemon.callers.check_many(bodies)):
            said = decision.plan if decision.allowed else decision.reason
            assert said == self.expected(one, operation), (
                said, type(one.owner).__name__, one.organization.id, one.user.id, operation)

    # What happens.

    def some(self, among):
        among = list(among)
        return self.random.choice(among) if among else None

    def member(self):
        """An organization that is there, and a user of it that is."""
        organization = self.some(o for o in self.organizations.values() if o.users)
        return organization and (organization, self.some(organization.users.values()))

    def new(self, prefix):
        self.count += 1
        return f"{prefix}{self.count}"

    def create_organization(self):
        if len(self.organizations) >= 4:
            return False
        # Ids come back: whoever had them before is somebody else.
        free = [id for id in ("acme", "beta", "gamma", "delta") if id not in self.organizations]
        made = Organization(self.some(free))
        made.plan = self.some([None, *PLANS])
        made.status = self.some((*SERVED, "suspended")) if made.plan else None
        self.admin.organizations.create(
            made.id, plan=made.plan, subscription_status=made.status)
        self.organizations[made.id] = made

    def delete_organization(self):
        organization = self.some(self.organizations.values())
        if organization is None or self.random.random() < 0.7:
            return False
        self.admin.organizations.delete(organization.id)
        organization.gone = True
        del self.organizations[organization.id]
        self.end("credentialRevoked", lambda held: held.organization is organization)

    def suspend_or_resume_organization(self):
        organization = self.some(self.organizations.values())
        if organization is None or organization.active and self.random.random() < 0.6:
            return False
        change = self.admin.organizations.suspend if organization.active else (
            self.admin.organizations.resume)
        organization.active = not organization.active
        assert change(organization.id).status == ("active" if organization.active else "suspended")

    def change_plan(self):
        organization = self.some(self.organizations.values())
        if organization is None:
            return False
        plan, mode = self.some(PLANS), self.some(("carry", "prorate", "reset"))
        preview = self.random.random() < 0.3
        change = self.admin.organizations.change_plan(
            organization.id, plan, mode=mode, preview=preview)
        lost = PLANS.get(organization.plan, set()) - PLANS[plan]
        assert set(change.preview.permissions_lost) == lost
        if not preview:
            organization.plan, organization.status = plan, organization.status or "active"

    def set_subscription(self):
        organization = self.some(o for o in self.organizations.values() if o.plan is not None)
        if organization is None:
            return False
        organization.status = self.some((*SERVED, *SERVED, "suspended", "canceled"))
        self.admin.organizations.set_subscription(organization.id, status=organization.status)

    def create_user(self):
        organization = self.some(o for o in self.organizations.values() if len(o.users) < 4)
        if organization is None:
            return False
        id = self.some(id for id in ("ada", "ben", "cyd", "dan") if id not in organization.users)
        user = User(id, self.some(("owner", "admin", "member", None)))
        self.admin.users.create(organization.id, id, role=user.role)
        organization.users[id] = user

    def delete_user(self):
        found = self.member()
        if found is None or self.random.random() < 0.6:
            return False
        organization, user = found
        self.admin.users.delete(organization.id, user.id)
        user.gone = True
        del organization.users[user.id]
        self.end("credentialRevoked", lambda held: held.user is user)

    def edit_user(self):
        found = self.member()
        if found is None:
            return False
        organization, user = found
        if self.random.random() < 0.5:
            user.role = self.some(("owner", "admin", "member", None))
            self.admin.users.set_role(organization.id, user.id, user.role)
        else:
            change = self.admin.users.suspend if user.active else self.admin.users.resume
            user.active = not user.active
            change(organization.id, user.id)

    def end(self, why, which):
        """For good, whatever else happens; tokens alone, keys have their own."""
        for held in self.held:
            if isinstance(held.owner, Login) and which(held):
                held.ended = held.ended or why
                if why == "credentialRevoked":
                    held.owner.revoked = True

    def end_keys(self, which):
        """Revoked, like each of them by itself."""
        for held in self.held:
            if isinstance(held.owner, Key) and which(held):
                held.owner.revoked = True

    def hold(self, text, found, owner):
        held = Held(text, *found, owner)
        owner.held.append(held)
        self.held.append(held)

    def owners(self, kind):
        return {id(held.owner): held for held in self.held
                if isinstance(held.owner, kind) and not held.organization.gone
                and not held.user.gone}.values()

    def create_key(self):
        found = self.member()
        if found is None or len(self.held) > 60:
            return False
        permissions = self.some([None, [], ["can_use_gpt4o"], [*PLANS["enterprise_tier"]]])
        made = self.admin.keys.create(found[0].id, found[1].id, permissions=permissions)
        key = Key(made.key.id)
        key.permissions = permissions
        self.hold(made.secret, found, key)

    def change_key(self):
        held = self.some(self.owners(Key))
        if held is None:
            return False
        key, where = held.owner, held.organization.id
        what = self.some(("rotate", "rotate", "edit", "revoke"))
        if key.revoked and what != "edit":
            if what == "rotate":
                refused(Conflict, lambda: self.admin.keys.rotate(where, key.id))
        elif what == "rotate":
            overlap = self.some((0, 3_600))
            made = self.admin.keys.rotate(where, key.id, overlap_seconds=overlap)
            for one in key.held[:-1] if overlap else key.held:
                one.ended = "signatureInvalid"
            self.hold(made.secret, (held.organization, held.user), key)
        elif what == "edit" and not key.revoked:
            key.permissions = self.some([None, ["can_access_batch_api"]])
            self.admin.keys.edit(where, key.id, permissions=key.permissions)
        elif what == "revoke":
            assert self.admin.keys.revoke(where, key.id).state == "revoked"
            key.revoked = True
            for one in key.held[:-1]:  # the digest of the one before is gone
                one.ended = "signatureInvalid"

    def is_served(self, organization, user):
        return (organization.active and organization.status in SERVED and user.active
                and user.role is not None)

    def log_in(self):
        found = self.member()
        if found is None or len(self.held) > 60:
            return False
        if not self.is_served(*found):
            refused(Conflict, lambda: self.admin.tokens.issue(found[0].id, found[1].id))
            return
        made = self.admin.tokens.issue(found[0].id, found[1].id)
        self.hold(made.access_token, found, Login(made))

    def refresh(self):
        held = self.some(held for held in self.held if isinstance(held.owner, Login))
        if held is None or len(self.held) > 60:
            return False
        login, found = held.owner, (held.organization, held.user)
        index = self.random.randrange(-3, 0)
        if len(login.chain) < -index:
            return False
        is_alive = not (login.revoked or held.organization.gone or held.user.gone)
        try:
            made = self.admin.tokens.refresh(login.chain[index])
        except RefreshRefused:
            served = is_alive and self.is_served(*found)
            in_time = time.monotonic() - login.used_at < GRACE
            assert not served or index == -3 or index == -2 and not in_time
            # Reuse is found out whether the user is served or not.
            if is_alive and index == -3:
                self.end("credentialRevoked", lambda one: one.owner is login)
            elif is_alive and index == -2 and not in_time:
                self.end("credentialRevoked", lambda one: one.owner is login)
            return
        assert is_alive and self.is_served(*found) and index > -3
        assert made.session.id == login.id and made.retried == (index == -2)
        if made.retried:
            assert made.refresh_token == login.chain[-1]
        else:
            login.chain.append(made.refresh_token)
            login.used_at = time.monotonic()
        self.hold(made.access_token, found, login)

    def end_login(self):
        held = self.some(self.owners(Login))
        if held is None:
            return False
        login, where = held.owner, held.organization.id
        if self.random.random() < 0.5 and not login.revoked:
            assert self.admin.sessions.end(login.chain[-1]).id == login.id
        else:
            self.admin.sessions.revoke(where, login.id)
        self.end("credentialRevoked", lambda one: one.owner is login)

    def revoke(self):
        found = self.member()
        if found is None or self.random.random() < 0.5:
            return False
        organization, user = found
        what = self.some(("token", "user", "organization"))
        if what == "user":
            assert self.admin.revoke.user(organization.id, user.id).known
            self.end("credentialRevoked", lambda held: held.user is user)
            self.end_keys(lambda held: held.user is user)
        elif what == "organization":
            assert self.admin.revoke.organization(organization.id).known
            self.end("credentialRevoked", lambda held: held.organization is organization)
            self.end_keys(lambda held: held.organization is organization)
        else:
            held = self.some(self.owners(Login))
            if held is None:
                return False
            self.admin.revoke.token(held.organization.id, claims(held.text)["jti"])
            held.ended = held.ended or "credentialRevoked"

    def reach_for_another_tenants(self):
        """What is there, asked for in the name of another organization, is not there."""
        held = self.some(self.owners((Key, Login)))
        other = self.some(o for o in self.organizations.values()
                          if held is not None and o is not held.organization)
        if other is None:
            return False
        groups = self.admin.keys if isinstance(held.owner, Key) else self.admin.sessions
        for call in (groups.show, groups.revoke):
            refused(NotFound, lambda: call(other.id, held.owner.id))

    def die(self):
        if self.random.random() < 0.7:
            return False
        before = everything(self.admin)
        self.daemon.die_and_start_again()
        assert everything(self.admin) == before

    def go_on(self):
        happenings = [
            self.create_organization, self.create_user, self.create_user, self.create_key,
            self.create_key, self.log_in, self.log_in, self.log_in, self.refresh, self.refresh,
            self.refresh, self.refresh, self.change_key, self.change_key, self.edit_user,
            self.change_plan, self.set_subscription, self.suspend_or_resume_organization,
            self.delete_user, self.delete_organization, self.end_login, self.revoke,
            self.reach_for_another_tenants, self.die]
        while True:
            happening = self.some(happenings)
            if happening() is not False:
                break
        name = happening.__name__
        self.done[name] = self.done.get(name, 0) + 1
        while len(self.held) > 60:
            self.held.pop(self.random.randrange(len(self.held)))


def test_every_credential_is_decided_as_the_model_says(start_directory):
    done = {}
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        seed = random.randrange(2**32)
        print("seed", seed)
        lives = Lives(start_directory(tokens={"refresh_grace": f"{GRACE}s"}), seed)
        for _ in range(300):
            lives.go_on()
            lives.compare()
        done = {name: done.get(name, 0) + lives.done.get(name, 0) for name in {*done, *lives.done}}
        print(lives.done)
    assert len(done) == 16 and min(done.values()) >= 2 and done["refresh"] >= 20, done
