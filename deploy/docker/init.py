"""What a trial needs before its replicas start: a bucket, and a key that is no secret of the
repository's. Run by compose.yaml in the S3 server's image, which has Python and `cryptography`.

    init.py S3 BUCKET PRIVATE PUBLIC OWNER

A key that is there already stays, or tokens that are out would end.
"""

import os
import sys
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

STARTS_WITHIN_SECONDS = 60


def make_bucket(url):
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            return urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def make_key(private, public, owner):
    if os.path.exists(private):
        return
    key = generate_private_key(SECP256R1())
    write(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    # Last, as the sign that all is there.
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write(private + ".new", pem, 0o400)
    os.chown(private + ".new", owner, owner)
    os.rename(private + ".new", private)


def write(path, content, mode=0o444):
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)


if __name__ == "__main__":
    s3, bucket, private, public, owner = sys.argv[1:]
    make_bucket(f"{s3}/{bucket}")
    make_key(private, public, int(owner))
