"""A WebTransport client that was written from PROTOCOL.md alone, against a real server: what it promises and forbids.

Owns: the tests, and the server process that they share, which is that of `test_native`. In: nothing. Out: a failure
wherever the server does not do what the page says. Each hostile test ends with a check that the server still serves
others.
"""

import asyncio
import contextlib
import unittest

import fanfare_codec as codec
import test_native
from fanfare_native import DEADLINE, Closed, native
from fanfare_web import CLOSE_SESSION, varint, web

GROUP = {"Group": "web"}
HEADERS, DATA, SETTINGS = 0x01, 0x00, 0x04
CONTROL = 0x00


def setUpModule():
    global server
    server = test_native.Server()


def tearDownModule():
    code = server.stop()
    if code != 0:
        raise AssertionError(f"the server ended with {code}")


def connect(**settings):
    return web(server.address, server.authority, **settings)


def send(payload, request=1, to=GROUP, ack=False, event="Cursor"):
    fields = {"request": request, "ack": ack, "to": [to], "except": [], "others": False}
    return {"Send": {**fields, "event": event, "format": 1, "payload": payload}}


class Conversation(unittest.IsolatedAsyncioTestCase):
    async def test_browsers_and_native_clients_meet_in_a_group(self):
        async with connect() as alice, native(server.address, server.authority) as bob:
            self.assertEqual((await alice.hello("alice"))["user"], "alice")
            await bob.hello("bob")
            await alice.ask("Join", group="web")
            self.assertEqual(await alice.hear(), {"Joined": {"group": "web", "members": 1}})
            self.assertEqual((await bob.ask("Join", group="web"))["Ack"]["count"], 2)
            await bob.hear()
            self.assertEqual(await bob.send([GROUP], b"to the web", others=True), 1)
            self.assertEqual(await alice.message(), (GROUP, b"to the web"))
            self.assertEqual(await alice.send([GROUP], b"from the web", others=True), 1)
            self.assertEqual(await bob.message(), (GROUP, b"from the web"))
            self.assertEqual(alice.foreign, [], "the server opens no stream")

    async def test_the_end_of_the_stream_closes_the_session_with_code_0(self):
        async with connect() as alice:
            await alice.hello("alice")
            alice.write(b"", end=True)
            with self.assertRaises(Closed) as closed:
                await alice.hear()
            self.assertEqual(closed.exception.code, 0)

    async def test_codes_and_reasons_come_in_the_capsule(self):
        for bytes_, code in [
            (codec.encode_client({"Join": {"request": 1, "group": "x"}}), 2004),
            (codec.encode_client({"Hello": {"protocol": 9, "features": 0, "credential": {"DevUser": "x"}}}), 2006),
            (codec.encode_client({"Hello": {"protocol": 1, "features": 0, "credential": {"Token": "x"}}}), 3001),
            (b"\xff\xff\xff\xff", 2002),
            (b"\x01\x00\x00\x00\xff", 2001),
        ]:
            async with connect() as alice:
                alice.write(bytes_)
                goodbye = (await alice.hear())["Goodbye"]
                self.assertEqual(goodbye["code"], code)
                with self.assertRaises(Closed) as closed:
                    await alice.hear()
                self.assertEqual(closed.exception.code, code)
                self.assertTrue(closed.exception.reason)

    async def test_datagrams_go_both_ways_and_the_stream_tells_what_is_refused(self):
        async with connect() as alice, connect() as bob:
            await alice.hello("alice")
            await bob.hello("bob")
            for client in (alice, bob):
                await client.ask("Join", group="web")
            # One may get lost, so it is said until it is heard.
            heard = asyncio.ensure_future(bob.hear_datagram())
            while not heard.done():
                alice.say_unreliably(send(b"12,34"))
                await asyncio.wait([heard], timeout=0.05)
            message = heard.result()["Message"]
            self.assertEqual((message["to"], message["event"], message["payload"]), (GROUP, "Cursor", b"12,34"))
            self.assertEqual(message["from"]["Connection"]["user"], "alice")
            # 1,100 bytes with everything: what the page says a datagram may have.
            room = codec_room("alice", "web", "Cursor")
            for size, answer in ((room, "Ack"), (room + 1, "Error")):
                found = None
                for attempt in range(100):
                    request = 1_000 * size + attempt
                    alice.say_unreliably(send(b"x" * size, request=request, ack=True))
                    with contextlib.suppress(asyncio.TimeoutError):
                        found = await asyncio.wait_for(answer_to(alice, range(1_000 * size, request + 1)), 0.5)
                        break
                self.assertIn(answer, found)
                if answer == "Error":
                    self.assertEqual(found["Error"]["code"], 4006)
                    self.assertIn("1100", found["Error"]["detail"])

    async def test_a_datagram_that_is_no_send_ends_the_connection(self):
        for body in (b"", b"\xff", codec.encode_client({"Join": {"request": 1, "group": "x"}})[4:]):
            async with connect() as alice:
                await alice.hello("alice")
                ended = asyncio.ensure_future(alice.end())
                while not ended.done():
                    alice.http.send_datagram(alice.session, body)
                    alice.transmit()
                    await asyncio.wait([ended], timeout=0.05)
                self.assertEqual(ended.result().code, 2001)


def codec_room(user, group, event):
    """What is left for the payload of a message in a datagram of 1,100 bytes."""
    names = sum(1 + len(name) for name in (user, group, event))
    # Message, sender, its id, target, format, and a length of three bytes.
    return 1_100 - (1 + 1 + 16 + 1 + names + 1 + 3)


async def answer_to(client, requests):
    while True:
        frame = await client.hear()
        ((kind, content),) = frame.items()
        if kind in ("Ack", "Error") and content["request"] in requests:
            return frame


class Hostile(unittest.IsolatedAsyncioTestCase):
    async def asyncTearDown(self):
        async with connect() as somebody:
            await somebody.hello("somebody")
            self.assertEqual(await somebody.send([{"User": "somebody"}], b"still there"), 1)

    async def test_other_paths_and_origins_are_told_so(self):
        for fields, status in [
            ({"path": "/"}, 404),
            ({"path": "/fanfare/"}, 404),
            ({"path": "/fanfare?token=secret"}, 200),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": "http://localhost:1234"}, 200),
        ]:
            async with connect(session=False) as client:
                self.assertEqual(await client.ask_for_session(**fields), status, fields)

    async def test_what_is_no_connect_gets_no_session(self):
        for fields in [
            {":method": "GET", ":protocol": None},
            {":protocol": "websocket"},
            {":protocol": None},
            {":scheme": "http"},
            {":path": None},
            {"x-long": "x" * 20_000},
        ]:
            async with connect(session=False) as client:
                path = {} if ":path" in fields else {"path": "/fanfare"}
                with contextlib.suppress(Closed, asyncio.TimeoutError):
                    status = await client.ask_for_session(**{**path, **fields})
                    self.assertNotEqual(status, 200, fields)

    async def raw(self, *streams):
        """Writes bytes on streams of an HTTP/3 connection, as they are, and waits until the server has ended it."""
        async with connect(session=False) as client:
            for unidirectional, data in streams:
                stream = client._quic.get_next_available_stream_id(is_unidirectional=unidirectional)
                client._quic.send_stream_data(stream, data, False)
            client.transmit()
            return await client.end()

    async def test_bytes_that_are_no_http3_end_in_a_close(self):
        control = varint(CONTROL) + varint(SETTINGS) + varint(0)
        # Nothing at all, and settings without WebTransport: the handshake's deadline, or at once.
        for streams in [
            [],
            [(True, control)],
            [(True, varint(CONTROL) + varint(SETTINGS) + varint(1 << 40))],
            [(True, b"\xff" * 1_000)],
            [(True, varint(0x54) + varint(0))],
            [(False, b"GET / HTTP/1.1\r\n\r\n")],
            [(False, varint(HEADERS) + varint(1 << 50))],
        ]:
            await self.raw(*streams)

    async def test_frames_that_are_not_known_do_no_harm_before_the_headers(self):
        settings = varint(0x2B603742) + varint(1) + varint(0x33) + varint(1) + varint(0x08) + varint(1)
        control = varint(CONTROL) + varint(SETTINGS) + varint(len(settings)) + settings
        for frames in [
            varint(0x21) + varint(5) + b"greas",
            varint(0x1F * 7 + 0x21) * 1 + varint(0) + varint(HEADERS) + varint(3) + b"\x00\x00\xff",
            varint(HEADERS) + varint(20_000) + b"\x00" * 20_000,
            varint(DATA) + varint(4) + b"data",
        ]:
            await self.raw((True, control), (False, frames))

    async def test_other_sessions_and_streams_change_nothing(self):
        async with connect() as alice:
            await alice.hello("alice")
            # A stream of a session that there is not, one of nothing, and a datagram of another session.
            for data in (varint(0x54) + varint(400) + b"x" * 100, varint(0x21) + b"y" * 100):
                stream = alice._quic.get_next_available_stream_id(is_unidirectional=True)
                with contextlib.suppress(Exception):
                    alice._quic.send_stream_data(stream, data, True)
            alice._quic.send_datagram_frame(varint(77) + b"\x00")
            alice._quic.send_datagram_frame(b"")
            alice.transmit()
            try:
                self.assertEqual(await alice.send([{"User": "alice"}], b"hello"), 1)
            except Closed as closed:
                # A stream that says nothing of a session may end its own connection, and that alone.
                self.assertIsNotNone(closed.code)

    async def test_malformed_capsules_end_their_own_session(self):
        for data in [
            varint(CLOSE_SESSION) + varint(3) + b"abc",
            varint(CLOSE_SESSION) + varint(6) + b"\x00\x00\x00\x01\xff\xfe",
            varint(CLOSE_SESSION) + varint(1 << 40),
            varint(0x1234) + varint(1 << 60),
            b"\xff" * 64,
        ]:
            async with connect() as alice:
                await alice.hello("alice")
                alice.http.send_data(alice.session, data, end_stream=True)
                alice.transmit()
                await alice.end()

    async def test_a_client_that_closes_its_session_is_gone_at_once(self):
        async with connect() as watcher:
            await watcher.hello("watcher")
            async with connect() as alice:
                await alice.hello("leaving")
                alice.close_with(7, "bye")
                deadline = asyncio.get_running_loop().time() + DEADLINE
                while (await watcher.ask("Count", target={"User": "leaving"}))["Ack"]["count"] != 0:
                    self.assertLess(asyncio.get_running_loop().time(), deadline)


if __name__ == "__main__":
    unittest.main()
