"""The public keys of a JWKS as PEM files, one a key, for gateways that read no JWKS.

    curl -s https://films.example/.well-known/jwks.json | python3 jwks-to-pem.py keys/

writes keys/ALG-KID.pem and links keys/es256.pem and keys/rs256.pem to the first of each kind, which
is the one that signs. Python's own library suffices.
"""

import base64, json, sys
from pathlib import Path

# SubjectPublicKeyInfo of P-256 up to the point (RFC 5480), and of RSA (RFC 3279).
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
RSA = bytes.fromhex("300d06092a864886f70d0101010500")


def number(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    size = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def integer(data):
    data = data.lstrip(b"\0") or b"\0"
    return der(2, (b"\0" if data[0] & 0x80 else b"") + data)


def public_key(jwk):
    if jwk["kty"] == "EC" and jwk["crv"] == "P-256":
        return "es256", P256 + number(jwk["x"]).rjust(32, b"\0") + number(jwk["y"]).rjust(32, b"\0")
    if jwk["kty"] == "RSA":
        numbers = der(0x30, integer(number(jwk["n"])) + integer(number(jwk["e"])))
        return "rs256", der(0x30, RSA + der(3, b"\0" + numbers))
    return None, None


folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
seen = set()
for jwk in json.load(sys.stdin)["keys"]:
    kind, key = public_key(jwk)
    if kind is None:
        print(f"left out: {jwk.get('kid')} ({jwk['kty']}) is neither P-256 nor RSA", file=sys.stderr)
        continue
    text = base64.encodebytes(key).decode().replace("\n", "")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    file = folder / f"{kind}-{jwk['kid']}.pem"
    file.write_text(f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    if kind not in seen:
        seen.add(kind)
        link = folder / f"{kind}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(file.name)
    print(file)
