//! Fanfare's core: who is connected, in which groups, and what waits for whom.
//!
//! The hub does no I/O, has no runtime and reads no clock: times come in as arguments, and no method waits. The server
//! connects it to what carries connections.
//!
//! # The types
//!
//! - [`Hub`] has the verbs: register, send, join, leave, watch, remove, revoke, close, count, list. They are the same
//!   whoever asks: a client, an operator, the application, or an expired token. `P` is the type of a connection's permissions, which the
//!   hub keeps and does not read.
//! - [`Gate`] decides who may register, join and watch. The hub asks it inside the critical section, so that a join
//!   cannot race a ban. [`Open`] admits everybody.
//! - A [`Newcomer`] is a connection to register. [`Hub::register`] gives a [`Seat`]; dropping the seat unregisters the
//!   connection. [`Seat::member`] is the [`Member`], to which the verbs apply.
//! - A [`Publication`] is a message to send. A [`Delivery`] says to how many connections it was queued.
//! - An [`Outbox`] is a connection's bounded queue of frames. Whoever writes to the connection takes batches from it.
//!   When it is full, [`Overflow`] decides what happens to the slow consumer; nobody else is delayed.
//! - Who is in a group is told to those who watch it: a snapshot, and then changes, which an
//!   [`Announcement`] queues, now and then. [`PresenceLimits`] say how.
//! - A [`Cluster`] is what connects the hub to those of other nodes, where there are any.
//! - A [`Line`] is what carries a connection, as far as the hub needs to know. [`Nowhere`] carries nothing.
//! - [`HubLimits`] bound all of it.
//!
//! # Example
//!
//! Two connections in a group. One of them sends, and the other finds the message in its outbox:
//!
//! ```
//! use std::sync::Arc;
//! use std::task::{Context, Waker};
//! use std::time::{Instant, SystemTime};
//!
//! use bytes::Bytes;
//! use fanfare_hub::{Hub, HubLimits, Newcomer, Nowhere, Open, Origin, Publication, Seat};
//! use fanfare_protocol::codec::{self, FrameReader};
//! use fanfare_protocol::{
//!     ConnectionId, EventName, GroupName, Limits, PayloadFormat, Sender, ServerFrame, Target, UserName,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // No permissions are needed here, hence `()`.
//! let hub: Hub<()> = Hub::new(HubLimits::default(), Arc::new(Open));
//! let now = Instant::now();
//!
//! let register = |number: u8, user: &str| -> Result<Seat<()>, Box<dyn std::error::Error>> {
//!     let newcomer = Newcomer {
//!         connection: ConnectionId::from_bytes([number; 16]),
//!         user: UserName::new(user)?,
//!         source: [127, 0, 0, 1].into(),
//!         line: Arc::new(Nowhere),
//!         permissions: (),
//!         dialect: None,
//!     };
//!     // What the client is told first.
//!     let welcome = welcome(&newcomer);
//!     Ok(hub.register(newcomer, &welcome, (now, SystemTime::now())).map_err(|denial| denial.detail)?)
//! };
//! let alice = register(1, "alice")?;
//! let bob = register(2, "bob")?;
//!
//! let lobby = GroupName::new("lobby")?;
//! for seat in [&alice, &bob] {
//!     hub.join(seat.member(), &lobby, Origin::Client).map_err(|denial| denial.detail)?;
//! }
//! assert_eq!(hub.count(&Target::Group(lobby.clone())), 2);
//!
//! let publication = Publication {
//!     from: Sender::Connection { connection: alice.member().id(), user: alice.member().user().clone() },
//!     to: vec![Target::Group(lobby.clone())],
//!     except: vec![alice.member().id()],
//!     event: EventName::new("Hello")?,
//!     format: PayloadFormat::Text,
//!     payload: "hello".into(),
//!     accepted: now,
//!     counts: false,
//! };
//! let delivery = hub.send(publication).map_err(|denial| denial.detail)?;
//! assert_eq!(delivery.queued, 1);
//!
//! // What the task that writes to bob's connection finds.
//! let mut chunks = Vec::new();
//! let _ = bob.member().outbox().poll_take(&mut Context::from_waker(Waker::noop()), &mut chunks);
//! let mut bytes = Bytes::from(chunks.concat());
//! let mut reader = FrameReader::new(Limits::default().frame_bytes);
//! let mut frames = Vec::new();
//! while let Some(body) = reader.next_frame(&mut bytes)? {
//!     frames.push(codec::decode_server(&body)?);
//! }
//! let [ServerFrame::Welcome(_), ServerFrame::Joined { .. }, ServerFrame::Message(message)] = &frames[..] else {
//!     panic!("other frames: {frames:?}");
//! };
//! assert_eq!(message.text(), Some("hello"));
//!
//! // Without its seat a connection is in no group any more.
//! drop(bob);
//! assert_eq!(hub.count(&Target::Group(lobby)), 1);
//! # Ok(())
//! # }
//! # fn welcome(newcomer: &Newcomer<()>) -> ServerFrame {
//! #     ServerFrame::Welcome(fanfare_protocol::Welcome {
//! #         protocol: fanfare_protocol::PROTOCOL_VERSION,
//! #         features: fanfare_protocol::Features::default(),
//! #         connection: newcomer.connection,
//! #         node_bytes: 0,
//! #         session: [0; 16],
//! #         position: 0,
//! #         user: newcomer.user.clone(),
//! #         limits: Limits::default(),
//! #         server: "example".to_owned(),
//! #     })
//! # }
//! ```
//!
//! Each file states at its head which invariant it keeps. `hub.rs` is the table of contents.

mod budget;
mod close_reason;
mod cluster;
mod counters;
mod delivery;
mod dialect;
mod envelope;
mod gate;
mod hub;
mod line;
mod member;
mod outbox;
mod presence;
mod registry;
mod roster;
mod shards;
mod sheet;
mod stock;
pub mod striped;
mod sync;
mod visit;
mod witness;

pub use budget::{Budget, BudgetLimits, SEND_WINDOW};
pub use close_reason::CloseReason;
pub use cluster::{Cluster, Lane, NoWay, NodeKey, Outgoing, Proof, Ticket, Topic};
pub use counters::{ByCode, Counters};
pub use delivery::{Delivery, Population, Removal, Removed};
pub use dialect::{Dialect, Translation};
pub use gate::{Gate, Open};
pub use hub::{Hub, HubLimits, Joined, Newcomer, Observer, Publication};
pub use line::{Line, Nowhere, Unreliable};
pub use member::{Member, Origin};
pub use outbox::{Outbox, OutboxFacts, OutboxLimits, Overflow, Pushed, Signal, Taken, Window};
pub use presence::{Announcement, PresenceLimits};
pub use registry::Seat;
pub use roster::Roster;
pub use stock::Stock;
pub use witness::{Left, Witness};
