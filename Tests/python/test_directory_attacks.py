"""Credentials that are not what they pretend to be: forged, cut, altered, replayed, another's,
expired, of another kind. Every refusal is the same bytes, whatever is wrong."""

import base64
import random
import string
import time

import jwt
import pytest
from directory_daemon import (
    DirectoryDaemon,
    Place,
    claims,
    header,
    start_directory,  # noqa: F401, a fixture
)
from directory_flood import StrictPlace, call_frame, checked
from hardening import connect, read_reply
from hardening import token as claimed
from tollgate import wire

LETTERS = string.digits + string.ascii_letters
ALLOW, DENY = 1, 2
LOG_IN_AGAIN = (23, b"log in again")
ISSUER = "https://tollgate.example.com"


class Attacked(DirectoryDaemon):
    """One that says nothing of what is wrong; acme with ada, and beta with bob."""

    def __init__(self, place):
        super().__init__(place, tokens={"audience": "https://api.example.com"}, threads=2)
        for organization, user in (("acme", "ada"), ("beta", "bob")):
            self.admins.organizations.create(organization, plan="enterprise_tier")
            self.admins.users.create(organization, user)
        self.key = self.admins.keys.create("acme", "ada").secret
        self.tokens = self.admins.tokens.issue("acme", "ada")
        self.kid = header(self.tokens.access_token)["kid"]
        self.own = self.signing_key(self.kid)

    def signing_key(self, name):
        text = (self.place.directory / "signing" / f"{name}.key").read_text().strip()
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(scope="module")
def daemon():
    place = StrictPlace()
    made = Attacked(place)
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()
    place.remove()


@pytest.fixture(scope="module")
def ask(daemon):
    """The bodies of the replies to CHECKs with credentials, each with its kind."""
    with connect(daemon.data) as peer:
        def asking(credentials, kind=None):
            found = []
            for start in range(0, len(credentials), 100):
                bodies = [body(one, kind) for one in credentials[start:start + 100]]
                peer.sendall(b"".join(
                    wire.frame(wire.CHECK, number, one) for number, one in enumerate(bodies)))
                replies = [read_reply(peer) for _ in bodies]
                assert {status for _, status, _, _ in replies} == {0}
                found += [one[3] for one in sorted(replies, key=lambda one: one[2])]
            return found

        yield asking


def body(credential, kind):
    """Of bytes too."""
    if isinstance(credential, str):
        return wire.check_body(credential, kind=kind, operation="chat")
    made = bytearray(wire.check_body("x" * len(credential), kind=kind, operation="chat"))
    made[32:32 + len(credential)] = credential
    return bytes(made)


@pytest.fixture(scope="module")
def refusal(ask):
    """What every invalid credential is answered with: reason 11, and nothing of anybody."""
    made, = ask(["junk"])
    assert made[:4] == bytes([DENY, 0, 11, 0]) and b"ada" not in made and b"acme" not in made
    return made


def all_refused(ask, refusal, credentials, kind=None):
    credentials = list(credentials)
    said = ask(credentials, kind)
    passed = [one for one, reply in zip(credentials, said) if reply != refusal]
    assert credentials and not passed, (len(passed), passed[:3])


def cut(text):
    """At every length, and with one byte more."""
    return [text[:length] for length in range(1, len(text))] + [text + one for one in "0.= \0"]


def altered(text, alphabet):
    """Every character turned into others; the first, the last and its like are among them."""
    source = random.Random(3)
    return [text[:place] + other + text[place + 1:] for place in range(len(text))
            for other in {*source.choices(alphabet, k=3), text[place].swapcase()} - {text[place]}]


def test_what_is_attacked_here_is_good(daemon, ask):
    assert {one[0] for one in ask([daemon.key, daemon.tokens.access_token])} == {ALLOW}


def test_a_key_that_is_cut_or_altered_anywhere_is_refused(daemon, ask, refusal):
    wrong = cut(daemon.key) + altered(daemon.key, LETTERS + "_-\u00e9")
    # The same with check digits that fit, so that the secret itself is looked at.
    wrong += [checked(one) for one in altered(daemon.key[:-6], LETTERS)]
    wrong += [checked(daemon.key[:-38] + "0" * 32), checked(daemon.key[:-6].upper()),
              " " + daemon.key, daemon.key.replace("tg_", "TG_"), daemon.key + daemon.key]
    all_refused(ask, refusal, wrong, "key")
    all_refused(ask, refusal, [daemon.key.encode()[:-1] + bytes([one]) for one in range(256)
                               if one != ord(daemon.key[-1])], "key")


def test_an_access_token_that_is_cut_or_altered_is_refused(daemon, ask, refusal):
    token = daemon.tokens.access_token
    all_refused(ask, refusal, cut(token), "token")
    all_refused(ask, refusal, altered(token, LETTERS + "-_.="), "token")
    head, payload, signature = token.split(".")
    other = daemon.admins.tokens.issue("beta", "bob").access_token.split(".")
    all_refused(ask, refusal, [
        f"{head}.{other[1]}.{signature}", f"{head}.{payload}.{other[2]}", f"{head}.{payload}.",
        f"{head}.{payload}", f".{payload}.{signature}", f"{token}.{signature}", f"{token}=",
        f"{head}..{signature}"], "token")


def test_a_refresh_token_that_is_cut_or_altered_is_refused_and_its_family_lives(daemon):
    token = daemon.admins.tokens.issue("acme", "ada").refresh_token
    wrong = cut(token) + altered(token, LETTERS + "_\u00e9")
    wrong += [checked(one) for one in altered(token[:-6], LETTERS)] + [daemon.key]
    wrong += [daemon.tokens.access_token, "tgr_", token + "\n", "x" * 9_000]
    with connect(daemon.data) as peer:
        for call in ("token.refresh", "session.end"):
            for start in range(0, len(wrong), 100):
                part = wrong[start:start + 100]
                peer.sendall(b"".join(call_frame(call, refresh_token=one) for one in part))
                for _ in part:
                    _, status, _, said = read_reply(peer)
                    assert (status, said) == LOG_IN_AGAIN
    assert not daemon.admins.tokens.refresh(token).retried


def forged(daemon, *, secret=None, key_id=None, algorithm="HS256", typ="at+jwt", drop=(), **change):
    """The access token signed anew with what an attacker would like it to say."""
    said = {**claims(daemon.tokens.access_token), **change}
    said = {name: value for name, value in said.items() if name not in drop}
    return jwt.encode(said, daemon.own if secret is None else secret, algorithm,
                      headers={"kid": key_id or daemon.kid, "typ": typ})


def forgeries(daemon):
    now = int(time.time())
    yield "another secret", forged(daemon, secret=b"k" * 32)
    yield "the other issuer's secret", forged(daemon, secret=daemon.secret)
    yield "the other issuer's key", forged(daemon, secret=daemon.secret, key_id="main-1")
    yield "our secret, the other's key id", forged(daemon, key_id="main-1")
    yield "an unknown key id", forged(daemon, key_id="nobody")
    yield "another algorithm", forged(daemon, algorithm="HS512")
    yield "no algorithm", forged(daemon, secret="", algorithm="none")
    yield "an id token", forged(daemon, typ="id_token")
    yield "a refresh token's type", forged(daemon, typ="refresh+jwt")
    yield "another issuer", forged(daemon, iss="https://login.example.com")
    yield "an issuer with a slash", forged(daemon, iss=ISSUER + "/")
    yield "no issuer", forged(daemon, drop=["iss"])
    yield "another audience", forged(daemon, aud="https://other.example.com")
    yield "no audience", forged(daemon, drop=["aud"])
    yield "expired by a second", forged(daemon, iat=now - 10, nbf=now - 10, exp=now - 1)
    yield "expired now", forged(daemon, iat=now - 10, nbf=now - 10, exp=now)
    yield "not yet valid", forged(daemon, iat=now + 60, nbf=now + 60, exp=now + 90)
    yield "too long a life", forged(daemon, exp=now + 86_400)
    yield "no end", forged(daemon, drop=["exp"])
    yield "no user", forged(daemon, drop=["sub"])
    yield "the other issuer's token, expired", claimed(daemon, exp=now - 1, iat=now - 10)


def test_forged_tokens_are_refused_though_signed_with_the_right_secret(daemon, ask, refusal):
    assert ask([forged(daemon)])[0][0] == ALLOW  # what only differs in what each case says
    for what, token in forgeries(daemon):
        assert ask([token], "token") == [refusal], what


def test_each_credential_is_good_as_what_it_is_alone(daemon, ask, refusal):
    access, refresh = daemon.tokens.access_token, daemon.tokens.refresh_token
    all_refused(ask, refusal, [daemon.key, refresh], "token")
    all_refused(ask, refusal, [access, refresh], "key")
    assert {one[0] for one in ask([access], "token") + ask([daemon.key], "key")} == {ALLOW}


def test_what_was_good_once_is_refused_as_junk_is(daemon, ask, refusal):
    """Revoked, rotated out, expired, of a suspended user, or bound to another address."""
    admin = daemon.admins
    admin.users.create("acme", "eve")
    revoked, rotated, narrowed = (admin.keys.create("acme", "ada") for _ in range(3))
    expired = admin.keys.create("acme", "ada", expires_at=int(time.time() * 1_000) + 500)
    # An end lies ahead when it is set.
    time.sleep(0.51)
    admin.keys.revoke("acme", revoked.key.id)
    admin.keys.rotate("acme", rotated.key.id, overlap_seconds=0)
    admin.keys.edit("acme", narrowed.key.id, addresses=["192.0.2.1"])
    suspended = admin.keys.create("acme", "eve")
    tokens = [admin.tokens.issue("acme", "ada") for _ in range(2)]
    tokens.append(admin.tokens.issue("acme", "eve"))
    admin.users.suspend("acme", "eve")
    admin.sessions.revoke("acme", tokens[0].session.id)
    admin.revoke.token("acme", claims(tokens[1].access_token)["jti"])
    all_refused(ask, refusal, [
        *(one.secret for one in (revoked, rotated, narrowed, expired, suspended)),
        *(one.access_token for one in tokens)])
    with connect(daemon.data) as peer:
        for one in (tokens[0], tokens[2]):
            peer.sendall(call_frame("token.refresh", refresh_token=one.refresh_token))
            assert read_reply(peer)[1::2] == LOG_IN_AGAIN


def test_who_comes_back_under_an_id_does_not_get_what_was_issued_to_it(daemon, ask, refusal):
    admin = daemon.admins
    old = []
    for round_number in range(2):
        admin.organizations.create("phoenix", plan="enterprise_tier")
        for _ in range(2):
            admin.users.create("phoenix", "joe")
            key, login = admin.keys.create("phoenix", "joe"), admin.tokens.issue("phoenix", "joe")
            assert {one[0] for one in ask([key.secret, login.access_token])} == {ALLOW}
            all_refused(ask, refusal, old or ["junk"])
            old += [key.secret, login.access_token]
            with connect(daemon.data) as peer:
                admin.users.delete("phoenix", "joe")
                peer.sendall(call_frame("token.refresh", refresh_token=login.refresh_token))
                assert read_reply(peer)[1::2] == LOG_IN_AGAIN
            all_refused(ask, refusal, old)
        admin.organizations.delete("phoenix")
        all_refused(ask, refusal, old)


def test_tokens_of_a_signing_key_are_good_from_its_addition_to_its_retirement(daemon, ask, refusal):
    admin = daemon.admins.signing_keys
    all_refused(ask, refusal, [forged(daemon, secret=b"s" * 32, key_id="spare")])
    admin.add("spare")
    token = forged(daemon, secret=daemon.signing_key("spare"), key_id="spare")
    assert ask([token])[0][0] == ALLOW  # as if another instance had been promoted already
    admin.retire("spare")
    all_refused(ask, refusal, [token])
    # Nobody may have the secret of a retired key, but whoever copied it.
    assert [one.state for one in admin.list() if one.id == "spare"] == ["retired"]


def test_a_key_that_was_moved_is_good_under_its_pepper_alone(daemon, start_directory):  # noqa: F811
    admin = daemon.admins
    admin.organizations.create("moved", plan="enterprise_tier")
    admin.users.create("moved", "mia")
    good, revoked, rotated = (admin.keys.create("moved", "mia") for _ in range(3))
    admin.keys.revoke("moved", revoked.key.id)
    renewed = admin.keys.rotate("moved", rotated.key.id, overlap_seconds=0)
    records = [one for one in admin.directory.export_records()
               if "moved" in (one.get("organization"), one.get("id"))]
    secrets = [one.secret for one in (good, renewed, revoked, rotated)]
    for pepper, expected in ((daemon.place.pepper, [ALLOW, ALLOW, DENY, DENY]),
                             (None, [DENY] * 4)):
        other = start_directory(Place(pepper))
        other.admins.directory.import_records(records)
        decided = [other.callers.check(one, operation="chat").allowed for one in secrets]
        assert decided == [one == ALLOW for one in expected]
        # Nor does a login come along.
        tokens = admin.tokens.issue("moved", "mia")
        assert not other.callers.check(tokens.access_token, operation="chat").allowed


def test_a_daemon_that_reveals_says_what_is_wrong(daemon, ask, refusal):
    """So the sameness above is the policy's, and not that all are refused for one reason."""
    text = daemon.policy.read_text()
    daemon.policy.write_text(text + "reveal_credential_failures: true\n")
    daemon.admins.reload()
    reasons = {daemon.decide(token) for _, token in forgeries(daemon)}
    reasons.add(daemon.decide(daemon.key[:-1] + ("0" if daemon.key[-1] != "0" else "1")))
    daemon.policy.write_text(text)
    daemon.admins.reload()
    assert reasons >= {
        "signatureInvalid", "keyUnknown", "algorithmNotAllowed", "issuerUnknown",
        "audienceMismatch", "tokenExpired", "tokenNotYetValid", "tokenLifetimeTooLong",
        "claimInvalid", "credentialMalformed"}, reasons
    assert ask(["junk"]) == [refusal]
