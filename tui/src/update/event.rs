//! What happens to a dashboard, and what it has done in the world because of that: names, and nothing else.
//!
//! In: what comes from the terminal, the server and the clock. Out: what is to be done with them. Invariant: whatever
//! [`update`](super::update) is to know or wants to be done is said here, so that it needs none of the three.

use crossterm::event::{KeyEvent, MouseEvent};
use fanfare_protocol::admin::{
    self, BanRow, ConnectionDetail, ConnectionRow, Listing, Receipt, Status, Update,
};
use fanfare_protocol::{ConnectionId, GroupName};
use serde_json::Value;

use crate::model::AtMost;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// A text that was pasted: never orders.
    Paste(String),
    /// A key that confirms did not come alone.
    Unconfirmed,
    /// There is nobody who could take up what was to be stopped.
    Unstopped,
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has another size.
    Resize(u16, u16),
    /// So many milliseconds have passed since the dashboard began.
    Tick(u64),
    /// There is a server.
    Attached(Box<Status>),
    /// A line of the feed.
    Update(Box<Update>),
    /// What there is on all nodes, and of what there may be less.
    Everywhere(Box<Update>, AtMost),
    /// There is none any more.
    Lost {
        /// Why.
        reason: String,
        /// When it is tried again, in the dashboard's time.
        retry_ms: u64,
    },
    /// What is forbidden now.
    Bans(Listing<BanRow>),
    /// An audit record.
    Record(Value),
    /// Who is in a group.
    Members(GroupName, Listing<ConnectionRow>),
    /// A connection, or that it is gone.
    Detail(Option<Box<ConnectionDetail>>),
    /// What a revocation would do.
    Previewed(admin::Action, Result<Receipt, String>),
    /// What an action did; its name first.
    Done(&'static str, admin::Action, Result<Receipt, String>),
}

/// What is to be done in the world.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// End.
    Quit,
    /// Put this into the clipboard.
    Copy(String),
    /// Ask what this would do.
    Preview(admin::Action),
    /// Do this; its name first.
    Act(&'static str, admin::Action),
    /// Ask for everything about a connection.
    Look(ConnectionId),
    /// Ask who is in a group.
    Members(GroupName),
    /// Look at all nodes from now on, or at the one that is attached to alone.
    Scope(bool),
}
