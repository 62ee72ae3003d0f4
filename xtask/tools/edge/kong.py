"""Holds Kong's files against kong.schema.json, and both forms against each other.

    kong.py FOLDER
"""

import json, sys
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jsonschema import Draft202012Validator

folder = Path(sys.argv[1])
schema = json.loads((folder / "kong.schema.json").read_text())
Draft202012Validator.check_schema(schema)
wrong = []


def hold(what, value, definition=None):
    rules = {**schema, "$ref": f"#/$defs/{definition}"} if definition else schema
    if definition:
        rules = {"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"}
    for error in Draft202012Validator(rules).iter_errors(value):
        wrong.append(f"{what}: {error.json_path}: {error.message}")


def say(condition, what):
    if not condition:
        wrong.append(what)


declared = yaml.safe_load((folder / "kong.yaml").read_text())
hold("kong.yaml", declared)
upstreams = {upstream["name"] for upstream in declared["upstreams"]}
routes = [route for service in declared["services"] for route in service["routes"]]
say(all(service["host"] in upstreams for service in declared["services"]), "a service has no upstream")
api = [route for route in routes if "/api/" in route["paths"]]
say(any(plugin["name"] == "jwt" for route in api for plugin in route["plugins"]), "/api/ takes no token")
for consumer in declared["consumers"]:
    for secret in consumer["jwt_secrets"]:
        load_pem_public_key(secret["rsa_public_key"].encode())

documents = [d for d in yaml.safe_load_all((folder / "ingress.yaml").read_text()) if d]
by_kind = lambda kind: [d for d in documents if d["kind"] == kind]
plugins = {d["metadata"]["name"]: d for d in by_kind("KongPlugin")}
for name, plugin in plugins.items():
    say(plugin["apiVersion"] == "configuration.konghq.com/v1", f"{name}: another apiVersion")
    hold(f"ingress.yaml {name}", {"name": plugin["plugin"], "config": plugin["config"]}, "plugin")
for secret in by_kind("Secret"):
    hold("ingress.yaml Secret", secret["stringData"], "jwt_secret")
    say(secret["metadata"]["labels"].get("konghq.com/credential") == "jwt", "the Secret is no jwt credential")
secrets = {d["metadata"]["name"] for d in by_kind("Secret")}
services = {d["metadata"]["name"] for d in by_kind("Service")}
policies = {d["metadata"]["name"] for d in by_kind("KongUpstreamPolicy")}
for consumer in by_kind("KongConsumer"):
    say(set(consumer["credentials"]) <= secrets, "a consumer's credential is nowhere")
for ingress in by_kind("Ingress"):
    notes = ingress["metadata"]["annotations"]
    named = notes["konghq.com/plugins"].split(",")
    say(set(named) <= set(plugins), f"{named}: a plugin is nowhere")
    say(notes["konghq.com/strip-path"] == "false", "strip-path cuts names")
    say(notes["konghq.com/preserve-host"] == "true", "preserve-host is off")
    for path in (p for rule in ingress["spec"]["rules"] for p in rule["http"]["paths"]):
        say(path["backend"]["service"]["name"] in services, f"{path['path']}: no such service")
        if path["path"].startswith("/api"):
            say("movies-jwt" in named, f"{path['path']} takes no token")
for service in by_kind("Service"):
    say(service["metadata"]["annotations"]["konghq.com/upstream-policy"] in policies, "no such policy")

# One behaviour in two forms.
configs = {}
for plugin in declared["plugins"] + [p for route in routes for p in route["plugins"]]:
    configs.setdefault(plugin["name"], []).append(plugin["config"])
for name, plugin in plugins.items():
    say(plugin["config"] in configs.get(plugin["plugin"], []), f"{name}: kong.yaml says something else")

# The schema refuses what would do harm.
for path, value in [("strip_path", True), ("preserve_host", False)]:
    changed = json.loads(json.dumps(declared))
    changed["services"][0]["routes"][0][path] = value
    say(not Draft202012Validator(schema).is_valid(changed), f"the schema takes {path}: {value}")

for what in wrong:
    print(what)
sys.exit(f"{len(wrong)} things are wrong" if wrong else print(f"{len(plugins)} plugins, {len(routes)} routes: as they should be"))
