"""WebTransport in each of its dialects, and whatever else is asked of an HTTP/3 connection, against a real server.

Owns: the tests, and the server process that they share. In: nothing. Out: a failure wherever a client of a dialect is
not served (docs/protocol/webtransport.md), or a request is left without an answer. After each test somebody else is
served as before.
"""

import asyncio
import contextlib
import unittest

import fanfare_codec as codec
import test_native
from aioquic.h3.connection import encode_frame
from fanfare_dialects import CHROME, DATAGRAM, EVERY, MAX_DATA, MAX_STREAMS, WT_ENABLED, Dialect, Http3, control_stream
from fanfare_native import DEADLINE, Closed, native
from fanfare_web import PATH, varint, web
from test_web import send

GET = {":method": "GET"}
DATA, HEADERS, SETTINGS, GOAWAY, SESSION_STREAM = 0x00, 0x01, 0x04, 0x07, 0x41
NO_ERROR, STREAM_CREATION_ERROR, CLOSED_CRITICAL_STREAM, FRAME_UNEXPECTED = 0x100, 0x103, 0x104, 0x105
FRAME_ERROR, EXCESSIVE_LOAD, ID_ERROR, SETTINGS_ERROR, MISSING_SETTINGS = 0x106, 0x107, 0x108, 0x109, 0x10A
DECOMPRESSION_FAILED = 0x200
GOOD = control_stream([(DATAGRAM, 1)])


def setUpModule():
    global server
    # A connection without a session lasts no longer, and what is asked on it takes its time where a machine is busy.
    server = test_native.Server(handshake_deadline="60s")


def tearDownModule():
    code = server.stop()
    if code != 0:
        raise AssertionError(f"the server ended with {code}")


def connect(to=None, **settings):
    to = to or server
    return web(to.address, to.authority, **settings)


@contextlib.asynccontextmanager
async def http(dialect=CHROME, late=False, to=None):
    """An HTTP/3 connection without a session."""
    async with connect(to, session=False) as client:
        client.http = Http3(client._quic, dialect, late)
        client.transmit()
        yield client


class Served(unittest.IsolatedAsyncioTestCase):
    async def asyncTearDown(self):
        async with connect() as somebody:
            await somebody.hello("somebody")
            self.assertEqual(await somebody.send([{"User": "somebody"}], b"still there"), 1)

    async def is_alive(self, client, user):
        """The session does what it should: its stream, and its datagrams both ways."""
        group = {"Group": user}
        await client.hello(user)
        await client.ask("Join", group=user)
        await client.hear()
        self.assertEqual(await client.send([group], b"on the stream"), 1)
        self.assertEqual(await client.message(), (group, b"on the stream"))
        # One may get lost, so it is said until it is heard.
        heard = asyncio.ensure_future(client.hear_datagram())
        while not heard.done():
            client.say_unreliably(send(b"in a datagram", to=group))
            await asyncio.wait([heard], timeout=0.05)
        self.assertEqual(heard.result()["Message"]["payload"], b"in a datagram")
        self.assertEqual(client.foreign, [], "the server opens no stream")


class Dialects(Served):
    async def test_each_dialect_is_served(self):
        for number, dialect in enumerate(EVERY):
            with self.subTest(dialect.name):
                async with connect(dialect=dialect) as client, native(server.address, server.authority) as bob:
                    await self.is_alive(client, f"dialect-{number}")
                    await bob.hello("bob")
                    await bob.ask("Join", group="all")
                    await client.ask("Join", group="all")
                    self.assertEqual(await client.send([{"Group": "all"}], b"from it", others=True), 1)
                    await bob.hear()
                    self.assertEqual(await bob.message(), ({"Group": "all"}, b"from it"))
                    # Credit is for those alone that say that they would like some.
                    self.assertEqual(MAX_DATA in client.credit, 0x2B61 in dialect.settings)
                    client.write(b"\x01\x00\x00\x00\xff")
                    self.assertEqual((await client.end()).code, 2001)

    async def test_each_dialect_is_refused_with_a_status(self):
        for dialect in EVERY:
            for status, fields in [
                (404, {"path": "/"}),
                (404, {"path": "/fanfare/"}),
                (403, {"origin": "https://evil.example"}),
            ]:
                with self.subTest(f"{dialect.name}: {fields}"):
                    async with connect(session=False) as client:
                        self.assertEqual(await client.ask_for_session(dialect=dialect, **fields), status)
                        closed = await client.end()
                        self.assertEqual(closed.code, NO_ERROR)
                        self.assertTrue(closed.reason)

    async def test_credit_never_runs_out(self):
        for dialect in EVERY:
            if dialect.waits_for_credit:
                async with connect(dialect=dialect) as client:
                    self.assertEqual((client.credit[MAX_DATA], client.credit[MAX_STREAMS]), (1 << 60, 1 << 60))


class Settings(Served):
    async def test_a_session_that_is_asked_for_before_the_settings_waits_for_them(self):
        async with http(late=True) as client:
            client.send_connect()
            # The server has it, as what comes behind it is answered.
            self.assertEqual((await client.request("/x", **GET))[0], 404)
            self.assertFalse(client.status.done())
            client.http.say_settings()
            client.transmit()
            self.assertEqual(await client.status, 200)
            await self.is_alive(client, "late")

    async def test_who_never_says_its_settings_is_told_so_when_the_time_is_over(self):
        hasty = test_native.Server()
        try:
            async with http(late=True, to=hasty) as client:
                client.send_connect()
                self.assertEqual(await asyncio.wait_for(asyncio.shield(client.status), DEADLINE), 408)
                self.assertEqual((await client.end()).code, NO_ERROR)
        finally:
            self.assertEqual(hasty.stop(), 0)

    async def test_who_waits_while_the_server_stops_is_told_so(self):
        stopping = test_native.Server(handshake_deadline="60s")
        async with http(late=True, to=stopping) as client:
            client.send_connect()
            self.assertEqual((await client.request("/x", **GET))[0], 404)
            stopped = asyncio.get_running_loop().run_in_executor(None, stopping.stop)
            self.assertEqual(await asyncio.wait_for(asyncio.shield(client.status), DEADLINE), 503)
            self.assertEqual((await client.end()).code, NO_ERROR)
        self.assertEqual(await stopped, 0)

    async def test_a_client_without_datagrams_is_refused(self):
        for settings in ({}, {DATAGRAM: 0}, {WT_ENABLED: 1}):
            async with http(Dialect("no datagrams", settings)) as client:
                client.send_connect()
                self.assertEqual(await client.status, 400)

    async def test_what_breaks_the_rules_of_settings_ends_the_connection_with_its_code(self):
        for settings, code in [
            ([(DATAGRAM, 1), (DATAGRAM, 1)], SETTINGS_ERROR),
            ([(0x21, 1), (0x21, 1)], SETTINGS_ERROR),
            ([(DATAGRAM, 2)], SETTINGS_ERROR),
            *[([(of_http2, 1)], SETTINGS_ERROR) for of_http2 in (0, 2, 3, 4, 5)],
        ]:
            self.assertEqual(await self.broken((True, control_stream(settings))), code, settings)

    async def broken(self, *streams, ends=()):
        """Writes these bytes on streams of their own, and gives the code that the connection ends with."""
        async with connect(session=False) as client:
            for number, (is_one_way, data) in enumerate(streams):
                stream = client._quic.get_next_available_stream_id(is_unidirectional=is_one_way)
                client._quic.send_stream_data(stream, data, number in ends)
            client.transmit()
            return (await client.end()).code

    async def test_what_is_no_http3_ends_the_connection_with_its_code(self):
        settings = (True, GOOD)
        for code, streams in [
            (MISSING_SETTINGS, [(True, varint(0) + encode_frame(GOAWAY, b"\x00"))]),
            (FRAME_ERROR, [(True, varint(0) + encode_frame(SETTINGS, b"\x33"))]),
            (EXCESSIVE_LOAD, [(True, varint(0) + varint(SETTINGS) + varint(1 << 40))]),
            (STREAM_CREATION_ERROR, [settings, settings]),
            (STREAM_CREATION_ERROR, [(True, varint(2)), (True, varint(2))]),
            (STREAM_CREATION_ERROR, [settings, (True, varint(1))]),
            (FRAME_UNEXPECTED, [(True, GOOD + encode_frame(SETTINGS, b""))]),
            (FRAME_UNEXPECTED, [(True, GOOD + encode_frame(HEADERS, b""))]),
            (FRAME_UNEXPECTED, [(True, GOOD + encode_frame(0x06, b""))]),
            (EXCESSIVE_LOAD, [(True, GOOD + varint(GOAWAY) + varint(1 << 40))]),
            (FRAME_UNEXPECTED, [settings, (False, encode_frame(DATA, b"data"))]),
            (FRAME_UNEXPECTED, [settings, (False, encode_frame(0x02, b""))]),
            (FRAME_ERROR, [settings, (False, encode_frame(0x21, b"") + varint(SESSION_STREAM) + varint(0))]),
            (ID_ERROR, [settings, (False, varint(SESSION_STREAM) + varint(3) + b"x")]),
            (DECOMPRESSION_FAILED, [settings, (False, encode_frame(HEADERS, b"\x02\x00\x80"))]),
            (0x201, [settings, (True, varint(2) + b"\x20" * 5_000)]),
            (0x202, [settings, (True, varint(3) + b"\x40" * 5_000)]),
        ]:
            with self.subTest(f"{code:#x}: {streams}"):
                self.assertEqual(await self.broken(*streams), code)

    async def test_the_control_stream_and_those_of_qpack_must_stay_open(self):
        for streams in ([(True, GOOD)], [(True, varint(0))], [(True, varint(2))], [(True, varint(3))]):
            self.assertEqual(await self.broken(*streams, ends=(0,)), CLOSED_CRITICAL_STREAM)
        async with connect() as client:
            await client.hello("closing")
            client._quic.send_stream_data(client.http._local_control_stream_id, b"", True)
            client.transmit()
            self.assertEqual((await client.end()).code, CLOSED_CRITICAL_STREAM)

    async def test_what_is_not_known_is_passed_over(self):
        unknown = [(0x1F * 7 + 0x21, 1), (0x4242, 1 << 40), (DATAGRAM, 1)]
        async with connect(session=False) as client:
            for data in (varint(0x21) + b"reserved", varint(0x54) + varint(0) + b"a session's"):
                stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
                client._quic.send_stream_data(stream, data, True)
            client.http = Http3(client._quic, Dialect("with more", dict(unknown)))
            control = client.http._local_control_stream_id
            client._quic.send_stream_data(control, encode_frame(0x21, b"reserved") + encode_frame(GOAWAY, b"\x00"))
            client.send_connect()
            self.assertEqual(await client.status, 200)
            await self.is_alive(client, "unknown")


class Requests(Served):
    async def test_whatever_is_no_session_gets_a_status_and_the_session_after_it_works(self):
        async with http() as client:
            for status, path, fields in [
                (405, PATH, GET),
                (405, f"{PATH}?query", {":method": "HEAD"}),
                (405, PATH, {":method": "POST", "content-length": "0"}),
                (405, PATH, {":method": "BREW"}),
                (404, "/", GET),
                (404, "/favicon.ico", GET),
                (501, PATH, {":protocol": "websocket"}),
                (501, PATH, {":protocol": "connect-udp"}),
                (501, PATH, {":protocol": "webtransport-h4"}),
                (501, PATH, {":method": "A B"}),
                # A CONNECT that is not extended, as a proxy gets it, and one that is neither.
                (400, None, {":scheme": None}),
                (400, PATH, {}),
                (400, PATH, {":protocol": "webtransport", ":scheme": "http"}),
                (400, None, {":protocol": "webtransport"}),
                (431, PATH, {":protocol": "webtransport", "x-long": "x" * 20_000}),
                (431, PATH, {":protocol": "webtransport", **{f"x-{n}": "y" for n in range(500)}}),
            ]:
                with self.subTest(f"{status}: {path} {list(fields.items())[:2]}"):
                    answer, headers = await client.request(path, **fields)
                    self.assertEqual(answer, status)
                    self.assertEqual(headers.get(b"allow"), b"CONNECT" if status == 405 else None)
            client.send_connect()
            self.assertEqual(await client.status, 200)
            # Its number is not 0, which datagrams have to say right.
            self.assertEqual(client.session, 64)
            await self.is_alive(client, "after-requests")

    async def test_a_second_session_is_refused_and_the_first_goes_on(self):
        async with connect() as client:
            await self.is_alive(client, "first")
            for fields in ({":protocol": "webtransport"}, {":protocol": "webtransport-h3"}):
                self.assertEqual((await client.request(end=False, **fields))[0], 429)
                self.assertEqual((await client.request("/elsewhere", end=False, **fields))[0], 429)
            self.assertEqual((await client.request(**GET))[0], 405)
            self.assertEqual((await client.request(**{":protocol": "websocket"}))[0], 501)
            self.assertEqual(await client.send([{"User": "first"}], b"going on"), 1)

    async def test_a_second_session_at_the_same_time_is_refused(self):
        async with http() as client:
            client.send_connect()
            self.assertEqual((await client.request(end=False, **{":protocol": "webtransport"}))[0], 429)
            self.assertEqual(await client.status, 200)
            await self.is_alive(client, "at-once")

    async def test_a_stream_may_come_before_its_session(self):
        async with http() as client:
            # Its own number is 0, and it belongs to 4.
            client.stream = client._quic.get_next_available_stream_id()
            hello = {"Hello": {"protocol": 1, "features": 0, "credential": {"DevUser": "early"}}}
            client.write(varint(SESSION_STREAM) + varint(4) + codec.encode_client(hello))
            client.send_connect()
            self.assertEqual(client.session, 4)
            self.assertEqual(await client.status, 200)
            self.assertEqual((await client.hear())["Welcome"]["user"], "early")

    async def test_streams_of_other_sessions_are_stopped_and_the_session_goes_on(self):
        async with connect() as client:
            await client.hello("alone")
            for session in (client.session, 400, client.session):
                stream = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream, varint(SESSION_STREAM) + varint(session) + b"nobody's")
            client.transmit()
            self.assertEqual(await client.send([{"User": "alone"}], b"going on"), 1)
            # The server allows four at a time, and its answer to this waits for a place.
            self.assertEqual((await client.request(**GET))[0], 405)

    async def test_a_request_that_ends_in_the_middle_harms_nobody(self):
        async with connect() as client:
            await client.hello("middle")
            for data in (b"", varint(HEADERS), varint(HEADERS) + varint(100) + b"\x00\x00"):
                stream = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream, data, True)
                client.transmit()
            self.assertEqual(await client.send([{"User": "middle"}], b"going on"), 1)
            self.assertEqual((await client.request(**GET))[0], 405)


class Hostile(Served):
    async def test_a_thousand_requests_are_answered_for_a_while_and_then_end_their_connection(self):
        async with connect() as bystander:
            await bystander.hello("bystander")
            for client in (http(), connect()):
                async with client as client:
                    answered = 0
                    with self.assertRaises(Closed) as closed:
                        for _ in range(1_000):
                            self.assertEqual((await client.request(**GET))[0], 405)
                            answered += 1
                    self.assertEqual((answered, closed.exception.code), (100, EXCESSIVE_LOAD))
            self.assertEqual(await bystander.send([{"User": "bystander"}], b"undisturbed"), 1)

    async def test_a_thousand_sessions_on_one_connection_end_it(self):
        async with connect() as client:
            await client.hello("greedy")
            with self.assertRaises(Closed) as closed:
                for _ in range(1_000):
                    self.assertEqual((await client.request(end=False, **{":protocol": "webtransport"}))[0], 429)
            self.assertEqual(closed.exception.code, EXCESSIVE_LOAD)

    async def test_endless_frames_in_front_of_the_fields_end_the_connection(self):
        for frame in (varint(0x21) + varint(0), encode_frame(0x21, b"x" * 1_000), varint(0x21) + varint(1 << 50)):
            async with connect() as client:
                await client.hello("endless")
                stream = client._quic.get_next_available_stream_id()
                while not client.ended.done():
                    # The stream is stopped before the connection is closed, and then takes no more.
                    with contextlib.suppress(ValueError):
                        client._quic.send_stream_data(stream, frame * 1_000)
                    client.transmit()
                    await asyncio.wait([client.ended], timeout=0.02)
                self.assertEqual((await client.end()).code, EXCESSIVE_LOAD)

    async def test_a_length_that_nobody_has_is_answered_before_the_bytes(self):
        async with connect() as client:
            await client.hello("long")
            for length in (16 * 1_024 + 1, 1 << 40, (1 << 62) - 1):
                stream = client._quic.get_next_available_stream_id()
                client.answers[stream] = asyncio.get_running_loop().create_future()
                client._quic.send_stream_data(stream, varint(HEADERS) + varint(length))
                client.transmit()
                status, _ = await asyncio.wait_for(client.answers[stream], DEADLINE)
                self.assertEqual(status, 431)
            self.assertEqual(await client.send([{"User": "long"}], b"going on"), 1)


if __name__ == "__main__":
    unittest.main()
