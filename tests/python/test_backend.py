"""examples/backend.py beside a real server: a back end that is asked and told over HTTP, and acts by the HTTP API.

Owns: the tests, and for each class a server, the back end, and a second end point that hears everything. The binary is
`$FANFARE_BIN`; `tests/python/run` sets it. Every webhook is verified by `standardwebhooks`: in the back end, and at the
second end point.

In: nothing. Out: a failure wherever a client is not answered as the back end says, an event is missing or out of order,
or a request is taken whose signature does not count.
"""

import asyncio
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from asyncio import to_thread as apart
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fanfare_native import Closed, native
from signalr_clients import DEADLINE, PySignalR, SignalRCore
from standardwebhooks import Webhook
from test_signalr import SECRET, until_ready

ROOT = Path(__file__).parents[2]
# What it is to say of no request: whose each session is.
SESSIONS = {"a session of Alice's": "alice", "a session of Mallory's": "mallory"}
# The feature of calls, and the format of JSON.
CALLS, JSON = 2, 2
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Where a server is: its flags, and the words of its ready line.
PLACES = {"--listen": "quic", "--admin-listen": "admin", "--http-listen": "http"}

WEBHOOKS = """
[[webhook]]
name = "chat"
url = "http://127.0.0.1:{port}/fanfare"
secrets = ["chat.secret"]
connect = true
invoke = ["*"]
events = ["started", "joined", "left", "disconnected"]

[[webhook]]
name = "witness"
url = "http://127.0.0.1:{witness}/"
secrets = ["new.secret", "old.secret"]
batch = 10
events = ["started", "joined", "left", "user_joined", "user_left", "group_opened", "group_closed", "disconnected"]
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def eventually(what, holds):
    """Waits until something is so, and gives it; clients go on meanwhile."""
    deadline = time.monotonic() + DEADLINE
    while not (found := await apart(holds)):
        if time.monotonic() > deadline:
            raise AssertionError(f"it is never so: {what}")
        await asyncio.sleep(0.01)
    return found


def post(url, body, headers):
    """The status of the answer, and its JSON."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


class Lines:
    """What a process has printed, line by line, as it prints it."""

    def __init__(self, stream):
        self.said, self.first = [], threading.Event()
        self.reader = threading.Thread(target=self.read, args=(stream,))
        self.reader.start()

    def read(self, stream):
        for line in stream:
            self.said.append(line.rstrip("\n"))
            self.first.set()

    def end(self):
        self.reader.join(DEADLINE)


class Running:
    """A process, and what it says on both channels."""

    def __init__(self, command, **settings):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, **settings)
        self.out, self.errors = Lines(self.process.stdout), Lines(self.process.stderr)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=DEADLINE)
        for lines, stream in ((self.out, self.process.stdout), (self.errors, self.process.stderr)):
            lines.end()
            stream.close()


class Witness(http.server.ThreadingHTTPServer):
    """An end point that is told everything, and verifies each request by both of its secrets."""

    def __init__(self, secrets):
        super().__init__(("127.0.0.1", 0), Ear)
        self.verifiers = [Webhook(secret) for secret in secrets]
        self.events, self.broken = [], []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def end(self):
        self.shutdown()
        self.thread.join(DEADLINE)
        self.server_close()


class Ear(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            for verifier in self.server.verifiers:
                events = verifier.verify(body, dict(self.headers.items()))
            self.server.events += events
        except Exception as error:  # Whatever it is, the test fails by it.
            self.server.broken.append(error)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Stage:
    """A server with its webhooks, in a directory of its own, and the back end when it is started."""

    def __init__(self):
        self.home = tempfile.TemporaryDirectory()
        self.place = Path(self.home.name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        self.environment = kept | {"FANFARE_STATE_DIR": str(self.place / "state")}
        self.secrets = {name: self.run("webhook", "secret") for name in ("chat", "new", "old")}
        for name, text in {**self.secrets, "token": SECRET}.items():
            path = self.place / f"{name}.secret"
            path.touch(0o600)
            path.write_text(text)
        self.witness = Witness([self.secrets["new"], self.secrets["old"]])
        self.port = free_port()
        ports = {"port": self.port, "witness": self.witness.server_port}
        (self.place / "webhooks.toml").write_text(WEBHOOKS.format(**ports))
        self.places = dict.fromkeys(PLACES, "127.0.0.1:0")
        self.back_ends, self.tokens = [], []
        self.serve()
        scopes = [word for scope in ("send:group:*", "members", "mint") for word in ("--allow", scope)]
        self.key = self.run("apikey", "create", "--name", "chat", *scopes)

    def serve(self):
        """Starts the server, also once more in its place."""
        command = [os.environ["FANFARE_BIN"], "serve", "--dev", "--log", "error"]
        command += ["--token-secret", "token.secret", "--webhooks", "webhooks.toml"]
        command += [f"{flag}={address}" for flag, address in self.places.items()]
        self.server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=self.environment, cwd=self.home.name
        )
        self.ready = until_ready(self.server)
        self.places = {flag: self.ready[word] for flag, word in PLACES.items()}
        self.environment["FANFARE_ADMIN"] = self.ready["admin"]

    def stop(self, how=signal.SIGTERM):
        self.server.send_signal(how)
        self.server.wait(timeout=DEADLINE)
        self.server.stdout.close()

    def run(self, *words):
        command = [os.environ["FANFARE_BIN"], *words]
        settings = {"capture_output": True, "text": True, "timeout": DEADLINE}
        done = subprocess.run(command, env=self.environment, check=False, **settings)
        if done.returncode != 0:
            raise AssertionError(f"{words}: {done.returncode} {done.stderr}")
        return done.stdout.strip()

    def start_back_end(self):
        settings = {"FANFARE_API": self.ready["api"], "PORT": str(self.port), "SESSIONS": json.dumps(SESSIONS)}
        # As they are in a file, with the end of its line.
        settings |= {"FANFARE_API_KEY": self.key + "\n", "WEBHOOK_SECRET": self.secrets["chat"] + "\n"}
        self.back_end = Running([sys.executable, str(ROOT / "examples/backend.py")], env=self.environment | settings)
        self.back_ends.append(self.back_end)
        self.back_end.out.first.wait(DEADLINE)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def events(self, **wanted):
        """The events of which all this is so that the back end has taken since it was started."""
        said = [json.loads(line.removeprefix("event ")) for line in self.back_end.out.said if line.startswith("event ")]
        return [event for event in said if wanted.items() <= event.items()]

    async def told(self, **wanted):
        return await eventually(f"it is told {wanted}", lambda: self.events(**wanted))

    def forge(self, body, name="evt_1_1", secret=None, at=None):
        """A request as the server signs it."""
        at = at or datetime.now(tz=UTC)
        signature = Webhook(secret or self.secrets["chat"]).sign(name, at, body)
        return {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}

    @contextlib.asynccontextmanager
    async def client(self, user):
        """A client of Fanfare's with a token that allows nothing, which the back end has let in."""
        token = await apart(self.run, "token", "--secret", str(self.place / "token.secret"), "--user", user)
        self.tokens.append(token)
        host, port = self.ready["quic"].rsplit(":", 1)
        async with native((host, int(port)), self.place / "state/ca.pem") as client:
            client.say({"Hello": {"protocol": 1, "features": CALLS, "credential": {"Token": token}}})
            answer = await client.hear()
            if "Goodbye" in answer:
                raise Closed(answer["Goodbye"]["code"], answer["Goodbye"]["reason"])
            client.connection = answer["Welcome"]["connection"]
            yield client

    def end(self):
        # The server first, which else would wait for its last events to be taken.
        if self.server.returncode is None:
            self.stop()
        for back_end in self.back_ends:
            if back_end.process.returncode is None:
                back_end.end()
        self.witness.end()
        self.home.cleanup()
        said = "\n".join(line for one in self.back_ends for line in one.out.said + one.errors.said)
        secrets = [self.key, *self.secrets.values(), *SESSIONS, *self.tokens]
        assert not any(secret.removeprefix("whsec_") in said for secret in secrets), "a secret is in its lines"
        assert "Traceback" not in said, said
        assert not self.witness.broken, self.witness.broken


def shown(connection):
    """A connection's id as people and back ends have it (docs/protocol/ids.md)."""
    number = int.from_bytes(connection, "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


async def call(client, method, *arguments):
    """What a method gives, or the code and the detail that it fails with."""
    client.requests += 1
    arguments = {"format": JSON, "payload": json.dumps(arguments).encode()}
    fields = {"method": method, "credit": 0, "streams": [], "arguments": arguments}
    client.say({"Invoke": {"request": client.requests, **fields}})
    others = []
    while "Completion" not in (frame := await client.hear()):
        others.append(frame)
    client.kept = others + client.kept
    outcome = frame["Completion"]["outcome"]
    if outcome == "Nothing":
        return None
    if "Failed" in outcome:
        return outcome["Failed"]["code"], outcome["Failed"]["detail"]
    assert outcome["Value"]["format"] == JSON, outcome
    return json.loads(outcome["Value"]["payload"])


async def joined(client):
    """The group of the next frame, which says that one is in it."""
    return (await client.hear())["Joined"]["group"]


class BackEnd(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.stage = Stage()
        self.addCleanup(self.stage.end)
        self.stage.start_back_end()

    async def test_who_is_known_is_let_in_and_nobody_else(self):
        async with self.stage.client("alice") as alice:
            self.assertEqual(await joined(alice), "lobby")
            # What it may do is what the back end has said, and nothing that another token would allow.
            self.assertIn("Ack", await alice.ask("Join", group="staff"))
            self.assertEqual((await alice.ask("Join", group="board"))["Error"]["code"], 3102)
        with self.assertRaises(Closed) as refused:
            async with self.stage.client("mallory"):
                pass
        self.assertEqual((refused.exception.code, refused.exception.reason), (3017, "nobody here knows mallory"))

    async def test_methods_are_answered_and_what_they_send_arrives(self):
        async with self.stage.client("alice") as alice, self.stage.client("bob") as bob:
            self.assertEqual((await joined(alice), await joined(bob)), ("lobby", "lobby"))
            self.assertEqual(await call(alice, "Send", "lobby", "Good morning, café"), 2)
            for client in (alice, bob):
                message = (await client.hear())["Message"]
                self.assertEqual((message["from"], message["to"]), ("Server", {"Group": "lobby"}))
                self.assertEqual((message["event"], message["format"]), ("ReceiveMessage", JSON))
                self.assertEqual(json.loads(message["payload"]), ["alice", "Good morning, café"])
            self.assertEqual(await call(bob, "Send", "staff", "psst"), (2203, "staff is not open to you"))
            self.assertEqual((await call(bob, "Send", "lobby", 7))[0], 2203)
            self.assertEqual((await call(bob, "Send"))[0], 2203)
            self.assertEqual((await call(bob, "send", "lobby", "x"))[0], 2201)

    async def test_a_lasting_membership_outlives_connections(self):
        async with self.stage.client("alice") as alice:
            self.assertEqual(await joined(alice), "lobby")
            self.assertIs(await call(alice, "Join", "staff"), True)
            self.assertEqual(await joined(alice), "staff")
            self.assertIs(await call(alice, "Join", "staff"), False)
        async with self.stage.client("alice") as alice:
            self.assertEqual({await joined(alice), await joined(alice)}, {"lobby", "staff"})
            await self.stage.told(type="joined", connection=shown(alice.connection), group="staff")
            self.assertEqual(await call(alice, "Here", "staff"), ["alice"])
            self.assertIs(await call(alice, "Leave", "staff"), True)
            self.assertEqual((await alice.hear())["Removed"]["group"], "staff")
            self.assertIs(await call(alice, "Leave", "staff"), False)
        async with self.stage.client("alice") as alice:
            self.assertEqual(await joined(alice), "lobby")
            # It would have come before this.
            self.assertEqual((await alice.ask("Count", target={"Group": "lobby"}))["Ack"]["count"], 1)
            self.assertEqual(alice.kept, [])

    async def test_clients_of_signalr_negotiate_here_and_connect_there(self):
        session, stranger = SESSIONS
        for make in (PySignalR, SignalRCore):
            for encoding in ("json", "messagepack"):
                with self.subTest(f"{make.__name__} {encoding}"):
                    headers = {"Authorization": f"Bearer {session}"}
                    settings = {"headers": headers} if make is PySignalR else {"options": {"headers": headers}}
                    async with make(f"{self.stage.url}/chat", encoding, **settings) as alice:
                        alice.hear("ReceiveMessage")
                        self.assertEqual(await alice.call("Send", "lobby", "hello"), 1)
                        self.assertEqual(await alice.heard("ReceiveMessage"), ["alice", "hello"])
                        self.assertIn("board is not open to you", await alice.error("Send", "board", "hello"))
                        self.assertIn("Method does not exist", await alice.error("send", "lobby", "hello"))
                    await eventually("it has gone", lambda: "alice" not in self.stage.run("admin", "users"))
        status, answer = await apart(post, f"{self.stage.url}/chat/negotiate", b"", {"Authorization": "Bearer another"})
        self.assertEqual((status, answer), (401, {"detail": "please sign in"}))
        status, answer = await apart(
            post, f"{self.stage.url}/chat/negotiate", b"", {"Authorization": f"Bearer {stranger}"}
        )
        self.stage.tokens.append(answer["accessToken"])
        # Who is signed in is not let in for that.
        headers = {"Authorization": f"Bearer {answer['accessToken']}"}
        self.assertEqual((status, answer["url"]), (200, self.stage.ready["signalr"]))
        client = PySignalR(answer["url"], "json", headers=headers)
        with self.assertRaisesRegex(Exception, "nobody here knows mallory"):
            await client.connect()

    async def test_what_is_not_signed_is_not_taken(self):
        stage, event = self.stage, json.dumps({"type": "started", "epoch": 1, "sequence": 1, "at_ms": 1})
        good = stage.forge(event)
        name, at = good["webhook-id"], datetime.now(tz=UTC)
        forged = {
            "nothing": {},
            "no signature": good | {"webhook-signature": ""},
            "another secret": stage.forge(event, secret="whsec_" + "A" * 43 + "="),
            "another id": good | {"webhook-id": "evt_1_2"},
            "old": stage.forge(event, at=at - timedelta(minutes=6)),
            "of the future": stage.forge(event, at=at + timedelta(minutes=6)),
            "another time": good | {"webhook-timestamp": str(int(at.timestamp()) + 9)},
            "no time": good | {"webhook-timestamp": "nan"},
            "no version": good | {"webhook-signature": good["webhook-signature"].removeprefix("v1,")},
            "no base64": good | {"webhook-signature": "v1,="},
            "another version": good | {"webhook-signature": good["webhook-signature"].replace("v1", "v2")},
        }
        for how, headers in forged.items():
            with self.subTest(how):
                answer = await apart(post, f"{stage.url}/fanfare", event.encode(), headers)
                self.assertEqual(answer, (401, {"detail": "the signature does not count"}))
        for body in (event.encode() + b" ", b"\xff", b""):
            self.assertEqual((await apart(post, f"{stage.url}/fanfare", body, good))[0], 401, body)
        # And with all of it right it counts, once.
        for _ in range(3):
            self.assertEqual((await apart(post, f"{stage.url}/fanfare", event.encode(), good))[0], 200)
        ask = json.dumps({"type": "invoke", "user": "alice", "method": "Here", "arguments": ["lobby"]})
        headers = stage.forge(ask, "ask_1")
        statuses = [(await apart(post, f"{stage.url}/fanfare", ask.encode(), headers))[0] for _ in range(2)]
        self.assertEqual(statuses, [200, 409])
        batch = json.dumps([{"id": name, "data": json.loads(event)}, {"id": "evt_1_2", "data": json.loads(event)}])
        self.assertEqual(
            (await apart(post, f"{stage.url}/fanfare", batch.encode(), stage.forge(batch, "batch_1")))[0], 200
        )
        # One for what was sent three times, and one for what was new in the batch; nothing of what was forged.
        last = json.dumps({"type": "started", "epoch": 2, "sequence": 1, "at_ms": 1})
        headers = stage.forge(last, "evt_2_1")
        self.assertEqual((await apart(post, f"{stage.url}/fanfare", last.encode(), headers))[0], 200)
        await stage.told(epoch=2)
        self.assertEqual(len(stage.events(epoch=1)), 2)
        self.assertEqual((await apart(post, f"{stage.url}/else", b"", {}))[0], 404)

    async def test_after_a_restart_of_the_server_nobody_is_here(self):
        stage = self.stage
        (first,) = await stage.told(type="started")
        async with stage.client("alice") as alice:
            await stage.told(type="joined", connection=shown(alice.connection))
            # Without a word: nothing says of Alice that she has gone, but that there is another server.
            await apart(stage.stop, signal.SIGKILL)
        await apart(stage.serve)
        (second,) = await eventually("it is told", lambda: stage.events(type="started")[1:])
        self.assertGreater(second["epoch"], first["epoch"])
        async with stage.client("bob") as bob:
            await stage.told(type="joined", connection=shown(bob.connection))
            self.assertEqual(await call(bob, "Here", "lobby"), ["bob"])

    async def test_a_back_end_that_was_down_is_told_in_order(self):
        stage = self.stage
        async with stage.client("alice") as alice:
            connection = shown(alice.connection)
            await stage.told(type="joined", connection=connection)
            await apart(stage.back_end.end, signal.SIGKILL)
            for _ in range(3):
                await alice.ask("Join", group="staff")
                await alice.ask("Leave", group="staff")
            code, _ = await call(alice, "Here", "lobby")
            self.assertEqual(code, 5004)
            with self.assertRaises(Closed) as refused:
                async with stage.client("bob"):
                    pass
            self.assertEqual(refused.exception.code, 3018)
        status = lambda: json.loads(stage.run("admin", "status", "--json"))["webhooks"]
        await eventually("it waits", lambda: status()[0]["waiting"] == 8)
        await apart(stage.start_back_end)
        await stage.told(type="disconnected", connection=connection)
        events = stage.events(connection=connection)
        staff = ["joined", "left"] * 3
        self.assertEqual([event["type"] for event in events], [*staff, "left", "disconnected"])
        numbers = [event["sequence"] for event in events]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual((events[-2]["group"], events[-2]["reason"]), ("lobby", "gone"))

    async def test_the_witness_has_heard_everything_signed_twice(self):
        async with self.stage.client("alice") as alice:
            await joined(alice)
            connection = shown(alice.connection)
        witness = self.stage.witness
        told = lambda: [one["data"] for one in witness.events if one["data"].get("connection") == connection]
        await eventually(
            "it is told", lambda: [event["type"] for event in told()] == ["joined", "left", "disconnected"]
        )
        await eventually("nothing is missing", lambda: numbers_of(witness)[-1] == len(numbers_of(witness)))
        self.assertTrue(all(one["specversion"] == "1.0" for one in witness.events))

    async def test_what_the_api_refuses_is_said_in_a_line(self):
        stage = self.stage
        async with stage.client("alice") as alice:
            await joined(alice)
            await apart(stage.run, "apikey", "revoke", "chat", "--reason", "it was in a repository")
            self.assertEqual((await call(alice, "Send", "lobby", "x"))[0], 5004)
        (line,) = await eventually("it says so", lambda: stage.back_end.errors.said)
        self.assertRegex(line, r'^trouble "send is refused: 401 .*')


def numbers_of(witness):
    return sorted({one["data"]["sequence"] for one in witness.events}) or [0]


def blocks():
    """What the README has of it: `webhooks.toml`, and the lines of each marked block."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("\n## With a back end that decides\n") :]
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", section.partition("\n## ")[2], re.MULTILINE | re.DOTALL)[:1]
    marked = re.findall(r"^<!-- test_backend.py: ([^>]*) -->\n```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return toml, {name: lines.splitlines() for name, lines in marked}


class ReadMe(unittest.IsolatedAsyncioTestCase):
    """The README's commands, as they stand there. What differs: the ports, and that nothing is installed."""

    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.place = Path(home.name)
        (self.place / "bin").mkdir()
        (self.place / "bin/fanfare").symlink_to(os.environ["FANFARE_BIN"])
        shutil.copy(ROOT / "examples/backend.py", self.place)
        (self.place / ".venv").symlink_to(sys.prefix)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        path = f"{self.place}/bin{os.pathsep}{os.environ['PATH']}"
        listen = {f"FANFARE_{name}LISTEN": "127.0.0.1:0" for name in ("", "ADMIN_", "HTTP_")}
        self.environment = kept | listen | {"PATH": path, "PORT": str(free_port())}
        self.ports = {":8000": f":{self.environment['PORT']}"}

    def here(self, text):
        for told, port in self.ports.items():
            text = text.replace(told, port)
        return text

    def begin(self, lines):
        """Runs commands in one shell, of which the last goes on, or ends by itself."""
        *before, last = [self.here(line) for line in lines if "pip install" not in line]
        script = "\n".join(["set -e", *before, f"exec {last}"])
        running = Running(["bash", "-c", script], env=self.environment, cwd=self.place)
        self.addCleanup(lambda: running.process.returncode is not None or running.end())
        return running

    async def said(self, running, what):
        every = lambda: [line for line in running.out.said + running.errors.said if is_like(line, what)]
        over = lambda: running.process.poll() is not None
        lines = await eventually(what, lambda: every() or over() and (every() or ["it has ended"]))
        self.assertTrue(is_like(lines[0], what), (what, running.out.said, running.errors.said))
        return lines[0]

    async def test_the_readme_does_what_it_says(self):
        toml, lines = blocks()
        (self.place / "webhooks.toml").write_text(self.here(toml))
        server = self.begin(lines["server"])
        ready = dict(word.split("=", 1) for word in (await self.said(server, "ready ...")).split() if "=" in word)
        for word, port in (("quic", ":4433"), ("admin", ":4434"), ("http", ":4480")):
            self.ports[port] = ":" + ready[word].rsplit(":", 1)[1]
        self.environment |= {"FANFARE_SERVER": ready["quic"], "FANFARE_ADMIN": ready["admin"]}
        back_end = self.begin(lines["back end"])
        await self.said(back_end, "ready http...")
        commands = [at for at, line in enumerate(lines["clients"]) if line.startswith("$ ")]
        listen, refused = (self.begin([lines["clients"][at].removeprefix("$ ")]) for at in commands)
        *joined, heard = lines["clients"][commands[0] + 1 : commands[1]]
        for line in joined:
            await self.said(listen, line)
        # As chat.mjs does, which web/test/backend.test.ts runs.
        headers = {"Authorization": "Bearer a-session"}
        async with PySignalR(self.here("http://127.0.0.1:8000/chat"), "json", headers=headers) as alice:
            self.assertEqual(await alice.call("Send", "lobby", "Good morning"), 2)
        await self.said(listen, heard)
        await self.said(refused, self.here(lines["clients"][-1]))
        # Before its back end, for which it would wait.
        await apart(server.end)

    def test_the_guide_shows_what_is_there(self):
        guide = (ROOT / "docs/from-signalr.md").read_text()
        for language, name in (("python", "backend.py"), ("js", "chat.mjs")):
            section = guide[guide.index("\n## An application that stays where it is\n") :]
            program = (ROOT / "examples" / name).read_text()
            pieces = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
            self.assertTrue(pieces)
            for piece in pieces:
                self.assertIn(piece, program)


def is_like(line, pattern):
    """Whether a line is as the README has it, where `...` stands for anything."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("...")), line) is not None


if __name__ == "__main__":
    unittest.main()
