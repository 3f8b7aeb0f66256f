"""A Fanfare client over WebTransport, on aioquic, written from PROTOCOL.md alone.

Owns: one HTTP/3 connection, its CONNECT, its session's stream, and its datagrams. In: frames to send. Out: the server's
frames in their order, and how the session ended. It hides nothing: a test can write whatever it wants, on any stream.

Invariant: nothing waits without a deadline.
"""

import asyncio
import contextlib
import ssl

import fanfare_codec as codec
from aioquic.asyncio import connect
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from fanfare_dialects import CHROME, MAX_DATA, MAX_STREAMS, Http3
from fanfare_native import DEADLINE, Closed, Native

PATH = "/fanfare"
# draft-ietf-webtrans-http3: the capsule that closes a session, and where its codes are among those of HTTP/3.
CLOSE_SESSION = 0x2843
FIRST_CODE = 0x52E4A40FA8DB


def code_of(http3_code):
    """The application's code in an HTTP/3 error code, where it is one."""
    if http3_code < FIRST_CODE:
        return None
    shifted = http3_code - FIRST_CODE
    return shifted - shifted // 0x1F


def varint(value):
    for size, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def take_varint(data):
    size = 1 << (data[0] >> 6)
    return int.from_bytes(data[:size], "big") & ((1 << (8 * size - 2)) - 1), data[size:]


class Web(Native):
    """One session. From the stream on it is the same as a native connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.session = None
        self.status = asyncio.get_running_loop().create_future()
        # Answers to requests, by the number of their stream.
        self.answers = {}
        self.capsules = b""
        # What capsules gave, by their type.
        self.credit = {}
        self.heard = asyncio.Event()
        self.datagrams = asyncio.Queue()
        # What the server wrote on streams of its own.
        self.foreign = []

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            if not self.ended.done():
                self.ended.set_result(Closed(code_of(event.error_code) or event.error_code, event.reason_phrase))
            for answer in (self.status, *self.answers.values()):
                if not answer.done():
                    answer.set_exception(self.ended.result())
                    # Retrieved, so that asyncio does not complain where a test does not ask for it.
                    answer.exception()
            self.frames.put_nowait(None)
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            # aioquic would read what comes back on a stream that the client opened as HTTP/3 frames, which it is not.
            self.received(event.data, event.end_stream)
            return
        if self.http is None:
            return
        for happened in self.http.handle_event(event):
            self.happened(happened)
        self.heard.set()

    def happened(self, event):
        if isinstance(event, HeadersReceived) and event.stream_id == self.session and not self.status.done():
            self.status.set_result(int(dict(event.headers)[b":status"]))
        elif isinstance(event, HeadersReceived) and event.stream_id in self.answers:
            fields = dict(event.headers)
            self.answers[event.stream_id].set_result((int(fields.pop(b":status")), fields))
        elif isinstance(event, DataReceived) and event.stream_id == self.session:
            self.capsules += event.data
            self.capsule()
        elif isinstance(event, WebTransportStreamDataReceived):
            self.foreign.append(event)
        elif isinstance(event, DatagramReceived):
            try:
                self.take(self.datagrams, event.data)
            except codec.FrameError as breach:
                self.broken(breach)

    def capsule(self):
        with contextlib.suppress(IndexError):
            while True:
                kind, rest = take_varint(self.capsules)
                length, rest = take_varint(rest)
                if len(rest) < length:
                    return
                value, self.capsules = rest[:length], rest[length:]
                if kind != CLOSE_SESSION:
                    self.credit[kind] = take_varint(value)[0]
                elif not self.ended.done():
                    self.ended.set_result(Closed(int.from_bytes(value[:4], "big"), value[4:].decode()))
                    self.frames.put_nowait(None)

    def close_with(self, code, reason):
        words = reason.encode()[:1_024]
        capsule = varint(CLOSE_SESSION) + varint(4 + len(words)) + code.to_bytes(4, "big") + words
        self.http.send_data(self.session, capsule, end_stream=True)
        self.transmit()

    async def until(self, wanted):
        """Waits until that is so, after something that came over HTTP/3."""

        async def wait():
            while not wanted():
                self.heard.clear()
                await self.heard.wait()

        await asyncio.wait_for(wait(), DEADLINE)

    async def ask_for_session(self, path=PATH, dialect=CHROME, **headers):
        """Does what such a client does to get a session, and gives the status that its CONNECT is answered with."""
        if self.http is None:
            self.http = Http3(self._quic, dialect)
            self.transmit()
            await self.until(lambda: self.http.received_settings is not None)
            dialect.check(self.http.received_settings)
        self.send_connect(path, dialect, **headers)
        status = await asyncio.wait_for(asyncio.shield(self.status), DEADLINE)
        if status == 200 and dialect.waits_for_credit:
            await self.until(lambda: self.credit.get(MAX_STREAMS) and self.credit.get(MAX_DATA))
        return status

    def send_connect(self, path=PATH, dialect=CHROME, **headers):
        self.session = self.send_request(path, **{":protocol": dialect.protocol, **dialect.headers, **headers})

    def send_request(self, path, end=False, **headers):
        """Sends a CONNECT, or what the headers make of it, and gives its stream's number."""
        stream = self._quic.get_next_available_stream_id()
        fields = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": "localhost",
            ":path": path,
            **headers,
        }
        named = [(name.encode(), value.encode()) for name, value in fields.items() if value is not None]
        # Before any other, as HTTP says.
        named.sort(key=lambda header: not header[0].startswith(b":"))
        self.http.send_headers(stream, named, end)
        self.transmit()
        return stream

    async def request(self, path=PATH, end=True, **headers):
        """Sends a request beside the one for a session, and gives its answer: the status, and the fields."""
        stream = self.send_request(path, end, **headers)
        self.answers[stream] = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(asyncio.shield(self.answers[stream]), DEADLINE)

    def write(self, data, end=False):
        if self.stream is None:
            self.stream = self.http.create_webtransport_stream(self.session)
        self._quic.send_stream_data(self.stream, data, end)
        self.transmit()

    def say_unreliably(self, frame):
        """Sends a frame in a datagram: without its length."""
        self.http.send_datagram(self.session, codec.encode_client(frame)[4:])
        self.transmit()

    async def hear_datagram(self):
        return await asyncio.wait_for(self.datagrams.get(), DEADLINE)


@contextlib.asynccontextmanager
async def web(address, authority, session=True, dialect=CHROME, **settings):
    """Connects to `(host, port)`, and opens a session unless told not to; `authority` is the file of the CA's
    certificate."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=["h3"],
        verify_mode=ssl.CERT_REQUIRED,
        server_name="localhost",
        max_datagram_frame_size=65_536,
        **settings,
    )
    configuration.load_verify_locations(cafile=str(authority))
    async with connect(*address, configuration=configuration, create_protocol=Web) as client:
        if session:
            status = await client.ask_for_session(dialect=dialect)
            if status != 200:
                raise AssertionError(f"the CONNECT was answered with {status}")
        yield client
