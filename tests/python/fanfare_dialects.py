"""How clients of each draft of WebTransport over HTTP/3 behave: what they send, and what they insist on.

Owns: the dialects, as docs/protocol/webtransport.md has them in a table, each with its source. In: a server's SETTINGS.
Out: whether such a client goes on. A client of a later draft is stricter here than many real ones, so that what the
strictest takes, all take.
"""

from dataclasses import dataclass, field

from aioquic.h3.connection import (
    FrameType,
    H3Connection,
    StreamType,
    encode_frame,
    encode_settings,
    encode_uint_var,
)

CONNECT_PROTOCOL, DATAGRAM, DATAGRAM_DRAFT_4 = 0x08, 0x33, 0xFFD277
# Drafts 2 to 6, 7 to 12, 13 and 14, from 15 on.
ENABLE_WEBTRANSPORT, MAX_SESSIONS, WT_MAX_SESSIONS, WT_ENABLED = 0x2B603742, 0xC671706A, 0x14E9CD29, 0x2C7CF000
INITIAL_MAX_DATA, INITIAL_MAX_STREAMS_ONE_WAY, INITIAL_MAX_STREAMS = 0x2B61, 0x2B64, 0x2B65
# Capsules that give credit: bytes, streams that go both ways, streams that go one way.
MAX_DATA, MAX_STREAMS, MAX_STREAMS_ONE_WAY = 0x190B4D3D, 0x190B4D3F, 0x190B4D40
GREASE = 0x1F * 143_407_236 + 0x21


@dataclass(frozen=True)
class Dialect:
    name: str
    # What it sends.
    settings: dict
    protocol: str = "webtransport"
    headers: dict = field(default_factory=dict)
    # The setting of the server without which it does not ask for a session.
    insists_on: int = ENABLE_WEBTRANSPORT
    # It waits for credit in capsules before it opens a stream, although nobody has agreed on flow control.
    waits_for_credit: bool = False

    def check(self, settings):
        """Raises where a client of this dialect would not ask for a session."""
        for id in (CONNECT_PROTOCOL, DATAGRAM, self.insists_on):
            if settings.get(id) != 1:
                raise AssertionError(f"{self.name}: the server's setting {id:#x} is {settings.get(id)}, not 1")
        limits = (INITIAL_MAX_DATA, INITIAL_MAX_STREAMS_ONE_WAY, INITIAL_MAX_STREAMS)
        if self.waits_for_credit and any(id in settings for id in limits):
            raise AssertionError(f"{self.name}: the server offers flow control in its settings")


CHROME = Dialect(
    "draft 2, as Chromium speaks it",
    {
        0x01: 65_536,
        0x06: 16_384,
        0x07: 100,
        DATAGRAM: 1,
        DATAGRAM_DRAFT_4: 1,
        ENABLE_WEBTRANSPORT: 1,
        GREASE: 454_654_587,
    },
    headers={"sec-webtransport-http3-draft02": "1"},
)
FIREFOX = Dialect(
    "draft 2, as Firefox speaks it",
    {0x01: 65_536, 0x07: 20, ENABLE_WEBTRANSPORT: 1, DATAGRAM_DRAFT_4: 1, DATAGRAM: 1, CONNECT_PROTOCOL: 1},
    headers={"sec-webtransport-http3-draft02": "1"},
)
OLDEST = Dialect(
    "draft 2 to the letter",
    {DATAGRAM_DRAFT_4: 1, ENABLE_WEBTRANSPORT: 1},
    headers={"sec-webtransport-http3-draft02": "1"},
)
DRAFT_7 = Dialect("draft 7", {DATAGRAM: 1, MAX_SESSIONS: 1}, insists_on=MAX_SESSIONS)
# From draft 9 on a client says nothing of sessions.
DRAFT_9 = Dialect("draft 9", {DATAGRAM: 1}, insists_on=MAX_SESSIONS)
DRAFT_13 = Dialect("draft 13", {DATAGRAM: 1, WT_MAX_SESSIONS: 1}, insists_on=WT_MAX_SESSIONS)
SAFARI = Dialect(
    "drafts 7 and 14 at once, as Safari speaks them",
    {
        DATAGRAM: 1,
        MAX_SESSIONS: 1,
        WT_MAX_SESSIONS: 1,
        INITIAL_MAX_DATA: 1 << 20,
        INITIAL_MAX_STREAMS_ONE_WAY: 100,
        INITIAL_MAX_STREAMS: 100,
    },
    insists_on=MAX_SESSIONS,
    waits_for_credit=True,
)
DRAFT_15 = Dialect("draft 15", {DATAGRAM: 1, WT_ENABLED: 1}, protocol="webtransport-h3", insists_on=WT_ENABLED)
DRAFT_16 = Dialect(
    "draft 16, with flow control",
    {DATAGRAM: 1, WT_ENABLED: 1, INITIAL_MAX_DATA: 65_536, INITIAL_MAX_STREAMS: 4},
    protocol="webtransport-h3",
    headers={"wt-available-protocols": '"fanfare", "other"'},
    insists_on=WT_ENABLED,
)
EVERY = [CHROME, FIREFOX, OLDEST, DRAFT_7, DRAFT_9, DRAFT_13, SAFARI, DRAFT_15, DRAFT_16]


class Http3(H3Connection):
    """HTTP/3 with a dialect's settings; with `late`, they are said when a test wants."""

    def __init__(self, quic, dialect, late=False):
        self.dialect = dialect
        self.late = late
        super().__init__(quic, enable_webtransport=True)

    def _get_local_settings(self):
        return dict(self.dialect.settings)

    def _init_connection(self):
        if not self.late:
            super()._init_connection()
            return
        # QPACK's streams alone: what is numbered first need not come first.
        self._local_encoder_stream_id = self._create_uni_stream(StreamType.QPACK_ENCODER)
        self._local_decoder_stream_id = self._create_uni_stream(StreamType.QPACK_DECODER)

    def say_settings(self):
        self._local_control_stream_id = self._create_uni_stream(StreamType.CONTROL)
        self._sent_settings = self._get_local_settings()
        frame = encode_frame(FrameType.SETTINGS, encode_settings(self._sent_settings))
        self._quic.send_stream_data(self._local_control_stream_id, frame)


def control_stream(settings):
    """The beginning of a control stream with these settings, a list of pairs: also twice the same, and forbidden."""
    payload = b"".join(encode_uint_var(number) for pair in settings for number in pair)
    return encode_uint_var(StreamType.CONTROL) + encode_frame(FrameType.SETTINGS, payload)
