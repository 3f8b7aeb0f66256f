"""A client that was written from PROTOCOL.md alone, against a real server: what the page promises, and what it forbids.

Owns: the tests, and the server process that they share. The binary is `$FANFARE_BIN`; `tests/python/run` sets it.

In: nothing. Out: a failure wherever the server does not do what the page says. Each hostile test ends with a check that
the server still serves others.
"""

import asyncio
import os
import queue
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import fanfare_codec as codec
from fanfare_native import DEADLINE, Table, native

GROUP = {"Group": "room"}


class Server:
    """`fanfare serve --dev` on a free port, with so much time for a handshake."""

    def __init__(self, handshake_deadline="1s"):
        self.home = tempfile.TemporaryDirectory()
        command = [os.environ["FANFARE_BIN"], "serve", "--dev", "--state-dir", self.home.name]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "off", "--http-listen", "off"]
        command += ["--handshake-deadline", handshake_deadline, "--presence-grace", "300ms", "--log", "error"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        ready = lines.get(timeout=DEADLINE).strip()
        host, port = ready.removeprefix("ready quic=").rsplit(":", 1)
        self.address = (host, int(port))
        self.authority = Path(self.home.name) / "ca.pem"

    def connect(self, **settings):
        return native(self.address, self.authority, **settings)

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=DEADLINE)
        self.process.stdout.close()
        self.home.cleanup()
        return code


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    code = server.stop()
    if code != 0:
        raise AssertionError(f"the server ended with {code}")


class Conversation(unittest.IsolatedAsyncioTestCase):
    async def test_a_hello_is_welcomed_with_the_limits(self):
        async with server.connect() as alice:
            welcome = await alice.hello("alice")
            self.assertEqual(welcome["protocol"], 1)
            self.assertEqual(welcome["user"], "alice")
            self.assertEqual(welcome["limits"]["payload_bytes"], 65_536)

    async def test_members_of_a_group_get_what_is_sent_to_it_once(self):
        async with server.connect() as alice, server.connect() as bob:
            await alice.hello("alice")
            await bob.hello("bob")
            self.assertEqual(await alice.ask("Join", group="room"), {"Ack": {"request": 1, "count": 1}})
            self.assertEqual(await alice.ask("Join", group="room"), {"Ack": {"request": 2, "count": 1}})
            self.assertEqual(await alice.hear(), {"Joined": {"group": "room", "members": 1}})
            self.assertEqual((await bob.ask("Join", group="room"))["Ack"]["count"], 2)
            self.assertEqual(await bob.hear(), {"Joined": {"group": "room", "members": 2}})
            self.assertEqual(await bob.send([GROUP, GROUP, {"User": "alice"}], b"to both"), 2)
            self.assertEqual(await bob.send([GROUP], b"to alice", others=True), 1)
            self.assertEqual(await bob.send([GROUP], b"to bob", except_=[alice.connection]), 1)
            self.assertEqual(await bob.send([GROUP], b"the end"), 2)
            for client, payloads in (
                (alice, [b"to both", b"to alice", b"the end"]),
                (bob, [b"to both", b"to bob", b"the end"]),
            ):
                for payload in payloads:
                    self.assertEqual(await client.message(), (GROUP, payload))
            count = await alice.ask("Count", target=GROUP)
            self.assertEqual(count["Ack"]["count"], 2)
            self.assertEqual((await alice.ask("Leave", group="room"))["Ack"]["count"], 1)
            self.assertEqual((await alice.ask("Leave", group="room"))["Ack"]["count"], 1)
            self.assertEqual(await bob.send([GROUP], b"alone"), 1)

    async def test_users_connections_and_everyone_can_be_sent_to(self):
        async with server.connect() as one, server.connect() as two, server.connect() as bob:
            await one.hello("carol")
            await two.hello("carol")
            await bob.hello("bob")
            self.assertEqual(await bob.send([{"User": "carol"}], b"\x00\xff", event="E", format=250), 2)
            expected = {
                "from": {"Connection": {"connection": bob.connection, "user": "bob"}},
                "to": {"User": "carol"},
                "event": "E",
                "format": 250,
                "payload": b"\x00\xff",
            }
            self.assertEqual(await one.hear(), {"Message": expected})
            self.assertEqual(await two.hear(), {"Message": expected})
            self.assertEqual(await bob.send([{"Connection": two.connection}], b""), 1)
            self.assertEqual(await two.message(), ({"Connection": two.connection}, b""))
            self.assertEqual(await bob.send(["All"], b"all", others=True), 2)
            self.assertEqual(await one.message(), ("All", b"all"))
            self.assertEqual(await bob.send([{"User": "nobody"}], b"x"), 0)

    async def test_what_one_sender_says_arrives_in_its_order_and_whole(self):
        async with server.connect() as alice, server.connect() as bob:
            await alice.hello("alice")
            await bob.hello("bob")
            await alice.ask("Join", group="long")
            self.assertEqual(await alice.hear(), {"Joined": {"group": "long", "members": 1}})
            for number in range(500):
                await bob.send([{"Group": "long"}], str(number).encode(), ack=False)
            await bob.send([{"Group": "long"}], bytes(65_536), ack=False)
            for number in range(500):
                self.assertEqual((await alice.message())[1], str(number).encode())
            self.assertEqual((await alice.message())[1], bytes(65_536))

    async def test_a_request_that_cannot_be_is_answered_with_its_code(self):
        async with server.connect() as alice:
            await alice.hello("alice")
            refused = await alice.ask("Refresh", token="a.b.c")
            self.assertEqual(refused["Error"]["code"], 3001)
            message = {"ack": True, "except": [], "others": False, "event": "E", "format": 0, "payload": b""}
            refused = await alice.ask("Send", to=[GROUP] * 257, **message)
            self.assertEqual(refused["Error"]["code"], 4005)
            refused = await alice.ask("Send", to=[], **message)
            self.assertEqual(refused["Error"]["code"], 2102)
            # And the connection goes on.
            self.assertGreaterEqual((await alice.ask("Count", target="All"))["Ack"]["count"], 1)

    async def test_what_a_later_version_says_is_skipped_or_refused_and_the_rest_goes_on(self):
        async with server.connect() as alice:
            later = {"Hello": {"protocol": 1, "features": 1 << 63, "credential": {"DevUser": "later"}}}
            alice.write(codec.with_extensions(codec.encode_client(later), [(250, b"x")]))
            welcome = (await alice.hear())["Welcome"]
            self.assertEqual((welcome["features"], welcome["session"], welcome["position"]), (0, bytes(16), 0))
            self.assertEqual(welcome["connection"][: welcome["node_bytes"]], welcome["connection"][:4])
            # An unknown frame that is no request, and one that is; then requests with extensions and an unknown target.
            alice.write(b"\x02\x00\x00\x00\xfa\xff" + b"\x03\x00\x00\x00\x7f\x07\xff")
            refused = (await alice.hear())["Error"]
            self.assertEqual((refused["request"], refused["code"]), (7, 2105))
            count = codec.encode_client({"Count": {"request": 8, "target": "All"}})
            alice.write(codec.with_extensions(count, [(248, b""), (249, b"")]))
            refused = (await alice.hear())["Error"]
            self.assertEqual((refused["request"], refused["code"]), (8, 2106))
            alice.write(b"\x03\x00\x00\x00\x04\x09\xfa")
            refused = (await alice.hear())["Error"]
            self.assertEqual((refused["request"], refused["code"]), (9, 2105))
            alice.write(codec.with_extensions(count, [(250, b"x")]))
            self.assertGreaterEqual((await alice.hear())["Ack"]["count"], 1)

    async def test_a_watcher_knows_who_is_in_a_group(self):
        async with server.connect() as watcher, server.connect() as alice, server.connect() as bob:
            await watcher.hello("watcher", features=1 << 2)
            await alice.hello("alice")
            await bob.hello("bob")
            await alice.ask("Join", group="watched")
            table = Table("watched")

            async def until(users):
                while table.users != users or not table.complete:
                    table.take(await watcher.hear())

            self.assertEqual((await watcher.ask("Watch", group="watched"))["Ack"]["count"], 1)
            await until({"alice": (1, None)})
            await bob.ask("Join", group="watched")
            await until({"alice": (1, None), "bob": (1, None)})
            async with server.connect() as other:
                await other.hello("bob")
                await other.ask("Join", group="watched")
                await until({"alice": (1, None), "bob": (2, None)})
            await alice.ask("Leave", group="watched")
            await until({"bob": (1, None)})
            # Again, from the beginning.
            self.assertEqual((await watcher.ask("Watch", group="watched"))["Ack"]["count"], 1)
            anew = await watcher.hear()
            self.assertTrue(anew["Snapshot"]["begins"])
            table.take(anew)
            self.assertEqual((table.users, table.complete), ({"bob": (1, None)}, True))
            self.assertEqual((await watcher.ask("Unwatch", group="watched"))["Ack"]["count"], 0)
            # Nothing comes of it any more, though others are told.
            async with server.connect() as second:
                await second.hello("second", features=1 << 2)
                await second.ask("Watch", group="watched")
                bob_alone = [{"user": "bob", "connections": 1, "data": None}]
                self.assertEqual((await second.hear())["Snapshot"]["present"], bob_alone)
                await alice.ask("Join", group="watched")
                self.assertEqual((await second.hear())["Changes"]["present"][0]["user"], "alice")
            await watcher.ask("Count", target="All")
            self.assertEqual(watcher.kept, [])
            # Who did not offer it has no such frames.
            self.assertEqual((await alice.ask("Watch", group="watched"))["Error"]["code"], 2105)

    async def test_who_closes_has_left(self):
        async with server.connect() as bob:
            await bob.hello("bob")
            async with server.connect() as alice:
                await alice.hello("alice")
                await alice.ask("Join", group="short")
                self.assertEqual((await bob.ask("Count", target={"Group": "short"}))["Ack"]["count"], 1)
                alice.write(b"", end=True)
                self.assertEqual((await alice.end()).code, 0)
            self.assertEqual((await bob.ask("Count", target={"Group": "short"}))["Ack"]["count"], 0)


class Hostile(unittest.IsolatedAsyncioTestCase):
    """Each ends the hostile connection with the code that the page names, and nothing else."""

    async def asyncTearDown(self):
        async with server.connect() as other:
            await other.hello("other")
            self.assertEqual(await other.send([{"User": "other"}], b"alive"), 1)

    async def ends(self, code, peer):
        self.assertEqual((await peer.end()).code, code)

    async def test_another_alpn(self):
        with self.assertRaises(ConnectionError):
            async with server.connect(alpn=b"h2"):
                pass

    async def test_no_hello(self):
        async with server.connect() as peer:
            await self.ends(2007, peer)

    async def test_half_a_hello(self):
        async with server.connect() as peer:
            peer.write(b"\x09\x00\x00\x00\x00\x01")
            await self.ends(2007, peer)

    async def test_another_version(self):
        async with server.connect() as peer:
            peer.say({"Hello": {"protocol": 9, "features": 0, "credential": {"DevUser": "alice"}}})
            await self.ends(2006, peer)

    async def test_garbage(self):
        for data, code in (
            (b"GET / HTTP/1.1\r\n\r\n", 2002),
            (b"\xff" * 64, 2002),
            (b"\x01\x00\x00\x00\xff", 2001),
            (b"\x01\x00\x00\x00\xfa", 2004),
            (bytes(1000), 2001),
        ):
            async with server.connect() as peer:
                peer.write(data)
                self.assertEqual((await peer.end()).code, code, data)

    async def test_every_byte_of_a_hello_wrong_in_turn(self):
        hello = codec.encode_client({"Hello": {"protocol": 1, "features": 0, "credential": {"DevUser": "alice"}}})
        for at in range(4, len(hello)):
            async with server.connect() as peer:
                peer.write(hello[:at] + bytes([hello[at] ^ 0xFF]) + hello[at + 1 :])
                self.assertIn((await peer.end()).code, (2001, 2004, 2006, 3001), f"byte {at}")

    async def test_a_length_beyond_every_limit(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            peer.write(b"\xff\xff\xff\xff")
            await self.ends(2002, peer)

    async def test_a_second_hello(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            peer.say({"Hello": {"protocol": 1, "features": 0, "credential": {"DevUser": "mallory"}}})
            await self.ends(2005, peer)

    async def test_a_stream_that_ends_inside_a_frame(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            peer.write(b"\x07\x00\x00\x00\x01", end=True)
            await self.ends(2003, peer)

    async def test_more_streams_than_allowed(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            # As a peer that does not care for limits.
            peer._quic._remote_max_streams_bidi = 1 << 20
            for stream in range(4, 4000, 4):
                peer._quic.send_stream_data(stream, b"x")
            peer.transmit()
            await self.ends(0x4, peer)

    async def test_unidirectional_streams(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            # Three are allowed, for WebTransport's sake, and nobody looks at them.
            for stream in (2, 6, 10):
                peer._quic.send_stream_data(stream, b"x" * 1_000)
            await peer.ping()
            peer._quic._remote_max_streams_uni = 1 << 20
            peer._quic.send_stream_data(14, b"x")
            peer.transmit()
            await self.ends(0x4, peer)

    async def test_a_datagram(self):
        async with server.connect(max_datagram_frame_size=65_535) as peer:
            await peer.hello("mallory")
            ended = asyncio.ensure_future(peer.end())
            # One may get lost.
            while not ended.done():
                peer._quic.send_datagram_frame(b"\xff" * 100)
                peer.transmit()
                await asyncio.wait([ended], timeout=0.05)
            self.assertEqual(ended.result().code, 2001)

    async def test_data_beyond_the_flow_control_window(self):
        async with server.connect() as peer:
            await peer.hello("mallory")
            # Answered, so everything before it is acknowledged and nothing is buffered.
            await peer.ping()
            stream = peer._quic._streams[peer.stream]
            stream.max_stream_data_remote = 1 << 40
            peer._quic._remote_max_data = 1 << 40
            # What comes next stands a megabyte further on in the stream, beyond the window that the server gave.
            stream.sender._buffer_start += 1 << 20
            stream.sender._buffer_stop += 1 << 20
            peer.write(b"x")
            await self.ends(0x3, peer)


if __name__ == "__main__":
    unittest.main()
