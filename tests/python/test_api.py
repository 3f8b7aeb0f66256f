"""The HTTP API through a client that a common generator makes of its own description.

Owns: the tests, and a server and a generated package of their own. The binary is `$FANFARE_BIN`; `tests/python/run`
sets it.

In: nothing. Out: a failure where the description is not OpenAPI 3.1, where a client that was made of it cannot do what
the server does, or where an operation is not among those that are done here.
"""

import importlib
import json
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator
from test_signalr import DEV, Server

# What each operation is given, and what of its answer is looked at.
OPERATIONS = {
    "send": ({"to": {"all": True}, "event": "E", "json": [1, {"a": None}]}, {"queued": 0}),
    "batch": ({"operations": [{"unban": {"user": "eve"}}, {"mint-token": {"user": "eve"}}]}, None),
    "add": ({"group": "room", "user": "nobody"}, {"connections": 0, "unchanged": True}),
    "remove": ({"group": "room", "user": "nobody"}, {"connections": 0, "unchanged": True}),
    "add_lasting": ({"user": "eve", "group": "room", "may": "receive"}, {"unchanged": False}),
    "remove_lasting": ({"user": "eve", "group": "room"}, {"unchanged": False}),
    "ban": ({"user": "eve", "reason": "spam", "dry_run": False}, {"unchanged": False}),
    "unban": ({"user": "eve"}, {"unchanged": False}),
    "revoke": ({"user": "eve", "groups": "room-*", "until": 4_000_000_000}, {"unchanged": False}),
    "restore": ({"user": "eve", "groups": "room-*"}, {"unchanged": False}),
    "sign_out": ({"user": "eve"}, {"connections": 0}),
    "lift_sign_out": ({"user": "eve"}, {"unchanged": False}),
    "revoke_token": ({"jti": "a"}, {"connections": 0}),
    "restore_token": ({"jti": "a"}, {"unchanged": False}),
}

# Operations that are refused where nobody is connected, and no token can be made: with the status.
REFUSED = {
    "close": ({"user": "nobody"}, 404),
    "mint_token": ({"user": "guest", "grants": [{"group": "room", "may": ["join"]}]}, 501),
}

NOBODY = "0" * 26
# What each question is given, and its status.
QUESTIONS = {
    "groups": ({"limit": 10, "prefix": "room"}, 200),
    "group": ({"group": "a/b c?"}, 404),
    "members": ({"group": "room"}, 200),
    "present": ({"group": "room"}, 200),
    "presence": ({"group": "room"}, 200),
    "users": ({}, 200),
    "user": ({"user": "nobody"}, 404),
    "user_connections": ({"user": "nobody"}, 200),
    "connections": ({}, 200),
    "connection": ({"connection": NOBODY}, 404),
    "lasting": ({"prefix": "eve"}, 200),
    "bans": ({}, 200),
    "explain": ({"user": "eve", "group": "room"}, 200),
    "audit": ({"after": 0}, 200),
    "stats": ({}, 200),
}


class GeneratedClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("FANFARE_BIN", *DEV)
        cls.addClassCleanup(cls.server.stop)
        with urllib.request.urlopen(f"{cls.server.ready['api']}/openapi.json", timeout=30) as answer:
            cls.document = json.load(answer)
        home = tempfile.TemporaryDirectory()
        cls.addClassCleanup(home.cleanup)
        path, config = Path(home.name) / "openapi.json", Path(home.name) / "config.json"
        path.write_text(json.dumps(cls.document))
        config.write_text(json.dumps({"post_hooks": [], "package_name_override": "generated"}))
        made = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
        made += ["--path", str(path), "--config", str(config), "--output-path", f"{home.name}/generated"]
        done = subprocess.run(made, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        sys.path.insert(0, home.name)
        cls.addClassCleanup(sys.path.remove, home.name)
        generated = importlib.import_module("generated")
        key = cls.server.run("apikey", "create", "--name", "python", "--allow", "*")
        # The document has the path, and a client the server.
        base = cls.server.ready["api"].removesuffix(cls.document["servers"][0]["url"])
        url = base + cls.document["servers"][0]["url"]
        cls.client = generated.AuthenticatedClient(base_url=url, token=key)
        cls.addClassCleanup(cls.client.get_httpx_client().close)

    def call(self, tag, name, **given):
        module = importlib.import_module(f"generated.api.{tag}.{name}")
        return module.sync_detailed(client=self.client, **given)

    def body(self, name, value):
        schema = self.document["paths"][f"/{name.replace('_', '-')}"]["post"]["requestBody"]["content"]
        model = schema["application/json"]["schema"]["$ref"].rpartition("/")[2]
        return getattr(importlib.import_module("generated.models"), model).from_dict(value)

    def test_the_description_is_openapi_3_1(self):
        self.assertEqual(list(OpenAPIV31SpecValidator(self.document).iter_errors()), [])
        for path, item in self.document["paths"].items():
            for operation in item.values():
                self.assertTrue(operation.get("summary") or operation.get("description"), path)
                self.assertEqual(operation["security"], [{"key": []}], path)

    def test_a_round_of_everything(self):
        there = {operation["operationId"] for item in self.document["paths"].values() for operation in item.values()}
        self.assertEqual(there, set(OPERATIONS) | set(REFUSED) | set(QUESTIONS))
        for name, (body, expected) in OPERATIONS.items():
            with self.subTest(name):
                answer = self.call("operations", name, body=self.body(name, body), idempotency_key=f"once-{name}")
                self.assertEqual(answer.status_code, 200, answer.content)
                found = answer.parsed.to_dict()
                if expected is None:
                    self.assertEqual([result["status"] for result in found["results"]], [200, 501])
                else:
                    self.assertEqual(found | expected, found)
                again = self.call("operations", name, body=self.body(name, body), idempotency_key=f"once-{name}")
                self.assertEqual((again.content, again.headers["idempotency-replayed"]), (answer.content, "true"))
        for name, (body, status) in REFUSED.items():
            with self.subTest(name):
                answer = self.call("operations", name, body=self.body(name, body))
                self.assertEqual((answer.status_code, answer.parsed.status), (status, status), answer.content)
        for name, (given, status) in QUESTIONS.items():
            with self.subTest(name):
                answer = self.call("questions", name, **given)
                self.assertEqual(answer.status_code, status, answer.content)
                self.assertIsNotNone(answer.parsed)

    def test_who_has_no_key_gets_a_problem(self):
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{self.server.ready['api']}/groups", timeout=30)
        with refused.exception as problem:
            self.assertEqual((problem.code, problem.headers["content-type"]), (401, "application/problem+json"))
            self.assertEqual(json.load(problem)["code"], 3019)


if __name__ == "__main__":
    unittest.main()
