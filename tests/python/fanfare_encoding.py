"""The encoding of PROTOCOL.md, section 3: integers, strings, names, lists, enums, and the extensions behind the fields.

Owns: the types, each with `write(value) -> bytes` and `read(reader) -> value`, and the errors. It was written from that
page and from nothing else. No I/O.

In: plain values, or bytes that a peer sent. Out: bytes, or values. Ids and payloads are `bytes`; an enum is its
variant's name and content, `{"Group": "room"}`, or the name alone where there is no content, `"All"`.

Invariants: no length that a peer claims is trusted before the bytes are there. A frame is read to its end before a name
in it is judged: `read_whole` has the order.
"""

import struct

NAME_BYTES = 256
ID_BYTES = 16
# The most elements of a list.
LIST_CEILING = 1 << 16


class FrameError(ValueError):
    """The value is no frame, or the bytes are none. `code` is what that is answered with (section 11)."""

    code = 2001
    # The request that the frame is, where it is one that is refused.
    request = None


class Truncated(FrameError):
    """The bytes end before the frame does."""


class TooLong(FrameError):
    """The length is above the limit."""

    code = 2002


class StreamTruncated(FrameError):
    """The stream ended in the middle of a frame."""

    code = 2003


class OtherVersion(FrameError):
    """The first frame is of another version."""

    code = 2006


class UnknownNumber(FrameError):
    """A frame or a variant with a number that is not known here: a client skips such a frame."""

    code = 2105

    def __init__(self, what, number):
        super().__init__(f"{what} {number} is not known here")
        self.what, self.number = what, number


class NotUnderstood(FrameError):
    """An extension that must be understood and is not known here."""

    code = 2106

    def __init__(self, extension):
        super().__init__(f"extension {extension} is not known here, and must be understood")
        self.extension = extension


class InvalidName(FrameError):
    """A name of no bytes, or of more than 256."""

    code = 2101


class Reader:
    """Walks through one body."""

    def __init__(self, body):
        self.body = bytes(body)
        self.at = 0
        # The first name that is out of bounds. It counts only when the whole frame was read.
        self.invalid_name = None

    def left(self):
        return len(self.body) - self.at

    def take(self, count):
        if count > self.left():
            raise Truncated(f"{count} bytes are wanted at byte {self.at}, and {self.left()} are left")
        taken = self.body[self.at : self.at + count]
        self.at += count
        return taken

    def end(self):
        """Reads the extensions behind the last field. Returns those that are skipped."""
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


def read_whole(kind, body):
    """All of `body` as one value of a type.

    Of several things that are wrong the first in this order is raised: bytes that cannot be read, or an unknown number,
    behind which nothing is read; the extensions; the names.
    """
    reader = Reader(body)
    value = kind.read(reader)
    reader.end()
    if reader.invalid_name:
        raise reader.invalid_name
    return value


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
        try:
            self.check(value)
        except InvalidName as invalid:
            reader.invalid_name = reader.invalid_name or invalid
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


class List:
    """Elements that have `least` bytes at least, one behind the other."""

    def __init__(self, element, least):
        self.element = element
        self.least = least

    def write(self, value):
        if not isinstance(value, (list, tuple)):
            raise FrameError(f"{value!r} is no list")
        return U64.write(len(value)) + b"".join(map(self.element.write, value))

    def read(self, reader):
        count = U64.read(reader)
        # So that a forged count ends here.
        if count > reader.left() // self.least:
            raise Truncated(f"a list of {count} elements does not fit into {reader.left()} bytes")
        if count > LIST_CEILING:
            raise FrameError(f"a list has at most {LIST_CEILING} elements, not {count}")
        return [self.element.read(reader) for _ in range(count)]


class Struct:
    """Fields, one behind the other. The value is a dict of exactly these."""

    def __init__(self, **fields):
        self.fields = fields

    def write(self, value):
        if not isinstance(value, dict) or set(value) != set(self.fields):
            raise FrameError(f"{value!r} has not the fields {', '.join(self.fields)}")
        return b"".join(kind.write(value[name]) for name, kind in self.fields.items())

    def read(self, reader):
        return {name: kind.read(reader) for name, kind in self.fields.items()}


class Enum:
    """A variant's number and its content; `None` for a variant without. Numbers count from 0, in the order given; `at`
    has the variants at which they count on from another number."""

    def __init__(self, what, /, at=None, **variants):
        self.what = what
        self.variants = variants
        self.numbers = {}
        number = 0
        for name in variants:
            number = (at or {}).get(name, number)
            self.numbers[name] = number
            number += 1
        self.names = {number: name for name, number in self.numbers.items()}

    def write(self, value):
        named = {value: None} if isinstance(value, str) else {}
        if isinstance(value, dict) and len(value) == 1:
            named = value
        for name, content in self.variants.items():
            if name in named and (content is None) == isinstance(value, str):
                return U32.write(self.numbers[name]) + (content.write(named[name]) if content else b"")
        raise FrameError(f"{value!r} is no {self.what}")

    def read(self, reader):
        number = U32.read(reader)
        if number not in self.names:
            raise UnknownNumber(self.what, number)
        name = self.names[number]
        content = self.variants[name]
        return {name: content.read(reader)} if content else name
