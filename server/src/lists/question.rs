//! What is asked of a node for a list.
//!
//! In: an operator's page, or a back end's. Out: the same question for each node. Invariant: which rows there are, and
//! in which order, is said in full, so that the parts of all nodes can be put together.

use fanfare_protocol::admin::{Scope, Subject, Verb};
use fanfare_protocol::{GroupName, UserName};
use serde::{Deserialize, Serialize};

use super::place::Place;

/// What a list has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Of {
    /// Connections.
    Connections,
    /// A group's members.
    Members(GroupName),
    /// A user's connections.
    User(UserName),
    /// Users who are here.
    Users,
    /// Users who are in a group, with how many connections.
    Present(GroupName),
    /// Groups that have members.
    Groups,
}

/// Which rows, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListQuestion {
    pub(crate) of: Of,
    /// Only what one of these lets its holder read; everything, if it is not given.
    #[serde(default)]
    pub(crate) allow: Option<Vec<Scope>>,
    /// Only names that begin so; of connections their users'.
    #[serde(default)]
    pub(crate) prefix: Option<String>,
    /// Only what has this in it.
    #[serde(default)]
    pub(crate) filter: String,
    /// The field to sort by; what tells rows apart, if it is empty.
    #[serde(default)]
    pub(crate) sort: String,
    #[serde(default)]
    pub(crate) descending: bool,
    /// Only what is behind this.
    #[serde(default)]
    pub(crate) after: Option<Place>,
    /// At most so many.
    pub(crate) limit: u32,
    /// Only where rows are, and nothing else of them.
    #[serde(default)]
    pub(crate) bare: bool,
}

impl ListQuestion {
    /// The first rows of everything there is, in the order of what tells them apart.
    pub(crate) fn new(of: Of, limit: u32) -> Self {
        let (filter, sort) = (String::new(), String::new());
        Self {
            of,
            allow: None,
            prefix: None,
            filter,
            sort,
            descending: false,
            after: None,
            limit,
            bare: false,
        }
    }

    /// Whether a row of this name, about this, is in it: as far as that is asked of the name alone.
    pub(crate) fn takes(&self, name: &str, subject: &Subject<'_>) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && self
                .allow
                .as_ref()
                .is_none_or(|allow| allow.iter().any(|scope| scope.allows(Verb::Read, subject)))
    }
}
