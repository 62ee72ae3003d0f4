"""Keys for the service and its gateways, and tokens: good ones, and one of each kind that must be
refused.

    tokens.py keys FOLDER           token-key.pem for the service, es256.pem and rs256.pem for gateways
    tokens.py tokens FOLDER TOKEN   JSON on standard output, made after a token of the service's

What is signed here is signed with the service's own keys, so only the gateway's and the service's
rules stand between it and the movies.
"""

import base64, hashlib, hmac, json, sys, time
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

what, folder = sys.argv[1], Path(sys.argv[2])


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length):
    return b64(value.to_bytes(length, "big"))


def thumbprint(jwk):
    return b64(hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


def private(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


if what == "keys":
    es, rs = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    # The first signs the service's tokens, both verify.
    (folder / "token-key.pem").write_bytes(private(es) + private(rs))
    (folder / "es256.pem").write_bytes(public(es))
    (folder / "rs256.pem").write_bytes(public(rs))
    sys.exit()

good = sys.argv[3]
end = b"-----END PRIVATE KEY-----\n"
blocks = (folder / "token-key.pem").read_bytes().split(end)
es, rs = (serialization.load_pem_private_key(block + end, None) for block in blocks[:2])
point, modulus = es.public_key().public_numbers(), rs.public_key().public_numbers()
es_kid = thumbprint({"crv": "P-256", "kty": "EC", "x": number(point.x, 32), "y": number(point.y, 32)})
rs_kid = thumbprint({"e": number(modulus.e, 3), "kty": "RSA", "n": number(modulus.n, 256)})


def by_es(text):
    r, s = decode_dss_signature(es.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def by_rs(text):
    return rs.sign(text, padding.PKCS1v15(), hashes.SHA256())


head, body, signature = good.split(".")
template = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def token(alg, kid, sign, **claims):
    head = {"alg": alg, "typ": "at+jwt", "kid": kid}
    text = ".".join(b64(json.dumps(part).encode()) for part in (head, template | claims))
    return f"{text}.{b64(sign(text.encode()))}"


now = int(time.time())
damaged = f"{head}.{body}.{('B' if signature[0] == 'A' else 'A') + signature[1:]}"
secret = public(es)
json.dump(
    {
        "good": {"es256": good, "rs256": token("RS256", rs_kid, by_rs)},
        "bad": {
            "damaged": damaged,
            "expired": token("ES256", es_kid, by_es, iat=now - 7200, exp=now - 3600),
            "for another audience": token("ES256", es_kid, by_es, aud="https://other.example"),
            "of another issuer": token("ES256", es_kid, by_es, iss="https://other.example"),
            "unsigned": token("none", es_kid, lambda _text: b""),
            "signed with the public key as a secret": token(
                "HS256", es_kid, lambda text: hmac.new(secret, text, "sha256").digest()
            ),
        },
    },
    sys.stdout,
)
