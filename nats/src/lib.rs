//! What the nodes of a cluster say to each other, and what they have decided: carried by NATS.
//!
//! In: [`Settings`], messages for nodes, entries for the bucket. Out: [`Event`]s, in one bounded channel. Invariants:
//! what one [`Bus`] sends to one node arrives in the order of its calls, or not at all; nothing is kept for later: what
//! waits when the connection ends is dropped, what arrives over an older connection than something before it is
//! dropped, and so is what its sender said while it knew of nothing newer than the bucket had [`Settings::late`] ago;
//! of the bucket every key's newest entry is told, by growing revisions, whatever happens to servers in between.
//!
//! One connection is one client of async-nats: it is told to end where it would reconnect. Else what waits in its
//! channels would be sent when the connection is back, minutes later (nats.rs#1177), and its subscriptions would be
//! made anew without anybody looking whether they still give something (nats.rs#1596). Everything is looked at anew at
//! each connection instead: who we are, what we may, how long a message may be, where the watch goes on.
//!
//! Of JetStream it uses the API in JSON, seven requests, each with a deadline: `bucket.rs`, `watch.rs` and `marks.rs`.

mod bucket;
mod bus;
mod credentials;
mod entries;
mod error;
mod jetstream;
mod judge;
mod keeper;
mod marks;
mod requests;
mod seal;
mod session;
mod settings;
mod shared;
mod stamp;
mod watch;

pub use bus::Bus;
pub use error::{NotSent, OpenError, PutError};
pub use marks::Found;
pub use settings::{Credentials, Settings};
pub use shared::{Counters, Event, Expect};
pub use stamp::BYTES as STAMP_BYTES;
