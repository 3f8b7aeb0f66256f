//! What nodes say to each other, as bytes and back.
//!
//! In: a [`Message`] with its heading, or bytes from the bus, which anybody may have sent who may speak there. Out: the
//! other of the two, or why it is none. Invariants: decoding costs no more than a fixed multiple of the bytes, and
//! cannot fail in another way than by an error; what a later version adds behind the fields of a message is passed
//! over, a kind that is not known is told from what is no message, and a question of such a kind with its number, so
//! that it can be answered (promise 13 between nodes).
//!
//! A message: `0xFA`, the version (1), the kind (`u16`), the origin (4 bytes), how many publications the origin has
//! sent to this node so far (`u64`), and the fields. Integers are little-endian. Kinds from `0x8000` on are questions,
//! and their first field is a number (`u64`) that the answer has, too.

mod error;
mod parts;
mod reporting;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fanfare_hub::Lane;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ClientFrame, ConnectionId, EventName, GroupName, Limits, PayloadFormat, Send, Sender, Target, UserName,
};

pub(crate) use self::error::WireError;
use self::parts::{SHORT, array, byte, groups, name, number, numbers, text, topics};
use crate::id::NodeId;
use crate::reports::{Report, Reported};
use crate::topic::TopicNumber;

const MAGIC: u8 = 0xFA;
const VERSION: u8 = 1;
const HEADING_BYTES: usize = 16;

/// Kinds from here on are questions.
const QUESTIONS: u16 = 0x8000;

mod kind {
    pub(super) const PUBLISH: u16 = 1;
    pub(super) const COUNTED: u16 = 2;
    pub(super) const WANT: u16 = 3;
    pub(super) const WANTED: u16 = 4;
    pub(super) const UNWANT: u16 = 5;
    pub(super) const HELLO: u16 = 6;
    pub(super) const WHOLE: u16 = 7;
    pub(super) const IN_FORCE: u16 = 8;
    pub(super) const PING: u16 = 9;
    pub(super) const BYE: u16 = 10;
    pub(super) const ANSWER: u16 = 11;
    pub(super) const NOT_KNOWN: u16 = 12;
    pub(super) const WATCH: u16 = 13;
    pub(super) const UNWATCH: u16 = 14;
    pub(super) const PRESENT: u16 = 15;
    pub(super) const HEARD: u16 = 16;
    pub(super) const REPORT: u16 = 17;
    pub(super) const REPORTED: u16 = 18;
    pub(super) const ASK: u16 = super::QUESTIONS;
}

/// What every message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heading {
    /// Who says it.
    pub(crate) from: NodeId,
    /// How many publications it has sent to whoever gets this, this one included.
    pub(crate) published: u64,
}

/// A publication that came from another node: for whoever is here of those whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Who it is from, as recipients are told.
    pub from: Sender,
    /// Where it goes, from all nodes' point of view.
    pub to: Vec<Target>,
    /// Connections that get no copy.
    pub except: Vec<ConnectionId>,
    /// Its messages: one, or a run to one target.
    pub messages: Vec<(EventName, PayloadFormat, Bytes)>,
    /// How they go.
    pub lane: Lane,
}

/// What a node says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Messages for whoever is there. With a ticket that is not 0 their number is wanted.
    Publish { ticket: u64, publication: Arrived },
    /// So many copies were queued of it.
    Counted { ticket: u64, copies: u64 },
    /// I want what is sent to these. Answered with `Wanted` and the same number. Said after your `Hello` with that
    /// session.
    Want { session: u64, batch: u64, topics: Vec<TopicNumber> },
    /// Done: from now on you get it, or do not get it any more.
    Wanted { batch: u64 },
    /// I do not want it any more. Answered with `Wanted`, too.
    Unwant { session: u64, batch: u64, topics: Vec<TopicNumber> },
    /// Tell me all that you want. Answered, in the end, by `Whole` with this number. I have the lease by my heartbeat
    /// of that revision.
    Hello { session: u64, lease: u64 },
    /// You know all that I want.
    Whole { session: u64 },
    /// What was decided up to this revision is in force here.
    InForce { revision: u64 },
    /// I am here, and know of everything up to this revision.
    Ping { revision: u64 },
    /// I go, and want nothing any more.
    Bye,
    /// A question of whoever uses the cluster.
    Ask { question: u64, body: Bytes },
    /// Its answer.
    Answer { question: u64, body: Bytes },
    /// That question is not known here.
    NotKnown { question: u64 },
    /// Tell me who is there in these groups, from the beginning, and how that changes; or not any more. The first of a
    /// session ends what was asked in an earlier one.
    Watch { session: u64, number: u64, is_watched: bool, groups: Vec<GroupName> },
    /// Who is there: frames of presence, as clients get them (PROTOCOL.md), with what is said of a user behind eight
    /// bytes with when it was said, in microseconds since 1970.
    Present { session: u64, number: u64, frames: Bytes },
    /// So many `Watch` I have heard in this session, and so many `Present` I have sent.
    Heard { session: u64, heard: u64, sent: u64 },
    /// Which subjects are occupied here, and which are not any more, to whoever has the duty to tell a back end.
    Report(Report),
    /// What of that was received, and what is settled.
    Reported(Reported),
}

/// A publication as bytes, but for the heading: made once, whoever gets it.
pub(crate) fn publication(
    ticket: u64,
    from: &Sender,
    to: &[Target],
    except: &[ConnectionId],
    messages: &[(EventName, PayloadFormat, Bytes)],
    lane: Lane,
) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u64_le(ticket);
    bytes.put_u8(match lane {
        Lane::Stream => 0,
        Lane::Datagrams => 1,
    });
    match from {
        Sender::Server => bytes.put_u8(0),
        Sender::Connection { connection, user } => {
            bytes.put_u8(1);
            bytes.put_slice(connection.as_bytes());
            name(&mut bytes, user.as_str());
        }
    }
    for (event, format, payload) in messages {
        // Those behind the first of a run go where it goes.
        let frame = ClientFrame::Send(Send {
            request: 0,
            ack: false,
            to: to.to_vec(),
            except: except.to_vec(),
            others: false,
            event: event.clone(),
            format: *format,
            payload: payload.clone(),
        });
        bytes.put_slice(&codec::encode_client(&frame));
    }
    bytes.freeze()
}

/// A publication with its heading.
pub(crate) fn encode_publication(heading: Heading, publication: &Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADING_BYTES + publication.len());
    head(&mut bytes, heading, kind::PUBLISH);
    bytes.put_slice(publication);
    bytes.freeze()
}

/// Any message with its heading.
pub(crate) fn encode(heading: Heading, message: &Message) -> Bytes {
    let mut bytes = BytesMut::new();
    let head = |bytes: &mut BytesMut, kind| head(bytes, heading, kind);
    match message {
        Message::Publish { ticket, publication: it } => {
            let body = publication(*ticket, &it.from, &it.to, &it.except, &it.messages, it.lane);
            return encode_publication(heading, &body);
        }
        Message::Counted { ticket, copies } => {
            head(&mut bytes, kind::COUNTED);
            bytes.put_u64_le(*ticket);
            bytes.put_u64_le(*copies);
        }
        Message::Want { session, batch, topics } => {
            head(&mut bytes, kind::WANT);
            bytes.put_u64_le(*session);
            bytes.put_u64_le(*batch);
            numbers(&mut bytes, topics);
        }
        Message::Wanted { batch } => {
            head(&mut bytes, kind::WANTED);
            bytes.put_u64_le(*batch);
        }
        Message::Unwant { session, batch, topics } => {
            head(&mut bytes, kind::UNWANT);
            bytes.put_u64_le(*session);
            bytes.put_u64_le(*batch);
            numbers(&mut bytes, topics);
        }
        Message::Hello { session, lease } => {
            head(&mut bytes, kind::HELLO);
            bytes.put_u64_le(*session);
            bytes.put_u64_le(*lease);
        }
        Message::Whole { session } => {
            head(&mut bytes, kind::WHOLE);
            bytes.put_u64_le(*session);
        }
        Message::InForce { revision } => {
            head(&mut bytes, kind::IN_FORCE);
            bytes.put_u64_le(*revision);
        }
        Message::Ping { revision } => {
            head(&mut bytes, kind::PING);
            bytes.put_u64_le(*revision);
        }
        Message::Bye => head(&mut bytes, kind::BYE),
        Message::Ask { question, body } => {
            head(&mut bytes, kind::ASK);
            bytes.put_u64_le(*question);
            bytes.put_slice(body);
        }
        Message::Answer { question, body } => {
            head(&mut bytes, kind::ANSWER);
            bytes.put_u64_le(*question);
            bytes.put_slice(body);
        }
        Message::NotKnown { question } => {
            head(&mut bytes, kind::NOT_KNOWN);
            bytes.put_u64_le(*question);
        }
        Message::Watch { session, number, is_watched, groups } => {
            head(&mut bytes, if *is_watched { kind::WATCH } else { kind::UNWATCH });
            bytes.put_u64_le(*session);
            bytes.put_u64_le(*number);
            // A message has far fewer.
            let count = u16::try_from(groups.len()).unwrap_or(u16::MAX);
            bytes.put_u16_le(count);
            groups.iter().take(count.into()).for_each(|group| name(&mut bytes, group.as_str()));
        }
        Message::Present { session, number, frames } => {
            head(&mut bytes, kind::PRESENT);
            bytes.put_u64_le(*session);
            bytes.put_u64_le(*number);
            bytes.put_slice(frames);
        }
        Message::Heard { session, heard, sent } => {
            head(&mut bytes, kind::HEARD);
            [session, heard, sent].into_iter().for_each(|number| bytes.put_u64_le(*number));
        }
        Message::Report(report) => {
            head(&mut bytes, kind::REPORT);
            reporting::put_report(&mut bytes, report);
        }
        Message::Reported(reported) => {
            head(&mut bytes, kind::REPORTED);
            reporting::put_reported(&mut bytes, reported);
        }
    }
    bytes.freeze()
}

fn head(bytes: &mut BytesMut, heading: Heading, kind: u16) {
    bytes.put_u8(MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_u16_le(kind);
    bytes.put_slice(&heading.from.bytes());
    bytes.put_u64_le(heading.published);
}

/// Reads a message.
pub(crate) fn decode(bytes: &Bytes) -> Result<(Heading, Message), WireError> {
    let mut rest = bytes.clone();
    if byte(&mut rest)? != MAGIC {
        return Err(WireError::Malformed("it begins with something else"));
    }
    let version = byte(&mut rest)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let kind = rest.try_get_u16_le().map_err(|_| SHORT)?;
    let from = NodeId::new(array(&mut rest)?);
    let heading = Heading { from, published: number(&mut rest)? };
    let message = match kind {
        kind::PUBLISH => publish(&mut rest)?,
        kind::COUNTED => Message::Counted { ticket: number(&mut rest)?, copies: number(&mut rest)? },
        kind::WANT => Message::Want {
            session: number(&mut rest)?,
            batch: number(&mut rest)?,
            topics: topics(&mut rest)?,
        },
        kind::WANTED => Message::Wanted { batch: number(&mut rest)? },
        kind::UNWANT => Message::Unwant {
            session: number(&mut rest)?,
            batch: number(&mut rest)?,
            topics: topics(&mut rest)?,
        },
        kind::HELLO => Message::Hello { session: number(&mut rest)?, lease: number(&mut rest)? },
        kind::WHOLE => Message::Whole { session: number(&mut rest)? },
        kind::IN_FORCE => Message::InForce { revision: number(&mut rest)? },
        kind::PING => Message::Ping { revision: number(&mut rest)? },
        kind::BYE => Message::Bye,
        kind::ASK => Message::Ask { question: number(&mut rest)?, body: rest },
        kind::ANSWER => Message::Answer { question: number(&mut rest)?, body: rest },
        kind::NOT_KNOWN => Message::NotKnown { question: number(&mut rest)? },
        kind::WATCH | kind::UNWATCH => Message::Watch {
            session: number(&mut rest)?,
            number: number(&mut rest)?,
            is_watched: kind == kind::WATCH,
            groups: groups(&mut rest)?,
        },
        kind::PRESENT => {
            Message::Present { session: number(&mut rest)?, number: number(&mut rest)?, frames: rest }
        }
        kind::HEARD => Message::Heard {
            session: number(&mut rest)?,
            heard: number(&mut rest)?,
            sent: number(&mut rest)?,
        },
        kind::REPORT => Message::Report(reporting::report(&mut rest)?),
        kind::REPORTED => Message::Reported(reporting::reported(&mut rest)?),
        kind => {
            let question = if kind >= QUESTIONS { Some(number(&mut rest)?) } else { None };
            let Heading { from, published } = heading;
            return Err(WireError::Unknown { from, published, kind, question });
        }
    };
    Ok((heading, message))
}

fn publish(rest: &mut Bytes) -> Result<Message, WireError> {
    let ticket = number(rest)?;
    let lane = match byte(rest)? {
        0 => Lane::Stream,
        1 => Lane::Datagrams,
        _ => return Err(WireError::Malformed("its lane is none")),
    };
    let from = match byte(rest)? {
        0 => Sender::Server,
        1 => {
            let connection = ConnectionId::from_bytes(array(rest)?);
            let user = UserName::new(text(rest, &mut Bytes::new())?)
                .map_err(|_| WireError::Malformed("its sender has no possible name"))?;
            Sender::Connection { connection, user }
        }
        _ => return Err(WireError::Malformed("its sender is none")),
    };
    let mut frames = FrameReader::new(Limits::FRAME_CEILING);
    let (mut messages, mut whom) = (Vec::new(), None);
    while let Some(frame) =
        frames.next_frame(rest).map_err(|_| WireError::Malformed("a frame is too long"))?
    {
        let Ok(ClientFrame::Send(Send { to, except, event, format, payload, .. })) =
            codec::decode_client(&frame)
        else {
            return Err(WireError::Malformed("a frame in it is no send"));
        };
        whom.get_or_insert((to, except));
        messages.push((event, format, payload));
    }
    let whole = frames.is_between_frames();
    match whom {
        Some((to, except)) if whole && !to.is_empty() && (messages.len() == 1 || to.len() == 1) => {
            Ok(Message::Publish { ticket, publication: Arrived { from, to, except, messages, lane } })
        }
        _ => Err(WireError::Malformed("its messages are broken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Void;
    use crate::subject::{Item, Subject, Told};
    use proptest::prelude::*;

    fn heading() -> Heading {
        Heading { from: NodeId::new([1, 2, 3, 4]), published: 77 }
    }

    fn all() -> Vec<Message> {
        let (user, group) = (UserName::new("alice").unwrap(), GroupName::new("room").unwrap());
        let event = EventName::new("E").unwrap();
        let message =
            |payload: &'static [u8]| (event.clone(), PayloadFormat::Json, Bytes::from_static(payload));
        let connection = ConnectionId::from_bytes([7; 16]);
        let from = Sender::Connection { connection, user: user.clone() };
        let topics = vec![TopicNumber(1), TopicNumber(u64::MAX)];
        let rooms = vec![group.clone(), GroupName::new("other").unwrap()];
        let item = |number, subject, is_here, told| Item { number, subject, is_here, told };
        let items = vec![
            item(1, Subject::Group(group.clone()), true, Told::No),
            item(7, Subject::User(group.clone(), user.clone()), false, Told::Kept),
            item(8, Subject::User(group.clone(), user.clone()), true, Told::Owed(9)),
            item(9, Subject::Group(group.clone()), false, Told::Doubted(9)),
        ];
        let void = Void { revision: 12, before: 9 };
        let report = Report { claim: 4, session: 3, number: 2, had: 9, void, is_whole: true, items };
        vec![
            Message::Publish {
                ticket: 9,
                publication: Arrived {
                    from,
                    to: vec![Target::Group(group.clone()), Target::User(user), Target::All],
                    except: vec![connection],
                    messages: vec![message(b"{}")],
                    lane: Lane::Datagrams,
                },
            },
            Message::Publish {
                ticket: 0,
                publication: Arrived {
                    from: Sender::Server,
                    to: vec![Target::Group(group)],
                    except: Vec::new(),
                    messages: vec![message(b"1"), message(b""), message(b"3")],
                    lane: Lane::Stream,
                },
            },
            Message::Counted { ticket: 9, copies: 3 },
            Message::Want { session: 8, batch: 4, topics: topics.clone() },
            Message::Wanted { batch: 4 },
            Message::Unwant { session: 8, batch: 5, topics },
            Message::Hello { session: 2, lease: 6 },
            Message::Whole { session: 2 },
            Message::InForce { revision: 5 },
            Message::Ping { revision: 6 },
            Message::Bye,
            Message::Ask { question: 1, body: Bytes::from_static(b"who") },
            Message::Answer { question: 1, body: Bytes::from_static(b"me") },
            Message::NotKnown { question: 1 },
            Message::Watch { session: 3, number: 1, is_watched: true, groups: rooms.clone() },
            Message::Watch { session: 3, number: 2, is_watched: false, groups: rooms },
            Message::Present { session: 3, number: 1, frames: Bytes::from_static(b"frames") },
            Message::Heard { session: 3, heard: 2, sent: 1 },
            Message::Report(report),
            Message::Reported(Reported { claim: 4, session: 3, number: 2, settled: vec![1, u64::MAX] }),
        ]
    }

    #[test]
    fn what_is_said_is_heard() {
        for message in all() {
            let bytes = encode(heading(), &message);
            assert_eq!(decode(&bytes), Ok((heading(), message)));
        }
    }

    /// Bodies that go on to the end have no fields behind them; they grow inside.
    #[test]
    fn promise_13_fields_of_a_later_version_are_passed_over() {
        for message in all() {
            let is_open = matches!(
                message,
                Message::Publish { .. }
                    | Message::Ask { .. }
                    | Message::Answer { .. }
                    | Message::Present { .. }
            );
            let mut bytes = encode(heading(), &message).to_vec();
            bytes.extend_from_slice(b"more");
            if !is_open {
                assert_eq!(decode(&bytes.into()), Ok((heading(), message)));
            }
        }
    }

    #[test]
    fn promise_13_a_question_of_a_later_version_is_known_by_its_number() {
        let mut bytes = encode(heading(), &Message::Ask { question: 5, body: Bytes::new() }).to_vec();
        bytes[2..4].copy_from_slice(&0x8abc_u16.to_le_bytes());
        let (from, published) = (heading().from, 77);
        let expected = WireError::Unknown { from, published, kind: 0x8abc, question: Some(5) };
        assert_eq!(decode(&Bytes::from(bytes)), Err(expected));
        let mut bytes = encode(heading(), &Message::Bye).to_vec();
        bytes[2..4].copy_from_slice(&0x0abc_u16.to_le_bytes());
        let expected = WireError::Unknown { from, published, kind: 0x0abc, question: None };
        assert_eq!(decode(&Bytes::from(bytes.clone())), Err(expected));
        bytes[1] = 2;
        assert_eq!(decode(&Bytes::from(bytes)), Err(WireError::Version(2)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>, at in 0..20_usize, cut in 0..200_usize, flip in 0..200_usize) {
            let _ = decode(&Bytes::from(bytes));
            let mut bytes = encode(heading(), &all()[at]).to_vec();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 0x41;
            }
            if let Ok((heading, message)) = decode(&Bytes::from(bytes)) {
                let again = encode(heading, &message);
                prop_assert_eq!(decode(&again), Ok((heading, message)));
            }
        }
    }
}
