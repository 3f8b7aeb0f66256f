//! An action before it is confirmed: whom it is about, what is typed, and what the server says that it would do.

use fanfare_protocol::admin::{self, Receipt, Who};

use crate::text::visible;

/// What an operator can do from the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take a user's access to groups back.
    Revoke,
    /// Keep a user off the server.
    Ban,
    /// Refuse every token of a user that was issued up to now.
    SignOut,
    /// Close connections.
    Close,
    /// Make connections members of a group.
    Add,
    /// End memberships.
    Remove,
    /// Send a message as the server.
    Send,
}

/// A line to type in.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it means when it is empty.
    pub hint: &'static str,
    /// What is typed.
    pub value: String,
}

/// An action before it is confirmed.
#[derive(Debug, Clone)]
pub struct Form {
    /// Which.
    pub act: Act,
    /// Whom it is about.
    pub who: Who,
    /// What is to be typed.
    pub fields: Vec<Field>,
    /// Which of them is being typed.
    pub focus: usize,
    /// What the server says that it would do, to what it was asked.
    pub preview: Option<(admin::Action, Result<Receipt, String>)>,
}

impl Act {
    /// Its name, as an order.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "Revoke",
            Self::Ban => "Ban",
            Self::SignOut => "Sign out",
            Self::Close => "Close",
            Self::Add => "Add to a group",
            Self::Remove => "Remove from a group",
            Self::Send => "Send to",
        }
    }

    /// What it has done.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::Ban => "banned",
            Self::SignOut => "signed out",
            Self::Close => "closed",
            Self::Add => "added",
            Self::Remove => "removed",
            Self::Send => "sent",
        }
    }

    /// Whether the server can say beforehand what it would do.
    #[must_use]
    pub fn can_be_previewed(self) -> bool {
        matches!(self, Self::Revoke | Self::Ban)
    }

    fn fields(self) -> &'static [(&'static str, &'static str)] {
        const GROUPS: (&str, &str) = ("group", "");
        const TIME: (&str, &str) = ("for", "(until it is lifted)");
        const REASON: (&str, &str) = ("reason", "(the user is told)");
        match self {
            Self::Revoke => &[GROUPS, TIME, REASON],
            Self::Ban => &[TIME, REASON],
            Self::SignOut | Self::Close => &[REASON],
            Self::Add | Self::Remove => &[GROUPS, ("reason", "(for the audit)")],
            Self::Send => &[("text", ""), ("event", "(ReceiveMessage)")],
        }
    }
}

impl Form {
    /// An empty one; where one came from a group, that is most likely what it is about.
    #[must_use]
    pub fn new(act: Act, who: Who, group: Option<String>) -> Self {
        let mut group = group;
        let fields = act.fields().iter().map(|(name, hint)| {
            let value = if *name == "group" { group.take().unwrap_or_default() } else { String::new() };
            Field { name, hint, value }
        });
        Self { act, who, fields: fields.collect(), focus: 0, preview: None }
    }

    /// What is typed in the field of this name; nothing where there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.fields.iter().find(|field| field.name == name).map_or("", |field| field.value.as_str())
    }

    /// `Revoke alice`
    #[must_use]
    pub fn title(&self) -> String {
        let who = match &self.who {
            Who::Connection(id) => format!("connection {id}"),
            Who::User(user) => visible(user.as_str()),
            Who::Group(group) => format!("all in {}", visible(group.as_str())),
            Who::All => "everyone".to_owned(),
        };
        match self.act {
            Act::Add | Act::Remove => format!("{}: {who}", self.act.name()),
            act => format!("{} {who}", act.name()),
        }
    }
}
