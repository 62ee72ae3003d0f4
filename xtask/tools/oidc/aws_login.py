"""A caller that is a role of AWS: signs GetCallerIdentity with the credentials of the role and
prints the body of POST /login/aws.

    python aws_login.py STS_ENDPOINT SERVER_ID ROLE_ARN
"""

import json
import sys

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

endpoint, server_id, role = sys.argv[1:]
session = boto3.Session(region_name="eu-central-1")
sts = session.client("sts", endpoint_url=endpoint)
given = sts.assume_role(RoleArn=role, RoleSessionName="a-robot")["Credentials"]
credentials = boto3.Session(
    given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
).get_credentials()

request = AWSRequest(
    "GET",
    f"{endpoint}/?Action=GetCallerIdentity&Version=2011-06-15",
    headers={"X-Movies-Server-Id": server_id},
)
SigV4QueryAuth(credentials, "sts", "eu-central-1", expires=60).add_auth(request)
print(json.dumps({"url": request.url}))
