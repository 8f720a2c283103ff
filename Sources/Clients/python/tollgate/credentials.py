"""Calls about API keys, tokens, sessions, revocations and the keys that sign tokens."""

from __future__ import annotations

from typing import Optional, Sequence, Union

from . import documents as docs
from .calls import Group, Mode, Request, call, listing
from .documents import Page
from .json_bodies import NULL, Instant, member, of, page, texts


class Unchanged:
    """Leaves a member of `keys.edit` as it is."""


UNCHANGED = Unchanged()
KEY = member("key", docs.Key)
SESSION = member("session", docs.Session)
SIGNING_KEY = member("signing_key", docs.SigningKey)


class Keys(Group[Mode]):
    @call
    def create(
        self, organization: str, user: str, *, name: Optional[str] = None,
        environment: Optional[str] = None, permissions: Optional[Sequence[str]] = None,
        addresses: Optional[Sequence[str]] = None, rate: Optional[docs.KeyRate] = None,
        expires_at: Optional[Instant] = None, creator: Optional[str] = None,
    ) -> "Request[docs.NewKey]":
        """A key may be narrowed to some of the plan's permissions, to addresses (CIDR), and to a
        rate of its own. The secret is in the answer and nowhere else."""
        return Request("key.create", {
            "organization": organization, "user": user, "name": name, "environment": environment,
            "permissions": texts("permissions", permissions),
            "addresses": texts("addresses", addresses), "rate": _rate(rate),
            "expires_at": expires_at, "creator": creator}, of(docs.NewKey))

    @listing
    def list(
        self, organization: str, user: Optional[str] = None
    ) -> "Request[Page[docs.Key]]":
        return Request("key.list", {"organization": organization, "user": user}, page(docs.Key))

    @call
    def show(self, organization: str, key: str) -> "Request[docs.Key]":
        return Request("key.show", {"organization": organization, "key": key}, KEY)

    @call
    def rotate(
        self, organization: str, key: str, *, overlap_seconds: Optional[int] = None
    ) -> "Request[docs.NewKey]":
        """A new secret; the old one stays good for the overlap (up to 30 days; a day when left
        out), and no longer than the key. Id and counters stay."""
        return Request("key.rotate", {
            "organization": organization, "key": key, "overlap_seconds": overlap_seconds,
        }, of(docs.NewKey))

    @call
    def edit(
        self, organization: str, key: str, *, name: Optional[str] = None,
        permissions: "Union[Sequence[str], None, Unchanged]" = UNCHANGED,
        addresses: "Union[Sequence[str], None, Unchanged]" = UNCHANGED,
        rate: "Union[docs.KeyRate, None, Unchanged]" = UNCHANGED,
        expires_at: "Union[Instant, None, Unchanged]" = UNCHANGED,
    ) -> "Request[docs.Key]":
        """What is left out stays; None takes a narrowing away."""
        changed: "dict[str, object]" = {"organization": organization, "key": key, "name": name}
        if not isinstance(permissions, Unchanged):
            changed["permissions"] = _or_null(texts("permissions", permissions))
        if not isinstance(addresses, Unchanged):
            changed["addresses"] = _or_null(texts("addresses", addresses))
        if not isinstance(rate, Unchanged):
            changed["rate"] = _or_null(_rate(rate))
        if not isinstance(expires_at, Unchanged):
            changed["expires_at"] = _or_null(expires_at)
        return Request("key.edit", changed, KEY)

    @call
    def revoke(self, organization: str, key: str) -> "Request[docs.Key]":
        return Request("key.revoke", {"organization": organization, "key": key}, KEY)


class Tokens(Group[Mode]):
    @call
    def issue(
        self, organization: str, user: str, *, permissions: Optional[Sequence[str]] = None
    ) -> "Request[docs.Tokens]":
        """Logs the user in. `permissions` narrows what the access token may do."""
        return Request("token.issue", {
            "organization": organization, "user": user,
            "permissions": texts("permissions", permissions)}, of(docs.Tokens))

    @call
    def refresh(self, refresh_token: str) -> "Request[docs.Tokens]":
        """A refresh token is good once; RefreshRefused when it is not. The last one may be used
        again within seconds, in case the answer was lost, and gets the same successor."""
        return Request("token.refresh", {"refresh_token": refresh_token}, of(docs.Tokens))


class Sessions(Group[Mode]):
    @call
    def end(self, refresh_token: str) -> "Request[docs.Session]":
        """Logs out."""
        return Request("session.end", {"refresh_token": refresh_token}, SESSION)

    @listing
    def list(self, organization: str, user: str) -> "Request[Page[docs.Session]]":
        return Request("session.list", {"organization": organization, "user": user}, page(
            docs.Session))

    @call
    def show(self, organization: str, session: str) -> "Request[docs.Session]":
        return Request("session.show", {"organization": organization, "session": session}, SESSION)

    @call
    def revoke(self, organization: str, session: str) -> "Request[docs.RevokedSession]":
        return Request("session.revoke", {
            "organization": organization, "session": session}, of(docs.RevokedSession))


class Revoke(Group[Mode]):
    """From the answer on no CHECK passes with what was revoked, known to the directory or not."""

    @call
    def token(
        self, organization: str, jti: str, *, personal: bool = False,
        expires_at: Optional[Instant] = None,
    ) -> "Request[docs.Revoked]":
        """One access token, by its `jti`; `expires_at` is the token's, where it is known."""
        return Request("revoke.token", {
            "organization": organization, "personal": personal or None, "jti": jti,
            "expires_at": expires_at}, of(docs.Revoked))

    @call
    def user(
        self, organization: str, user: str, *, personal: bool = False
    ) -> "Request[docs.Revoked]":
        """All that a user holds now: tokens, sessions, API keys."""
        return Request("revoke.user", {
            "organization": organization, "personal": personal or None, "user": user,
        }, of(docs.Revoked))

    @call
    def organization(
        self, organization: str, *, personal: bool = False
    ) -> "Request[docs.Revoked]":
        """All that its users hold now: tokens, sessions, API keys."""
        return Request("revoke.organization", {
            "organization": organization, "personal": personal or None}, of(docs.Revoked))

    @listing
    def list(
        self, organization: str, *, personal: Optional[bool] = None,
        kind: Optional[docs.RevokedKind] = None,
    ) -> "Request[Page[docs.Revocation]]":
        """Of personal organizations, of others, or (None) of both."""
        return Request("revoke.list", {
            "organization": organization, "personal": personal, "kind": kind,
        }, page(docs.Revocation))


class SigningKeys(Group[Mode]):
    """Of the tokens that the daemon issues: add, wait until whoever verifies them knows the key,
    promote, and retire the old one when its last token has expired."""

    @call
    def add(self, id: Optional[str] = None) -> "Request[docs.SigningKey]":
        """Verifies, and does not sign yet. The daemon makes the secret and keeps it in a file."""
        return Request("signing_key.add", {"id": id}, SIGNING_KEY)

    @call
    def promote(self, id: str) -> "Request[docs.SigningKey]":
        """Signs from now on."""
        return Request("signing_key.promote", {"id": id}, SIGNING_KEY)

    @call
    def retire(self, id: str) -> "Request[docs.SigningKey]":
        """Conflict while a token may live that only this key verifies."""
        return Request("signing_key.retire", {"id": id}, SIGNING_KEY)

    @listing
    def list(self) -> "Request[Page[docs.SigningKey]]":
        return Request("signing_key.list", {}, page(docs.SigningKey))


def _rate(rate: Optional[docs.KeyRate]) -> "Optional[dict[str, int]]":
    if rate is None:
        return None
    return {"limit": rate.limit, "window_seconds": rate.window_seconds}


def _or_null(value: object) -> object:
    return NULL if value is None else value
