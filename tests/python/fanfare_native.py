"""A Fanfare client over native QUIC, on aioquic, written from PROTOCOL.md alone.

Owns: one connection and its stream. In: frames to send, as `fanfare_codec` has them. Out: the server's frames in their
order, and how the connection ended. It hides nothing: a test can do to the stream and to the connection whatever it
wants.

Invariants: nothing waits without a deadline; a server that breaks the protocol fails the test that listens, and is
closed with the code.
"""

import asyncio
import contextlib
import ssl

import fanfare_codec as codec
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset

# Far longer than anything here takes, in seconds.
DEADLINE = 20


class Closed(Exception):
    """The connection is over: the code and the reason that it ended with."""

    def __init__(self, code, reason):
        super().__init__(f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason


class Native(QuicConnectionProtocol):
    """One connection. `say` and `hear` send and receive frames; the rest are the usual sequences of them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.stream = None
        self.reader = codec.FrameReader()
        self.frames = asyncio.Queue()
        # Whether the next frame on the stream is the first.
        self.is_first = True
        self.ended = asyncio.get_running_loop().create_future()
        self.requests = 0
        # How many frames of later versions were skipped.
        self.skipped = 0
        self.connection = None
        # Frames that came while an answer was waited for.
        self.kept = []

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            self.received(event.data, event.end_stream)
        elif isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(Closed(event.error_code, event.reason_phrase))
            self.frames.put_nowait(None)
        elif isinstance(event, StreamReset):
            self.frames.put_nowait(None)

    def received(self, data, end):
        """Takes what came on the stream, and its end."""
        try:
            for body in self.reader.feed(data):
                if self.is_first:
                    self.is_first = False
                    codec.check_version(body)
                self.take(self.frames, body)
            if end:
                self.reader.end()
        except codec.FrameError as breach:
            self.broken(breach)

    def take(self, queue, body):
        """Keeps a frame, or skips one of a later version."""
        try:
            queue.put_nowait(codec.decode_server(body))
        except codec.UnknownNumber:
            self.skipped += 1

    def broken(self, breach):
        """What came is not the protocol: fails the test, and closes with the code."""
        self.frames.put_nowait(breach)
        self.close_with(breach.code, str(breach))

    def close_with(self, code, reason):
        self._quic.close(error_code=code, reason_phrase=reason)
        self.transmit()

    def write(self, data, end=False):
        """Puts raw bytes on the stream."""
        if self.stream is None:
            self.stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(self.stream, data, end)
        self.transmit()

    def say(self, frame):
        self.write(codec.encode_client(frame))

    async def hear(self):
        """The next frame. Raises `Closed` when there will be none, and a `FrameError` when what came is none."""
        if self.kept:
            return self.kept.pop(0)
        frame = await asyncio.wait_for(self.frames.get(), DEADLINE)
        if frame is None:
            raise await self.end()
        if isinstance(frame, codec.FrameError):
            raise frame
        return frame

    async def end(self):
        """How the connection ended, once it has."""
        return await asyncio.wait_for(asyncio.shield(self.ended), DEADLINE)

    async def hello(self, user, features=0):
        credential = {"DevUser": user}
        hello = {"protocol": codec.PROTOCOL_VERSION, "features": features, "credential": credential}
        self.say({"Hello": hello})
        welcome = (await self.hear())["Welcome"]
        # A feature that was not offered would be a breach of the protocol.
        assert welcome["features"] & ~features == 0, welcome
        self.connection = welcome["connection"]
        return welcome

    async def ask(self, name, **fields):
        """Sends a request and gives its `Ack` or `Error`. Other frames that come meanwhile are kept for `hear`."""
        self.requests += 1
        request = self.requests
        self.say({name: {"request": request, **fields}})
        others = []
        while True:
            frame = await self.hear()
            ((kind, content),) = frame.items()
            if kind in ("Ack", "Error") and content["request"] == request:
                self.kept = others + self.kept
                return frame
            others.append(frame)

    async def send(self, to, payload, event="ReceiveMessage", ack=True, others=False, except_=(), format=0):
        """A `Send`; with `ack`, gives the number of connections that it was queued to."""
        fields = {"to": to, "except": list(except_), "others": others, "event": event, "format": format}
        fields |= {"payload": payload, "ack": ack}
        if ack:
            return (await self.ask("Send", **fields))["Ack"]["count"]
        self.requests += 1
        self.say({"Send": {"request": self.requests, **fields}})

    async def message(self):
        """The next frame, which is a `Message`: its target and its payload."""
        message = (await self.hear())["Message"]
        return message["to"], message["payload"]


class Table:
    """Who is in a group that is watched, as docs/protocol/presence.md says that a client keeps it."""

    def __init__(self, group):
        self.group = group
        self.users = {}
        self.revision = None
        self.complete = False
        self.ended = None

    def take(self, frame):
        """Takes a frame about the group. Raises `AssertionError` where there is a gap in what the server says."""
        ((kind, content),) = frame.items()
        assert content["group"] == self.group, frame
        if kind == "WatchEnded":
            self.users, self.revision, self.complete, self.ended = {}, None, False, content["code"]
            return
        if kind == "Snapshot":
            if content["begins"]:
                self.users, self.complete, self.ended = {}, False, None
                self.revision = content["revision"]
            assert content["revision"] == self.revision, frame
            self.complete = content["complete"]
        else:
            assert content["revision"] == self.revision + 1, frame
            self.revision += 1
            for user in content["left"]:
                gone = self.users.pop(user, None)
                assert gone or not self.complete, frame
        for present in content["present"]:
            data = present["data"] and (present["data"]["format"], present["data"]["payload"])
            self.users[present["user"]] = (present["connections"], data)


@contextlib.asynccontextmanager
async def native(address, authority, alpn=codec.ALPN, **settings):
    """Connects to `(host, port)`; `authority` is the file of the CA's certificate."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[alpn.decode()],
        verify_mode=ssl.CERT_REQUIRED,
        server_name="localhost",
        **settings,
    )
    configuration.load_verify_locations(cafile=str(authority))
    async with connect(*address, configuration=configuration, create_protocol=Native) as client:
        yield client
