//! Frames to bytes and back. The only file of the project that knows bincode.
//!
//! In: chunks of a byte stream, in whatever pieces they arrive. Out: frames. The other way round: frames in, bytes out.
//!
//! A frame is a `u32` little-endian length and then that many bytes: bincode 2 with its standard configuration
//! (variable-length integers, little-endian), which `PROTOCOL.md` spells out so that nobody needs bincode to follow it.
//!
//! Invariants, whatever bytes a peer sends:
//! - the length is checked against the limit before a byte of the frame is kept ([`FrameReader`]);
//! - decoding allocates no more than a fixed multiple of the frame's length (`DECODE_LIMIT`);
//! - a frame is used up to its last byte, or refused; a payload is a slice of the received frame, not a copy.

use bincode::{BorrowDecode, Encode};
use bytes::{Buf, Bytes, BytesMut};

use crate::{
    ClientFrame, ConnectionId, Credential, EventName, ExpiryScope, GroupName, Limits, Message, NameError,
    RequestId, Send, Sender, ServerFrame, Target, Token, UserName, Welcome,
};

/// How many bytes the length prefix has.
pub const PREFIX_BYTES: usize = 4;

/// What bincode may claim for one frame, counted as it counts (a collection's length times the size of its elements), so
/// that a forged collection length allocates nothing. Frames are shorter than this by [`Limits::FRAME_CEILING`].
const DECODE_LIMIT: usize = 2 * Limits::FRAME_CEILING as usize;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODE_LIMIT>,
> = bincode::config::standard().with_limit::<DECODE_LIMIT>();

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length prefix is above the limit. Nothing of the frame was kept.
    #[error("a frame of {length} bytes is longer than the {limit} allowed")]
    TooLong {
        /// What the prefix says, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The bytes are no frame: an unknown variant, a broken string, an end that comes too early.
    #[error("not a frame: {0}")]
    Malformed(String),
    /// The frame ended before its bytes did.
    #[error("{0} bytes follow the end of the frame")]
    TrailingBytes(usize),
    /// The frame is well-formed, but a name in it is not.
    #[error("{name}")]
    InvalidName {
        /// The request that the name was in, where it was in one.
        request: Option<RequestId>,
        /// What is wrong with it.
        name: NameError,
    },
}

/// Cuts a byte stream into frames.
///
/// A frame that lies within one chunk is a slice of that chunk. One that is spread over several is put together, and
/// never are more bytes kept than that one frame has.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    partial: BytesMut,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes after the length prefix.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit: limit as usize, partial: BytesMut::new() }
    }

    /// Changes the limit, from the next frame on.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit as usize;
    }

    /// The next whole frame, without its prefix. Takes what it uses from `chunk`; `None` means that `chunk` is used up.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`]; the stream cannot be followed any further after that.
    pub fn next_frame(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
        if self.partial.is_empty()
            && let Some(length) = self.length_at_start_of(chunk)?
            && chunk.len() - PREFIX_BYTES >= length
        {
            chunk.advance(PREFIX_BYTES);
            return Ok(Some(chunk.split_to(length)));
        }
        loop {
            let wanted = match self.length_at_start_of(&self.partial)? {
                None => PREFIX_BYTES,
                Some(length) => PREFIX_BYTES + length,
            };
            // `wanted` grows by a frame's length once the prefix is whole, so this ends in at most two rounds.
            let missing = wanted - self.partial.len();
            if missing == 0 {
                let mut frame = std::mem::take(&mut self.partial).freeze();
                frame.advance(PREFIX_BYTES);
                return Ok(Some(frame));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            let taken = chunk.split_to(missing.min(chunk.len()));
            self.partial.extend_from_slice(&taken);
        }
    }

    /// Whether the stream stands between two frames, so that it may end here.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.partial.is_empty()
    }

    fn length_at_start_of(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.limit {
            return Err(DecodeError::TooLong { length, limit: self.limit });
        }
        Ok(Some(length))
    }
}

// The frames as bincode sees them: the same fields in the same order, borrowed from the frame's bytes. Variants and
// fields are only ever appended; protocol/vectors.json holds every one of them to its bytes.

#[derive(Encode, BorrowDecode)]
enum WireClientFrame<'a> {
    Hello {
        protocol: u32,
        credential: WireCredential<'a>,
    },
    Join {
        request: u64,
        group: &'a str,
    },
    Leave {
        request: u64,
        group: &'a str,
    },
    Send {
        request: u64,
        ack: bool,
        to: Vec<WireTarget<'a>>,
        except: Vec<[u8; 16]>,
        others: bool,
        event: &'a str,
        payload: &'a [u8],
    },
    Count {
        request: u64,
        target: WireTarget<'a>,
    },
    Refresh {
        request: u64,
        token: &'a str,
    },
}

#[derive(Encode, BorrowDecode)]
enum WireCredential<'a> {
    Token(&'a str),
    DevUser(&'a str),
    Certificate,
}

#[derive(Encode, BorrowDecode)]
enum WireTarget<'a> {
    Connection([u8; 16]),
    User(&'a str),
    Group(&'a str),
    All,
}

#[derive(Encode, BorrowDecode)]
enum WireServerFrame<'a> {
    Welcome { protocol: u32, connection: [u8; 16], user: &'a str, limits: WireLimits, server: &'a str },
    Ack { request: u64, count: u64 },
    Error { request: u64, code: u16, detail: &'a str },
    Message { heading: WireHeading<'a>, body: WireBody<'a> },
    Joined { group: &'a str, members: u64 },
    Removed { group: &'a str, code: u16, reason: &'a str },
    Goodbye { code: u16, reason: &'a str, retry_after_ms: u32 },
    Lagged { dropped: u64 },
    Expiring { scope: WireExpiryScope, seconds: u32 },
}

#[derive(Encode, BorrowDecode)]
enum WireExpiryScope {
    Token,
    Groups { count: u32 },
}

/// The variant number of `Message`, for headings that are encoded apart from the body they share.
const MESSAGE_VARIANT: u32 = 3;

#[derive(Encode, BorrowDecode)]
struct WireLimits {
    frame_bytes: u32,
    payload_bytes: u32,
    groups: u32,
    targets: u32,
}

#[derive(Encode, BorrowDecode)]
struct WireHeading<'a> {
    from: WireSender<'a>,
    to: WireTarget<'a>,
}

#[derive(Encode, BorrowDecode)]
struct WireBody<'a> {
    event: &'a str,
    payload: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
enum WireSender<'a> {
    Connection { connection: [u8; 16], user: &'a str },
    Server,
}

/// The frame as bytes, prefix included.
#[must_use]
pub fn encode_client(frame: &ClientFrame) -> Bytes {
    match frame {
        ClientFrame::Hello { protocol, credential } => {
            let credential = match credential {
                Credential::Token(token) => WireCredential::Token(token.expose()),
                Credential::DevUser(user) => WireCredential::DevUser(user.as_str()),
                Credential::Certificate => WireCredential::Certificate,
            };
            framed(&WireClientFrame::Hello { protocol: *protocol, credential }, 0)
        }
        ClientFrame::Join { request, group } => {
            framed(&WireClientFrame::Join { request: *request, group: group.as_str() }, 0)
        }
        ClientFrame::Leave { request, group } => {
            framed(&WireClientFrame::Leave { request: *request, group: group.as_str() }, 0)
        }
        ClientFrame::Send(send) => framed(
            &WireClientFrame::Send {
                request: send.request,
                ack: send.ack,
                to: send.to.iter().map(wire_target).collect(),
                except: send.except.iter().map(|id| *id.as_bytes()).collect(),
                others: send.others,
                event: send.event.as_str(),
                payload: &send.payload,
            },
            send.payload.len(),
        ),
        ClientFrame::Count { request, target } => {
            framed(&WireClientFrame::Count { request: *request, target: wire_target(target) }, 0)
        }
        ClientFrame::Refresh { request, token } => {
            let token = token.expose();
            framed(&WireClientFrame::Refresh { request: *request, token }, token.len())
        }
    }
}

/// The frame as bytes, prefix included.
#[must_use]
pub fn encode_server(frame: &ServerFrame) -> Bytes {
    match frame {
        ServerFrame::Welcome(welcome) => framed(
            &WireServerFrame::Welcome {
                protocol: welcome.protocol,
                connection: *welcome.connection.as_bytes(),
                user: welcome.user.as_str(),
                limits: WireLimits {
                    frame_bytes: welcome.limits.frame_bytes,
                    payload_bytes: welcome.limits.payload_bytes,
                    groups: welcome.limits.groups,
                    targets: welcome.limits.targets,
                },
                server: &welcome.server,
            },
            0,
        ),
        ServerFrame::Ack { request, count } => {
            framed(&WireServerFrame::Ack { request: *request, count: *count }, 0)
        }
        ServerFrame::Error { request, code, detail } => {
            framed(&WireServerFrame::Error { request: *request, code: *code, detail }, detail.len())
        }
        ServerFrame::Message(message) => encode_message(message),
        ServerFrame::Joined { group, members } => {
            framed(&WireServerFrame::Joined { group: group.as_str(), members: *members }, 0)
        }
        ServerFrame::Removed { group, code, reason } => {
            framed(&WireServerFrame::Removed { group: group.as_str(), code: *code, reason }, reason.len())
        }
        ServerFrame::Goodbye { code, reason, retry_after_ms } => framed(
            &WireServerFrame::Goodbye { code: *code, reason, retry_after_ms: *retry_after_ms },
            reason.len(),
        ),
        ServerFrame::Lagged { dropped } => framed(&WireServerFrame::Lagged { dropped: *dropped }, 0),
        ServerFrame::Expiring { scope, seconds } => {
            let scope = match scope {
                ExpiryScope::Token => WireExpiryScope::Token,
                ExpiryScope::Groups { count } => WireExpiryScope::Groups { count: *count },
            };
            framed(&WireServerFrame::Expiring { scope, seconds: *seconds }, 0)
        }
    }
}

/// A message as one run of bytes, prefix included: what every recipient of a send with one target gets.
#[must_use]
pub fn encode_message(message: &Message) -> Bytes {
    framed(
        &WireServerFrame::Message {
            heading: WireHeading { from: wire_sender(&message.from), to: wire_target(&message.to) },
            body: WireBody { event: message.event.as_str(), payload: &message.payload },
        },
        message.payload.len(),
    )
}

/// The part of a message that is the same for all targets of a send: event and payload. It goes behind a heading.
#[must_use]
pub fn encode_message_body(event: &EventName, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(payload.len() + SMALL_FRAME);
    write(&WireBody { event: event.as_str(), payload }, &mut bytes);
    bytes.into()
}

/// The part of a message that differs by target, length prefix included, for a body of `body_bytes`.
#[must_use]
pub fn encode_message_heading(from: &Sender, to: &Target, body_bytes: usize) -> Bytes {
    let heading = WireHeading { from: wire_sender(from), to: wire_target(to) };
    framed_before(&(MESSAGE_VARIANT, heading), 0, body_bytes)
}

/// Reads a frame that a client sent: all of `frame`, without its prefix.
///
/// # Errors
/// When `frame` is not exactly one frame, or a name in it is out of bounds.
pub fn decode_client(frame: &Bytes) -> Result<ClientFrame, DecodeError> {
    Ok(match read(frame)? {
        WireClientFrame::Hello { protocol, credential } => {
            let credential = match credential {
                WireCredential::Token(token) => Credential::Token(Token::new(token)),
                WireCredential::DevUser(user) => Credential::DevUser(named(None, UserName::new(user))?),
                WireCredential::Certificate => Credential::Certificate,
            };
            ClientFrame::Hello { protocol, credential }
        }
        WireClientFrame::Join { request, group } => {
            ClientFrame::Join { request, group: named(Some(request), GroupName::new(group))? }
        }
        WireClientFrame::Leave { request, group } => {
            ClientFrame::Leave { request, group: named(Some(request), GroupName::new(group))? }
        }
        WireClientFrame::Send { request, ack, to, except, others, event, payload } => {
            ClientFrame::Send(Send {
                request,
                ack,
                to: to.into_iter().map(|to| target(Some(request), &to)).collect::<Result<_, _>>()?,
                except: except.into_iter().map(ConnectionId::from_bytes).collect(),
                others,
                event: named(Some(request), EventName::new(event))?,
                payload: frame.slice_ref(payload),
            })
        }
        WireClientFrame::Count { request, target: of } => {
            ClientFrame::Count { request, target: target(Some(request), &of)? }
        }
        WireClientFrame::Refresh { request, token } => {
            ClientFrame::Refresh { request, token: Token::new(token) }
        }
    })
}

/// Reads a frame that a server sent: all of `frame`, without its prefix.
///
/// # Errors
/// When `frame` is not exactly one frame, or a name in it is out of bounds.
pub fn decode_server(frame: &Bytes) -> Result<ServerFrame, DecodeError> {
    Ok(match read(frame)? {
        WireServerFrame::Welcome { protocol, connection, user, limits, server } => {
            ServerFrame::Welcome(Welcome {
                protocol,
                connection: ConnectionId::from_bytes(connection),
                user: named(None, UserName::new(user))?,
                limits: Limits {
                    frame_bytes: limits.frame_bytes,
                    payload_bytes: limits.payload_bytes,
                    groups: limits.groups,
                    targets: limits.targets,
                },
                server: server.to_owned(),
            })
        }
        WireServerFrame::Ack { request, count } => ServerFrame::Ack { request, count },
        WireServerFrame::Error { request, code, detail } => {
            ServerFrame::Error { request, code, detail: detail.to_owned() }
        }
        WireServerFrame::Message { heading, body } => ServerFrame::Message(Message {
            from: match heading.from {
                WireSender::Connection { connection, user } => Sender::Connection {
                    connection: ConnectionId::from_bytes(connection),
                    user: named(None, UserName::new(user))?,
                },
                WireSender::Server => Sender::Server,
            },
            to: target(None, &heading.to)?,
            event: named(None, EventName::new(body.event))?,
            payload: frame.slice_ref(body.payload),
        }),
        WireServerFrame::Joined { group, members } => {
            ServerFrame::Joined { group: named(None, GroupName::new(group))?, members }
        }
        WireServerFrame::Removed { group, code, reason } => ServerFrame::Removed {
            group: named(None, GroupName::new(group))?,
            code,
            reason: reason.to_owned(),
        },
        WireServerFrame::Goodbye { code, reason, retry_after_ms } => {
            ServerFrame::Goodbye { code, reason: reason.to_owned(), retry_after_ms }
        }
        WireServerFrame::Lagged { dropped } => ServerFrame::Lagged { dropped },
        WireServerFrame::Expiring { scope, seconds } => {
            let scope = match scope {
                WireExpiryScope::Token => ExpiryScope::Token,
                WireExpiryScope::Groups { count } => ExpiryScope::Groups { count },
            };
            ServerFrame::Expiring { scope, seconds }
        }
    })
}

fn wire_target(target: &Target) -> WireTarget<'_> {
    match target {
        Target::Connection(id) => WireTarget::Connection(*id.as_bytes()),
        Target::User(user) => WireTarget::User(user.as_str()),
        Target::Group(group) => WireTarget::Group(group.as_str()),
        Target::All => WireTarget::All,
    }
}

fn target(request: Option<RequestId>, target: &WireTarget<'_>) -> Result<Target, DecodeError> {
    Ok(match target {
        WireTarget::Connection(bytes) => Target::Connection(ConnectionId::from_bytes(*bytes)),
        WireTarget::User(user) => Target::User(named(request, UserName::new(user))?),
        WireTarget::Group(group) => Target::Group(named(request, GroupName::new(group))?),
        WireTarget::All => Target::All,
    })
}

fn wire_sender(sender: &Sender) -> WireSender<'_> {
    match sender {
        Sender::Connection { connection, user } => {
            WireSender::Connection { connection: *connection.as_bytes(), user: user.as_str() }
        }
        Sender::Server => WireSender::Server,
    }
}

fn named<T>(request: Option<RequestId>, name: Result<T, NameError>) -> Result<T, DecodeError> {
    name.map_err(|name| DecodeError::InvalidName { request, name })
}

/// What a frame without payload mostly fits into: two names of ordinary length, an id and some integers.
const SMALL_FRAME: usize = 124;

fn framed(frame: &impl Encode, payload_bytes: usize) -> Bytes {
    framed_before(frame, payload_bytes, 0)
}

/// Encodes `frame` with a prefix that also counts `following` bytes, which the caller writes behind it.
fn framed_before(frame: &impl Encode, payload_bytes: usize, following: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + SMALL_FRAME + payload_bytes);
    bytes.extend_from_slice(&[0; PREFIX_BYTES]);
    write(frame, &mut bytes);
    // Whoever encodes a frame keeps to FRAME_CEILING, and a longer one is refused by its reader; a frame beyond 4 GiB
    // gets a prefix that no reader takes instead of one that is too small.
    let length = u32::try_from(bytes.len() - PREFIX_BYTES + following).unwrap_or(u32::MAX);
    if let Some(prefix) = bytes.first_chunk_mut::<PREFIX_BYTES>() {
        *prefix = length.to_le_bytes();
    }
    bytes.into()
}

#[expect(
    clippy::expect_used,
    reason = "bincode fails to encode only when its writer does, and a Vec does not"
)]
fn write(value: &impl Encode, bytes: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, bytes, CONFIG).expect("a Vec takes every write");
}

fn read<'a, T: BorrowDecode<'a, ()>>(frame: &'a Bytes) -> Result<T, DecodeError> {
    let (value, used) = bincode::borrow_decode_from_slice(frame, CONFIG)
        .map_err(|error| DecodeError::Malformed(described(&error).to_owned()))?;
    match frame.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::TrailingBytes(left)),
    }
}

/// What is wrong, for a person: the peer is told, and knows none of our types' names.
fn described(error: &bincode::error::DecodeError) -> &'static str {
    use bincode::error::DecodeError as Error;
    match error {
        Error::UnexpectedEnd { .. } => "it ends in the middle of a field",
        Error::UnexpectedVariant { .. } => {
            "it has a number that stands for no frame, or for nothing that may be there"
        }
        Error::InvalidIntegerType { .. } => "an integer in it has more bytes than its field may have",
        Error::Utf8 { .. } => "a text in it is not UTF-8",
        Error::InvalidBooleanValue(_) => "a yes or no in it is neither 0 nor 1",
        Error::LimitExceeded | Error::OutsideUsizeRange(_) => "a length in it is beyond the end of the frame",
        _ => "its bytes cannot be read",
    }
}

#[cfg(test)]
mod tests;
