"""SignalR's Python clients, as they are, against a real server: each in JSON and in MessagePack.

Owns: the tests, and the servers that they share. The binaries are `$FANFARE_BIN` and `$FANFARE_EVERYTHING`, which is
examples/everything.rs; `tests/python/run` sets them.

In: nothing. Out: a failure wherever a client cannot do here what it can do at a server of SignalR's own.
"""

import asyncio
import base64
import os
import queue
import subprocess
import tempfile
import threading
import unittest
import urllib.error
from pathlib import Path
from urllib.parse import quote

import pysignalr.exceptions
import websockets.exceptions
from signalr_clients import DEADLINE, PySignalR, SignalRCore, within

SECRET = "a secret that is long enough for anybody to use"


def until_ready(process):
    """What a ready line says, word by word."""
    lines = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    return dict(word.split("=", 1) for word in lines.get(timeout=DEADLINE).split() if "=" in word)


class Server:
    """A process that serves, in a directory of its own, and commands beside it."""

    def __init__(self, binary, *arguments):
        self.home = tempfile.TemporaryDirectory()
        self.secret = Path(self.home.name) / "secret"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        # One of the methods panics on purpose: where it does is of no interest.
        self.environment = kept | {"RUST_BACKTRACE": "0"}
        command = [os.environ[binary], *(argument.format(home=self.home.name) for argument in arguments)]
        # Started there: the example keeps its certificates where it is.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=self.environment, cwd=self.home.name
        )
        self.ready = until_ready(self.process)
        self.url, self.admin = self.ready["signalr"], self.ready.get("admin", "")

    def at(self, user):
        return f"{self.url}?user={quote(user)}"

    async def command(self, *words):
        """Runs a command to its end, and gives what it printed; the clients go on meanwhile."""
        return await asyncio.to_thread(self.run, *words)

    def run(self, *words):
        beside = {"FANFARE_ADMIN": self.admin, "FANFARE_STATE_DIR": f"{self.home.name}/state"}
        command = [os.environ["FANFARE_BIN"], *words]
        done = subprocess.run(command, env=self.environment | beside, capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode != 0:
            raise AssertionError(f"{words}: {done.returncode} {done.stderr}")
        return done.stdout.strip()

    async def token(self, user):
        signed = ["--secret", str(self.secret), "--user", user]
        return await self.command("token", *signed, "--join", "room", "--send", "room")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=DEADLINE)
        self.process.stdout.close()
        self.home.cleanup()


DEV = ["serve", "--dev", "--state-dir", "{home}/state", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
DEV += ["--http-listen", "127.0.0.1:0", "--log", "error"]


def setUpModule():
    global dev, guarded, everything
    dev = Server("FANFARE_BIN", *DEV)
    guarded = Server("FANFARE_BIN", *DEV, "--token-secret", "{home}/secret")
    everything = Server("FANFARE_EVERYTHING", "127.0.0.1:0", "127.0.0.1:0")


def tearDownModule():
    for server in (dev, guarded, everything):
        server.stop()


def unexpected(method, reason):
    return f"An unexpected error occurred invoking '{method}' on the server. HubException: {reason}"


class Cases:
    """What is asked of each client in each encoding."""

    make: type
    encoding: str

    def connect(self, server, user="alice", **settings):
        return self.make(server.at(f"{user} {self.id()}"), self.encoding, **settings)

    def named(self, name):
        return f"{name} {self.id()}"

    async def test_members_of_a_group_hear_what_is_sent_to_it(self):
        async with self.connect(dev) as alice, self.connect(dev, "bob") as bob:
            room = self.named("room")
            for client in (alice, bob):
                client.hear("MiXed")
            self.assertEqual(await alice.call("JoinGroup", room), 1)
            self.assertEqual(await bob.call("joingroup", room), 2)
            self.assertEqual(await bob.call("SendToGroup", room, "MiXed", "a", 1.5, None, [{"b": True}]), 2)
            self.assertEqual(await bob.call("SendToOthersInGroup", room, "MiXed", "to Alice"), 1)
            self.assertEqual(await alice.call("SendToUser", self.named("bob"), "MiXed"), 1)
            self.assertEqual(await alice.heard("MiXed"), ["a", 1.5, None, [{"b": True}]])
            self.assertEqual(await alice.heard("MiXed"), ["to Alice"])
            self.assertEqual(await bob.heard("MiXed"), ["a", 1.5, None, [{"b": True}]])
            self.assertEqual(await bob.heard("MiXed"), [])
            await alice.tell("LeaveGroup", room)
            self.assertEqual(await alice.call("Count", room), 1)

    async def test_what_is_sent_in_the_other_encoding_arrives(self):
        other = "messagepack" if self.encoding == "json" else "json"
        async with (
            self.connect(dev) as alice,
            PySignalR(dev.at(self.named("bob")), other) as bob,
        ):
            for client in (alice, bob):
                client.hear("Bytes")
            data = b"\x00\xff"
            binary = data if self.encoding == "messagepack" else base64.b64encode(data).decode()
            for user in (self.named("alice"), self.named("bob")):
                self.assertEqual(await alice.call("SendToUser", user, "Bytes", binary, ["é", 2**40]), 1)
            self.assertEqual(await alice.heard("Bytes"), [binary, ["é", 2**40]])
            # What was text in JSON stays text: nobody can tell that it is bytes.
            self.assertEqual(await bob.heard("Bytes"), [base64.b64encode(data).decode(), ["é", 2**40]])

    async def test_errors_have_signalrs_words(self):
        wrong = "Failed to invoke '{}' due to an error on the server."
        async with self.connect(dev) as alice:
            self.assertEqual(
                await alice.error("Missing"), wrong.format("Missing") + " HubException: Method does not exist."
            )
            self.assertEqual(await alice.error("JoinGroup", 7), wrong.format("JoinGroup"))
            self.assertRegex(await alice.error("JoinGroup", ""), r" HubException: .+ \(code 2101\)$")
            self.assertEqual(await alice.call("Count", "nobody's"), 0)

    async def test_methods_of_an_application(self):
        async with self.connect(everything) as alice:
            for value in (True, 0, -7, 1.5, "é😀", [], {}, [1, [None]], {"a": {"b": [1]}}):
                self.assertEqual(await alice.call("Echo", value), value)
            self.assertIsNone(await alice.call("Echo", None))
            self.assertIsNone(await alice.call("Nothing"))
            self.assertEqual(await alice.call("Add", 40, 2), 42)
            who = await alice.call("Whoami")
            self.assertEqual((who["user"], who["transport"]), (self.named("alice"), "signalr"))
            self.assertEqual(await alice.error("Fail", "no more"), unexpected("Fail", "no more"))
            self.assertEqual(
                await alice.error("Panic"), "An unexpected error occurred invoking 'Panic' on the server."
            )
            self.assertEqual(await alice.call("Add", 1, 2), 3)

    async def test_streams_from_the_server(self):
        async with self.connect(everything) as alice:
            self.assertEqual(await alice.stream("Counter", 500), (list(range(500)), None))
            self.assertEqual(await alice.stream("Counter", 0), ([], None))
            items, error = await alice.stream("FailingStream", 3)
            self.assertEqual(items, [0, 1, 2])
            self.assertRegex(error, "HubException: that is all$")
            items, error = await alice.stream("Add", 1, 2)
            sentence = "The client attempted to invoke the non-streaming 'Add' method with a streaming invocation."
            self.assertEqual((items, error), ([], sentence))

    async def test_streams_to_the_server(self):
        async with self.connect(everything) as alice:
            alice.hear("Sum")
            for numbers in (range(100), []):
                await alice.upload("TellSum", numbers)
                self.assertEqual(await alice.heard("Sum"), [sum(numbers)])
            self.assertEqual(await alice.call("Add", 1, 2), 3)

    async def test_an_operator_ends_a_membership_and_then_the_connection(self):
        async with self.connect(dev, "mallory") as mallory, self.connect(dev, "bob") as bob:
            mallory.hear("fanfare.Removed")
            room, user = self.named("room"), self.named("mallory")
            await mallory.call("JoinGroup", room)
            await dev.command("admin", "revoke", user, room, "--reason", "left the team")
            self.assertEqual(await mallory.heard("fanfare.Removed"), [room, 3103, "left the team"])
            unauthorized = "Failed to invoke 'JoinGroup' because user is unauthorized"
            self.assertEqual(await mallory.error("JoinGroup", room), unauthorized)
            await dev.command("admin", "kick", "--user", user, "--reason", "bye")
            self.kicked(await within(mallory.ended))
            self.assertEqual(await bob.call("Count", "user", user), 0)


class OfPySignalR(Cases):
    make = PySignalR

    def kicked(self, how):
        self.assertIsInstance(how, pysignalr.exceptions.ServerError)
        self.assertRegex(str(how), r"\(code 3010\)")

    async def test_a_method_asks_its_caller(self):
        async with self.connect(everything) as alice:
            alice.answer("Confirm", lambda question: {"yes": question})
            self.assertEqual(await alice.call("AskMe", "sure?"), {"yes": "sure?"})

    async def test_who_has_no_answer_to_a_question_says_so(self):
        async with self.connect(everything) as alice:
            self.assertRegex(await alice.error("AskMe", "sure?"), "HubException: Client didn't provide a result")

    async def test_tokens_in_the_header_and_in_the_query(self):
        token = await guarded.token("alice")
        for url, headers in (
            (guarded.url, {"Authorization": f"Bearer {token}"}),
            (f"{guarded.url}?access_token={token}", {}),
        ):
            async with PySignalR(url, self.encoding, headers=headers) as alice:
                self.assertEqual(await alice.call("JoinGroup", "room"), 1)
        # It asks for the token when the WebSocket is there already.
        for settings in ({}, {"headers": {"Authorization": "Bearer x"}}, {"access_token_factory": lambda: token}):
            with self.assertRaises(pysignalr.exceptions.AuthorizationError):
                async with PySignalR(guarded.url, self.encoding, **settings):
                    pass

    async def test_who_comes_back_with_an_id_that_has_ended_is_refused(self):
        async with self.connect(dev, "closed") as alice:
            user = self.named("closed")
            await dev.command("admin", "close", "--user", user, "--for", "10ms", "--reason", "for a moment")
            how = await within(alice.ended)
            # By the reason that it was closed for, or by the answer to the id that it comes back with.
            if isinstance(how, websockets.exceptions.InvalidStatus):
                self.assertEqual(how.response.status_code, 404)
            else:
                self.assertIsInstance(how, pysignalr.exceptions.ServerError)


class OfSignalRCore(Cases):
    make = SignalRCore

    def kicked(self, how):
        self.assertIsNone(how)

    async def test_tokens_come_from_a_function(self):
        token = await guarded.token("alice")
        options = {"access_token_factory": lambda: token}
        async with SignalRCore(guarded.url, self.encoding, options=options) as alice:
            self.assertEqual(await alice.call("JoinGroup", "room"), 1)
        async with SignalRCore(f"{guarded.url}?access_token={token}", self.encoding) as alice:
            self.assertEqual(await alice.call("JoinGroup", "room"), 1)
        for options in (None, {"access_token_factory": lambda: "no-token"}):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                async with SignalRCore(guarded.url, self.encoding, options=options):
                    pass
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()

    async def test_a_connection_without_negotiation(self):
        async with self.connect(dev, "direct", options={"skip_negotiation": True}) as alice:
            self.assertEqual(await alice.call("Count", "user", self.named("direct")), 1)

    async def test_who_is_closed_for_a_time_comes_back(self):
        reconnect = {"type": "raw", "keep_alive_interval": 1, "reconnect_interval": 1, "max_attempts": 30}
        async with self.connect(dev, "back", reconnect=reconnect) as alice:
            await alice.call("JoinGroup", self.named("room"))
            user = self.named("back")
            await dev.command("admin", "close", "--user", user, "--for", "10ms", "--reason", "for a moment")
            await within(alice.returned.wait())
            # It has negotiated anew, and is in no group.
            self.assertEqual(await alice.call("Count", self.named("room")), 0)
            self.assertEqual(await alice.call("Count", "user", user), 1)


class PySignalRInJson(OfPySignalR, unittest.IsolatedAsyncioTestCase):
    encoding = "json"


class PySignalRInMessagePack(OfPySignalR, unittest.IsolatedAsyncioTestCase):
    encoding = "messagepack"


class SignalRCoreInJson(OfSignalRCore, unittest.IsolatedAsyncioTestCase):
    encoding = "json"


class SignalRCoreInMessagePack(OfSignalRCore, unittest.IsolatedAsyncioTestCase):
    encoding = "messagepack"


if __name__ == "__main__":
    unittest.main()
