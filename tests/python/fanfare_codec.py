"""Fanfare's frames to bytes and back, in Python's standard library alone.

Owns: the encoding that PROTOCOL.md describes (sections 2 to 5 and 15), written from that page and from nothing else, so that the
page and the Rust codec are held against each other. No I/O.

In: frames as plain values, or bytes that a peer sent. Out: bytes, or frames. A frame is a dict of one item, the frame's
name and its fields: `{"Join": {"request": 1, "group": "room"}}`. An enum is its variant's name and content,
`{"Group": "room"}`, or the name alone where there is no content, `"All"`. Ids and payloads are `bytes`.

Invariant: what is decoded is used up to its last byte and is valid, or a `FrameError` says what is wrong; of those
`UnknownNumber` and `NotUnderstood` are about frames of later versions. No length that a peer claims is trusted before the
bytes are there.
"""

import struct

ALPN = b"fanfare/1"
PROTOCOL_VERSION = 1

PREFIX_BYTES = 4
NAME_BYTES = 256
ID_BYTES = 16
# The longest body that any server sends.
FRAME_CEILING = 1_050_624

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_CHARACTERS = 26


class FrameError(ValueError):
    """The value is no frame, or the bytes are none."""


class Truncated(FrameError):
    """The bytes end before the frame does."""


class TooLong(FrameError):
    """The length is above the limit."""


class UnknownNumber(FrameError):
    """A frame or a variant with a number that is not known here: a client passes over such a frame."""

    def __init__(self, what, number):
        super().__init__(f"{what} {number} is not known here")
        self.what, self.number, self.request = what, number, None


class NotUnderstood(FrameError):
    """An extension that must be understood and is not known here."""

    def __init__(self, extension):
        super().__init__(f"extension {extension} is not known here, and must be understood")
        self.extension, self.request = extension, None


class InvalidName(FrameError):
    """A name of no bytes, or of more than 256."""


class _Reader:
    """Walks through one body."""

    def __init__(self, body):
        self.body = bytes(body)
        self.at = 0

    def left(self):
        return len(self.body) - self.at

    def take(self, count):
        if count > self.left():
            raise Truncated(f"{count} bytes are wanted at byte {self.at}, and {self.left()} are left")
        taken = self.body[self.at : self.at + count]
        self.at += count
        return taken

    def end(self):
        """Reads the extensions behind the last field. Gives those that are skipped."""
        extensions = []
        while self.left():
            number = U64.read(self)
            if extensions and number <= extensions[-1][0]:
                raise FrameError("the extensions do not stand in the order of their numbers")
            extensions.append((number, BYTES.read(self)))
        for number, _ in extensions:
            if number % 2:
                raise NotUnderstood(number)
        return extensions


# The types of section 3. Each has `write(value) -> bytes` and `read(reader) -> value`.


class _Integer:
    """u16, u32 or u64: one byte, or a mark and as many bytes as the mark says."""

    MARKS = ((251, "<H", 2), (252, "<I", 4), (253, "<Q", 8))

    def __init__(self, width):
        self.width = width
        self.most = (1 << 8 * width) - 1

    def write(self, value):
        if type(value) is not int or not 0 <= value <= self.most:
            raise FrameError(f"{value!r} is no integer from 0 to {self.most}")
        if value <= 250:
            return bytes([value])
        for mark, form, width in self.MARKS:
            if value < 1 << 8 * width:
                return bytes([mark]) + struct.pack(form, value)
        raise AssertionError("every value has a form")

    def read(self, reader):
        first = reader.take(1)[0]
        if first <= 250:
            return first
        for mark, form, width in self.MARKS:
            if first == mark and width <= self.width:
                return struct.unpack(form, reader.take(width))[0]
        raise FrameError(f"an integer of at most {self.width} bytes does not begin with {first}")


U16, U32, U64 = _Integer(2), _Integer(4), _Integer(8)


class _Byte:
    def write(self, value):
        if type(value) is not int or not 0 <= value <= 255:
            raise FrameError(f"{value!r} is no byte")
        return bytes([value])

    def read(self, reader):
        return reader.take(1)[0]


class _Bool:
    def write(self, value):
        if type(value) is not bool:
            raise FrameError(f"{value!r} is no bool")
        return bytes([value])

    def read(self, reader):
        byte = reader.take(1)[0]
        if byte > 1:
            raise FrameError(f"{byte} is no bool")
        return byte == 1


class _Bytes:
    def write(self, value):
        if not isinstance(value, (bytes, bytearray)):
            raise FrameError(f"{value!r} is not bytes")
        return U64.write(len(value)) + bytes(value)

    def read(self, reader):
        return reader.take(U64.read(reader))


class _String:
    def write(self, value):
        return BYTES.write(self.utf8(value))

    def read(self, reader):
        try:
            # Python's decoder is as strict as RFC 3629: no surrogates, no overlong forms.
            return BYTES.read(reader).decode("utf-8")
        except UnicodeDecodeError as error:
            raise FrameError(f"not UTF-8: {error}") from error

    @staticmethod
    def utf8(value):
        try:
            return value.encode("utf-8")
        except (AttributeError, UnicodeEncodeError) as error:
            raise FrameError(f"{value!r} is no text: {error}") from error


class _Name(_String):
    def write(self, value):
        self.check(value)
        return super().write(value)

    def read(self, reader):
        value = super().read(reader)
        self.check(value)
        return value

    def check(self, value):
        length = len(self.utf8(value))
        if not 1 <= length <= NAME_BYTES:
            raise InvalidName(f"a name has 1 to {NAME_BYTES} bytes, not {length}")


class _Id:
    def write(self, value):
        if not isinstance(value, (bytes, bytearray)) or len(value) != ID_BYTES:
            raise FrameError(f"{value!r} is not {ID_BYTES} bytes")
        return bytes(value)

    def read(self, reader):
        return reader.take(ID_BYTES)


BYTE, BOOL, BYTES, STRING, NAME, ID = _Byte(), _Bool(), _Bytes(), _String(), _Name(), _Id()


class _List:
    def __init__(self, element):
        self.element = element

    def write(self, value):
        if not isinstance(value, (list, tuple)):
            raise FrameError(f"{value!r} is no list")
        return U64.write(len(value)) + b"".join(map(self.element.write, value))

    def read(self, reader):
        count = U64.read(reader)
        # Every element has a byte at least, so that a forged count ends here.
        if count > reader.left():
            raise Truncated(f"a list of {count} elements does not fit into {reader.left()} bytes")
        return [self.element.read(reader) for _ in range(count)]


class _Struct:
    """Fields, one behind the other. The value is a dict of exactly these."""

    def __init__(self, **fields):
        self.fields = fields

    def write(self, value):
        if not isinstance(value, dict) or set(value) != set(self.fields):
            raise FrameError(f"{value!r} has not the fields {', '.join(self.fields)}")
        return b"".join(kind.write(value[name]) for name, kind in self.fields.items())

    def read(self, reader):
        return {name: kind.read(reader) for name, kind in self.fields.items()}


class _Enum:
    """A variant's number and its content; `None` for a variant without. Numbers count from 0, in the order given."""

    def __init__(self, what, **variants):
        self.what = what
        self.variants = list(variants.items())

    def write(self, value):
        named = value if isinstance(value, dict) and len(value) == 1 else {value: None} if isinstance(value, str) else {}
        for number, (name, content) in enumerate(self.variants):
            if name in named and (content is None) == isinstance(value, str):
                return U32.write(number) + (content.write(named[name]) if content else b"")
        raise FrameError(f"{value!r} is no {self.what}")

    def read(self, reader):
        number = U32.read(reader)
        if number >= len(self.variants):
            raise UnknownNumber(self.what, number)
        name, content = self.variants[number]
        return {name: content.read(reader)} if content else name


CREDENTIAL = _Enum("credential", Token=STRING, DevUser=NAME, Certificate=None)
TARGET = _Enum("target", Connection=ID, User=NAME, Group=NAME, All=None)
SENDER = _Enum("sender", Connection=_Struct(connection=ID, user=NAME), Server=None)
EXPIRY_SCOPE = _Enum("expiry scope", Token=None, Groups=_Struct(count=U32))

# Client's frames below this number begin with the number of a request.
FIRST_WITHOUT_REQUEST = 128

CLIENT_FRAME = _Enum(
    "frame",
    Hello=_Struct(protocol=U32, features=U64, credential=CREDENTIAL),
    Join=_Struct(request=U64, group=NAME),
    Leave=_Struct(request=U64, group=NAME),
    Send=_Struct(
        request=U64,
        ack=BOOL,
        to=_List(TARGET),
        except_=_List(ID),
        others=BOOL,
        event=NAME,
        format=BYTE,
        payload=BYTES,
    ),
    Count=_Struct(request=U64, target=TARGET),
    Refresh=_Struct(request=U64, token=STRING),
)
# `except` is a word of Python's own.
_send = dict(CLIENT_FRAME.variants)["Send"]
_send.fields = {name.rstrip("_"): kind for name, kind in _send.fields.items()}

SERVER_FRAME = _Enum(
    "frame",
    Welcome=_Struct(
        protocol=U32,
        features=U64,
        connection=ID,
        node_bytes=BYTE,
        session=ID,
        position=U64,
        user=NAME,
        limits=_Struct(frame_bytes=U32, payload_bytes=U32, groups=U32, targets=U32),
        server=STRING,
    ),
    Ack=_Struct(request=U64, count=U64),
    Error=_Struct(request=U64, code=U16, detail=STRING),
    Message=_Struct(**{"from": SENDER}, to=TARGET, event=NAME, format=BYTE, payload=BYTES),
    Joined=_Struct(group=NAME, members=U64),
    Removed=_Struct(group=NAME, code=U16, reason=STRING),
    Goodbye=_Struct(code=U16, reason=STRING, retry_after_ms=U32),
    Lagged=_Struct(dropped=U64),
    Expiring=_Struct(scope=EXPIRY_SCOPE, seconds=U32),
)


def encode_client(frame):
    """A client's frame as bytes, its length before it."""
    return _framed(CLIENT_FRAME.write(frame))


def encode_server(frame):
    """A server's frame as bytes, its length before it."""
    return _framed(SERVER_FRAME.write(frame))


def decode_client(body):
    """The client's frame that `body`, without its length, is. What is not known here is told with its request."""
    try:
        return _whole(CLIENT_FRAME, body)
    except (UnknownNumber, NotUnderstood) as unknown:
        reader = _Reader(body)
        if 0 < U32.read(reader) < FIRST_WITHOUT_REQUEST:
            unknown.request = U64.read(reader)
        raise


def decode_server(body):
    """The server's frame that `body`, without its length, is."""
    return _whole(SERVER_FRAME, body)


def with_extensions(frame, extensions):
    """A frame with extensions behind what it has: numbers and contents."""
    behind = b"".join(U64.write(number) + BYTES.write(content) for number, content in extensions)
    return _framed(frame[PREFIX_BYTES:] + behind)


def _framed(body):
    return struct.pack("<I", len(body)) + body


def _whole(kind, body):
    reader = _Reader(body)
    frame = kind.read(reader)
    reader.end()
    return frame


class FrameReader:
    """Cuts a stream into bodies, however its bytes arrive."""

    def __init__(self, limit=FRAME_CEILING):
        self.limit = limit
        self.kept = bytearray()

    def feed(self, data):
        """The bodies that `data` completes. Raises `TooLong`; the stream cannot be followed any further after that."""
        self.kept += data
        bodies = []
        while len(self.kept) >= PREFIX_BYTES:
            (length,) = struct.unpack_from("<I", self.kept)
            if length > self.limit:
                raise TooLong(f"a frame of {length} bytes is longer than the {self.limit} allowed")
            if len(self.kept) < PREFIX_BYTES + length:
                break
            bodies.append(bytes(self.kept[PREFIX_BYTES : PREFIX_BYTES + length]))
            del self.kept[: PREFIX_BYTES + length]
        return bodies

    def end(self):
        """Says that the stream has ended. Raises `Truncated` in the middle of a frame."""
        if self.kept:
            raise Truncated("the stream ended in the middle of a frame")


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
