//! Everything that the dashboard knows and shows: plain values, no terminal, no network.
//!
//! In: updates, by way of [`crate::update`]. Out: what [`crate::view`] draws. Invariant: what is shown is in here, so
//! that the same model always draws the same picture.

mod form;
mod history;
mod listing;
mod picture;
mod trace;

use std::collections::VecDeque;

use fanfare_protocol::admin::{self, BanRow, ConnectionDetail, ConnectionRow, Role, Status};
use fanfare_protocol::{ConnectionId, GroupName, UserName};
use serde_json::Value;

pub use form::{Act, Field, Form};
pub use history::History;
pub use listing::{Column, Item, Listing};
pub use picture::{AtMost, Held, Picture, Tracked};
pub use trace::Trace;

/// Milliseconds without an update after which it is said.
const SILENT_MS: u64 = 3_000;
/// Audit records that are kept.
const RECORDS: usize = 1_000;

/// The dashboard.
#[derive(Debug)]
pub struct Model {
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Milliseconds since the dashboard began.
    pub now_ms: u64,
    /// Whether there is a server.
    pub link: Link,
    /// What the server said of itself when it was attached to.
    pub status: Option<Status>,
    /// When that was, in the dashboard's time.
    pub attached_ms: u64,
    /// When something was last heard of it, in the dashboard's time.
    pub heard_ms: u64,
    /// What is on the server.
    pub picture: Picture,
    /// What it was.
    pub history: History,
    /// What is forbidden to whom: the newest, and how many there are in all.
    pub bans: admin::Listing<BanRow>,
    /// What operators did, the newest last.
    pub audit: VecDeque<Value>,
    /// Whether all nodes are looked at, and not the one alone that is attached to.
    pub all_nodes: bool,
    /// The members of the group that is looked at, on all nodes, as the server last told.
    pub members: Option<(GroupName, admin::Listing<ConnectionId>)>,
    /// Those of them that are not in the picture.
    pub strangers: Picture,
    /// The connection that is looked at, as the server last told.
    pub detail: Option<ConnectionDetail>,
    /// What happened to that one.
    pub trace: Trace,
    /// From where one came to where one is; never empty.
    pub path: Vec<Place>,
    /// What is asked of the operator.
    pub prompt: Option<Prompt>,
    /// Whether the help covers the rest.
    pub help: bool,
    /// The server as it is now, while the picture stands still.
    pub behind: Option<Picture>,
    /// What was done last, or what was wrong with it.
    pub notice: Option<Notice>,
    /// Whether colours may be used.
    pub colours: bool,
}

/// Whether there is a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not yet.
    Connecting,
    /// Yes.
    Live,
    /// No more.
    Lost {
        /// Since when, in the dashboard's time.
        since_ms: u64,
        /// Why.
        reason: String,
        /// When it is tried again, in the dashboard's time.
        retry_ms: u64,
    },
}

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Totals and the busiest.
    Overview,
    /// All connections.
    Connections,
    /// All users.
    Users,
    /// All groups.
    Groups,
    /// What is forbidden.
    Bans,
    /// What operators did.
    Audit,
    /// A user's connections.
    User(UserName),
    /// A group's members.
    Group(GroupName),
    /// One connection.
    Connection(ConnectionId),
}

impl View {
    /// Those that have a number.
    pub const NUMBERED: [Self; 6] =
        [Self::Overview, Self::Connections, Self::Users, Self::Groups, Self::Bans, Self::Audit];

    /// Its name.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Overview => "Overview".to_owned(),
            Self::Connections => "Connections".to_owned(),
            Self::Users => "Users".to_owned(),
            Self::Groups => "Groups".to_owned(),
            Self::Bans => "Bans".to_owned(),
            Self::Audit => "Audit".to_owned(),
            Self::User(user) => format!("user {}", crate::text::visible(user.as_str())),
            Self::Group(group) => format!("group {}", crate::text::visible(group.as_str())),
            Self::Connection(id) => id.to_string(),
        }
    }
}

/// A screen, and where one is on it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which.
    pub view: View,
    /// What is listed, and in which order.
    pub listing: Listing,
}

impl Place {
    /// At the top of a view.
    #[must_use]
    pub fn new(view: View) -> Self {
        let listing = Listing::of(&view);
        Self { view, listing }
    }
}

/// What is asked of the operator.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// A filter for the list, as it is typed.
    Filter,
    /// A command's name, as it is typed.
    Palette(String),
    /// An action before it is confirmed.
    Form(Box<Form>),
    /// A ban that is about to be lifted: what it is, and what lifts it.
    Lift(String, Box<(&'static str, admin::Action)>),
}

/// Something that was said to the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub text: String,
    /// Whether it went wrong.
    pub bad: bool,
    /// When, in the dashboard's time.
    pub at_ms: u64,
}

impl Model {
    /// A dashboard that knows nothing yet.
    #[must_use]
    pub fn new(size: (u16, u16), colours: bool) -> Self {
        Self {
            size,
            now_ms: 0,
            link: Link::Connecting,
            status: None,
            attached_ms: 0,
            heard_ms: 0,
            picture: Picture::default(),
            history: History::default(),
            bans: admin::Listing::new(0, Vec::new()),
            audit: VecDeque::new(),
            all_nodes: false,
            members: None,
            strangers: Picture::default(),
            detail: None,
            trace: Trace::default(),
            path: vec![Place::new(View::Overview)],
            prompt: None,
            help: false,
            behind: None,
            notice: None,
            colours,
        }
    }

    /// Where one is.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the path begins with a view, and the last one is never left")]
    pub fn place(&self) -> &Place {
        self.path.last().expect("the path is never empty")
    }

    /// Where one is.
    #[expect(clippy::expect_used, reason = "as above")]
    pub fn place_mut(&mut self) -> &mut Place {
        self.path.last_mut().expect("the path is never empty")
    }

    /// Whether the operator may act, or why not.
    ///
    /// # Errors
    /// Why not, for the operator.
    pub fn may_act(&self) -> Result<(), &'static str> {
        match (&self.link, &self.status) {
            (Link::Live, Some(status)) if status.role == Role::Operator => Ok(()),
            (Link::Live, Some(_)) => Err("this certificate is a viewer's: it may look, and not act"),
            _ => Err("there is no server to act on now"),
        }
    }

    /// For how many milliseconds a server that is there has said nothing, where that is too long: it says something
    /// four times a second, also where nothing happens. That it is lost is known much later.
    #[must_use]
    pub fn silence(&self) -> Option<u64> {
        let silent = self.now_ms.saturating_sub(self.heard_ms);
        (self.link == Link::Live && silent >= SILENT_MS).then_some(silent)
    }

    /// Whether the picture stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.behind.is_some()
    }

    /// The server's clock, in milliseconds since 1970, also while the picture stands still.
    #[must_use]
    pub fn server_ms(&self) -> u64 {
        self.behind.as_ref().unwrap_or(&self.picture).at_ms
    }

    /// Whether a line above the rest says that the server is lost, or that something was missed.
    #[must_use]
    pub fn has_banner(&self) -> bool {
        matches!(self.link, Link::Lost { .. }) || self.picture.skipped > 0
    }

    /// Says something to the operator: that it went well, or `bad`.
    pub fn say(&mut self, text: impl Into<String>, bad: bool) {
        self.notice = Some(Notice { text: text.into(), bad, at_ms: self.now_ms });
    }

    /// A connection, where something is known of it.
    #[must_use]
    pub fn connection(&self, id: &ConnectionId) -> Option<&Tracked> {
        self.picture.connections.get(id).or_else(|| self.strangers.connections.get(id))
    }

    /// Who is in a group, as the server has just told.
    pub fn joined(&mut self, group: GroupName, members: admin::Listing<ConnectionRow>) {
        let ids: Vec<ConnectionId> = members.rows.iter().map(|row| row.connection).collect();
        let strange = |row: &ConnectionRow| !self.picture.connections.contains_key(&row.connection);
        let rows = members.rows.into_iter().filter(strange).collect();
        self.strangers.show(self.picture.at_ms, rows);
        self.members = Some((group, admin::Listing::new(members.total, ids)));
        self.refresh();
    }

    /// Puts the place's list in order again, after something has changed.
    pub fn refresh(&mut self) {
        let Some(mut place) = self.path.pop() else { return };
        place.listing.fill(&place.view, self);
        self.path.push(place);
    }

    /// Keeps an audit record.
    pub fn recorded(&mut self, record: Value) {
        if self.audit.len() == RECORDS {
            self.audit.pop_front();
        }
        self.audit.push_back(record);
    }
}
