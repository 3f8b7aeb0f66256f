"""Holds PROTOCOL.md, the pages beside it, the golden vectors and the Python codec against each other.

Owns: the tests. Run from the repository's root: `python3 -m unittest discover -s tests/python`.

In: protocol/vectors and protocol/malformed.json, to which the Rust codec is held as well, PROTOCOL.md and the pages
beside it. Out: a failure wherever they do not say the same.
"""

import json
import re
import struct
import unittest
from pathlib import Path

import fanfare_codec as codec

ROOT = Path(__file__).resolve().parents[2]
# Those of every version.
FILES = sorted((ROOT / "protocol" / "vectors").glob("*.json"))
VECTORS = [vector for file in FILES for vector in json.loads(file.read_text(encoding="utf-8"))]
MALFORMED = json.loads((ROOT / "protocol" / "malformed.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
CALLS = (ROOT / "docs" / "protocol" / "calls.md").read_text(encoding="utf-8")
PRESENCE = (ROOT / "docs" / "protocol" / "presence.md").read_text(encoding="utf-8")
PAGES = [ROOT / "PROTOCOL.md", *sorted((ROOT / "docs" / "protocol").glob("*.md"))]

# The vectors that there are. A new one is added here by hand, so that none is lost unnoticed.
NAMES = """
    hello-dev-user hello-token hello-certificate hello-features join join-emoji leave send-to-group send-to-everything
    send-json count-group count-all refresh
    welcome ack ack-wide error message-to-group message-to-user message-to-connection message-to-all message-from-server
    message-json message-msgpack message-other-format
    joined removed goodbye goodbye-for-good lagged expiring-token expiring-groups
    hello-extended join-extended send-extended welcome-extended ack-extended message-extended goodbye-extended
    hello-critical join-critical ack-critical
    unknown-request unknown-client-frame unknown-server-frame hello-unknown-credential send-unknown-target
    count-unknown-target message-unknown-sender message-unknown-target expiring-unknown-scope
    hello-calls invoke invoke-with-streams cancel credit item end end-failed answer answer-failed
    completion completion-value completion-failed result-item invoke-client cancel-client stream-credit stream-stop
    completion-unknown-outcome
    hello-presence watch unwatch snapshot snapshot-of-nobody snapshot-part changes watch-ended
    ack-part
""".split()

ENCODE = {"client": codec.encode_client, "server": codec.encode_server}
DECODE = {"client": codec.decode_client, "server": codec.decode_server}
FRAMES = {"client": codec.CLIENT_FRAME, "server": codec.SERVER_FRAME}


def from_json(value, key=""):
    """A frame of the vectors, with its ids and its payload as bytes instead of hex."""
    if isinstance(value, dict):
        return {name: from_json(content, name) for name, content in value.items()}
    if isinstance(value, list):
        return [from_json(element, key) for element in value]
    if isinstance(value, str) and key in ("payload", "except", "connection", "Connection", "session"):
        return bytes.fromhex(value)
    return value


def body_of(vector):
    return bytes.fromhex(vector["hex"])[codec.PREFIX_BYTES :]


def dump(data):
    """As PROTOCOL.md shows bytes: 16 a line."""
    return "\n".join(data[at : at + 16].hex(" ") for at in range(0, len(data), 16))


class Vectors(unittest.TestCase):
    def each(self, kind="frame"):
        for vector in VECTORS:
            if kind in vector:
                with self.subTest(vector["name"]):
                    yield vector

    def test_every_vector_is_here(self):
        self.assertEqual([vector["name"] for vector in VECTORS], NAMES)

    def test_every_frame_and_every_variant_has_a_vector(self):
        seen = json.dumps([vector.get("frame") for vector in VECTORS])
        for side, frames in FRAMES.items():
            kinds = {kind for vector in VECTORS if vector["from"] == side for kind in vector.get("frame", ())}
            self.assertEqual(kinds, set(frames.variants))
        for enum in (codec.CREDENTIAL, codec.TARGET, codec.SENDER, codec.OUTCOME):
            for name in enum.variants:
                self.assertIn(f'"{name}"', seen)

    def test_bytes_decode_to_the_frame(self):
        for vector in self.each():
            self.assertEqual(DECODE[vector["from"]](body_of(vector)), from_json(vector["frame"]))

    def test_the_frame_encodes_to_the_bytes(self):
        for vector in self.each():
            frame = ENCODE[vector["from"]](from_json(vector["frame"]))
            skipped = [(number, bytes.fromhex(content)) for number, content in vector.get("skipped", ())]
            self.assertEqual(codec.with_extensions(frame, skipped).hex(), vector["hex"])

    def test_what_is_not_known_is_told_with_its_request(self):
        for vector in self.each("unknown"):
            with self.assertRaises(codec.UnknownNumber) as raised:
                DECODE[vector["from"]](body_of(vector))
            told = {"request": raised.exception.request, raised.exception.what: raised.exception.number}
            self.assertEqual(told, vector["unknown"])

    def test_what_must_be_understood_and_is_not_is_told_with_its_request(self):
        for vector in self.each("critical"):
            with self.assertRaises(codec.NotUnderstood) as raised:
                DECODE[vector["from"]](body_of(vector))
            told = {"request": raised.exception.request, "extension": raised.exception.extension}
            self.assertEqual(told, vector["critical"])

    def test_the_length_before_the_body_is_the_bodys(self):
        for vector in self.each():
            self.assertEqual(bytes.fromhex(vector["hex"])[:4], struct.pack("<I", len(body_of(vector))))

    def test_every_truncation_is_refused(self):
        for vector in self.each():
            body = body_of(vector)
            # Cut before its extensions it is the frame without them.
            plain = len(ENCODE[vector["from"]](from_json(vector["frame"]))) - codec.PREFIX_BYTES
            if len(body) > plain and len(vector["skipped"]) > 1:
                continue
            for length in range(len(body)):
                if length == plain:
                    continue
                with self.assertRaises(codec.Truncated, msg=f"{length} of {len(body)} bytes"):
                    DECODE[vector["from"]](body[:length])

    def test_an_appended_byte_is_refused(self):
        for vector in self.each():
            for byte in (b"\x00", b"\x01", b"\xff"):
                with self.assertRaises(codec.FrameError):
                    DECODE[vector["from"]](body_of(vector) + byte)

    def test_the_stream_may_be_cut_anywhere(self):
        whole = {side: b"" for side in FRAMES}
        bodies = {side: [] for side in FRAMES}
        for vector in VECTORS:
            whole[vector["from"]] += bytes.fromhex(vector["hex"])
            bodies[vector["from"]].append(body_of(vector))
        for side, stream in whole.items():
            for size in (1, 2, 3, 5, 7, 64, len(stream)):
                reader = codec.FrameReader()
                found = []
                for at in range(0, len(stream), size):
                    found += reader.feed(stream[at : at + size])
                reader.end()
                self.assertEqual(found, bodies[side])


class Page(unittest.TestCase):
    def test_every_vector_is_dumped_under_its_name(self):
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                block = f"```text\n{dump(bytes.fromhex(vector['hex']))}\n```"
                name = re.escape(vector["name"])
                shown = re.search(rf"^`{name}`: [^`].*?\n\n(```text\n.*?\n```)$", PAGE + CALLS + PRESENCE, re.M | re.S)
                self.assertIsNotNone(shown, "not named")
                self.assertEqual(shown[1], block)

    def test_the_tables_of_frames_and_variants_are_the_codecs(self):
        for side, frames in FRAMES.items():
            pages = (PAGE, CALLS, PRESENCE)
            sections = [page.split(f"Frames from the {side}\n")[1].split("\n## ")[0] for page in pages]
            headings = [row for section in sections for row in re.findall(r"^### (\d+) `(\w+)`$", section, re.M)]
            rows = [row for section in sections for row in re.findall(r"^\| (\d+) \| `(\w+)` \|", section, re.M)]
            # Those of a client that have no request have higher numbers than later ones that have.
            headings, rows = (sorted(found, key=lambda row: int(row[0])) for found in (headings, rows))
            expected = [(str(number), name) for name, number in frames.numbers.items()]
            self.assertEqual(headings, expected)
            self.assertEqual(rows, expected)
            for name, kind in frames.variants.items():
                (section,) = (section for section in sections if f"`{name}`\n\n" in section)
                text = section.split(f"`{name}`\n\n", 1)[1].split("\n### ")[0]
                fields = re.findall(r"^\| `([\w.]+)` \|", text, re.M)
                self.assertEqual(fields, field_names(kind), name)
        for page, title, enum in (
            (PAGE, "Credential", codec.CREDENTIAL),
            (PAGE, "Target", codec.TARGET),
            (PAGE, "Sender", codec.SENDER),
            (CALLS, "Outcome", codec.OUTCOME),
        ):
            table = page.split(f"\n`{title}`: ")[1].split("\n\n")[1]
            rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", table, re.M)
            self.assertEqual(rows, [(str(number), name) for name, number in enum.numbers.items()])

    def test_the_examples_of_integers_are_right(self):
        table = PAGE.split("never used. Examples:")[1].split("\n\n")[1]
        rows = re.findall(r"^\| ([\d,]+) \| `([0-9a-f ]+)` \|$", table, re.M)
        self.assertEqual(len(rows), 9)
        for value, shown in rows:
            value = int(value.replace(",", ""))
            self.assertEqual(codec.U64.write(value).hex(" "), shown)
            self.assertEqual(codec.read_whole(codec.U64, bytes.fromhex(shown)), value)

    def test_the_examples_of_ids_are_right(self):
        ids = (ROOT / "docs" / "protocol" / "ids.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `([0-9a-f]{32})` \| `(\w{26})` \|$", ids, re.M)
        self.assertEqual(len(rows), 6)
        for raw, text in rows:
            self.assertEqual(codec.id_to_text(bytes.fromhex(raw)), text)
            self.assertEqual(codec.id_from_text(text).hex(), raw)

    def test_every_link_of_the_pages_leads_somewhere(self):
        for page in PAGES:
            for path, anchor in re.findall(r"\]\(([^#)]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
                target = page.parent / path if path else page
                self.assertTrue(target.exists(), f"{page}: {path}")
                if anchor:
                    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
                    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                    self.assertIn(anchor, anchors, page)

    def test_every_page_is_linked_from_the_first(self):
        for page in PAGES[1:]:
            self.assertIn(f"(docs/protocol/{page.name})", PAGE)


def field_names(kind, before=""):
    names = []
    for name, content in kind.fields.items():
        # Those that have a name of their own on the page are a field each.
        inner = isinstance(content, codec.Struct) and content is not codec.PAYLOAD
        names += field_names(content, f"{before}{name}.") if inner else [before + name]
    return names


class Integers(unittest.TestCase):
    def test_wider_forms_are_read_as_far_as_the_type_is_wide(self):
        wide = {2: bytes.fromhex("fb 05 00"), 4: bytes.fromhex("fc 05 00 00 00"), 8: b"\xfd\x05" + bytes(7)}
        for kind in (codec.U16, codec.U32, codec.U64):
            for width, data in wide.items():
                if width <= kind.width:
                    self.assertEqual(codec.read_whole(kind, data), 5)
                else:
                    with self.assertRaises(codec.FrameError):
                        codec.read_whole(kind, data)
            for first in (254, 255):
                with self.assertRaises(codec.FrameError):
                    codec.read_whole(kind, bytes([first]) + bytes(16))

    def test_values_out_of_range_are_not_written(self):
        for kind, value in ((codec.U16, 1 << 16), (codec.U32, 1 << 32), (codec.U64, 1 << 64), (codec.U64, -1)):
            with self.assertRaises(codec.FrameError):
                kind.write(value)
        for value in (True, 1.0, "1", None):
            with self.assertRaises(codec.FrameError):
                codec.U64.write(value)


class Refused(unittest.TestCase):
    def client(self, text, error=codec.FrameError):
        with self.assertRaises(error) as raised:
            codec.decode_client(bytes.fromhex(text))
        self.assertIs(type(raised.exception), error)

    def test_bodies_that_are_no_frames(self):
        self.client("", codec.Truncated)
        self.client("7f", codec.Truncated)  # a request without its number
        self.client("7f 01", codec.UnknownNumber)
        self.client("c8", codec.UnknownNumber)
        self.client("81 0a 01 02 01 37")  # a stream that ends with a value
        self.client("00 01 00 03 01 61", codec.UnknownNumber)  # a credential
        self.client("04 05 04", codec.UnknownNumber)  # a target
        self.client("03 01 02")  # a bool that is 2
        self.client("03 01 fb 01 00")  # a bool that is no byte
        self.client("01 01 02 c3 28")  # no UTF-8
        self.client("01 01 03 ed a0 80")  # a surrogate
        self.client("01 01 02 c0 af")  # an overlong form
        self.client("01 01 04 72 6f", codec.Truncated)
        self.client("01 01 01 72 09", codec.Truncated)  # half an extension
        self.client("01 01 01 72 08 00 08 00")  # one that stands twice
        self.client("01 01 01 72 09 00 08 00")  # also behind one that must be understood
        self.client("01 01 01 72 08 00 09 00", codec.NotUnderstood)
        self.client("01 01 01 72 08 fd 00 00 00 00 00 00 00 40", codec.Truncated)  # 2^62 bytes of content
        self.client("03 01 00 fd 00 00 00 00 00 00 00 40", codec.Truncated)  # 2^62 targets
        self.client("03 01 00 00 00 00 01 45 00 fd 00 00 00 00 00 00 00 40", codec.Truncated)  # 2^62 bytes of payload
        with self.assertRaises(codec.UnknownNumber):
            codec.decode_server(bytes.fromhex("fa"))
        with self.assertRaises(codec.UnknownNumber):
            codec.decode_server(bytes.fromhex("03 02"))  # a sender

    def test_names_of_no_bytes_or_of_more_than_256(self):
        self.client("01 07 00", codec.InvalidName)
        self.client("01 07 fb 01 01" + "78" * 257, codec.InvalidName)
        full = codec.decode_client(bytes.fromhex("01 07 fb 00 01" + "78" * 256))
        self.assertEqual(full, {"Join": {"request": 7, "group": "x" * 256}})
        for name in ("", "x" * 257, "\U0001f600" * 64 + "x"):
            with self.assertRaises(codec.InvalidName):
                codec.encode_client({"Join": {"request": 7, "group": name}})
        codec.encode_client({"Join": {"request": 7, "group": "\U0001f600" * 64}})

    def test_values_that_are_no_frames(self):
        join = {"request": 1, "group": "room"}
        for frame in (
            {},
            "Join",
            None,
            {"Jion": join},
            {"Join": join, "Leave": join},
            {"Join": {"request": 1}},
            {"Join": {**join, "more": 1}},
            {"Join": {"request": 1, "group": b"room"}},
            {"Join": {"request": 1, "group": "\ud800"}},
            {"Count": {"request": 1, "target": "Group"}},
            {"Count": {"request": 1, "target": {"All": None}}},
            {"Count": {"request": 1, "target": {"Connection": bytes(15)}}},
            {"Count": {"request": 1, "target": {"Connection": "0" * 16}}},
            {"StreamEnd": {"stream": 1, "outcome": {"Value": {"format": 2, "payload": b"1"}}}},
            {"Invoke": {"request": 1, "method": "Add", "credit": 0, "streams": [], "arguments": b"[]"}},
        ):
            with self.subTest(frame=frame), self.assertRaises(codec.FrameError):
                codec.encode_client(frame)

    def test_streams(self):
        reader = codec.FrameReader(100)
        self.assertEqual(list(reader.feed(bytes.fromhex("64 00 00"))), [])
        with self.assertRaises(codec.StreamTruncated):
            reader.end()
        with self.assertRaises(codec.TooLong):
            list(codec.FrameReader(100).feed(bytes.fromhex("65 00 00 00")))
        self.assertEqual(list(codec.FrameReader(100).feed(bytes.fromhex("00 00 00 00"))), [b""])


def written(text):
    """The bytes of `01 07 fb0101 78*257`."""
    parts = (part.partition("*") for part in text.split())
    return b"".join(bytes.fromhex(digits) * int(times or 1) for digits, _, times in parts)


def outcome(side, row):
    """What becomes of a row of the table: `read`, `skipped` or a code, and the request that is refused."""
    reader = codec.FrameReader(codec.FRAME_BYTES if side == "client" else codec.FRAME_CEILING)
    try:
        for body in [written(row["body"])] if "body" in row else reader.feed(written(row["stream"])):
            if row.get("first"):
                codec.check_version(body)
            DECODE[side](body)
        reader.end()
    except codec.UnknownNumber as unknown:
        if side == "server" or (unknown.what == "frame" and unknown.request is None):
            return {"becomes": "skipped"}
        return {"becomes": unknown.code, "request": unknown.request}
    except (codec.NotUnderstood, codec.InvalidName) as refused:
        told = {"request": refused.request} if side == "client" else {}
        return {"becomes": refused.code, **told}
    except codec.FrameError as malformed:
        return {"becomes": malformed.code}
    return {"becomes": "read"}


class Malformed(unittest.TestCase):
    """protocol/malformed.json holds three codecs to the same answers; protocol/src/codec/tests/malformed.rs says how it
    is written."""

    def test_each_malformed_frame_is_answered_as_the_table_says(self):
        self.assertGreaterEqual(len(MALFORMED), 100)
        for row in MALFORMED:
            with self.subTest(row["name"], side=row["from"]):
                wanted = {key: row[key] for key in ("becomes", "request") if key in row}
                self.assertEqual(outcome(row["from"], row), wanted)


class Ids(unittest.TestCase):
    def test_text_form(self):
        for raw, text in (
            (bytes(16), "0" * 26),
            (bytes(15) + b"\x01", "0" * 25 + "1"),
            (b"\x80" + bytes(15), "4" + "0" * 25),
            (b"\xff" * 16, "7" + "Z" * 25),
        ):
            self.assertEqual(codec.id_to_text(raw), text)
            self.assertEqual(codec.id_from_text(text), raw)
            self.assertEqual(codec.id_from_text(text.lower()), raw)
        for shift in range(128):
            raw = (1 << shift).to_bytes(16, "big")
            self.assertEqual(codec.id_from_text(codec.id_to_text(raw)), raw)

    def test_bad_text_is_refused(self):
        zeros = "0" * 25
        for text in ("", "7Z", zeros, zeros + "00", "8" + zeros, *(zeros + bad for bad in "ILOU-i \u0131\u017f")):
            with self.subTest(text=text), self.assertRaises(ValueError):
                codec.id_from_text(text)


if __name__ == "__main__":
    unittest.main()
