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
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
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
        self.capsules = b""
        self.datagrams = asyncio.Queue()
        # What the server wrote on streams of its own.
        self.foreign = []

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            if not self.ended.done():
                self.ended.set_result(Closed(code_of(event.error_code) or event.error_code, event.reason_phrase))
            if not self.status.done():
                self.status.set_exception(self.ended.result())
                # Retrieved, so that asyncio does not complain where a test does not ask for it.
                self.status.exception()
            self.frames.put_nowait(None)
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            # aioquic would read what comes back on a stream that the client opened as HTTP/3 frames, which it is not.
            self.received(event.data, event.end_stream)
            return
        if self.http is None:
            return
        for happened in self.http.handle_event(event):
            self.happened(happened)

    def happened(self, event):
        if isinstance(event, HeadersReceived) and event.stream_id == self.session and not self.status.done():
            self.status.set_result(int(dict(event.headers)[b":status"]))
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
            kind, rest = take_varint(self.capsules)
            length, rest = take_varint(rest)
            if len(rest) >= length and kind == CLOSE_SESSION and not self.ended.done():
                self.ended.set_result(Closed(int.from_bytes(rest[:4], "big"), rest[4:length].decode()))
                self.frames.put_nowait(None)

    def close_with(self, code, reason):
        words = reason.encode()[:1_024]
        capsule = varint(CLOSE_SESSION) + varint(4 + len(words)) + code.to_bytes(4, "big") + words
        self.http.send_data(self.session, capsule, end_stream=True)
        self.transmit()

    async def ask_for_session(self, path=PATH, **headers):
        """Sends the CONNECT and gives the status that it is answered with."""
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.session = self._quic.get_next_available_stream_id()
        fields = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": "localhost",
            ":path": path,
            ":protocol": "webtransport",
            **headers,
        }
        named = [(name.encode(), value.encode()) for name, value in fields.items() if value is not None]
        self.http.send_headers(self.session, named)
        self.transmit()
        return await asyncio.wait_for(asyncio.shield(self.status), DEADLINE)

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
async def web(address, authority, session=True, **settings):
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
            status = await client.ask_for_session()
            if status != 200:
                raise AssertionError(f"the CONNECT was answered with {status}")
        yield client
