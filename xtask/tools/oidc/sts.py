"""A stand-in for AWS's Security Token Service: moto's, and before it what moto lacks, the
verification of presigned requests, by botocore's own signer.

    python sts.py PORT
"""

import hmac
import sys
from urllib.parse import parse_qs

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import create_backend_app
from moto.sts.models import sts_backends
from werkzeug.serving import run_simple
from werkzeug.wrappers import Response

moto = create_backend_app("sts")


def secret_of(access_key):
    for account in sts_backends.values():
        for backend in account.values():
            for role in backend.assumed_roles:
                if role.access_key_id == access_key:
                    return role.secret_access_key
    return None


def signature_of(environ, query, access_key, region):
    """The signature that the holder of the key would have made over what has come."""
    unsigned = "&".join(
        pair for pair in environ["QUERY_STRING"].split("&") if not pair.startswith("X-Amz-Signature=")
    )
    names = [name for name in query["X-Amz-SignedHeaders"][0].split(";") if name != "host"]
    values = {name: environ.get("HTTP_" + name.upper().replace("-", "_"), "") for name in names}
    request = AWSRequest("GET", f"http://{environ['HTTP_HOST']}/?{unsigned}", headers=values)
    request.context["timestamp"] = query["X-Amz-Date"][0]
    signer = SigV4QueryAuth(Credentials(access_key, secret_of(access_key)), "sts", region)
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


def answer(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    if environ["REQUEST_METHOD"] != "GET" or "X-Amz-Credential" not in query:
        return moto(environ, start_response)
    credential = query["X-Amz-Credential"][0]
    access_key, _, region, _, _ = credential.split("/")
    known = secret_of(access_key) is not None
    if not known or not hmac.compare_digest(
        signature_of(environ, query, access_key, region), query["X-Amz-Signature"][0]
    ):
        return Response("SignatureDoesNotMatch", status=403)(environ, start_response)
    # moto tells callers apart by this header only.
    environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"
    return moto(environ, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), answer, threaded=True)
