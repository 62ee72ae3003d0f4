"""The second identity provider of `cargo xtask oidc`: Debian's glewlwyd, on SQLite.

    python glewlwyd.py prepare FOLDER PORT   its database and its configuration
    python glewlwyd.py set-up PORT           its plugin, its key, a scope and a robot, through its API
    python glewlwyd.py rotate PORT           another key, which signs from now on; the old one stays
"""

import base64
import json
import pathlib
import sqlite3
import sys
import urllib.request
from http.cookiejar import CookieJar

from cryptography.hazmat.primitives.asymmetric import ec

SCHEMA = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
SCOPE = "movies:write"


def prepare(folder, port):
    folder = pathlib.Path(folder)
    with sqlite3.connect(folder / "glewlwyd.db") as database:
        database.executescript(pathlib.Path(SCHEMA).read_text())
    (folder / "glewlwyd.conf").write_text(f"""
port={port}
bind_address="127.0.0.1"
external_url="http://127.0.0.1:{port}/"
cookie_domain="127.0.0.1"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="INFO"
session_key="GLEWLWYD2_SESSION_ID"
session_expiration=3600
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = {{ type = "sqlite3"; path = "{folder}/glewlwyd.db"; }};
""")


def key(name):
    def part(number):
        return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()

    private = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    public = private.public_numbers
    return {
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": name,
        "x": part(public.x), "y": part(public.y), "d": part(private.private_value),
    }


def as_admin(port):
    """What sends requests to the API, logged in."""
    session = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def send(method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        return session.open(request).read()

    # As the schema makes it.
    send("POST", "auth/", {"username": "admin", "password": "password"})
    return send


def set_up(port):
    send = as_admin(port)

    def post(path, body):
        send("POST", path, body)

    post("scope", {"name": SCOPE, "password_required": False, "scheme": {}})
    post("mod/plugin", {
        "module": "oidc", "name": "oidc", "display_name": "movies", "enabled": True,
        "parameters": {
            "iss": f"http://127.0.0.1:{port}/api/oidc",
            "jwks-private": json.dumps({"keys": [key("of glewlwyd")]}), "default-kid": "of glewlwyd",
            "jwks-show": True, "allow-non-oidc": True, "auth-type-client-enabled": True,
            "access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600,
        },
    })
    post("client", {
        "client_id": "robot", "enabled": True, "confidential": True,
        "client_secret": "the-secret-of-the-robot", "scope": [SCOPE],
        "authorization_type": ["client_credentials"],
        "token_endpoint_auth_method": ["client_secret_post"],
    })


def rotate(port):
    send = as_admin(port)
    plugin = json.loads(send("GET", "mod/plugin/oidc"))
    parameters, new = plugin["parameters"], key("of glewlwyd, second")
    old = json.loads(parameters["jwks-private"])["keys"]
    parameters["jwks-private"] = json.dumps({"keys": [new, *old]})
    parameters["default-kid"] = new["kid"]
    send("PUT", "mod/plugin/oidc", plugin)
    # It reads its keys when it begins.
    send("PUT", "mod/plugin/oidc/reset")


{"prepare": prepare, "set-up": set_up, "rotate": rotate}[sys.argv[1]](*sys.argv[2:])
