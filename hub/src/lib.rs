//! Fanfare's core: who is here, in which groups, and what waits for whom.
//!
//! A [`Hub`] knows connections, their users and their groups, and has the verbs that change them: register, send, join,
//! leave, remove, revoke, close. It does no I/O: a connection's frames wait in its [`Outbox`], from which whoever
//! carries them takes batches. It never waits, has no runtime and reads no clock: times come in as arguments. Who may
//! is asked of a [`Gate`], inside the critical section in which it matters.
//!
//! ```
//! use std::sync::Arc;
//! use std::task::{Context, Waker};
//! use std::time::{Instant, SystemTime};
//!
//! use fanfare_hub::{Hub, HubLimits, Newcomer, Nowhere, Open, Origin, Publication};
//! use fanfare_protocol::{
//!     ConnectionId, EventName, GroupName, PayloadFormat, Sender, ServerFrame, Target, UserName,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub: Hub<()> = Hub::new(HubLimits::default(), Arc::new(Open));
//! let newcomer = Newcomer {
//!     connection: ConnectionId::from_bytes([1; 16]),
//!     user: UserName::new("alice")?,
//!     source: [127, 0, 0, 1].into(),
//!     line: Arc::new(Nowhere),
//!     permissions: (),
//! };
//! // What it is told first; a server says `Welcome`.
//! let first = ServerFrame::Lagged { dropped: 0 };
//! let now = Instant::now();
//! let seat = hub.register(newcomer, &first, (now, SystemTime::now())).map_err(|denial| denial.detail)?;
//!
//! let lobby = GroupName::new("lobby")?;
//! hub.join(seat.member(), &lobby, Origin::Client).map_err(|denial| denial.detail)?;
//! let delivery = hub.send(Publication {
//!     from: Sender::Server,
//!     to: vec![Target::Group(lobby)],
//!     except: Vec::new(),
//!     event: EventName::new("Hello")?,
//!     format: PayloadFormat::Text,
//!     payload: "hello".into(),
//!     accepted: now,
//! });
//! assert_eq!(delivery.queued, 1);
//!
//! // What its writer finds: the first frame, `Joined`, and the message.
//! let mut chunks = Vec::new();
//! let _ = seat.member().outbox().poll_take(&mut Context::from_waker(Waker::noop()), &mut chunks);
//! assert_eq!(chunks.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants, and where each is kept: see the head of each file; [`Hub`] is the table of contents.

mod budget;
mod close_reason;
mod counters;
mod delivery;
mod envelope;
mod gate;
mod hub;
mod line;
mod member;
mod outbox;
mod registry;
mod roster;
mod shards;
pub mod striped;
mod sync;

pub use budget::{Account, Budget, BudgetLimits, SEND_WINDOW};
pub use close_reason::CloseReason;
pub use counters::{ByCode, Counters};
pub use delivery::{Delivery, Population, Removal, Removed};
pub use gate::{Gate, Open};
pub use hub::{Hub, HubLimits, Joined, Newcomer, Publication};
pub use line::{Line, Nowhere, Unreliable};
pub use member::{Member, Origin};
pub use outbox::{Outbox, OutboxFacts, OutboxLimits, Overflow, Pushed, Signal, Taken, Window};
pub use registry::Seat;
pub use roster::Roster;
