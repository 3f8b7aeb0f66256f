//! Who hears of memberships: told by the hub inside its critical sections.
//!
//! Invariants: of one connection, and of one group, everything is told in the order in which it happened; each
//! membership is told once when it begins and once when it ends, whatever ends it (test
//! `every_membership_is_told_once_when_it_begins_and_once_when_it_ends`).

use std::sync::Arc;

use fanfare_protocol::{Code, GroupName};

use crate::member::{Member, Origin};

/// What has ended a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The client's own wish, or the application's for it.
    Asked,
    /// The server removed it, for this reason.
    Removed(Code),
    /// Its connection has ended.
    Gone,
}

/// Hears of memberships. It is told while locks are held: it must not wait for anything, and must not call the hub.
pub trait Witness<P>: Send + Sync {
    /// A connection has become a member; `opened` where it is the first of the group.
    fn joined(&self, member: &Arc<Member<P>>, group: &GroupName, origin: Origin, opened: bool);

    /// A membership has ended; `closed` where it was the last of the group.
    fn left(&self, member: &Arc<Member<P>>, group: &GroupName, why: Left, closed: bool);
}
