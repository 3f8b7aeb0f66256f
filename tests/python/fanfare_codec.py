"""Fanfare's frames to bytes and back, in Python's standard library alone.

Owns: the frames of PROTOCOL.md (sections 2, 4, 5 and 15), of docs/protocol/calls.md and presence.md, and how people
see ids (docs/protocol/ids.md), written from these pages and from nothing else, so that the pages and the Rust codec are held
against each other. The types of section 3 are in `fanfare_encoding`. No I/O.

In: frames as plain values, or bytes that a peer sent. Out: bytes, or frames. A frame is a dict of one item, the frame's
name and its fields: `{"Join": {"request": 1, "group": "room"}}`.

Invariant: what is decoded is used up to its last byte and is valid, or a `FrameError` says what is wrong, and with
which code it is answered; of those `UnknownNumber` and `NotUnderstood` are about frames of later versions.
"""

import struct

from fanfare_encoding import (
    BOOL,
    BYTE,
    BYTES,
    ID,
    ID_BYTES,
    NAME,
    STRING,
    U16,
    U32,
    U64,
    Enum,
    FrameError,
    InvalidName,
    List,
    NotUnderstood,
    OtherVersion,
    Reader,
    StreamTruncated,
    Struct,
    TooLong,
    Truncated,
    UnknownNumber,
    read_whole,
)

ALPN = b"fanfare/1"
PROTOCOL_VERSION = 1

PREFIX_BYTES = 4
# The longest body that a server with the default limits takes, and the longest that any server sends.
FRAME_BYTES = 67_584
FRAME_CEILING = 1_050_624

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_CHARACTERS = 26


CREDENTIAL = Enum("credential", Token=STRING, DevUser=NAME, Certificate=None)
TARGET = Enum("target", Connection=ID, User=NAME, Group=NAME, All=None)
SENDER = Enum("sender", Connection=Struct(connection=ID, user=NAME), Server=None)
EXPIRY_SCOPE = Enum("expiry scope", Token=None, Groups=Struct(count=U32))

PAYLOAD = Struct(format=BYTE, payload=BYTES)
FAILURE = Struct(code=U16, detail=STRING, data=PAYLOAD)
OUTCOME = Enum("outcome", Nothing=None, Value=PAYLOAD, Failed=FAILURE)


class _Perhaps:
    """A value, or that there is none."""

    def __init__(self, kind):
        self.kind = kind

    def write(self, value):
        return BOOL.write(value is not None) + (b"" if value is None else self.kind.write(value))

    def read(self, reader):
        return self.kind.read(reader) if BOOL.read(reader) else None


# A user who is present has four bytes at least: a name of one, a number, and that there is no data.
PRESENT = List(Struct(user=NAME, connections=U32, data=_Perhaps(PAYLOAD)), least=4)


class _End:
    """What a stream ended with: an outcome, but no value."""

    def write(self, value):
        return OUTCOME.write(self.check(value))

    def read(self, reader):
        return self.check(OUTCOME.read(reader))

    @staticmethod
    def check(outcome):
        if isinstance(outcome, dict) and "Value" in outcome:
            raise FrameError("the end of a stream has a value")
        return outcome


# A client's frames below this number begin with the number of a request.
FIRST_WITHOUT_REQUEST = 128

CLIENT_FRAME = Enum(
    "frame",
    at={"StreamItem": FIRST_WITHOUT_REQUEST},
    Hello=Struct(protocol=U32, features=U64, credential=CREDENTIAL),
    Join=Struct(request=U64, group=NAME),
    Leave=Struct(request=U64, group=NAME),
    Send=Struct(
        request=U64,
        ack=BOOL,
        to=List(TARGET, least=1),
        except_=List(ID, least=ID_BYTES),
        others=BOOL,
        event=NAME,
        format=BYTE,
        payload=BYTES,
    ),
    Count=Struct(request=U64, target=TARGET),
    Refresh=Struct(request=U64, token=STRING),
    Invoke=Struct(request=U64, method=NAME, credit=U32, streams=List(U64, least=1), arguments=PAYLOAD),
    Cancel=Struct(request=U64),
    Credit=Struct(request=U64, items=U32),
    Watch=Struct(request=U64, group=NAME),
    Unwatch=Struct(request=U64, group=NAME),
    StreamItem=Struct(stream=U64, item=PAYLOAD),
    StreamEnd=Struct(stream=U64, outcome=_End()),
    ClientCompletion=Struct(call=U64, outcome=OUTCOME),
)
# `except` is a keyword of Python.
_send = CLIENT_FRAME.variants["Send"]
_send.fields = {name.rstrip("_"): kind for name, kind in _send.fields.items()}

SERVER_FRAME = Enum(
    "frame",
    Welcome=Struct(
        protocol=U32,
        features=U64,
        connection=ID,
        node_bytes=BYTE,
        session=ID,
        position=U64,
        user=NAME,
        limits=Struct(frame_bytes=U32, payload_bytes=U32, groups=U32, targets=U32),
        server=STRING,
    ),
    Ack=Struct(request=U64, count=U64),
    Error=Struct(request=U64, code=U16, detail=STRING),
    Message=Struct(**{"from": SENDER}, to=TARGET, event=NAME, format=BYTE, payload=BYTES),
    Joined=Struct(group=NAME, members=U64),
    Removed=Struct(group=NAME, code=U16, reason=STRING),
    Goodbye=Struct(code=U16, reason=STRING, retry_after_ms=U32),
    Lagged=Struct(dropped=U64),
    Expiring=Struct(scope=EXPIRY_SCOPE, seconds=U32),
    Completion=Struct(request=U64, outcome=OUTCOME),
    ResultItem=Struct(request=U64, item=PAYLOAD),
    ClientInvoke=Struct(call=U64, method=NAME, arguments=PAYLOAD),
    ClientCancel=Struct(call=U64),
    StreamCredit=Struct(stream=U64, items=U32),
    StreamStop=Struct(stream=U64),
    Snapshot=Struct(group=NAME, revision=U64, begins=BOOL, complete=BOOL, present=PRESENT),
    Changes=Struct(group=NAME, revision=U64, present=PRESENT, left=List(NAME, least=2)),
    WatchEnded=Struct(group=NAME, code=U16, reason=STRING),
)


def encode_client(frame):
    """A client's frame as bytes, its length before it."""
    return _framed(CLIENT_FRAME.write(frame))


def encode_server(frame):
    """A server's frame as bytes, its length before it."""
    return _framed(SERVER_FRAME.write(frame))


def decode_client(body):
    """The client's frame that `body`, without its length, is. An error about a request has its number."""
    try:
        return read_whole(CLIENT_FRAME, body)
    except (UnknownNumber, NotUnderstood, InvalidName) as refused:
        reader = Reader(body)
        if 0 < U32.read(reader) < FIRST_WITHOUT_REQUEST:
            refused.request = U64.read(reader)
        raise


def decode_server(body):
    """The server's frame that `body`, without its length, is."""
    try:
        return read_whole(SERVER_FRAME, body)
    except InvalidName as invalid:
        # It is no request that could be refused: it breaks the protocol.
        raise FrameError(str(invalid)) from invalid


def check_version(body):
    """Whether the first frame of a side is of this version: asked before the rest of it is read, which may be anything.
    Both are frame 0, and begin with `protocol`. Another frame, or one that ends there, passes: reading it says what is
    wrong."""
    reader = Reader(body)
    try:
        number, version = U32.read(reader), U32.read(reader)
    except FrameError:
        return
    if number == 0 and version != PROTOCOL_VERSION:
        raise OtherVersion(f"version {version} is not spoken here")


def with_extensions(frame, extensions):
    """A frame with extensions behind what it has: numbers and contents."""
    behind = b"".join(U64.write(number) + BYTES.write(content) for number, content in extensions)
    return _framed(frame[PREFIX_BYTES:] + behind)


def _framed(body):
    return struct.pack("<I", len(body)) + body


class FrameReader:
    """Cuts a stream into bodies, however its bytes arrive."""

    def __init__(self, limit=FRAME_CEILING):
        self.limit = limit
        self.kept = bytearray()

    def feed(self, data):
        """Returns the bodies that `data` completes, one after the other: what is wrong with one comes before what is
        wrong behind it. Raises `TooLong`; the stream cannot be followed any further after that."""
        self.kept += data
        return self._bodies()

    def _bodies(self):
        while len(self.kept) >= PREFIX_BYTES:
            (length,) = struct.unpack_from("<I", self.kept)
            if length > self.limit:
                raise TooLong(f"a frame of {length} bytes is longer than the {self.limit} allowed")
            if len(self.kept) < PREFIX_BYTES + length:
                return
            body = bytes(self.kept[PREFIX_BYTES : PREFIX_BYTES + length])
            del self.kept[: PREFIX_BYTES + length]
            yield body

    def end(self):
        """Says that the stream has ended. Raises `StreamTruncated` in the middle of a frame."""
        if self.kept:
            raise StreamTruncated("the stream ended in the middle of a frame")


def id_to_text(connection):
    """A connection's id as people see it: 26 characters of Crockford base32."""
    number = int.from_bytes(ID.write(connection), "big")
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_ID_CHARACTERS)))


def id_from_text(text):
    """The id that a text is, in upper or lower case."""
    if len(text) != _ID_CHARACTERS:
        raise ValueError(f"a connection id has {_ID_CHARACTERS} characters; this has {len(text)}")
    number = 0
    for character in text:
        # Only ASCII has the case that counts here: `upper` would make other characters into two, or into ours.
        digit = _ALPHABET.find(character.upper()) if character.isascii() else -1
        if digit < 0:
            raise ValueError(f"a connection id has no {character!r}")
        number = number << 5 | digit
    if number >> 8 * ID_BYTES:
        raise ValueError("a connection id is at most 7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    return number.to_bytes(ID_BYTES, "big")
