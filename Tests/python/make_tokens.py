"""Makes Tests/Vectors/tokens.json: tokens minted by two independent libraries, at a fixed time.

    pip install pyjwt jwcrypto && python Tests/python/make_tokens.py

The Swift tests read the file; nothing in it depends on the clock, so it only changes when this
script does.
"""

import base64
import json
import pathlib

import jwt
from jwcrypto import jwk
from jwcrypto import jwt as jose

NOW = 1_800_000_000
KEYS = {
    "HS256": ("k256", bytes(range(32))),
    "HS384": ("k384", bytes(range(100, 148))),
    "HS512": ("k512", bytes(range(150, 214))),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claim_sets() -> list[dict]:
    base = {
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "sub": "user-1",
        "org": "acme",
        "plan": "pro_tier",
        "iat": NOW - 10,
        "exp": NOW + 600,
    }
    return [
        base,
        base | {"aud": ["https://other.example", "https://api.example"]},
        base | {"sub": "Zoë \"the\" \\ 漢字 😀"},
        base | {"scope": "can_use_gpt4o can_access_batch_api", "nbf": NOW - 10},
        base | {"exp": NOW + 599.5, "iat": NOW - 9.25},
        base | {"nested": {"a": [1, 2.5e3, None, {"b": True}], "a2": {"a": ""}}, "jti": "j" * 300},
        {k: v for k, v in base.items() if k not in ("org", "plan")},
    ]


def by_pyjwt(claims: dict, algorithm: str) -> str:
    key_id, secret = KEYS[algorithm]
    return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": key_id})


def by_jwcrypto(claims: dict, algorithm: str) -> str:
    key_id, secret = KEYS[algorithm]
    key = jwk.JWK(kty="oct", k=b64(secret))
    token = jose.JWT(header={"alg": algorithm, "kid": key_id, "typ": "JWT"}, claims=claims)
    token.make_signed_token(key)
    return token.serialize()


def main() -> None:
    tokens = []
    for claims in claim_sets():
        for algorithm in KEYS:
            for library, mint in (("PyJWT", by_pyjwt), ("jwcrypto", by_jwcrypto)):
                tokens.append(
                    {
                        "library": library,
                        "algorithm": algorithm,
                        "token": mint(claims, algorithm),
                        "user": claims["sub"],
                        "organization": claims.get("org"),
                        "plan": claims.get("plan"),
                        "permissions": claims.get("scope", "").split(),
                        "expirySeconds": int(claims["exp"]),
                    }
                )
    document = {
        "made_by": "Tests/python/make_tokens.py",
        "now": NOW,
        "keys": [
            {"alg": name, "kid": key_id, "k": b64(secret)}
            for name, (key_id, secret) in KEYS.items()
        ],
        "tokens": tokens,
    }
    path = pathlib.Path(__file__).parent.parent / "Vectors" / "tokens.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")
    print(f"{len(tokens)} tokens in {path}")


if __name__ == "__main__":
    main()
