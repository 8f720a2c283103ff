"""RELIABILITY J11: the same tokens to the daemon and to PyJWT with strict options. The daemon never
accepts what PyJWT refuses, and what it refuses beyond PyJWT is explained by a rule of its own.

TOLLGATE_DIFFERENTIAL_TOKENS says how many (default 20,000); a failure prints the seed."""

import base64
import hashlib
import hmac
import json
import os
import random
import time

import jwt
from tollgate import Client, wire

ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
POLICY = """
version: 1
reveal_credential_failures: true
operations: {models: {}}
plans: {open_tier: {}}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    default_plan: open_tier
    claims: {plan: null}
    keys:
      - {id: main-1, algorithm: HS256, file: main.key}
      - {id: main-2, algorithm: HS512, file: other.key}
"""

# What the daemon refuses though PyJWT takes it: the rule, by the reason that it gives. Every other
# reason on such a token is a difference that nobody explained.
STRICTER = {
    "credentialMalformed": "a member twice; crit, b64, zip, cty or a key in the header; base64url "
    "that is not canonical; JSON that is not UTF-8, nested deeper than 16 or of other than RFC "
    "8259's grammar; a header member of another type",
    "algorithmNotAllowed": "alg written with escapes; alg of another than the key's",
    "keyUnknown": "key ids are compared byte by byte",
    "claimInvalid": "typ, sub or org that is absent, empty, too long or holds control characters; "
    "times that are texts, negative or with an exponent; nbf after exp; aud not of texts alone",
    "tokenExpired": "a fraction of exp is rounded down",
    "tokenNotYetValid": "a fraction of nbf and iat is rounded up; no leeway",
    "tokenLifetimeTooLong": "exp is at most a day from iat",
    "issuerUnknown": "iss is one text",
    "audienceMismatch": "aud is a text or a list of texts",
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header, payload, secret, digest=hashlib.sha256):
    signed = b64(header) + "." + b64(payload)
    return signed + "." + b64(hmac.new(secret, signed.encode(), digest).digest())


class Maker:
    """Tokens that are good, nearly good and not good at all."""

    def __init__(self, daemon, other, source):
        self.secrets = {"main-1": daemon.secret, "main-2": other}
        self.digests = {"main-1": hashlib.sha256, "main-2": hashlib.sha512}
        self.source = source
        self.now = int(time.time())

    def claims(self):
        return {
            "iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{self.source.randrange(50)}",
            "org": "acme", "iat": self.now - 60, "exp": self.now + 3_600,
        }

    def value(self):
        pick = self.source.choice
        return pick([
            None, True, False, 0, 1, -1, 1.5, 2**53, 2**53 + 1, 2**63, 2**64, -2**63, 1e308, 1e10,
            "", "0", "a", [], {}, [None], [1], {"a": 1}, ISSUER, AUDIENCE, [AUDIENCE], [ISSUER],
            ISSUER + "/", AUDIENCE[:-1], [AUDIENCE, 1], [AUDIENCE, "x"], "x" * 128, "x" * 129,
            "\u0000", "a\nb", "\u00e9", "e\u0301", "\U0001f600", str(self.now + 60),
            self.now - 10, self.now + 600, self.now + 0.5, self.now - 0.5, self.now + 10**6,
            float(self.now + 600), "HS256", "none", "main-1", ["main-1"], "JWT", "at+jwt",
        ])

    def by_claims(self):
        claims = self.claims()
        for _ in range(self.source.choice([1, 1, 1, 2, 3])):
            name = self.source.choice(
                ["iss", "aud", "sub", "org", "iat", "exp", "nbf", "jti", "scope", "x"])
            if self.source.random() < 0.2:
                claims.pop(name, None)
            else:
                claims[name] = self.value()
        return self.finish({"alg": "HS256", "typ": "JWT", "kid": "main-1"}, claims)

    def by_header(self):
        header = {"alg": "HS256", "typ": "JWT", "kid": "main-1"}
        for _ in range(self.source.choice([1, 1, 2])):
            name = self.source.choice(
                ["alg", "kid", "typ", "crit", "b64", "zip", "cty", "jwk", "jku", "x5c", "x5u", "x"])
            if self.source.random() < 0.2:
                header.pop(name, None)
            else:
                header[name] = self.source.choice([
                    self.value(), "HS256", "HS384", "HS512", "hs256", "none", "RS256", "main-1",
                    "main-2", "main-3", "b64", ["b64"], ["exp"], "DEF", "JWT"])
        return self.finish(header, self.claims())

    def finish(self, header, claims, key="main-1"):
        header, payload = json.dumps(header), json.dumps(claims, allow_nan=True)
        if self.source.random() < 0.3:
            header, payload = self.respell(header), self.respell(payload)
        return sign(header.encode(), payload.encode(), self.secrets[key], self.digests[key])

    def respell(self, text):
        """JSON that means nearly the same."""
        kind = self.source.randrange(6)
        if kind == 0:
            return text.replace(", ", " ,\n\t").replace("{", "{ ")
        if kind == 1:
            letter = self.source.choice("aeiosu")
            return text.replace(letter, f"\\u{ord(letter):04x}", 1)
        if kind == 2:
            return text[:-1] + ',"' + self.source.choice(["sub", "alg", "exp", "x"]) + '": 1}'
        if kind == 3:
            return self.source.choice(["\ufeff", " ", "\n"]) + text
        if kind == 4:
            return text + self.source.choice([" ", "x", "{}", "\u00a0", "\n\n"])
        return text.replace(":", self.source.choice([":", "::", " : "]), 1)

    def by_text(self):
        """JSON with one byte changed, signed."""
        header = b'{"alg":"HS256","kid":"main-1"}'
        payload = bytearray(json.dumps(self.claims()).encode())
        self.damage(payload, b'{}[]":,\\0123456789-+.eEnul \xc3\xa9\x00\xff')
        if self.source.random() < 0.2:
            changed = bytearray(header)
            self.damage(changed, b'{}[]":,\\ HhSs256main-1')
            header = bytes(changed)
        return sign(header, bytes(payload), self.secrets["main-1"])

    def by_characters(self):
        """A good token with one or two characters changed."""
        key = self.source.choice(["main-1", "main-2"])
        algorithm = {"main-1": "HS256", "main-2": "HS512"}[key]
        good = self.finish({"alg": algorithm, "kid": key}, self.claims(), key)
        changed = bytearray(good.encode())
        if self.source.random() < 0.9:
            self.damage(changed, b"ABCZabcz0189-_.=+/ \n")
        return changed.decode()

    def damage(self, data, alphabet):
        for _ in range(self.source.choice([1, 1, 2])):
            place, byte = self.source.randrange(len(data)), self.source.choice(alphabet)
            kind = self.source.randrange(4)
            if kind == 0:
                data[place] = byte
            elif kind == 1:
                data.insert(place, byte)
            elif kind == 2:
                del data[place]
            elif place + 1 < len(data):
                data[place], data[place + 1] = data[place + 1], data[place]

    def token(self):
        return self.source.choice([
            self.by_claims, self.by_claims, self.by_header, self.by_text, self.by_characters])()

    def accepted_by_pyjwt(self, token):
        """Its claims, or None."""
        keys = {"main-1": ["HS256"], "main-2": ["HS512"]}
        try:
            key = jwt.get_unverified_header(token).get("kid")
            if not isinstance(key, str) or key not in keys:
                return None
            return jwt.decode(
                token, self.secrets[key], algorithms=keys[key], issuer=ISSUER, audience=AUDIENCE,
                leeway=0, options={"require": ["iss", "aud", "exp", "sub"],
                                   "verify_signature": True, "verify_exp": True,
                                   "verify_nbf": True, "verify_iat": True,
                                   "verify_aud": True, "verify_iss": True, "verify_sub": True,
                                   # The daemon does not look at jti.
                                   "verify_jti": False})
        except (jwt.PyJWTError, UnicodeError, OverflowError, RecursionError, ValueError, TypeError):
            # The last four are PyJWT's own troubles with odd claims; they accept nothing.
            return None


def test_the_daemon_accepts_nothing_that_pyjwt_refuses(daemon):
    seed = int(os.environ.get("TOLLGATE_SEED", "7519"))
    count = int(os.environ.get("TOLLGATE_DIFFERENTIAL_TOKENS", "20000"))
    other = os.urandom(64)
    key = daemon.directory / "other.key"
    key.write_text(b64(other))
    key.chmod(0o600)
    daemon.policy.write_text(POLICY)
    with Client(daemon.admin, timeout=20) as admin:
        admin.reload()
    maker = Maker(daemon, other, random.Random(seed))
    tokens = [maker.token() for _ in range(count)]
    with Client(daemon.data, timeout=60) as client:
        decisions = client.check_many(
            [wire.check_body(token, operation="models") for token in tokens])
    both = neither = 0
    stricter = {}
    for token, decision in zip(tokens, decisions):
        claims = maker.accepted_by_pyjwt(token)
        if decision.allowed:
            assert claims is not None, f"seed {seed}: only the daemon accepts {token}"
            assert decision.user == claims["sub"], f"seed {seed}: {token}"
            both += 1
        elif claims is None:
            neither += 1
        else:
            stricter.setdefault(decision.reason, []).append(token)
    unexplained = {reason: found[0] for reason, found in stricter.items() if reason not in STRICTER}
    assert not unexplained, f"seed {seed}: {unexplained}"
    # A generator that reaches one side only would prove nothing.
    assert both > count // 50 and neither > count // 10 and len(stricter) >= 3
    print(f"{both} accepted by both, {neither} by neither, "
          f"{ {reason: len(found) for reason, found in stricter.items()} } by PyJWT alone")
